"""Which topics to follow: names given, or a bounded window of the survey's daily topics, of those that are alive."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from service.config import KafkaSettings
from service.errors import AlertClassifierError
from service.stream.kafka.client_settings import KAFKA_LOG

log = logging.getLogger(__name__)

# Until the first topic is there, and while the cluster does not answer, looking again costs nothing and saves waiting.
EAGER_REFRESH_S: Final = 2.0
LIST_TIMEOUT_S: Final = 3.0


class SpanError(AlertClassifierError, ValueError):
    """A stretch of time that can't be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of broker time to read again: messages with start <= timestamp < until (None: without end).

    Brokers tell time in whole milliseconds. Both ends are floored to those, so that of two spans that meet in one
    instant each message belongs to exactly one.
    """

    start: datetime
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or (self.until is not None and self.until.tzinfo is None):
            raise SpanError("the times of a span must name their time zone")
        if self.until is not None and self.until <= self.start:
            raise SpanError(f"the span ends ({self.until.isoformat()}) before it starts ({self.start.isoformat()})")

    @property
    def start_ms(self) -> int:
        """The start in milliseconds since 1970."""
        return _milliseconds(self.start)

    @property
    def until_ms(self) -> int | None:
        """The end in milliseconds since 1970; None: without end."""
        return None if self.until is None else _milliseconds(self.until)

    def holds(self, timestamp_ms: int) -> bool:
        """Whether a message with this broker timestamp belongs to the span."""
        return self.start_ms <= timestamp_ms and (self.until_ms is None or timestamp_ms < self.until_ms)


def wanted_topics(settings: KafkaSettings, now: datetime, span: Span | None = None) -> set[str]:
    """The names to follow at `now`: those given, else the daily topics of today (UTC) and `days_back` days before it,
    or of the days of `span`; and those of photometry.
    """
    if settings.topics:
        return {*settings.topics, *settings.photometry_topics}
    last = now.astimezone(UTC).date()
    first = last - timedelta(days=settings.days_back)
    if span is not None:
        # a day's topic takes alerts until the morning after, and may be named for a day that UTC has not reached
        first = span.start.astimezone(UTC).date() - timedelta(days=1)
        last = min(last, span.until.astimezone(UTC).date()) if span.until is not None else last
    daily = {
        settings.daily_pattern.format(date=day, programid=programid)
        for day in _days(first, last)
        for programid in settings.programids
    }
    return daily.union(settings.photometry_topics)


def live_topics(metadata: Any, wanted: set[str]) -> set[str]:
    """Those of `wanted` that exist in the cluster's `metadata` and have a partition with a leader.

    A topic past its retention may go on being listed with partitions that nobody leads; subscribed to, it would fill
    the assignment with partitions that never answer.
    """
    return {
        name
        for name, topic in metadata.topics.items()
        if name in wanted and topic.error is None and any(part.leader >= 0 for part in topic.partitions.values())
    }


class TopicWatch:
    """Looks again and again which of the wanted topics are alive, in a thread of its own: the poll loop never waits.

    `topics` is the answer of the last look; `reachable` whether the cluster gave one, and if not, `error` says why;
    `looked` whether any was ever given.
    """

    def __init__(
        self,
        client_config: dict[str, Any],
        settings: KafkaSettings,
        span: Span | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.topics: frozenset[str] = frozenset()
        self.wanted: frozenset[str] = frozenset()
        self.reachable = False
        self.looked = False
        self.error = ""
        config: dict[str, Any] = {**client_config, "error_cb": self._on_error}
        self._client = AdminClient(config, logger=KAFKA_LOG)
        self._settings = settings
        self._span = span
        self._clock = clock
        self._closing = threading.Event()
        self._again = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look_again(self) -> None:
        """Look now: something was heard that the last look did not know."""
        self._again.set()

    def close(self) -> None:
        self._closing.set()
        self._again.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._look()
            settled = self.reachable and self.topics
            interval = self._settings.topic_refresh_s
            self._again.wait(interval if settled else min(interval, EAGER_REFRESH_S))
            self._again.clear()

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # that is known; what the single broker said tells more
            self.error = error.str()

    def _look(self) -> None:
        self.wanted = frozenset(wanted_topics(self._settings, self._clock(), self._span))
        try:
            metadata = self._client.list_topics(timeout=LIST_TIMEOUT_S)
        except KafkaException as error:
            self.error = error.args[0].str()
            self._client.poll(0)  # brings the reason, by way of `_on_error`
            if self.reachable or not self.looked:
                KAFKA_LOG.warning("the brokers %s do not answer: %s", self._settings.bootstrap_servers, self.error)
            self.reachable = False
            return
        self._client.poll(0)
        self.reachable = True
        topics = frozenset(live_topics(metadata, set(self.wanted)))
        if topics != self.topics or not self.looked:
            missing = ", ".join(sorted(self.wanted - topics))
            log.info(
                "following %s%s", ", ".join(sorted(topics)) or "nothing", f"; not there: {missing}" * bool(missing)
            )
        self.topics = topics
        self.looked = True


def _milliseconds(time: datetime) -> int:
    """Milliseconds since 1970, floored without the rounding of a float."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)
