"""Latency of `POST /v1/classify` under a paced load: `python -m benchmarks.api [--rate 200] [--seconds 20] [--points 50]`.

Open loop: requests leave on schedule whether or not earlier ones were answered, and latency counts from the scheduled
time, so that a stall is seen by every request it held up. Server and client are processes of their own; `--pin` binds
the server to one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from typing import Final

import httpx
import numpy as np

from benchmarks.machine import machine

WARM_UP: Final = 100  # requests before the clock starts

_SERVER: Final = """
import sys, uvicorn
from service.api import create_app
from service.config import Settings
from service.inference.bundle import default_bundle
from service.inference.registry import ModelRegistry
from service.store import open_store
app = create_app(Settings(), ModelRegistry(default_bundle(), threads=1), open_store("sqlite://"))
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


def light_curve(points: int) -> bytes:
    """A body with `points` points: a rise and decline in g and r, a limit before it."""
    days = np.arange(points)
    sent = [{"mjd": 60310.2, "band": "r", "limit": 20.4}] + [
        {"mjd": 60311.2 + 1.5 * day, "band": "gr"[day % 2], "mag": round(18 + 0.03 * abs(day - 12), 3), "magerr": 0.06}
        for day in days[1:].tolist()
    ]
    return json.dumps({"object_id": "benchmark", "unit": "mag", "points": sent}).encode()


async def load(url: str, body: bytes, rate: float, seconds: float) -> tuple[list[float], int]:
    """(latencies [s], errors) of `rate * seconds` requests sent on schedule."""
    latencies: list[float] = []
    errors = 0
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=64), timeout=30) as client:
        for _ in range(WARM_UP):
            (await client.post(url, content=body, headers=headers)).raise_for_status()

        async def ask(due: float) -> None:
            nonlocal errors
            response = await client.post(url, content=body, headers=headers)
            latencies.append(time.perf_counter() - due)
            errors += response.status_code != 200

        start = time.perf_counter()
        tasks = []
        for number in range(int(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(ask(due)))
        await asyncio.gather(*tasks)
    return latencies, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--pin", action="store_true", help="bind the server to one core")
    arguments = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", _SERVER, str(port)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        if arguments.pin:
            os.sched_setaffinity(server.pid, {min(os.sched_getaffinity(0))})
        base = f"http://127.0.0.1:{port}"
        _wait_until_live(base)
        latencies, errors = asyncio.run(
            load(f"{base}/v1/classify", light_curve(arguments.points), arguments.rate, arguments.seconds)
        )
    finally:
        server.terminate()
        server.wait()
    milliseconds = {name: 1000 * float(np.quantile(latencies, q)) for name, q in
                    (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999), ("max_ms", 1.0))}  # fmt: skip
    result = {"benchmark": "api", "rate_per_s": arguments.rate, "seconds": arguments.seconds,
              "points": arguments.points, "pinned": arguments.pin, "requests": len(latencies), "errors": errors,
              **{name: round(value, 2) for name, value in milliseconds.items()}, "machine": machine()}  # fmt: skip
    for name, value in milliseconds.items():
        print(f"{name:>8} {value:8.2f}")
    print(json.dumps(result))


def _wait_until_live(base: str) -> None:
    for _ in range(600):
        try:
            httpx.get(f"{base}/health/live").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not come up within a minute")


if __name__ == "__main__":
    main()
