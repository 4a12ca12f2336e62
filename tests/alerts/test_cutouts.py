"""Pictures are found in packets of both surveys, as they stand there, and their absence harms nobody."""

from __future__ import annotations

import io
import json
from importlib import resources
from typing import Any

import fastavro
import pytest

from service.alerts.cutouts import FRAME_SIZE, MOST_BYTES, CutoutReader, Cutouts
from service.simulate import simulate
from service.simulate.rubin import simulate_rubin

NAMES = ("cutoutScience", "cutoutTemplate", "cutoutDifference")


def opened(packet: bytes) -> tuple[dict[str, Any], Any]:
    reader = fastavro.reader(io.BytesIO(packet))
    record: Any = next(reader)
    return record, reader.writer_schema


def written(schema: Any, record: dict[str, Any], codec: str = "null") -> bytes:
    sink = io.BytesIO()
    fastavro.writer(sink, schema, [record], codec=codec)
    return sink.getvalue()


@pytest.fixture(scope="module")
def packet() -> bytes:
    return next(iter(simulate(1, seed=4))).packet


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_the_bytes_of_ztf_stand_as_they_were_sent(packet: bytes, codec: str) -> None:
    record, schema = opened(packet)
    found = CutoutReader().read(written(schema, record, codec))
    assert found == Cutouts(*(record[name]["stampData"] for name in NAMES))
    assert len(found.science) > 5000


def test_a_framed_packet_of_rubin_has_its_pictures_too() -> None:
    text = (resources.files("service.simulate") / "lsst-11.1.avsc").read_bytes()
    framed = next(iter(simulate_rubin(1, seed=4))).packet
    record: Any = fastavro.schemaless_reader(io.BytesIO(framed[FRAME_SIZE:]), json.loads(text), None)
    asked: list[int] = []

    class Registry:
        def schema(self, schema_id: int) -> bytes:
            asked.append(schema_id)
            return text

    reader = CutoutReader(Registry())
    expected = Cutouts(*(record[name] or b"" for name in NAMES))
    assert reader.read(framed) == reader.read(framed) == expected
    assert len(expected.science) > 10_000
    assert asked == [int.from_bytes(framed[1:FRAME_SIZE], "big")], "a schema is compiled once"


def test_what_is_missing_or_too_large_is_left_out(packet: bytes) -> None:
    record, schema = opened(packet)
    sent = record["cutoutTemplate"]["stampData"]
    large = {"fileName": "x", "stampData": bytes(MOST_BYTES + 1)}
    reader = CutoutReader()
    found = reader.read(written(schema, record | {"cutoutScience": None, "cutoutDifference": large}))
    assert found == Cutouts(b"", sent, b"")
    assert reader.read(written(schema, record | dict.fromkeys(NAMES))) is None


def test_what_can_not_be_read_has_no_pictures(packet: bytes) -> None:
    reader = CutoutReader()
    plain = {"type": "record", "name": "alert", "namespace": "ztf", "fields": [{"name": "objectId", "type": "string"}]}
    for raw in (b"", b"not avro", packet[:-2000], b"\0\0\0\0\7abc", written(plain, {"objectId": "a"})):
        assert reader.read(raw) is None
    assert reader.read(packet) is not None
