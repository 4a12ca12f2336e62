"""The first answer: seconds until `classify` has one packet, and until `serve` is ready; numba's cache empty and warm.

    python -m benchmarks.start [--turns 5]

Seconds on the clock and of processor, the least of several turns. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx

from benchmarks.machine import machine
from service.simulate import simulate, write_packets

COMMAND: Final = (sys.executable, "-c", "from service.cli import main; main()")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args(arguments).turns
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_packets(simulate(1, seed=3), folder / "night")
        for what, measure in (("classify", _classify), ("serve", _serve)):
            for cache in ("empty", "warm"):
                times = []
                for _ in range(turns):
                    if cache == "empty":
                        shutil.rmtree(folder / "kernels", ignore_errors=True)
                    times.append(measure(folder))
                found[f"{what}_{cache}"] = {
                    "s": round(min(wall for wall, _ in times), 2),
                    "processor_s": round(min(processor for _, processor in times), 2),
                }
                print(f"{what}, {cache} cache: {found[f'{what}_{cache}']}")
    print(json.dumps({"benchmark": "start", "turns": turns, **found, "machine": machine()}))


def _environment(folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ALERT_CLASSIFIER_")}
    return clean | {"NUMBA_CACHE_DIR": str(folder / "kernels"), "ALERT_CLASSIFIER_STORE__URL": "sqlite://"}


def _classify(folder: Path) -> tuple[float, float]:
    before, begun = _children(), time.perf_counter()
    packet = next((folder / "night").glob("*.avro"))
    subprocess.run([*COMMAND, "classify", packet], env=_environment(folder), check=True, capture_output=True)
    return time.perf_counter() - begun, _children() - before


def _serve(folder: Path) -> tuple[float, float]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begun = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*COMMAND, "serve", "--port", str(port)], env=_environment(folder), **quiet)
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200:
                break
        except httpx.TransportError:
            assert process.poll() is None, "serve has ended"
            time.sleep(0.01)
    wall = time.perf_counter() - begun
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    processor = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    while not list((folder / "kernels").rglob("*.nbc")):  # at least one turn leaves a cache behind
        time.sleep(0.1)
    process.terminate()
    process.wait()
    return wall, processor


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
