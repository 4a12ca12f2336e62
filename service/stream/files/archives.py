"""Alerts in files: packets, folders of them, and tar archives of a night, read as streams and never unpacked on disk.

`classify` and `replay` both use `read_archive`, so that they read the same files in the same way.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import monotonic, time
from typing import Final

from service.alerts.container import MAGIC
from service.config import PipelineSettings
from service.errors import AlertClassifierError
from service.stream.batch import Batch, Message
from service.stream.files.tar import Member, members
from service.stream.files.unpacking import Raw, unpacked

PACKET_SUFFIXES: Final = (".avro", ".avro.gz", ".avro.bz2", ".avro.xz", ".avro.zst")
TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
# Tar in tar in tar: deeper is an attack on the stack, not a night.
_DEEPEST: Final = 8
# Bytes of a packet, unpacked: what a message of the stream may have by default.
LARGEST: Final = PipelineSettings().max_message_bytes
# Of what can't be read of one file on disk, so much is told piece by piece; the rest is counted. A small packed archive
# may hold millions of empty members.
MOST_TOLD: Final = 100
_LONGEST_NAME: Final = 1000


class ArchiveError(AlertClassifierError, ValueError):
    """A path that `replay` can't read; the message names it."""


@dataclass(frozen=True, slots=True)
class PacketFile:
    """The bytes of one `.avro` file.

    `source` is its name, in an archive `night.tar.gz:folder/1.avro`; `file` that of the file on disk.
    """

    source: str
    value: bytes
    file: str


@dataclass(frozen=True, slots=True)
class Damage:
    """What could not be read of `source`, and why. The rest was read. `count`: how many such pieces this stands for."""

    source: str
    code: str
    message: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


def read_archive(path: Path, largest: int = LARGEST) -> Iterator[PacketFile | Damage]:
    """Every packet of a folder (sorted, with its subfolders and archives), of a tar archive, or `path` itself.

    A file that can't be read gives a Damage in its place, as does a packet of more than `largest` bytes, and reading
    goes on. Finding nothing gives a Damage too.
    """
    found = False
    reader = _Reader(largest)
    for one in reader.folder(path) if path.is_dir() else reader.file(path):
        found = True
        yield one
    if not found:
        yield Damage(
            shown(path),
            "no_packets",
            f"holds no {PACKET_SUFFIXES[0]} file; tables are only read where a path names them",
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

    def __init__(self, paths: Sequence[Path], largest: int = LARGEST) -> None:
        """Raises ArchiveError for a path that can't be read."""
        for path in paths:
            check_archive(path)
        self._largest = largest
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
        for one in read_archive(path, self._largest):
            if isinstance(one, Damage):
                self.damaged.append(one)
            else:
                yield Message(topic=shown(path), partition=0, offset=offset, value=one.value, received=time())
                offset += 1


class _Reader:
    """Reads files and folders, and packets of at most `largest` bytes."""

    def __init__(self, largest: int) -> None:
        self._largest = largest

    def folder(self, folder: Path, seen: frozenset[str] = frozenset()) -> Iterator[PacketFile | Damage]:
        seen |= {os.path.realpath(folder)}  # links to folders are followed, but not in circles
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            yield _unreadable(folder, error)
            return
        for entry in entries:
            if not entry.is_dir():
                if entry.name.lower().endswith(PACKET_SUFFIXES + TAR_SUFFIXES):
                    yield from self.file(entry)
            elif os.path.realpath(entry) not in seen:
                found = False
                for one in self.folder(entry, seen):
                    found = True
                    yield one
                if not found and entry.name.lower().endswith(PACKET_SUFFIXES + TAR_SUFFIXES):
                    yield Damage(shown(entry), "unreadable_file", "is a folder, and holds no packets")

    def file(self, path: Path) -> Iterator[PacketFile | Damage]:
        """What is in a file; of damage the first pieces and the number of the others."""
        untold: Counter[str] = Counter()
        told = 0
        for one in self._file(path):
            if isinstance(one, PacketFile) or told < MOST_TOLD:
                told += isinstance(one, Damage)
                yield one
            else:
                untold[one.code] += 1
        for code, count in untold.items():
            yield Damage(shown(path), code, f"and {count:,} more in this file", count)

    def _file(self, path: Path) -> Iterator[PacketFile | Damage]:
        name = shown(path)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
                yield Damage(name, "unreadable_file", "is not a file")
                return
            if status.st_size > self._largest and not path.name.lower().endswith(TAR_SUFFIXES):
                yield self._too_large(name, f"has {status.st_size:,} bytes")
                return
            with path.open("rb") as file:
                if path.suffix.lower() == PACKET_SUFFIXES[0] and file.read(len(MAGIC)) == MAGIC:
                    # most files of most folders: nothing to unpack
                    yield PacketFile(name, MAGIC + file.read(), name)
                    return
                file.seek(0)
                yield from self._any(name, path.name, Raw(file.read), name)
        except OSError as error:
            yield _unreadable(path, error)

    def _any(self, source: str, name: str, raw: Raw, file: str, depth: int = 0) -> Iterator[PacketFile | Damage]:
        """A packet or an archive, by the ending of its name."""
        if not name.lower().endswith(TAR_SUFFIXES):
            yield from self._packet(source, name, raw, file)
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
                    yield from self._any(f"{source}:{shown(one.name)}", one.name, one.stream, file, depth + 1)
            else:
                yield Damage(source, "unreadable_archive", one)

    def _packet(self, source: str, name: str, raw: Raw, file: str) -> Iterator[PacketFile | Damage]:
        if raw.left is not None and raw.left > self._largest:  # by the header of an archive's member: it is not read
            yield self._too_large(source, f"has {raw.left:,} bytes")
            return
        stream = unpacked(raw, name)
        value = stream.read(self._largest + 1)
        if len(value) > self._largest:
            yield self._too_large(source, "unpacks to more")
            return
        for fault in stream.faults:
            yield Damage(source, "unreadable_file", fault)
        if value or not stream.faults:
            yield PacketFile(source, value, file)

    def _too_large(self, source: str, what: str) -> Damage:
        bound = f"at most {self._largest:,} are read (pipeline.max_message_bytes)"
        return Damage(source, "too_large", f"{what}; {bound}")


def shown(name: str | Path) -> str:
    """A file's name for messages, which hold no bytes that are not UTF-8; of a long one both ends."""
    text = os.fsencode(str(name)).decode(errors="replace")
    half = _LONGEST_NAME // 2
    return text if len(text) <= _LONGEST_NAME or isinstance(name, Path) else f"{text[:half]}…{text[-half:]}"


def _unreadable(path: Path, error: OSError) -> Damage:
    return Damage(shown(path), "unreadable_file", f"can't be read: {error.strerror or error}")
