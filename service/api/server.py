"""The HTTP server: bounds for connections, and a shutdown that does not wait for clients of the event stream."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Final

import uvicorn
from fastapi import FastAPI

from service.api.connections import BoundedConfig, Doorkeeper
from service.api.pulse import Pulse
from service.config import ApiSettings

# Open files that are not for HTTP: the store's, the brokers' connections, models, logs.
OTHER_FILES: Final = 200
# `on_tick` comes ten times a second. Thousands that connected together are then not all closed in one moment.
TICKS_PER_LOOK: Final = 2


class Server(uvicorn.Server):
    """`run(sockets=[...])` serves until SIGTERM or SIGINT; `should_exit = True` from another thread ends it too.

    Open requests then have `drain_s` to finish. `on_answering` is called once requests are answered: the first start on
    a machine compiles for some seconds before.
    """

    on_answering: Callable[[], None] | None = None

    def __init__(self, app: FastAPI, settings: ApiSettings, drain_s: int) -> None:
        self._pulse: Pulse = app.state.pulse
        files = raise_open_files()
        self._doorkeeper = Doorkeeper(settings, max(1, min(settings.max_connections, files - OTHER_FILES)))
        super().__init__(
            BoundedConfig(
                app,
                doorkeeper=self._doorkeeper,
                ws="none",
                log_config=None,  # the service's own logging
                access_log=False,  # requests are in the metrics, and with their ids in the log at level DEBUG
                server_header=False,
                # its default believes whoever asks from 127.0.0.1
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=settings.trusted_proxies,
                # Longer than most load balancers keep idle connections, so that they close first and never send a
                # request on a connection that we are just closing.
                timeout_keep_alive=settings.idle_timeout_s,
                timeout_graceful_shutdown=drain_s,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.on_answering is not None:
            self.on_answering()

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_LOOK == 0:
            self._doorkeeper.look(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._pulse.close()  # ends the endless responses, which shutdown would wait for
        await super().shutdown(sockets)


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, and say what it is now.

    The soft one is 1,024 almost everywhere, for the sake of programs that use select(): we don't.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2**20 if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (ValueError, OSError):  # macOS says infinity and means less
            most = soft
    return most
