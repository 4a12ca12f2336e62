"""What a Parquet file says of its columns and pages, which tells how much it unpacks to before anything is unpacked.

The footer says it too, but a file can lie there: the library that reads the pages believes each page's own header. Both
are structs in Thrift's compact protocol (parquet.thrift: FileMetaData, PageHeader). pyarrow's view of a column chunk is
not used: with a damaged footer it ends the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

DELTA_BYTE_ARRAY: Final = 7
MAX_FOOTER: Final = 1 << 20  # a table of a thousand columns and several row groups; takes 0.5 s to read

_MAGIC: Final = b"PAR1"
_DEEPEST: Final = 12  # structs and lists in one another; a footer has 7
_ENCODING: Final = {5: 2, 8: 4}  # fields of a page header: of a data page (of version 2), and its values' encoding


@dataclass(frozen=True, slots=True)
class Chunk:
    """The pages of a column in one row group: `nbytes` from `start` on. `name` is the first part of its path."""

    name: str
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """`nbytes`: unpacked. `encoding` of its values; None if it is no data page."""

    nbytes: int
    encoding: int | None


def row_groups(data: bytes) -> list[tuple[int, list[Chunk]]]:
    """Rows and columns of each row group. Raises ValueError if the footer is damaged."""
    size = int.from_bytes(data[-8:-4], "little")
    if data[-4:] != _MAGIC or size + 8 > len(data):
        raise ValueError("it has no footer")
    if size > MAX_FOOTER:
        raise ValueError(f"its footer has {size:,} bytes; at most {MAX_FOOTER:,} are read")
    try:
        footer = _Thrift(data, len(data) - 8 - size).struct(0)
        groups = [(int(group[3]), [_chunk(column[3]) for column in group[1]]) for group in footer[4]]
    except (IndexError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError("its footer is damaged") from error
    if any(rows < 0 or chunk.start < 0 or chunk.nbytes < 0 for rows, chunks in groups for chunk in chunks):
        raise ValueError("its footer is damaged")
    return groups


def pages(data: bytes, chunk: Chunk) -> Iterator[Page]:
    """The pages of a column chunk. Raises ValueError if they are damaged."""
    reader = _Thrift(data, chunk.start)
    end = chunk.start + chunk.nbytes
    if end > len(data):
        raise ValueError(f"column {chunk.name} lies outside of the file")
    while reader.position < end:
        try:
            header = reader.struct(0)
            nbytes, packed = int(header[2]), int(header[3])
            [*encodings] = [header[kind][field] for kind, field in _ENCODING.items() if kind in header]
        except (IndexError, KeyError, TypeError) as error:
            raise ValueError(f"a page header of column {chunk.name} is damaged") from error
        if nbytes < 0 or packed < 0:
            raise ValueError(f"a page header of column {chunk.name} is damaged")
        yield Page(nbytes, encodings[0] if encodings else None)
        reader.position += packed


def _chunk(column: dict[int, Any]) -> Chunk:
    offsets = [int(column[field]) for field in (9, 11) if field in column]  # data and dictionary pages
    start = min([offset for offset in offsets if offset > 0] or [-1])
    return Chunk(str(column[3][0], "utf-8"), start, int(column[7]))


class _Thrift:
    """Values from `position` on: numbers, bytes, lists, and structs as dicts by the number of the field.

    Raises IndexError where the data end too early, ValueError where they are damaged.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self.position = position

    def struct(self, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        field = 0
        while kind := self._byte():
            field = field + (kind >> 4) if kind >> 4 else self._integer()
            kind &= 0xF
            fields[field] = kind == 1 if kind <= 2 else self._value(kind, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it nests too deep")
        if kind in (3, 1, 2):  # a byte; in lists booleans take one too
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            head = self._byte()
            size = head >> 4 if head >> 4 < 0xF else self._varint()
            if size > len(self._data):
                raise ValueError("a list is longer than the file")
            return [self.struct(depth) if head & 0xF == 12 else self._value(head & 0xF, depth + 1) for _ in range(size)]
        if kind == 12:
            return self.struct(depth)
        raise ValueError(f"there is no type {kind}")

    def _byte(self) -> int:
        self.position += 1
        return self._data[self.position - 1]

    def _bytes(self, size: int) -> bytes:
        self.position += size
        if self.position > len(self._data):
            raise IndexError("the data end too early")
        return self._data[self.position - size : self.position]

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("it holds a number of more than 64 bits")
