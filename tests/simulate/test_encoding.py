"""The column-wise Avro writer says what fastavro says, byte for byte."""

import io
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.simulate.avro import Container, RecordEncoder, varint

RECORD: dict[str, Any] = {
    "type": "record",
    "name": "sample",
    "fields": [
        {"name": "jd", "type": "double"},
        {"name": "candid", "type": "long"},
        {"name": "mag", "type": ["null", "float"]},
        {"name": "limit", "type": ["float", "null"]},
        {"name": "fid", "type": "int"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "programid", "type": "int"},
        {"name": "nothing", "type": ["null", "long"]},
    ],
}
LONGS = st.integers(-(2**62), 2**62)
ROW = st.tuples(
    st.floats(allow_nan=False),
    LONGS,
    st.floats(width=32) | st.none(),
    st.floats(width=32) | st.none(),
    st.integers(-(2**31), 2**31 - 1),
    st.text(alphabet="abcdefghij_0123456789", max_size=90),
)


@given(st.lists(ROW, min_size=1, max_size=20))
def test_columns_encode_as_fastavro_encodes_rows(rows: list[tuple[Any, ...]]) -> None:
    jd, candid, mag, limit, fid, name = zip(*rows, strict=True)
    missing = [np.nan if value is None else value for value in mag], [np.nan if v is None else v for v in limit]
    columns = {
        "jd": np.array(jd),
        "candid": np.array(candid, np.int64),
        "mag": np.array(missing[0], np.float32),
        "limit": np.array(missing[1], np.float32),
        "fid": np.array(fid),
        "name": np.array(name, "S90"),
        "programid": 1,
        "nothing": None,
    }

    encoded = RecordEncoder(RECORD).encode(columns, len(rows))

    schema = fastavro.parse_schema(RECORD)
    for row, written in zip(rows, encoded, strict=True):
        stream = io.BytesIO()
        nan_is_null = [None if value is None or np.isnan(value) else value for value in row[2:4]]
        record = dict(zip(columns, (*row[:2], *nan_is_null, *row[4:], 1, None), strict=True))
        fastavro.schemaless_writer(stream, schema, record)
        assert written == stream.getvalue()


@given(LONGS)
def test_a_varint_is_what_fastavro_reads(value: int) -> None:
    assert fastavro.schemaless_reader(io.BytesIO(varint(value)), "long", None) == value


def test_null_where_none_may_be_names_the_field() -> None:
    columns: dict[str, Any] = dict.fromkeys(field["name"] for field in RECORD["fields"])
    with pytest.raises(ValueError, match="field jd of sample"):
        RecordEncoder(RECORD).encode(columns, 1)


def test_a_container_is_a_file_that_fastavro_opens() -> None:
    schema = {
        "type": "record",
        "name": "pair",
        "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "long"}],
    }
    packet = Container.of(schema).pack(varint(7), varint(-1_000_000))
    assert list(fastavro.reader(io.BytesIO(packet))) == [{"a": 7, "b": -1_000_000}]
