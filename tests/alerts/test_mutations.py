"""Damaged and hostile packets: each gives a clean AlertError, or an alert that fastavro agrees with."""

import io
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import fastavro
import pytest

from service.alerts import AlertError, Decoder, container
from service.simulate import simulate
from tests.alerts.ztf_packets import an_alert, assert_same, packet, schema

NORMAL_RUN = 3_000
SLOW_RUN = 200_000

# What hostile lengths, counts and branch numbers look like as varints.
EXTREMES = (
    b"\x00",
    b"\x01",
    b"\x02",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\xff" * 9 + b"\x01",
    b"\x80" * 12,
)


def simulated_packets() -> list[bytes]:
    small = [
        packet(an_alert(), schema(null_first=first, forced=forced)) for first in (True, False) for forced in FORCED
    ]
    return [alert.packet for alert in simulate(12, seed=3)] + small * 2


FORCED = ("fp_hists", "none", "prv_candidates")


def mutations(packets: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Endless damage: half of it anywhere in the file, half inside the record with the frame around it mended."""
    rng = random.Random(seed)
    while True:
        raw = rng.choice(packets)
        if rng.random() < 0.5:
            yield bytes(damaged(bytearray(raw), rng))
            continue
        header = container.read_header(raw)
        (block,) = container.blocks(raw, header)
        data = bytearray(block.data[block.start : block.end])
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            data = damaged(data, rng, rng.choice((len(data), 4096, 512)))  # the needed fields come first
        size = io.BytesIO()
        fastavro.schemaless_writer(size, "long", len(data))
        sync = raw[len(header.prefix) : len(header.prefix) + 16]
        yield header.prefix + sync + b"\x02" + size.getvalue() + data + sync


def damaged(data: bytearray, rng: random.Random, within: int | None = None) -> bytearray:
    at = rng.randrange(max(min(len(data), within or len(data)), 1))
    kind = rng.randrange(7)
    if kind == 0:
        data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)]) if data else b""
    elif kind == 1:
        data[at : at + 1] = bytes([rng.randrange(256)])
    elif kind == 2:
        extreme = rng.choice(EXTREMES)
        data[at : at + len(extreme)] = extreme
    elif kind == 3:
        data[at:at] = rng.choice(EXTREMES)
    elif kind == 4:
        del data[at : at + rng.choice((1, 2, 8, 100))]
    elif kind == 5:
        start = rng.randrange(len(data) or 1)
        data[at:at] = data[start : start + rng.choice((1, 8, 200))]
    else:
        del data[at:]
    return data


def check(raw: bytes, decoder: Decoder) -> str:
    """The error's code, or "good" after fastavro has agreed."""
    (alert,) = decoder.decode_many([raw])
    if isinstance(alert, AlertError):
        return alert.code
    (record,) = fastavro.reader(io.BytesIO(raw))
    assert isinstance(record, dict)
    assert_same(alert, record)
    return "good"


def run(packets: Sequence[bytes], count: int, seed: int) -> Counter[str]:
    decoder = Decoder()
    outcomes: Counter[str] = Counter()
    for raw in islice(mutations(packets, seed), count):
        try:
            outcomes[check(raw, decoder)] += 1
        except BaseException:
            Path(os.environ.get("FUZZ_FAILURE", "/tmp/fuzz-failure.avro")).write_bytes(raw)
            raise
    return outcomes


def test_damaged_simulated_packets_are_refused_or_read_as_fastavro_reads_them() -> None:
    outcomes = run(simulated_packets(), NORMAL_RUN, seed=1)
    assert sum(outcomes.values()) == NORMAL_RUN
    assert outcomes["good"] > NORMAL_RUN / 20  # damage that reaches the decoder and harmless damage both occur
    assert {"truncated", "bad_sync", "bad_union", "trailing_bytes"} <= set(outcomes)


@pytest.mark.real_data
def test_damaged_real_packets_are_refused_or_read_as_fastavro_reads_them(real_data: Path) -> None:
    outcomes = run(_real_packets(real_data), NORMAL_RUN, seed=2)
    assert outcomes["good"] > NORMAL_RUN / 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_many_damaged_simulated_packets(seed: int) -> None:
    print(run(simulated_packets(), SLOW_RUN // 4, seed=100 + seed))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(3600)
def test_many_damaged_real_packets(real_data: Path) -> None:
    print(run(_real_packets(real_data), SLOW_RUN // 2, seed=200))


def test_the_compiled_loops_never_leave_their_arrays(tmp_path: Path) -> None:
    """The same damage with numba's own bounds checks on, which turn a stray index into an IndexError."""
    script = """if True:
    import tests.alerts.test_mutations as t
    from service import jit
    with jit.compiled():
        print(sum(t.run(t.simulated_packets(), 2000, seed=3).values()))
    """
    environment = os.environ | {
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2000"


def _real_packets(real_data: Path) -> list[bytes]:
    """A few of every folder, so of every schema version."""
    folders = sorted(folder for folder in (real_data / "alerts").iterdir() if folder.is_dir() and folder.name != "bad")
    paths = [path for folder in folders for path in sorted(folder.glob("*.avro"))[:6]]
    packets = [path.read_bytes() for path in paths]
    return [raw for raw in packets if b"\x0csnappy" not in raw[:40_000]]
