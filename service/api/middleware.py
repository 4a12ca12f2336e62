"""For every request: an id, its duration, safe headers, and a limit on the load."""

from __future__ import annotations

import logging
import re
from secrets import token_hex
from time import perf_counter
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import ProblemError, problem_response
from service.metrics import HTTP_REQUEST_SECONDS

log = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(
    r"^[A-Za-z0-9._-]{1,64}$"
)  # a caller's id goes into logs and headers, so it must be harmless

# Not timed: its responses last as long as a client listens.
ENDLESS: Final = ("/v1/events",)

# Some two seconds of work on one core; later requests are better sent to another replica.
MOST_UNDER_WAY: Final = 1000

# The status in metrics where there was nobody to answer any more, as nginx has it.
CLIENT_LEFT: Final = 499

# The page only loads its own files, without inline script or style, and may not be framed.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


class RequestContext:
    """Outermost: gives a request its id and headers, times it, and turns uncaught exceptions into a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else token_hex(8)
        scope["request_id"] = request_id
        start, status = perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(("/v1/", "/v2")):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.info("%s %s: the client left before the answer", scope["method"], scope["path"])
        except Exception:
            log.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
            if status:  # the response has begun, so it can only be cut off
                raise
            error = ProblemError(500, "internal-error", "the service failed; the request id finds the cause in its log")
            await problem_response(request_id, scope["path"], error)(scope, receive, send_with_headers)
        finally:
            seconds = perf_counter() - start
            route = (
                getattr(scope.get("route"), "path", None) or "other"
            )  # the template, because ids would give endless labels
            if route not in ENDLESS:
                HTTP_REQUEST_SECONDS.labels(scope["method"], route, str(status or CLIENT_LEFT)).observe(seconds)
            log.debug("%s %s %s %d %.1f ms", request_id, scope["method"], scope["path"], status, 1000 * seconds)


class Admission:
    """Refuses requests with 503 while `most` are in progress: more would be answered too late."""

    def __init__(self, app: ASGIApp, most: int = MOST_UNDER_WAY) -> None:
        self._app = app
        self._most = most
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ENDLESS or scope["path"].startswith("/health/"):
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._most:
            detail = f"{self._most} requests are under way already: come back in a moment"
            error = ProblemError(503, "overloaded", detail, headers={"Retry-After": "1"})
            await problem_response(scope.get("request_id", ""), scope["path"], error)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
