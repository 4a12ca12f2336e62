"""Real packets of every schema version, against a plain reading of what fastavro gives."""

import csv
import itertools
import random
from pathlib import Path
from typing import Any

import fastavro
import pytest

from service.alerts import AlertError, Decoder
from service.photometry import merge
from tests.alerts.ztf_packets import assert_same

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def packets(real_data: Path) -> list[tuple[dict[str, str], bytes]]:
    with open(real_data / "alerts" / "index.csv", newline="") as file:
        return [
            (row, (real_data / "alerts" / row["file"]).read_bytes())
            for row in csv.DictReader(file)
            if row["valid"] == "True"
        ]


def test_every_good_packet_says_what_fastavro_reads_in_it(
    packets: list[tuple[dict[str, str], bytes]], real_data: Path
) -> None:
    decoder = Decoder()
    for row, raw in packets:
        alert = decoder.decode(raw)
        assert_same(alert, _record(real_data / "alerts" / row["file"]))
        assert (alert.object_id, alert.candid) == (row["objectId"], int(row["candid"]))
    assert len(packets) == 505
    assert decoder.fallbacks.schemas == 0


def test_every_schema_version_and_codec_is_among_them(packets: list[tuple[dict[str, str], bytes]]) -> None:
    versions = {row["schemavsn"] for row, _ in packets}
    assert versions >= {"1.8", "2.0", "3.0", "3.1", "3.2", "3.3", "3.5", "4.01", "4.02"}
    alerts = Decoder().decode_many([raw for _, raw in packets])
    assert {band for alert in alerts for band in alert.light_curve.band} == {0, 1, 2}
    assert {kind for alert in alerts for kind in alert.light_curve.kind} == {0, 1, 2}
    assert any(b"snappy" in raw[:40_000] for _, raw in packets)


def test_the_packets_of_one_object_merge_to_one_light_curve_in_any_order(
    packets: list[tuple[dict[str, str], bytes]], real_data: Path
) -> None:
    replay = [(row, raw) for row, raw in packets if row["file"].startswith("replay_ZTF21abiuvdk")]
    curves = [alert.light_curve for alert in Decoder().decode_many([raw for _, raw in replay])]
    assert len(curves) == 34
    whole = merge(curves)
    for seed in range(20):
        shuffled = random.Random(seed).sample(curves, len(curves))
        assert merge(shuffled) == whole
        grown = shuffled[0]
        for curve in shuffled[1:]:
            grown = grown.merge(curve, curve)
        assert grown == whole
    # every alert's own detection is there once, under its candid; and so is every epoch that any packet mentions
    candids = [int(candid) for candid in whole.points["candid"] if candid]
    assert sorted(set(candids)) == sorted(candids)
    assert {int(row["candid"]) for row, _ in replay} <= set(candids)
    records = [_record(real_data / "alerts" / row["file"]) for row, _ in replay]
    epochs = {
        round(point["jd"] - 2400000.5, 6)
        for record in records
        for point in itertools.chain([record["candidate"]], record["prv_candidates"] or [])
    }
    assert {round(mjd, 6) for mjd in whole.mjd.tolist()} == epochs


@pytest.mark.parametrize(
    ("name", "code", "place"),
    [
        ("bad_block_516434762915010006", "bad_union", "cutoutDifference names a union branch"),
        ("sync_marker_516401801315010009", "bad_sync", "sync marker at byte 66528"),
        ("undecodable_87704463155000", "bad_magic", "not an Avro container file"),
        ("truncated_1079564896215015003", "truncated", "claims 43248 bytes, the file has 16603"),
        ("empty", "empty", "no bytes"),
        ("bad_magic_1079564896215015003", "bad_magic", "begins with 4a 55 4e 4b"),
    ],
)
def test_every_bad_packet_says_what_is_wrong(real_data: Path, name: str, code: str, place: str) -> None:
    raw = (real_data / "alerts" / "bad" / f"{name}.avro").read_bytes()
    with pytest.raises(AlertError, match=place) as refused:
        Decoder().decode(raw)
    assert refused.value.code == code
    assert [error.code for error in Decoder().decode_all(raw) if isinstance(error, AlertError)] == [code]


def _record(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        (record,) = fastavro.reader(file)
    assert isinstance(record, dict)
    return record
