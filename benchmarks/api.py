"""Latency of `POST /v1/classify` under a paced load: `python -m benchmarks.api [--rate 200] [--points 50] [--pin]`.

Open loop: requests leave on schedule whether or not earlier ones were answered, and latency counts from the scheduled
time, so that a stall is seen by every request it held up. Server and client are processes of their own; `--pin` binds
the server to one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from typing import Final

import numpy as np

from benchmarks.machine import machine

WARM_UP: Final = 100  # requests before the clock starts
CONNECTIONS: Final = 64

_SERVER: Final = """
import sys, uvicorn
from service.api import create_app
from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.store import open_store
app = create_app(Settings(), ModelRegistry(load_bundle(), threads=1), open_store("sqlite://"))
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


def light_curve(points: int) -> bytes:
    """A body with `points` points: a rise and decline in g and r, a limit before it."""
    days = np.arange(points)
    sent = [{"mjd": 60310.2, "band": "r", "diffmaglim": 20.4}] + [
        {"mjd": 60311.2 + 1.5 * day, "band": "gr"[day % 2], "mag": round(18 + 0.03 * abs(day - 12), 3), "magerr": 0.06}
        for day in days[1:].tolist()
    ]
    return json.dumps({"object_id": "benchmark", "unit": "mag", "points": sent}).encode()


class Connection:
    """One kept-alive HTTP connection; a general client would cost the shared cores more than the server does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> int:
        """Send one request, read its answer, give its status."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None, head
        await self._reader.readexactly(int(length[1]))
        return int(head.split(b" ", 2)[1])


async def load(port: int, body: bytes, rate: float, seconds: float) -> tuple[list[float], int]:
    """(latencies [s], errors) of `rate * seconds` requests sent on schedule."""
    head = (
        "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(Connection(*await asyncio.open_connection("127.0.0.1", port)))
    latencies: list[float] = []
    errors = 0

    async def ask(due: float) -> None:
        nonlocal errors
        connection = await idle.get()
        status = await connection.ask(request)
        idle.put_nowait(connection)
        latencies.append(time.perf_counter() - due)
        errors += status != 200

    for _ in range(WARM_UP):
        await ask(time.perf_counter())
    latencies.clear()
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
        _wait_until_live(port)
        latencies, errors = asyncio.run(load(port, light_curve(arguments.points), arguments.rate, arguments.seconds))
    finally:
        server.terminate()
        server.wait()
    quantiles = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
    milliseconds = {name: 1000 * float(np.quantile(latencies, q)) for name, q in quantiles.items()}
    result = {"benchmark": "api", "rate_per_s": arguments.rate, "seconds": arguments.seconds,
              "points": arguments.points, "pinned": arguments.pin, "requests": len(latencies), "errors": errors,
              **{name: round(value, 2) for name, value in milliseconds.items()}, "machine": machine()}  # fmt: skip
    for name, value in milliseconds.items():
        print(f"{name:>8} {value:8.2f}")
    print(json.dumps(result))


def _wait_until_live(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the server did not come up within a minute")


if __name__ == "__main__":
    main()
