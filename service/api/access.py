"""Access control: API keys with a scope, and a rate limit per client."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Final, Literal

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.problems import ProblemError, problem_response
from service.errors import AlertClassifierError

KeyScope = Literal["read", "write"]

KEY_HEADER: Final = "x-api-key"

# Always open: probes and the page's files reveal nothing. The page asks for a key if one is needed.
OPEN_PATHS: Final = ("/health/", "/static/", "/v2/health/", "/object/", "/objects/")  # the last two: to the page
OPEN_EXACTLY: Final = ("/", "/docs", "/favicon.ico")

# How much unused rate a client may save up, so that a page may load its parts at once.
BURST_S: Final = 2.0
# Clients remembered at a time; the one silent for longest is forgotten, which gives it a full burst again.
MOST_CLIENTS: Final = 10_000

_KEY: Final = re.compile(r"^(read|write):([0-9a-f]{64})$")


class ApiKeyError(AlertClassifierError, ValueError):
    """An entry of api.api_keys that is not `scope:sha256hex`; not shown, because it may be the key itself."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A client: a name for the rate limit, which does not reveal the key, and its scope."""

    name: str
    scope: KeyScope | None


class ApiKeys:
    """The valid API keys, as SHA-256 digests. `write` keys may also change which model is served."""

    def __init__(self, entries: Sequence[SecretStr]) -> None:
        self._keys: list[tuple[str, KeyScope]] = []
        for number, entry in enumerate(entries):
            match = _KEY.match(entry.get_secret_value())
            if match is None:
                raise ApiKeyError(
                    f"api.api_keys.{number} must be read:HASH or write:HASH, HASH the key's SHA-256 in hex"
                )
            scope: KeyScope = "write" if match[1] == "write" else "read"
            self._keys.append((match[2], scope))

    def __bool__(self) -> bool:
        return bool(self._keys)

    def scope_of(self, key: str) -> tuple[str, KeyScope] | None:
        """(first digits of its hash, scope) of a valid key, else None; in constant time."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        found = None
        for known, scope in self._keys:
            if hmac.compare_digest(known, digest):
                found = (digest[:12], scope)
        return found


class Access:
    """Middleware: 401 without a valid key where keys are set, 429 above the rate. Sets `scope["caller"]`."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, rate_per_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._app = app
        self._keys = keys
        self._rate = RateLimit(rate_per_s, clock) if rate_per_s > 0 else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if (
            scope["type"] != "http"
            or path in OPEN_EXACTLY
            or path.startswith(OPEN_PATHS)
            or scope["method"] == "OPTIONS"
        ):
            await self._app(scope, receive, send)
            return
        try:
            caller = self._identify(scope)
            if self._rate is not None:
                self._rate.take(caller.name)
        except ProblemError as error:
            await problem_response(scope.get("request_id", ""), path, error)(scope, receive, send)
            return
        scope["caller"] = caller
        await self._app(scope, receive, send)

    def _identify(self, scope: Scope) -> Caller:
        address = scope["client"][0] if scope.get("client") else "unknown"
        if not self._keys:
            return Caller(address, None)
        headers = Headers(scope=scope)
        key = headers.get(KEY_HEADER, "")
        if not key and headers.get("authorization", "").lower().startswith("bearer "):
            key = headers["authorization"][7:].strip()
        found = self._keys.scope_of(key) if key else None
        if found is None:
            if self._rate is not None:
                self._rate.take(address)  # wrong keys count too, against guessing
            wrong = "the API key is not known" if key else "an API key is needed"
            raise ProblemError(
                401,
                "unauthorized",
                f"{wrong}: send it as X-API-Key or as Authorization: Bearer",
                headers={"WWW-Authenticate": 'Bearer realm="alert-classifier"'},
            )
        return Caller(*found)


class RateLimit:
    """A token bucket per client."""

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate_per_s
        self._burst = max(1.0, BURST_S * rate_per_s)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (tokens, when)

    def take(self, client: str) -> None:
        """Raises ProblemError 429 with Retry-After if the client has used up its rate."""
        now = self._clock()
        tokens, when = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - when) * self._rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = ceil((1 - tokens) / self._rate)
            detail = f"more than {self._rate:g} requests per second (setting api.rate_limit_per_s); wait {wait} s"
            raise ProblemError(429, "too-many-requests", detail, headers={"Retry-After": str(wait)})


def require_write(scope: Scope) -> None:
    """For routes that change which model is served. They need a key even if reading is open; otherwise any web page in
    a browser on the same machine could call them.
    """
    caller: Caller | None = scope.get("caller")
    if caller is None or caller.scope != "write":
        detail = "this changes what the service serves: it needs an API key of scope write (setting api.api_keys)"
        raise ProblemError(403, "forbidden", detail)
