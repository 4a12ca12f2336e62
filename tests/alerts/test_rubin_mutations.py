"""Damaged packets of Rubin: each gives a clean AlertError, or an alert that fastavro agrees with."""

import io
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import fastavro
import orjson
import pytest

from service.alerts import AlertError, Decoder, SchemaFolder
from tests.alerts.rubin_packets import a_forced_source, a_source, an_alert, assert_same, framed, schema
from tests.alerts.test_mutations import damaged

NORMAL_RUN = 1_500
SLOW_RUN = 100_000
SCHEMAS = {1000: schema("lsst.v10_0"), 1001: schema("", null_first=False, nullable=True)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    for number, written_by in SCHEMAS.items():
        (folder / f"{number}.avsc").write_bytes(orjson.dumps(written_by))
    return folder


def small_packets() -> list[bytes]:
    history = {
        "prvDiaSources": [a_source(diaSourceId=n + 1, midpointMjdTai=61000.0 + n) for n in range(4)],
        "prvDiaForcedSources": [a_forced_source(midpointMjdTai=61000.0 + n, psfFlux=100.0 * n) for n in range(9)],
    }
    records = [an_alert() | history, an_alert(diaObjectId=None, ssObjectId=7) | dict.fromkeys(history)]
    return [framed(record, written_by, number) for number, written_by in SCHEMAS.items() for record in records]


def run(packets: Sequence[bytes], folder: Path, count: int, seed: int) -> Counter[str]:
    rng = random.Random(seed)
    decoder = Decoder(SchemaFolder(folder))
    schemas = {int(path.stem): fastavro.parse_schema(json.loads(path.read_text())) for path in folder.glob("*.avsc")}
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        raw = rng.choice(packets)
        body = bytearray(raw[5:])
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            body = damaged(body, rng, rng.choice((len(body), 4096, 512)))
        raw = raw[:5] + bytes(body)
        try:
            (alert,) = decoder.decode_many([raw])
            if isinstance(alert, AlertError):
                outcomes[alert.code] += 1
                continue
            record = fastavro.schemaless_reader(io.BytesIO(raw[5:]), schemas[int.from_bytes(raw[1:5], "big")], None)
            assert isinstance(record, dict)
            assert_same(alert, record)
            outcomes["good"] += 1
        except BaseException:
            Path(os.environ.get("FUZZ_FAILURE", "/tmp/fuzz-failure.framed")).write_bytes(raw)
            raise
    return outcomes


def test_damaged_packets_are_refused_or_read_as_fastavro_reads_them(folder: Path) -> None:
    outcomes = run(small_packets(), folder, NORMAL_RUN, seed=1)
    assert sum(outcomes.values()) == NORMAL_RUN
    assert outcomes["good"] > NORMAL_RUN / 20
    assert {"bad_union", "trailing_bytes", "record_overrun", "bad_value"} <= set(outcomes)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2))
def test_many_damaged_packets(folder: Path, seed: int) -> None:
    print(run(small_packets(), folder, SLOW_RUN // 2, seed=100 + seed))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(3600)
def test_many_damaged_real_packets(real_data: Path) -> None:
    folder = real_data / "lsst"
    if not folder.exists():
        pytest.skip("no Rubin packets here")
    paths = sorted(folder.glob("framed/*"), key=lambda path: path.stat().st_size)[:12] + sorted(
        folder.glob("containers/*.bin")
    )
    packets = [path.read_bytes() for path in paths]
    print(run(packets, folder / "schemas", SLOW_RUN // 10, seed=200))
