"""Clients that are slow on purpose, all on loopback: bodies that never end, connections that say nothing, headers
without end. Whoever is closed comes again at once.

    python -m tests.api.slow_clients PORT BODIES SILENT HEADERS

prints `ready` when all have connected, and how often each kind was closed when its standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

BODY = (
    b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"
    + b" " * 900
)
HEADER_PAUSE_S = 0.05  # between two lines of a kilobyte

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(BODY)
    while await reader.read(65536):
        pass


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n")
    while not reader.at_eof() and not writer.is_closing():
        writer.write(b"x-more: " + b"y" * 1000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(HEADER_PAUSE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await reader.read(65536)


class SlowClients:
    """`closed` counts by kind how often one was closed by the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.closed: Counter[str] = Counter()
        self._connected = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, bodies: int, silent: int, endless: int) -> None:
        kinds: list[Talk] = [body] * bodies + [silence] * silent + [headers] * endless
        for first in range(0, len(kinds), 100):  # not all in one instant: the backlog of a socket is bounded
            self._tasks += [asyncio.create_task(self._again_and_again(kind)) for kind in kinds[first : first + 100]]
            while self._connected < min(first + 100, len(kinds)):
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _again_and_again(self, talk: Talk) -> None:
        first = True
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            self._connected += first
            first = False
            try:
                await talk(reader, writer)
            except OSError:
                pass
            finally:
                writer.close()
            self.closed[talk.__name__] += 1


async def _main(port: int, *counts: int) -> None:
    clients = SlowClients(port)
    await clients.start(*counts)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await clients.stop()
    print(dict(clients.closed), flush=True)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_main(*map(int, sys.argv[1:])))
