"""The HTTP server around the application: binding, warnings, and an end that followers of the events don't hold up."""

from __future__ import annotations

import ipaddress
import logging
import socket
from typing import Final

import uvicorn
from fastapi import FastAPI

from service.api.pulse import Pulse
from service.config import ApiSettings

log = logging.getLogger(__name__)

# A request that is not answered by then is cut off; a large table takes a second or two.
DRAIN_S: Final = 10
# Idle connections are kept longer than most load balancers keep them, so that these close first and never meet a
# connection that is just going away.
KEEP_ALIVE_S: Final = 75


class Server(uvicorn.Server):
    """`run()` serves until SIGTERM or SIGINT; `should_exit = True` from another thread ends it too."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        if isinstance(app, FastAPI):
            pulse: Pulse = app.state.pulse
            pulse.close()  # else their endless answers would be waited for
        await super().shutdown(sockets)


def make_server(app: FastAPI, settings: ApiSettings) -> Server:
    """A server for `app` at the settings' host and port. Binding beyond this machine without keys is warned of."""
    if not settings.api_keys and not _is_loopback(settings.host):
        log.warning(
            "the API listens on %s without API keys: whoever reaches it may use it"
            " (set api.api_keys, or put it behind something that asks who is there)",
            settings.host,
        )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,  # the service's own logging
        access_log=False,  # requests are counted by the metrics, and logged with their id at level DEBUG
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    return Server(config)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name that some resolver knows
        return False
