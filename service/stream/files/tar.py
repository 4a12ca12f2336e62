"""Tar archives read as streams, damaged or not: every member that can be found, and what could not be read.

Python's tarfile stops at the first end marker and at the first damaged header. But concatenated nights have many end
markers, and thousands of good members may follow a damaged header.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from service.stream.files.unpacking import Raw, Stream

BLOCK: Final = tarfile.BLOCKSIZE
# At most this much of a member with a damaged header is kept during the search for the next header; a packet has 70 KB.
_LARGEST_RESCUED: Final = 16 << 20
_LONGEST_NAME: Final = 1 << 20
_WITHOUT_BYTES: Final = (
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE,
)  # fmt: skip
_EXTENDED: Final = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. Read `stream` before asking for the next member: the unread rest is skipped."""

    name: str
    stream: Raw


def members(stream: Stream) -> Iterator[Member | str]:
    """The files of a tar archive in order; between them, as text, what could not be read and where."""
    first = stream.read(BLOCK)
    reported = 0
    while True:
        end = yield from _stretch(stream, first)
        faults = [*([end] if end else []), *stream.faults[reported:]]
        if faults:
            yield ": ".join(faults)
        first = b""
        while not first:
            if not stream.resume():
                return
            reported = len(stream.faults)
            first = _first_header(stream)


def _first_header(stream: Stream) -> bytes:
    """The first header after damage, or b"": what looks like a packed member may be a cutout inside a packet."""
    while block := stream.read(BLOCK):
        if _header(block) is not None:
            return block
    return b""


def _stretch(stream: Stream, first: bytes) -> Generator[Member | str, None, str]:
    """Members from the block `first` up to damaged packing or the end. Returns what is wrong with the end, or ""."""
    position = 0
    names: dict[str, str] = {}  # fields of extended headers, for the member that follows
    at_end = False
    for block in chain((first,) if first else (), iter(lambda: stream.read(BLOCK), b"")):
        begin, position = position, position + len(block)
        if len(block) < BLOCK:
            return f"it ends inside the header at byte {begin}"
        if not block.strip(b"\0"):
            at_end = True
            continue
        at_end = False
        header = _header(block)
        if header is None:
            bad = _Damaged(block, begin)
            position = yield from bad.skip(stream)
            at_end = bad.at_end
            if bad.next is None:
                break
            begin, header = position - BLOCK, bad.next
        if header.type in _EXTENDED:
            data = stream.read(min(_padded(header.size), _LONGEST_NAME))
            position += len(data)
            names |= _extended(header.type, data[: header.size])
            continue
        if header.type == tarfile.XGLTYPE:
            position += len(stream.read(min(_padded(header.size), _LONGEST_NAME)))
            continue
        name, sparse = names.get("path", header.name), header.type == tarfile.GNUTYPE_SPARSE or "sparse" in names
        size = 0 if header.type in _WITHOUT_BYTES else int(names.get("size", header.size))
        names = {}
        member = Raw(stream.read, size)
        if sparse:
            yield f"{name} (at byte {begin}) is a sparse file, which is not read"
        elif header.type not in _WITHOUT_BYTES:
            yield Member(name, member)
        while member.read(1 << 20):
            pass
        assert member.left is not None
        padding = -size % BLOCK
        position += size - member.left
        if member.left or len(stream.read(padding)) < padding:
            return f"it ends in {name}, which begins at byte {begin}: {size - member.left} of {size} bytes are there"
        position += padding
    if not at_end and not stream.faults:
        return f"it ends at byte {position} without an end marker: members may be missing"
    return ""


class _Damaged:
    """A damaged header, and the search for the next good one."""

    def __init__(self, block: bytes, begin: int) -> None:
        self._block = block
        self._begin = begin
        self.next: tarfile.TarInfo | None = None
        self.at_end = False

    def skip(self, stream: Stream) -> Generator[Member | str, None, int]:
        """Returns the position after the next good header, or of the end."""
        position = self._begin + len(self._block)
        kept = bytearray()
        while block := stream.read(BLOCK):
            position += len(block)
            self.at_end = not block.strip(b"\0")
            self.next = None if self.at_end else _header(block)
            if self.next is not None:
                break
            if len(kept) < _LARGEST_RESCUED:
                kept += block
        name, data = self._rescued(bytes(kept))
        found = "" if not name else f" ({name})"
        yield f"the header at byte {self._begin}{found} is damaged; " + (
            "the member behind it is read" if data else f"skipped to byte {position - (BLOCK if self.next else 0)}"
        )
        if data:
            yield Member(name, Raw(_once(data), len(data)))
        return position

    def _rescued(self, behind: bytes) -> tuple[str, bytes]:
        """The member's name as far as it is readable, and its bytes if its size fits the data after the header."""
        name = self._block[:100].partition(b"\0")[0].decode("utf-8", "replace")
        size = re.fullmatch(rb"([0-7]+)[ \0]*", self._block[124:136])
        length = int(size[1], 8) if size else 0
        fits = _padded(length) <= len(behind) and not behind[_padded(length) :].strip(b"\0")
        return (name if name.isprintable() else ""), behind[:length] if length and fits else b""


def _once(data: bytes) -> Callable[[int], bytes]:
    rest = memoryview(data)

    def read(size: int) -> bytes:
        nonlocal rest
        part, rest = bytes(rest[:size]), rest[size:]
        return part

    return read


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None
    return header if header.size >= 0 else None


def _extended(kind: bytes, data: bytes) -> dict[str, str]:
    """The fields path, size and sparse of an extended header."""
    if kind == tarfile.GNUTYPE_LONGLINK:
        return {}
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
    names = {}
    for _, key, value in re.findall(rb"(\d+) ([^=\n]+)=([^\n]*)\n", data):
        if key == b"path":
            names["path"] = value.decode("utf-8", "surrogateescape")
        elif key == b"size" and value.isdigit() and len(value) < 20:
            names["size"] = value.decode()
        elif key.startswith(b"GNU.sparse."):
            names["sparse"] = ""
    return names


def _padded(size: int) -> int:
    return size + -size % BLOCK
