"""Passwords never leave the process: what the settings hold as secret is masked in every log line and message.

Settings keep them as `SecretStr`, and our own messages never quote them; this is for the texts of libraries, which do.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

MASK: Final = "***"

# A shorter one would be found in every other word, and protects nothing.
SHORTEST: Final = 4

# librdkafka's properties that hold secrets. Of others the values that look like choices, numbers or paths are left
# readable, because `SASL_SSL` in a log line is a help; anything else may be a password in the wrong place.
SECRET_PROPERTY: Final = re.compile(r"password|secret|token|assertion|\.pem$|oauthbearer\.config|jaas", re.IGNORECASE)

_HARMLESS: Final = re.compile(r"[a-z_.-]{1,24}|[A-Z0-9_-]{1,24}|-?[\d.]+|/[\w./@-]+")

_known: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None


def remember(secrets: Iterable[str]) -> None:
    """Mask these from now on, also as they stand in URLs and in JSON. They are never forgotten: a log line may come
    late.
    """
    global _pattern
    for secret in secrets:
        for form in _forms(secret):
            if len(form) >= SHORTEST:
                _known[form] = None
    if _known:
        longest_first = sorted(_known, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first)))


def masked(text: str) -> str:
    """`text` with *** for every secret that is known."""
    return text if _pattern is None else _pattern.sub(MASK, text)


def in_properties(table: Mapping[str, str]) -> Iterator[str]:
    """The values of a table of librdkafka's properties that are secrets, or might be."""
    yield from (
        value for name, value in table.items() if SECRET_PROPERTY.search(name) or not _HARMLESS.fullmatch(value)
    )


def in_url(url: str) -> Iterator[str]:
    """The secrets in a URL: its password, with and without percent-encoding, and those among its parameters.

    Also of one that is not well formed: whoever forgot the colon of the scheme has still written a password.
    """
    _, at, _ = (url.partition("?")[0]).rpartition("@")
    if at:
        user = url.partition("?")[0].rpartition("@")[0]
        user = user.rpartition("//")[2] if "//" in user else user
        yield user.partition(":")[2]
    try:
        parameters = parse_qsl(urlsplit(url).query)
    except ValueError:
        return
    yield from (value for name, value in parameters if SECRET_PROPERTY.search(name))


def mask_tracebacks() -> None:
    """Have Python's own last words, of the main thread and of others, without secrets too."""

    def write(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt | SystemExit):
            sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = write
    threading.excepthook = lambda gone: write(gone.exc_type, gone.exc_value, gone.exc_traceback)


def _forms(secret: str) -> set[str]:
    plain = {secret, unquote(secret)}
    encoded = {form for each in plain for form in (quote(each), quote(each, safe=""), quote_plus(each))}
    escaped = {
        form
        for each in plain
        for form in (json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1], repr(each)[1:-1])
    }
    return plain | encoded | escaped
