"""How fast packets become alerts, beside fastavro.reader on the same packets in the same run.

`python -m benchmarks.decode [PATH]`: PATH is a folder of packets (default: synthetic ones). Every packet is decoded
several times and its best time counts: what other processes take is not the decoder's. All packets lie in memory.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

import fastavro

from benchmarks.machine import machine
from service.alerts import AlertError, Decoder
from service.simulate import simulate

REPEATS = 7
SYNTHETIC_PACKETS = 300


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, help="folder of .avro packets (default: synthetic packets)")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    result = measure(packets(arguments.path))
    _print_table(result)
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def packets(folder: Path | None) -> list[bytes]:
    if folder is None:
        return [alert.packet for alert in simulate(SYNTHETIC_PACKETS)]
    found = [path.read_bytes() for path in sorted(folder.rglob("*.avro"))]
    if not found:
        raise SystemExit(f"no .avro packets in {folder}")
    return found


def measure(raws: list[bytes]) -> dict[str, object]:
    """Times in ms per packet, whole way from bytes to Alert; unreadable packets are counted and left out."""
    decoder = Decoder()
    started = time.perf_counter()
    decoder.warm_up()
    warm_up = time.perf_counter() - started
    versions = {}
    for index, alert in enumerate(decoder.decode_many(raws)):
        if not isinstance(alert, AlertError):
            versions[index] = alert.schema_version or "none"
    fast = {index: _best(decoder.decode, raws[index]) for index in versions}
    oracle = {index: _best(_fastavro_reader, raws[index]) for index in versions}
    groups: dict[str, list[int]] = defaultdict(list)
    for index, version in versions.items():
        groups[version].append(index)
    return {
        "benchmark": "decode",
        "packets": len(versions),
        "unreadable": len(raws) - len(versions),
        "kilobytes_per_packet": round(fmean(len(raws[index]) for index in versions) / 1000, 1),
        "warm_up_s": round(warm_up, 3),
        "compiled": decoder.fallbacks.schemas == 0,
        **_compare(list(versions), fast, oracle),
        "by_schema_version": {version: _compare(groups[version], fast, oracle) for version in sorted(groups)},
        "machine": machine(),
    }


def _compare(indices: list[int], fast: dict[int, float], oracle: dict[int, float]) -> dict[str, object]:
    mine = [fast[index] for index in indices]
    theirs = [oracle[index] for index in indices]
    return {
        "n": len(indices),
        "ms_per_packet": round(fmean(mine), 4),
        "median_ms": round(median(mine), 4),
        "slowest_ms": round(max(mine), 4),
        "fastavro_reader_ms": round(fmean(theirs), 4),
        "ratio_to_fastavro_reader": round(fmean(theirs) / fmean(mine), 1),
    }


def _best(function: Callable[[bytes], object], raw: bytes) -> float:
    """Best time [ms]."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        function(raw)
        best = min(best, time.perf_counter() - started)
    return 1000 * best


def _fastavro_reader(raw: bytes) -> object:
    return next(fastavro.reader(io.BytesIO(raw)))


def _print_table(result: dict[str, object]) -> None:
    machine_ = result["machine"]
    assert isinstance(machine_, dict)
    print(f"{machine_['cpu']}, {machine_['cores']} cores; Python {machine_['python']}; {machine_['versions']}")
    print(
        f"{result['packets']} packets of {result['kilobytes_per_packet']} kB on average, {result['unreadable']} "
        f"unreadable; warm-up {result['warm_up_s']} s"
    )
    rows = result["by_schema_version"]
    assert isinstance(rows, dict)
    print(f"{'schema':>8} {'packets':>8} {'ms':>8} {'slowest':>8} {'fastavro.reader':>16} {'ratio':>7}")
    for name, row in [*rows.items(), ("all", result)]:
        print(
            f"{name:>8} {row['n']:>8} {row['ms_per_packet']:>8.4f} {row['slowest_ms']:>8.4f} "
            f"{row['fastavro_reader_ms']:>16.4f} {row['ratio_to_fastavro_reader']:>7.1f}"
        )


if __name__ == "__main__":
    main()
