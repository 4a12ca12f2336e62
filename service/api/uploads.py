"""Request bodies on their way in: bounded in size, in time and all together, and read whole before any work begins."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import ProblemError, problem_response
from service.config import ApiSettings
from service.metrics import HTTP_REFUSED

log = logging.getLogger(__name__)

# In a request's scope: a function that counts further bytes that the request holds.
CHARGE: Final = "alert_classifier.charge"

# Slower than this for longer than api.body_timeout_s and a body is given up: a poor mobile connection sends as fast.
SLOWEST_BYTES_PER_S: Final = 50_000
_BODILESS: Final = ("GET", "HEAD", "OPTIONS")


@dataclass(slots=True, eq=False)
class _Upload:
    """A body that is under way: its parts so far, and the time limit that ends its reading."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    limit: asyncio.Timeout | None = None
    evicted: bool = False


class Uploads:
    """Middleware. Reads a body before the application is called, so that a client that sends slowly holds no place
    among the requests under way (`Admission`), and bounds what all bodies hold in memory until they are answered.

    A body over `max_body_bytes` is answered with 413, one that comes too slowly with 408. Where all together pass
    `max_bodies_bytes`, the largest that is still coming in gives way with 503: whoever holds most, not who comes next.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._largest = settings.max_body_bytes
        self._most = max(settings.max_bodies_bytes, settings.max_body_bytes)
        self._patience_s = settings.body_timeout_s
        self._held = 0
        self._coming: set[_Upload] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] in _BODILESS and "content-length" not in headers and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        upload = _Upload()
        try:
            try:
                self._check_size(_announced(headers))
                complete = await self._read(upload, receive)
            except ProblemError as error:
                HTTP_REFUSED.labels(error.code).inc()
                await problem_response(scope.get("request_id", ""), scope["path"], error)(scope, receive, send)
                return
            if not complete:
                log.info("%s %s: the client left before its body was complete", scope["method"], scope["path"])
                return
            body = b"".join(upload.parts)
            upload.parts.clear()
            scope[CHARGE] = partial(self._charge, upload)
            await self._app(scope, _replayed(body, receive), send)
        finally:
            self._held -= upload.size

    async def _read(self, upload: _Upload, receive: Receive) -> bool:
        """Whether the body has come to its end. Raises ProblemError."""
        clock = asyncio.get_running_loop().time
        patience, since, more = self._patience_s, clock(), True
        self._coming.add(upload)
        try:
            async with asyncio.timeout(patience) as upload.limit:
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    more = message.get("more_body", False)
                    self._take(upload, message.get("body", b""))
                    now = clock()
                    earned = len(message.get("body", b"")) / SLOWEST_BYTES_PER_S
                    patience = min(self._patience_s, patience - (now - since) + earned)
                    since = now
                    if not upload.evicted:
                        upload.limit.reschedule(now + patience)
        except TimeoutError:
            raise _too_full() if upload.evicted else _too_slow() from None
        finally:
            self._coming.discard(upload)
        return True

    def _take(self, upload: _Upload, part: bytes) -> None:
        upload.parts.append(part)
        upload.size += len(part)
        self._held += len(part)
        self._check_size(upload.size)
        while self._held > self._most:
            largest = max(self._coming, key=lambda each: each.size)
            if largest is upload:
                raise _too_full()
            self._evict(largest)

    def _charge(self, upload: _Upload, size: int) -> None:
        """Count `size` more bytes as held by a request: its body unpacked. Raises ProblemError 503."""
        if self._held + size > self._most + self._largest:  # what is worked on goes before what is coming in
            raise _too_full()
        upload.size += size
        self._held += size

    def _evict(self, upload: _Upload) -> None:
        self._coming.discard(upload)
        self._held -= upload.size
        upload.size, upload.evicted = 0, True
        upload.parts.clear()
        assert upload.limit is not None
        upload.limit.reschedule(0.0)  # its reader wakes up with TimeoutError

    def _check_size(self, size: int) -> None:
        if size > self._largest:
            raise too_large(self._largest)


def too_large(limit: int) -> ProblemError:
    detail = f"the body is larger than {limit:,} bytes (setting api.max_body_bytes); send it in parts"
    return ProblemError(413, "body-too-large", detail, headers={"Connection": "close"})


def _too_slow() -> ProblemError:
    detail = f"the body came more slowly than {SLOWEST_BYTES_PER_S:,} bytes/s for too long (setting api.body_timeout_s)"
    return ProblemError(408, "body-too-slow", detail, headers={"Connection": "close"})


def _too_full() -> ProblemError:
    detail = "too many large bodies are under way: come back in a moment, or send this one in parts"
    return ProblemError(503, "bodies-too-many", detail, headers={"Retry-After": "2", "Connection": "close"})


def _announced(headers: Headers) -> int:
    """Content-Length; 0 where there is none. What is no number the server has refused already; digits are counted
    because Python refuses to read thousands of them.
    """
    length = headers.get("content-length", "")
    return 0 if not length.isdecimal() else int(length) if len(length) < 19 else 10**18


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body has been read; afterwards what comes is the client's leaving."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
