"""Connections with bounds: what a client may send before its request is complete, how long it may take, how many there
may be.

uvicorn has no such bounds over httptools, neither in bytes nor in time (its slower h11 has one for the bytes of the
headers); its setting `http` takes a protocol class, and this one adds them to uvicorn's own. Bodies are bounded by
`uploads`, behind the API keys.
"""

from __future__ import annotations

import enum
import logging
from http import HTTPStatus
from typing import Any, Final

import httptools
import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.problems import MEDIA_TYPE, TYPE_PREFIX, Problem
from service.config import ApiSettings
from service.metrics import HTTP_REFUSED

log = logging.getLogger(__name__)

# Request line and headers, as nginx and h11 have it; also for what comes besides the data of a body (chunk extensions,
# trailers).
MOST_HEAD_BYTES: Final = 32_768
# Requests that a client may send ahead of the answers. No usual client does it at all, and uvicorn keeps some 3 kB for
# each of the thousands that one read may bring.
MOST_AHEAD: Final = 32
# A client that was answered before its body had come gets this long to read the answer.
LINGER_S: Final = 5.0


class Waiting(enum.Enum):
    """What a connection waits for; in this order they are closed where there are too many."""

    FIRST_REQUEST = enum.auto()
    NEXT_REQUEST = enum.auto()
    BODY = enum.auto()
    NOTHING = enum.auto()  # a request is worked on or its answer is taken


class Doorkeeper:
    """Knows every connection by what it waits for, the longest waiting first, and closes those that wait too long."""

    def __init__(self, settings: ApiSettings, most: int) -> None:
        self.head_timeout_s, self.idle_timeout_s = settings.head_timeout_s, float(settings.idle_timeout_s)
        self.most = most
        self._waiting: dict[Waiting, dict[BoundedProtocol, None]] = {each: {} for each in Waiting}

    def admit(self, connection: BoundedProtocol) -> None:
        """Make room where there are `most`: there is always a way in, for probes too; the silent ones pay for it."""
        if sum(map(len, self._waiting.values())) >= self.most:
            for each in (Waiting.FIRST_REQUEST, Waiting.NEXT_REQUEST, Waiting.BODY):
                if self._waiting[each]:
                    next(iter(self._waiting[each])).give_way()
                    break
            else:
                connection.give_way()
                return
        self._waiting[connection.waiting][connection] = None

    def move(self, connection: BoundedProtocol, waiting: Waiting) -> None:
        if connection in self._waiting[connection.waiting]:
            del self._waiting[connection.waiting][connection]
            self._waiting[waiting][connection] = None
        connection.waiting = waiting

    def forget(self, connection: BoundedProtocol) -> None:
        self._waiting[connection.waiting].pop(connection, None)

    def look(self, now: float) -> None:
        """To be called a few times a second."""
        for connections in self._waiting.values():
            for connection in list(connections):
                connection.look(now)


class BoundedConfig(uvicorn.Config):
    """uvicorn's settings, and the doorkeeper of its connections."""

    def __init__(self, app: Any, doorkeeper: Doorkeeper, **options: Any) -> None:
        super().__init__(app, http=BoundedProtocol, **options)
        self.doorkeeper = doorkeeper


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol on httptools; see the module."""

    config: BoundedConfig

    def __init__(self, config: BoundedConfig, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.waiting = Waiting.FIRST_REQUEST
        self._keeper = config.doorkeeper
        self._due: float | None = None  # when what it waits for must be there
        self._head_coming = True  # nothing but a request line and headers is expected
        self._head_bytes = 0  # as they came
        self._field_bytes = 0  # as they were parsed, with the trailers, which come after the body
        self._idle_bytes = 0  # of a body's framing, since its last data
        self._refusal: tuple[int, str, str] | None = None
        self._stalled_since: float | None = None  # the client takes no more of the answer
        self._closing_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._due = self.loop.time() + self._keeper.head_timeout_s
        self._keeper.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._keeper.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._head_coming:
            self._head_bytes += len(data)
            if self._due is None:
                self._due = self.loop.time() + self._keeper.head_timeout_s
        else:
            self._idle_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # to what we don't speak: then it is an ordinary request
            return
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "bad-request", "this is not an HTTP request that can be read")))
            return
        if self._head_coming and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(*_HEAD_TOO_LARGE)
        elif not self._head_coming and self._idle_bytes > MOST_HEAD_BYTES:
            self._refuse(400, "bad-request", "the body's chunks carry too much besides their data")

    # called by the parser; what is raised here ends `feed_data` with an HttpParserError

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_coming, self._head_bytes, self._idle_bytes, self._due = False, 0, 0, None
        self._keeper.move(self, Waiting.BODY)
        if len(self.pipeline) >= MOST_AHEAD:
            self._refusal = (400, "too-far-ahead", f"more than {MOST_AHEAD} requests were sent ahead of their answers")
            raise ValueError(self._refusal[2])
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_coming, self._head_bytes, self._idle_bytes, self._due = True, 0, 0, None
        answered = self.cycle is None or self.cycle.response_complete
        self._keeper.move(self, Waiting.NEXT_REQUEST if answered else Waiting.NOTHING)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.cycle.response_complete:  # the next one was here already, and is worked on now
            return
        if self._head_coming:
            self._keeper.move(self, Waiting.NEXT_REQUEST)
        else:  # it was refused before its body had come, which nobody reads any more
            self._due = self.loop.time() + LINGER_S

    def pause_writing(self) -> None:
        self._stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since = None
        super().resume_writing()

    def look(self, now: float) -> None:
        """End what has lasted too long."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
        for since, allowed in (
            (self._stalled_since, self._keeper.idle_timeout_s),
            (self._closing_since, self._keeper.idle_timeout_s),
        ):
            if since is not None and now - since > allowed:
                HTTP_REFUSED.labels("answer-not-taken").inc()
                self.transport.abort()
                return
        if self._due is None or now < self._due or self._closing_since is not None:
            return
        if self._head_coming and self.waiting is Waiting.NOTHING:
            return  # the head of a pipelined request: the one before is still worked on
        if self._head_coming and self._head_bytes:
            self._refuse(408, "head-too-slow", "request line and headers took too long (setting api.head_timeout_s)")
        else:
            self.transport.close()

    def give_way(self) -> None:
        """Close at once: there are too many connections, and this one waits for its client."""
        HTTP_REFUSED.labels("connections-too-many").inc()
        self._keeper.forget(self)
        self.transport.abort()

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > MOST_HEAD_BYTES:
            self._refusal = _HEAD_TOO_LARGE
            raise ValueError(_HEAD_TOO_LARGE[1])

    def _refuse(self, status: int, code: str, detail: str) -> None:
        HTTP_REFUSED.labels(code).inc()
        log.debug("%s is refused: %s", self.client, detail)
        title = HTTPStatus(status).phrase
        problem = Problem(type=TYPE_PREFIX + code, title=title, status=status, detail=detail)
        body = orjson.dumps(problem.model_dump())
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        worked_on = self.cycle is not None and not self.cycle.response_complete
        if not (worked_on and (self.cycle.response_started or self.pipeline)):  # never into the middle of an answer
            self.transport.write(head.encode() + body)
        self.transport.close()
        if worked_on:
            self.cycle.disconnected = True
            self.cycle.message_event.set()


_HEAD_TOO_LARGE: Final = (
    431, "head-too-large", f"request line and headers have more than {MOST_HEAD_BYTES:,} bytes",
)  # fmt: skip
