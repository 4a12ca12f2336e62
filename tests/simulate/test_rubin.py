"""Simulated packets of Rubin's: whole records of the real schema, in order of time, which say one story."""

import io
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from click.testing import CliRunner

from service.alerts import Decoder, SchemaFolder
from service.cli import cli
from service.photometry import BANDS, LightCurve, merge
from service.simulate import SimulatedAlert
from service.simulate.rubin import simulate_rubin
from service.simulate.rubin_packets import FRAME, read_schema, write_schema
from tests.alerts.rubin_packets import assert_same


@pytest.fixture(scope="module")
def alerts() -> list[SimulatedAlert]:
    return list(simulate_rubin(250, seed=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    write_schema(folder)
    return folder


def record_of(packet: bytes) -> dict[str, Any]:
    stream = io.BytesIO(packet[5:])
    record = fastavro.schemaless_reader(stream, fastavro.parse_schema(read_schema()), None)
    assert stream.tell() == len(packet) - 5
    assert isinstance(record, dict)
    return record


def test_every_packet_is_a_whole_record_that_the_decoder_reads_alike(
    alerts: list[SimulatedAlert], folder: Path
) -> None:
    decoder = Decoder(SchemaFolder(folder))
    for alert in alerts[::10]:
        assert alert.packet.startswith(FRAME)
        record = record_of(alert.packet)
        decoded = decoder.decode(alert.packet)
        assert_same(decoded, record)
        assert (decoded.object_id, decoded.candid) == (alert.object_id, alert.candid)
        assert decoded.schema_version == "11.1"
        assert record["diaObject"] is None or record["diaObject"]["nDiaSources"] == 1 + len(
            record["prvDiaSources"] or []
        )
    assert decoder.fallbacks.schemas == 0


def test_the_same_seed_gives_the_same_bytes(alerts: list[SimulatedAlert]) -> None:
    again = list(simulate_rubin(30, seed=1))
    assert again == alerts[:30]
    assert [alert.packet for alert in simulate_rubin(30, seed=4)] != [alert.packet for alert in again]


def test_alerts_come_in_order_of_time_and_their_numbers_rise(alerts: list[SimulatedAlert]) -> None:
    assert all(one.mjd <= other.mjd for one, other in pairwise(alerts))
    by_time = defaultdict(list)
    for alert in alerts:
        by_time[alert.mjd].append(alert.candid)
    assert all(max(one) < min(other) for one, other in pairwise(by_time.values()))
    assert len({alert.candid for alert in alerts}) == len(alerts)


def test_they_are_as_large_as_real_ones_and_of_every_kind(alerts: list[SimulatedAlert], folder: Path) -> None:
    sizes = np.array([len(alert.packet) for alert in alerts])
    assert sizes.min() > 100_000
    assert sizes.max() > 400_000
    asteroids = sum(alert.true_class == "SSO" for alert in alerts)
    assert 0.15 < asteroids / len(alerts) < 0.4
    curves = [alert.light_curve for alert in map(Decoder(SchemaFolder(folder)).decode, [a.packet for a in alerts])]
    assert {BANDS[band] for curve in curves for band in curve.band} == set("ugrizy")
    assert {kind for curve in curves for kind in curve.kind} == {0, 1, 2}


def test_packets_of_an_object_merge_to_one_light_curve_in_any_order(alerts: list[SimulatedAlert], folder: Path) -> None:
    decoder = Decoder(SchemaFolder(folder))
    of_object: dict[str, list[LightCurve]] = defaultdict(list)
    for alert in alerts:
        of_object[alert.object_id].append(decoder.decode(alert.packet).light_curve)
    several = [curves for name, curves in of_object.items() if len(curves) > 1 and not name.startswith("sso")]
    assert len(several) > 10
    for curves in several:
        assert merge(curves) == merge(curves[::-1])
        assert curves[-1].n_detections == merge(curves).n_detections, "the newest packet knows of the others"


def test_the_command_writes_files_that_need_no_schema_beside_them(tmp_path: Path) -> None:
    night = tmp_path / "night"
    done = CliRunner().invoke(cli, ["simulate", "--survey", "lsst", "--alerts", "12", "--out", str(night)])
    assert done.exit_code == 0, done.output
    packets = sorted(night.glob("*.avro"))
    assert len(packets) == 12
    assert all(alert.survey == "lsst" for alert in map(Decoder().decode, [path.read_bytes() for path in packets]))
    folder = tmp_path / "schemas"
    arguments = ["simulate", "--survey", "lsst", "--alerts", "1", "--out", str(night), "--schemas", str(folder)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["1101.avsc"]
    wrong = CliRunner().invoke(cli, ["simulate", "--survey", "lsst", "--schema-version", "3.3", "--out", str(night)])
    assert wrong.exit_code == 2
    assert "Rubin's are of 11.1" in wrong.output
    wrong = CliRunner().invoke(cli, ["simulate", "--schemas", str(folder), "--out", str(night)])
    assert wrong.exit_code == 2
