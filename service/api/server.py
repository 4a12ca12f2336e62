"""The HTTP server, whose shutdown does not wait for clients of the event stream."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import uvicorn
from fastapi import FastAPI

from service.api.pulse import Pulse

# Keep idle connections longer than most load balancers do, so that they close first and never send a request on a
# connection that we are just closing.
KEEP_ALIVE_S: Final = 75


class Server(uvicorn.Server):
    """`run(sockets=[...])` serves until SIGTERM or SIGINT; `should_exit = True` from another thread ends it too.

    Open requests then have `drain_s` to finish. `on_answering` is called once requests are answered: the first start on
    a machine compiles for some seconds before.
    """

    on_answering: Callable[[], None] | None = None

    def __init__(self, app: FastAPI, drain_s: int) -> None:
        self._pulse: Pulse = app.state.pulse
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,  # the service's own logging
                access_log=False,  # requests are in the metrics, and with their ids in the log at level DEBUG
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=drain_s,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.on_answering is not None:
            self.on_answering()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._pulse.close()  # ends the endless responses, which shutdown would wait for
        await super().shutdown(sockets)
