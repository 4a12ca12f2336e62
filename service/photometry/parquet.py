"""Points tables in Parquet: only the columns that are needed, one row group after the other, within bounds.

A small file can unpack to a huge table: pages are packed, and a dictionary holds a value once, however many rows have
it. So text stays in its dictionary until it is known how long it is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.errors import AlertClassifierError
from service.photometry.parquet_pages import DELTA_BYTE_ARRAY, pages, row_groups

# Of a points table the rows are numbers and names: a name has 200 characters at most, of up to four bytes.
MAX_TEXT: Final = 1_000
# Parquet's decimals have 16 bytes; longer values of a fixed length are neither numbers nor names.
_LONGEST_FIXED: Final = 16
# Row groups have about a million rows, and pages about a megabyte. Each takes some 0.1 ms to find.
MAX_GROUPS: Final = 1_000
MAX_PAGES: Final = 10_000
# Bounds of the footer: items of a list, bytes of a text.
_FOOTER: Final[dict[str, Any]] = {"thrift_container_size_limit": 10_000, "thrift_string_size_limit": 4 << 20}


class TooLargeError(AlertClassifierError, ValueError):
    """The table unpacks to more than is read; the message names the column."""


class TooManyRowsError(TooLargeError):
    """The table has more rows than are read."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an uploaded table may have: rows, and bytes of its needed columns when unpacked."""

    rows: int
    nbytes: int


def read_parquet(
    source: bytes | Path, wanted: Collection[str], bounds: Bounds | None = None
) -> tuple[pa.Table, list[str]]:
    """The columns among `wanted`, text as text; and the names of all columns.

    An upload (bytes) is held to `bounds` before it is unpacked. Raises TooLargeError, TooManyRowsError, pyarrow's
    exceptions, OSError and ValueError.
    """
    if isinstance(source, bytes) and bounds is not None:
        check_pages(source, wanted, bounds)
    with _open(source) as file:
        names: list[str] = file.schema_arrow.names
        texts = _check_columns(file.metadata, wanted)
    columns = [name for name in names if name in wanted]
    left = bounds.nbytes if bounds else None
    tables = []
    with _open(source, read_dictionary=texts) as file:
        empty = file.schema_arrow.empty_table().select([index for index, name in enumerate(names) if name in wanted])
        for group in range(file.metadata.num_row_groups):
            table = _without_dictionaries(file.read_row_group(group, columns=columns), left)
            if left is not None:
                left -= table.nbytes
            tables.append(table)
    return pa.concat_tables(tables or [_without_dictionaries(empty, left)]), names


def _open(source: bytes | Path, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source, **_FOOTER, **options)


def check_pages(data: bytes, wanted: Collection[str], bounds: Bounds) -> None:
    """Refuse what unpacks to too much, by what every page says of itself.

    Raises TooLargeError, TooManyRowsError; ValueError where the file is damaged.
    """
    groups = row_groups(data)
    if sum(rows for rows, _ in groups) > bounds.rows:
        raise TooManyRowsError(f"more than {bounds.rows:,} rows")
    left, count = bounds.nbytes, 0
    for chunk in (chunk for _, chunks in groups for chunk in chunks if chunk.name in wanted):
        for page in pages(data, chunk):
            left -= max(page.nbytes, 8 * page.values)  # many equal values take next to nothing
            count += 1
            if left < 0 or count > MAX_PAGES:
                said = f"more than {bounds.nbytes:,} bytes or {MAX_PAGES:,} pages"
                raise TooLargeError(f"column {chunk.name} unpacks to {said}")
            if page.encoding == DELTA_BYTE_ARRAY:  # each value may be all of the one before, and a byte more
                raise TooLargeError(
                    f"column {chunk.name} is written as differences of texts: write it with a dictionary"
                )


def _check_columns(footer: pq.FileMetaData, wanted: Collection[str]) -> list[str]:
    """Refuse columns that are neither numbers nor text. Returns the names of those of text."""
    if footer.num_row_groups > MAX_GROUPS:
        raise TooLargeError(f"{footer.num_row_groups:,} row groups; at most {MAX_GROUPS:,} are read")
    texts = []
    for index in range(len(footer.schema.names)):
        column = footer.schema.column(index)
        name = column.path.partition(".")[0]
        if name not in wanted:
            continue
        if column.path != name or column.max_repetition_level:
            raise ValueError(f"column {name} holds lists or records, not plain values")
        if column.physical_type == "FIXED_LEN_BYTE_ARRAY" and column.length > _LONGEST_FIXED:
            raise TooLargeError(f"column {name} has values of {column.length:,} bytes each")
        if column.physical_type == "BYTE_ARRAY":
            texts.append(name)
    return texts


def _without_dictionaries(table: pa.Table, left: int | None) -> pa.Table:
    """`table` with text as text, if it takes at most `left` bytes."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            for chunk in table.column(index).chunks:
                left = _check_text(field.name, chunk, left)
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table


def _check_text(name: str, chunk: pa.DictionaryArray, left: int | None) -> int | None:
    lengths = pc.binary_length(chunk.dictionary)
    longest = pc.max(lengths).as_py() or 0
    if longest > MAX_TEXT:
        raise TooLargeError(f"column {name} has a value of {longest:,} bytes; at most {MAX_TEXT:,} are read")
    if left is not None:
        left -= pc.sum(lengths.take(chunk.indices)).as_py() or 0
        if left < 0:
            raise TooLargeError(f"column {name} unpacks to more than is read of a table")
    return left
