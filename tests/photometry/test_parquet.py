"""Parquet tables within bounds: only what is needed is unpacked, and only if it is known how much that is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.photometry.parquet import (
    MAX_GROUPS,
    MAX_TEXT,
    Bounds,
    TooLargeError,
    TooManyRowsError,
    read_parquet,
)
from service.photometry.parquet_pages import pages, row_groups
from service.photometry.table import TableError, light_curves, read_points_table
from tests.alerts.hostile import MEGABYTE, Cost

WANTED = ("object_id", "mjd", "mag")
ROWS = 2_000
BOUNDS = Bounds(ROWS, 200_000)


def written(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def points(rows: int = ROWS, **columns: Any) -> pa.Table:
    usual = {"object_id": [f"o{row % 7}" for row in range(rows)], "mjd": [60000.0 + row for row in range(rows)]}
    return pa.table(usual | {"mag": [None if row % 3 else 18.0 + row / 1e4 for row in range(rows)]} | columns)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd"])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("groups", [1, 4])
def test_the_columns_that_are_wanted_are_read(version: str, codec: str, dictionary: bool, groups: int) -> None:
    """Whatever wrote them; and what the page headers say is what the footer says."""
    table = points(other=[b"x" * 300] * ROWS)
    body = written(
        table, data_page_version=version, compression=codec, use_dictionary=dictionary, row_group_size=ROWS // groups,
        data_page_size=2_000, write_page_index=True,
    )  # fmt: skip
    found, names = read_parquet(body, WANTED, BOUNDS)
    assert names == table.column_names
    assert found.equals(table.select(WANTED))
    footer = pq.read_metadata(io.BytesIO(body))
    for number, (rows, chunks) in enumerate(row_groups(body)):
        assert rows == footer.row_group(number).num_rows
        for index, chunk in enumerate(chunks):
            column = footer.row_group(number).column(index)
            assert (chunk.name, chunk.nbytes) == (column.path_in_schema, column.total_compressed_size)
            sizes = [page.nbytes for page in pages(body, chunk)]
            assert 0 <= column.total_uncompressed_size - sum(sizes) <= 100 * len(sizes)  # the headers


def test_a_table_has_as_many_rows_as_are_read() -> None:
    assert len(read_parquet(written(points()), WANTED, BOUNDS)[0]) == ROWS
    with pytest.raises(TooManyRowsError):
        read_parquet(written(points(ROWS + 1)), WANTED, BOUNDS)


def test_a_table_without_rows_is_read() -> None:
    assert read_parquet(written(points(0)), WANTED, BOUNDS)[0].equals(points(0))


def test_a_value_that_all_rows_share_counts_for_each() -> None:
    """Given a dictionary with one long value, then a file of some kB is not unpacked to that times the rows."""
    fits = 60  # with 2,000 rows 120 kB
    body = written(points(object_id=["x" * fits] * ROWS))
    assert read_parquet(body, WANTED, BOUNDS)[0]["object_id"][7].as_py() == "x" * fits
    large = written(points(object_id=["x" * 110] * ROWS))
    assert len(large) < 50_000
    with pytest.raises(TooLargeError, match="object_id"):
        read_parquet(large, WANTED, BOUNDS)
    with Cost() as cost, pytest.raises(TooLargeError, match="1,001 bytes"):
        read_parquet(written(points(object_id=["x" * (MAX_TEXT + 1)] * ROWS)), WANTED, Bounds(ROWS, 100 * MEGABYTE))
    assert cost.memory < 8 * MEGABYTE


def test_numbers_that_are_text_count_too() -> None:
    assert read_parquet(written(points(mag=["18.5"] * ROWS)), WANTED, BOUNDS)[0]["mag"][0].as_py() == "18.5"
    with pytest.raises(TooLargeError, match="mag"):
        read_parquet(written(points(mag=["18." + "5" * 120] * ROWS)), WANTED, BOUNDS)


@pytest.mark.parametrize(
    ("columns", "options", "told"),
    [
        ({"mag": [[18.0]] * ROWS}, {}, "holds lists or records"),
        ({"mag": [{"a": 18.0}] * ROWS}, {}, "holds lists or records"),
        ({"mag": pa.array([b"x" * 17] * ROWS, pa.binary(17))}, {}, "values of 17 bytes each"),
        ({}, {"use_dictionary": False, "column_encoding": {"object_id": "DELTA_BYTE_ARRAY"}}, "differences of texts"),
        ({}, {"row_group_size": 1, "use_dictionary": False}, f"at most {MAX_GROUPS:,}"),
    ],
)
def test_what_may_unpack_without_end_is_refused(columns: dict[str, Any], options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_parquet(written(points(**columns), **options), WANTED, BOUNDS)


def test_a_page_is_believed_to_be_as_large_as_its_own_header_says() -> None:
    """Given a file whose footer claims less than a page's header, then the header counts, as it does for pyarrow."""
    body = written(points(), compression="zstd", use_dictionary=False)
    [(_, [_, chunk, _])] = row_groups(body)
    start = chunk.start
    [page] = pages(body, chunk)
    said = _varint(2 * page.nbytes)  # zigzag
    more = _varint(2 * 250_000)
    assert len(said) == len(more) == 3
    lying = body[:start] + body[start:].replace(said, more, 1)
    assert read_parquet(body, WANTED, BOUNDS)[0].equals(points())
    with pytest.raises(TooLargeError, match="column mjd unpacks to more than 200,000 bytes"):
        read_parquet(lying, WANTED, BOUNDS)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def test_damage_is_a_clean_error() -> None:
    body = written(points(50))
    for position in range(0, len(body), 3):
        damaged = bytearray(body)
        damaged[position] ^= 0x55
        try:
            read_parquet(bytes(damaged), WANTED, BOUNDS)
        except (ValueError, OSError, pa.ArrowException):
            continue


def test_other_columns_of_a_file_are_not_read(tmp_path: Path) -> None:
    """Given a table with lists and long texts that no light curve needs, then they are no trouble."""
    path = tmp_path / "points.parquet"
    pq.write_table(points(10, band=["g"] * 10, extra=[[1, 2]] * 10, doc=["x" * 5_000] * 10), path)
    assert len(dict(light_curves(read_points_table(path), path.name))) == 7
    pq.write_table(points(10, band=["g" * 2_000] * 10), path)
    with pytest.raises(TableError, match=r"points\.parquet .*band has a value of 2,000 bytes"):
        read_points_table(path)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """A file may say that any bytes are text."""
    path = tmp_path / "points.parquet"
    path.write_bytes(written(points(10, band=["qqqq"] * 10)).replace(b"qqqq", b"\xff\xfe\xfd\xfc"))
    with pytest.raises(TableError, match="band"):
        list(light_curves(read_points_table(path), path.name))
