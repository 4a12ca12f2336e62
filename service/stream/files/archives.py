"""Alerts in files: packets, folders of them, and tar archives of a night, read as streams and never unpacked on disk.

`classify` and `replay` both use `read_archive`, so that they read the same files in the same way.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import monotonic, time
from typing import Final

from service.alerts.container import MAGIC
from service.errors import AlertClassifierError
from service.stream.batch import Batch, Message
from service.stream.files.tar import Member, members
from service.stream.files.unpacking import Raw, unpacked

PACKET_SUFFIXES: Final = (".avro", ".avro.gz", ".avro.bz2", ".avro.xz")
TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# Tar in tar in tar: deeper is an attack on the stack, not a night.
_DEEPEST: Final = 8


class ArchiveError(AlertClassifierError, ValueError):
    """A path that `replay` can't read; the message names it."""


@dataclass(frozen=True, slots=True)
class PacketFile:
    """The bytes of one `.avro` file; `source` is its name, in an archive `night.tar.gz:folder/1.avro`."""

    source: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """What could not be read of `source`, and why. The rest was read."""

    source: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


def read_archive(path: Path) -> Iterator[PacketFile | Damage]:
    """Every packet of a folder (sorted, with its subfolders and archives), of a tar archive, or `path` itself.

    A file that can't be read gives a Damage in its place, and reading goes on. Finding nothing gives a Damage too.
    """
    found = False
    for one in _read_folder(path) if path.is_dir() else _read_file(path):
        found = True
        yield one
    if not found:
        yield Damage(
            str(path), "no_packets", f"holds no {PACKET_SUFFIXES[0]} file; tables are only read where a path names them"
        )


def check_archive(path: Path) -> None:
    """Raise ArchiveError unless `replay` can read `path`."""
    if not path.exists():
        raise ArchiveError(f"{path} does not exist")
    if path.is_file() and not path.name.lower().endswith(PACKET_SUFFIXES + TAR_SUFFIXES):
        raise ArchiveError(f"{path} is neither a folder, nor {', '.join(PACKET_SUFFIXES + TAR_SUFFIXES)}")


class ArchiveSource:
    """Archives as a source of the stream: the topic of a message is its archive's path, the offset its number in it.

    `damaged` lists what could not be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises ArchiveError for a path that can't be read."""
        for path in paths:
            check_archive(path)
        self.damaged: list[Damage] = []
        self._messages = chain.from_iterable(map(self._messages_of, paths))
        self._paused = False
        self._exhausted = False

    @property
    def exhausted(self) -> bool:
        return self._exhausted

    def poll(self, maximum: int, linger_s: float) -> list[Message]:
        if self._paused:
            return []
        messages: list[Message] = []
        # a packed archive may yield few alerts a second: return what there is after the linger time
        end = monotonic() + max(linger_s, 0.05)
        while len(messages) < maximum and monotonic() < end:
            message = next(self._messages, None)
            if message is None:
                self._exhausted = True
                break
            messages.append(message)
        return messages

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def acknowledge(self, batch: Batch) -> None:
        """An archive has no offsets to commit."""

    def close(self) -> None:
        self._exhausted = True

    def _messages_of(self, path: Path) -> Iterator[Message]:
        offset = 0
        for one in read_archive(path):
            if isinstance(one, Damage):
                self.damaged.append(one)
            else:
                yield Message(topic=str(path), partition=0, offset=offset, value=one.value, received=time())
                offset += 1


def _read_folder(folder: Path, seen: frozenset[str] = frozenset()) -> Iterator[PacketFile | Damage]:
    seen |= {os.path.realpath(folder)}  # links to folders are followed, but not in circles
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield _unreadable(folder, error)
        return
    for entry in entries:
        if not entry.is_dir():
            if entry.name.lower().endswith(PACKET_SUFFIXES + TAR_SUFFIXES):
                yield from _read_file(entry)
        elif os.path.realpath(entry) not in seen:
            found = False
            for one in _read_folder(entry, seen):
                found = True
                yield one
            if not found and entry.name.lower().endswith(PACKET_SUFFIXES + TAR_SUFFIXES):
                yield Damage(str(entry), "unreadable_file", "is a folder, and holds no packets")


def _read_file(path: Path) -> Iterator[PacketFile | Damage]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            yield Damage(str(path), "unreadable_file", "is not a file")
            return
        with path.open("rb") as file:
            if path.suffix.lower() == PACKET_SUFFIXES[0] and file.read(len(MAGIC)) == MAGIC:
                yield PacketFile(str(path), MAGIC + file.read())  # most files of most folders: nothing to unpack
                return
            file.seek(0)
            yield from _read(str(path), path.name, Raw(file.read))
    except OSError as error:
        yield _unreadable(path, error)


def _read(source: str, name: str, raw: Raw, depth: int = 0) -> Iterator[PacketFile | Damage]:
    """A packet or an archive, by the ending of its name."""
    if not name.lower().endswith(TAR_SUFFIXES):
        yield from _read_packet(source, name, raw)
        return
    if depth == _DEEPEST:
        yield Damage(source, "unreadable_archive", f"more than {_DEEPEST} archives in one another")
        return
    if not raw.peek(1):
        yield Damage(source, "unreadable_archive", "is empty")
        return
    for one in members(unpacked(raw, name)):
        if isinstance(one, Member):
            if one.name.lower().endswith(PACKET_SUFFIXES + TAR_SUFFIXES):
                yield from _read(f"{source}:{one.name}", one.name, one.stream, depth + 1)
        else:
            yield Damage(source, "unreadable_archive", one)


def _read_packet(source: str, name: str, raw: Raw) -> Iterator[PacketFile | Damage]:
    stream = unpacked(raw, name)
    parts = []
    while part := stream.read(1 << 20):
        parts.append(part)
    value = b"".join(parts)
    for fault in stream.faults:
        yield Damage(source, "unreadable_file", fault)
    if value or not stream.faults:
        yield PacketFile(source, value)


def _unreadable(path: Path, error: OSError) -> Damage:
    return Damage(str(path), "unreadable_file", f"can't be read: {error.strerror or error}")
