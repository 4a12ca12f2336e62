"""A TCP proxy on loopback whose network can be cut and healed."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards connections to a port of loopback. While cut, nothing passes and nobody is told: as with a dead cable,
    connections stay open, and what was sent arrives when the cable is back.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.target: int | None = None
        self._whole = threading.Event()
        self._whole.set()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()

    def heal(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self.heal()
        for connection in (self._server, *self._open):
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                self._whole.wait()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                if self._server.fileno() < 0:
                    return
                continue
            self._open += [client, server]
            for origin, goal in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(origin, goal), daemon=True).start()

    def _forward(self, origin: socket.socket, goal: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := origin.recv(1 << 16):
                self._whole.wait()
                goal.sendall(data)
        for connection in (origin, goal):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
