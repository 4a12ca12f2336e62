"""Real packets of Rubin, and others' of its schemas, against a plain reading of what fastavro gives."""

import io
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from service.alerts import Alert, Decoder, SchemaFolder
from service.alerts.compiler import compile_schema
from service.alerts.interpreter import read
from service.alerts.lsst.alert import PROJECTION
from service.alerts.projection import Cells, Type
from service.alerts.schema import load, resolve
from service.photometry import BANDS, Kind, merge
from tests.alerts import oracle
from tests.alerts.rubin_packets import NAMES_OF_2022, assert_same, renamed

pytestmark = pytest.mark.real_data

Read = tuple[str, bytes, dict[str, Any]]


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    if not (real_data / "lsst" / "index.csv").exists():
        pytest.skip("no Rubin packets here")
    return real_data / "lsst"


@pytest.fixture(scope="module")
def messages(folder: Path) -> list[Read]:
    """(name, message, record) of everything that is framed, or was before it was written to a file."""
    schemas = {path.stem: fastavro.parse_schema(json.loads(path.read_text())) for path in folder.glob("schemas/*.avsc")}
    found = []
    for pattern, prefix in (("framed/*", b""), ("containers/*.bin", b""), ("as_sent/*.avro", b"\0\0\0\x03\x84")):
        for path in sorted(folder.glob(pattern)):
            raw = prefix + path.read_bytes()
            record = fastavro.schemaless_reader(io.BytesIO(raw[5:]), schemas[str(_id(raw))], None)
            assert isinstance(record, dict)
            found.append((path.stem, raw, record))
    return found


@pytest.fixture(scope="module")
def alerts(messages: list[Read], folder: Path) -> list[Alert]:
    decoder = Decoder(SchemaFolder(folder / "schemas"))
    read_ = [decoder.decode(raw) for _, raw, _ in messages]
    assert decoder.fallbacks.schemas == decoder.fallbacks.records == 0
    return read_


def test_every_packet_says_what_fastavro_reads_in_it(messages: list[Read], alerts: list[Alert]) -> None:
    for (_, raw, record), alert in zip(messages, alerts, strict=True):
        assert_same(alert, record)
        major, minor = divmod(_id(raw), 100)
        assert alert.schema_version == f"{major}.{minor}"
    assert len(messages) == 67


def test_every_row_has_the_values_that_fastavro_reads(messages: list[Read], folder: Path) -> None:
    rows = 0
    for _, raw, record in messages:
        text = (folder / "schemas" / f"{_id(raw)}.avsc").read_bytes()
        cells, end = read(raw, 5, len(raw), compile_schema(resolve(load(text)), PROJECTION))
        assert end == len(raw)
        assert_same_cells(cells, oracle.project(record, PROJECTION))
        rows += cells.n_rows
    assert rows == 34_207


def assert_same_cells(one: Cells, other: Cells) -> None:
    fields = [*PROJECTION.fields, *PROJECTION.columns * one.n_rows]
    assert one.n_rows == other.n_rows
    is_text = np.array([field.type is Type.TEXT for field in fields])
    assert (one.values[: len(fields)][~is_text] == other.values[: len(fields)][~is_text]).all()
    for cell in np.flatnonzero(is_text).tolist():
        assert one.text(cell) == other.text(cell)


def test_a_container_that_a_broker_wrote_again_says_the_same(folder: Path) -> None:
    raw = (folder / "containers" / "fink_v10_seven_records.avro").read_bytes()
    decoder = Decoder()
    found = list(decoder.decode_all(raw))
    records = list(fastavro.reader(io.BytesIO(raw)))
    assert len(found) == len(records) == 7
    for alert, record in zip(found, records, strict=True):
        assert isinstance(alert, Alert)
        assert isinstance(record, dict)
        assert_same(alert, record)
        assert alert.schema_version == "10.0"
    assert decoder.fallbacks.schemas == 0


def test_made_up_packets_of_every_version_are_refused_for_what_they_lack(folder: Path) -> None:
    decoder = Decoder(SchemaFolder(folder / "schemas"))
    said = {path.stem: decoder.decode_many([path.read_bytes()])[0] for path in folder.glob("made_up/*.bin")}
    assert {str(error) for name, error in said.items() if name != "v7_4"} == {
        "diaSource.diaObjectId and diaSource.ssObjectId are both 0 or missing"
    }
    assert set(said) == {"v7_4", "v8_0", "v9_0", "v10_0", "v11_0", "v11_1"}
    # its author counted seconds since 1970
    assert str(said["v7_4"]) == "diaSource.midpointMjdTai is 1.480361e+09; it must be between 56000 and 99999.5"
    assert decoder.fallbacks.schemas == 0


@pytest.mark.parametrize("version", ["v8_0", "v9_0", "v10_0", "v11_0", "v11_1"])
def test_made_up_packets_with_a_name_are_read_in_every_version(folder: Path, version: str) -> None:
    raw = (folder / "made_up" / f"{version}.bin").read_bytes()
    written_by = fastavro.parse_schema(json.loads((folder / "schemas" / f"{_id(raw)}.avsc").read_text()))
    record: Any = fastavro.schemaless_reader(io.BytesIO(raw[5:]), written_by, None)
    record["diaSource"]["diaObjectId"] = 17
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, written_by, record)
    alert = Decoder(SchemaFolder(folder / "schemas")).decode(raw[:5] + stream.getvalue())
    assert_same(alert, fastavro.schemaless_reader(io.BytesIO(stream.getvalue()), written_by, None))  # type: ignore[arg-type]
    assert (alert.object_id, alert.light_curve.n_detections) == ("17", 3)


def test_a_challenge_s_packet_is_read_by_its_own_names_and_unit(real_data: Path) -> None:
    raw = (real_data / "foreign" / "elasticc_0_9.avro").read_bytes()
    (record,) = fastavro.reader(io.BytesIO(raw))
    assert isinstance(record, dict)
    alert = Decoder().decode(raw)
    back = {old: new for new, old in NAMES_OF_2022.items()}
    record["diaSource"]["ssObjectId"] = record["diaSource"]["reliability"] = None
    assert_same(alert, renamed(record, back), 27.5)
    assert (alert.schema_version, len(alert.light_curve)) == ("elasticc 0.9", 5)


def test_the_packets_of_one_object_merge_to_one_light_curve_in_any_order(alerts: list[Alert]) -> None:
    by_object: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        by_object[alert.object_id].append(alert)
    several = [found for found in by_object.values() if len(found) > 1]
    assert several
    for found in several:
        curves = [alert.light_curve for alert in found]
        whole = merge(curves)
        assert {alert.candid for alert in found} <= set(whole.points["candid"].tolist())
        for seed in range(5):
            shuffled = random.Random(seed).sample(curves, len(curves))
            assert merge(shuffled) == whole
            grown = shuffled[0]
            for curve in shuffled[1:]:
                grown = grown.merge(curve, curve)
            assert grown == whole


def test_every_kind_of_packet_is_among_them(alerts: list[Alert]) -> None:
    assert {BANDS[band] for alert in alerts for band in alert.light_curve.band} == set("ugrizy")
    assert {kind for alert in alerts for kind in alert.light_curve.kind} == set(Kind)
    assert sum(alert.object_id.startswith("sso") for alert in alerts) == 21
    assert max(len(alert.light_curve) for alert in alerts) > 1024
    assert min(len(alert.light_curve) for alert in alerts) == 1
    assert any("isDipole" in alert.quality.raised for alert in alerts)
    for alert in alerts:  # one exposure never says both
        seen = alert.light_curve.select(alert.light_curve.kind == Kind.DETECTION).points[["mjd", "band"]].tolist()
        limits = alert.light_curve.select(alert.light_curve.kind == Kind.UPPER_LIMIT).points[["mjd", "band"]].tolist()
        assert not set(seen) & set(limits)


def _id(raw: bytes) -> int:
    return int.from_bytes(raw[1:5], "big")
