"""Alerts at rest: folders of `.avro` files, and a night's `.tar.gz` read as it streams by, never unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from time import monotonic, time
from typing import Final

from service.errors import AlertClassifierError
from service.stream.batch import Batch, Message

TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class ArchiveError(AlertClassifierError, ValueError):
    """A path that is no readable archive; the message names it."""


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every `.avro` file in a folder (sorted, with its subfolders), a tar archive, or `path` itself.

    Raises ArchiveError, for a damaged tar archive after everything before the damage.
    """
    if path.is_dir():
        for file in sorted(path.rglob("*.avro")):
            yield str(file.relative_to(path)), _read(file)
    elif path.name.endswith(TAR_SUFFIXES):
        yield from _read_tar(path)
    else:
        yield path.name, _read(path)


def check_archive(path: Path) -> None:
    """Raise ArchiveError unless `path` is something that `read_archive` may be asked to read."""
    if not path.exists():
        raise ArchiveError(f"{path} does not exist")
    if path.is_file() and not path.name.endswith((".avro", *TAR_SUFFIXES)):
        raise ArchiveError(f"{path} is neither a folder, nor .avro, nor {', '.join(TAR_SUFFIXES)}")


class ArchiveSource:
    """Archives as a source of the stream: the topic of a message is its archive's path, the offset its number in it.

    `damaged` lists the archives that could not be read to their end, and why.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises ArchiveError for a path that is not there."""
        for path in paths:
            check_archive(path)
        self.damaged: list[ArchiveError] = []
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
        # a packed archive may bring few alerts a second: linger does for it what it does for an idle stream
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
        """An archive stays where it is: there is nothing to remember."""

    def close(self) -> None:
        self._exhausted = True

    def _messages_of(self, path: Path) -> Iterator[Message]:
        try:
            for offset, (_, value) in enumerate(read_archive(path)):
                yield Message(topic=str(path), partition=0, offset=offset, value=value, received=time())
        except ArchiveError as error:
            self.damaged.append(error)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ArchiveError(f"{file} can't be read: {error.strerror}") from error


def _read_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".avro"):
                    file = archive.extractfile(member)
                    assert file is not None
                    yield member.name, file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ArchiveError(f"{path} is damaged or not a tar archive: {error}") from error
