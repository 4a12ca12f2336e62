"""Logging for people (`text`) or machines (`json`, one object a line): without secrets, and without floods."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final, TextIO

import orjson

from service.config import LogSettings
from service.metrics import LOG_MESSAGES
from service.secrets import masked

# Of one kind of warning or error this many are written per window; the others are counted, and the count is written.
WRITTEN: Final = 20
WINDOW_S: Final = 60.0
MOST_KINDS: Final = 1000  # bounds the memory: kinds are places in the code, so there are far fewer


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = masked(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode()


@dataclass(slots=True)
class _Kind:
    since: float
    written: int = 0
    held_back: int = 0


class _Floods(logging.Filter):
    """Lets WRITTEN warnings or errors of a kind pass per WINDOW_S; tells how many more there were when that is over.

    A kind is a place in the code (logger, level, text before its arguments) with the type of the exception. One client
    that sends nonsense can't fill the disk or hide what else goes wrong.
    """

    def __init__(self, tell: Callable[[logging.LogRecord], None], clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._tell, self._clock = tell, clock
        self._kinds: dict[tuple[object, ...], _Kind] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        LOG_MESSAGES.labels(record.levelname.lower()).inc()
        exception = record.exc_info[0] if record.exc_info else None
        now = self._clock()
        with self._lock:
            over = self._over(now)
            kind = self._kinds.setdefault((record.name, record.levelno, str(record.msg), exception), _Kind(now))
            passes = kind.written < WRITTEN
            kind.written += passes
            kind.held_back += not passes
        for each in over:
            self._tell(each)
        return passes

    def flush(self) -> None:
        """Tell now what was held back."""
        with self._lock:
            over = self._over(float("inf"))
        for each in over:
            self._tell(each)

    def _over(self, now: float) -> list[logging.LogRecord]:
        """One record for each kind whose window is over, if any of it were held back."""
        ended = [key for key, kind in self._kinds.items() if now - kind.since >= WINDOW_S]
        if not ended and len(self._kinds) >= MOST_KINDS:
            ended = list(self._kinds)
        told = []
        for key in ended:
            kind = self._kinds.pop(key)
            if kind.held_back:
                name, level, text, _ = key
                message = "%d more like this within %.0f s were not written: %s"
                arguments = (kind.held_back, min(now, self._clock()) - kind.since, text)
                assert isinstance(name, str)
                assert isinstance(level, int)
                told.append(logging.LogRecord(name, level, __file__, 0, message, arguments, None))
        return told


class _StandardError(logging.StreamHandler[TextIO]):
    """Looks up `sys.stderr` at each line: if it was replaced and the old one closed, lines would be lost."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure_logging(settings: LogSettings) -> None:
    """Send everything to standard error, once per process."""
    handler = _StandardError()
    text = _TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(_JsonFormatter() if settings.format == "json" else text)
    floods = _Floods(tell=handler.emit)
    handler.addFilter(floods)
    logging.basicConfig(level=settings.level, handlers=[handler], force=True)
    atexit.register(floods.flush)
