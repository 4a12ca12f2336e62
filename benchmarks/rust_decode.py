"""How fast packets become alerts, beside Rust's apache-avro on the same packets in the same run.

`python -m benchmarks.rust_decode [PATH]`: PATH is a folder of packets (default: synthetic ones). The other side is the
crate in `benchmarks/rust`: the writer's schema is parsed once, then apache-avro's value, then serde into records of the
fields that we read, which is how BOOM decodes (boom-astro/boom, src/alert/base.rs; it takes more fields, and images).
The two take turns over all packets, and each packet's best time counts. Where cargo is not, it says so and measures
nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Final

from benchmarks.decode import packets
from benchmarks.machine import machine
from service.alerts import Alert, Decoder

ROOT: Final = Path(__file__).resolve().parent.parent
CRATE: Final = ROOT / "benchmarks" / "rust"
BUILT: Final = ROOT / ".cache" / "rust"  # seventy crates: minutes at the first time
ROUNDS: Final = 9


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rust_decode", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, help="folder of .avro packets (default: synthetic packets)")
    arguments = parser.parse_args()
    if shutil.which("cargo") is None:
        sys.exit("skipped: the baseline is built with cargo, which is not here")
    result = measure(packets(arguments.path), arguments.path is not None)
    print(
        f"{result['packets']} packets of {result['kilobytes_per_packet']} kB on average, {result['left_out']} left out:"
        f" ours {result['ms_per_packet']:.4f} ms, apache-avro with serde {result['rust_ms_per_packet']:.4f} ms,"
        f" {result['ratio_to_rust']:.1f} times"
    )
    print(json.dumps(result))


def measure(raws: list[bytes], are_given: bool) -> dict[str, object]:
    """Times in ms per packet. A packet that either side can't read is left out, and counted."""
    decoder = Decoder()
    decoder.warm_up()
    ours = [float("inf")] * len(raws)
    theirs = [float("inf")] * len(raws)
    with rust(raws) as turns:
        first = next(turns)
        alerts = decoder.decode_many(raws)
        both = [
            index
            for index, (alert, word) in enumerate(zip(alerts, first, strict=True))
            if isinstance(alert, Alert) and word is not None
        ]
        _compare_answers([alerts[index] for index in both], [first[index] for index in both])
        for _ in range(ROUNDS):
            for index in both:
                started = time.perf_counter_ns()
                decoder.decode(raws[index])
                ours[index] = min(ours[index], time.perf_counter_ns() - started)
            for index, word in enumerate(next(turns)):
                if word is not None:
                    theirs[index] = min(theirs[index], word[0])
    mine, other = [ours[index] / 1e6 for index in both], [theirs[index] / 1e6 for index in both]
    return {
        "benchmark": "rust_decode",
        "packets": len(both),
        "are_simulated": not are_given,
        "left_out": len(raws) - len(both),
        "kilobytes_per_packet": round(fmean(len(raws[index]) for index in both) / 1000, 1),
        "ms_per_packet": round(fmean(mine), 4),
        "median_ms": round(median(mine), 4),
        "rust_ms_per_packet": round(fmean(other), 4),
        "rust_median_ms": round(median(other), 4),
        "ratio_to_rust": round(fmean(other) / fmean(mine), 1),
        "apache_avro": _version_of_apache_avro(),
        "machine": machine(),
    }


@contextmanager
def rust(raws: list[bytes]) -> Iterator[Iterator[list[tuple[int, int, int] | None]]]:
    """The crate's program with these packets. Each `next` is one turn over all of them: for each packet nanoseconds,
    candid and rows of history, or None where it was refused.
    """
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", str(BUILT)]
    subprocess.run(command, cwd=CRATE, check=True)
    with tempfile.NamedTemporaryFile() as file:
        for raw in raws:
            file.write(struct.pack("<I", len(raw)) + raw)
        file.flush()
        with subprocess.Popen(
            [BUILT / "release" / "decode", file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        ) as program:  # fmt: skip
            yield _turns(program)
            program.kill()


def _turns(program: subprocess.Popen[str]) -> Iterator[list[tuple[int, int, int] | None]]:
    assert program.stdin is not None
    assert program.stdout is not None
    while True:
        program.stdin.write("\n")
        program.stdin.flush()
        yield [_word(word) for word in program.stdout.readline().split()]


def _word(word: str) -> tuple[int, int, int] | None:
    if word == "-":
        return None
    nanoseconds, candid, rows = map(int, word.split(":"))
    return nanoseconds, candid, rows


def _compare_answers(alerts: list[object], words: list[tuple[int, int, int] | None]) -> None:
    """A side that did not decode has no time: both must have read the same alerts."""
    for alert, word in zip(alerts, words, strict=True):
        assert isinstance(alert, Alert)
        assert word is not None
        if alert.candid != word[1]:
            raise SystemExit(f"{alert.object_id}: candid {alert.candid} here, {word[1]} in Rust")


def _version_of_apache_avro() -> str:
    lines = (CRATE / "Cargo.lock").read_text().splitlines()
    return lines[lines.index('name = "apache-avro"') + 1].split('"')[1]


if __name__ == "__main__":
    main()
