"""Which topics to follow: the configured names, or the survey's daily topics of some days, where they are alive."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from service.config import KafkaSettings
from service.errors import AlertClassifierError
from service.stream.batch import Partition
from service.stream.kafka.client_settings import KAFKA_LOG

log = logging.getLogger(__name__)

# Interval while no topic exists yet or the cluster does not answer: looking is cheap then, and saves waiting.
EAGER_REFRESH_S: Final = 2.0
LIST_TIMEOUT_S: Final = 3.0
# A topic that is deleted and made again is noticed within this time. One small request is no load for a broker.
TOPIC_ID_INTERVAL_S: Final = 5.0
# The answer of a broker without topic ids (before Kafka 2.8).
NO_TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"


class SpanError(AlertClassifierError, ValueError):
    """An invalid span of time; the message says why."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span of broker time to read again: messages with start <= timestamp < until (None: without end).

    Broker timestamps are whole milliseconds. Both ends are floored to them, so that a message belongs to exactly one
    of two adjacent spans.
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
    """The names to follow at `now`: the configured ones, else the daily topics of today (UTC) and `days_back` days
    before it, or of the days of `span`; always with the photometry topics.
    """
    if settings.topics:
        return {*settings.topics, *settings.photometry_topics}
    first, last = _window(settings, now, span)
    # a day's topic receives alerts until the next morning, and may be named for a day that UTC has not reached
    first -= timedelta(days=1 if span is not None else 0)
    return _daily(settings, first, last).union(settings.photometry_topics)


def needed_topics(settings: KafkaSettings, now: datetime, span: Span | None = None) -> set[str]:
    """The `wanted_topics` that a complete bounded reading needs: only the days of the span itself."""
    if settings.topics:
        return wanted_topics(settings, now, span)
    if span is not None and span.until is not None:
        span = Span(span.start, span.until - timedelta(microseconds=1))  # midnight belongs to the day before
    return _daily(settings, *_window(settings, now, span)).union(settings.photometry_topics)


def _window(settings: KafkaSettings, now: datetime, span: Span | None) -> tuple[date, date]:
    """The first and the last UTC day to read."""
    today = now.astimezone(UTC).date()
    if span is None:
        return today - timedelta(days=settings.days_back), today
    return span.start.astimezone(UTC).date(), min(today, (span.until or now).astimezone(UTC).date())


def _daily(settings: KafkaSettings, first: date, last: date) -> set[str]:
    return {
        settings.daily_pattern.format(date=day, programid=programid)
        for day in _days(first, last)
        for programid in settings.programids
    }


def live_topics(metadata: Any, wanted: set[str]) -> set[str]:
    """The `wanted` topics that exist in the cluster's `metadata` and have a partition with a leader.

    A topic past its retention may still be listed, with partitions without a leader; subscribing to it would fill the
    assignment with partitions that never answer.
    """
    return {
        name
        for name, topic in metadata.topics.items()
        if name in wanted and topic.error is None and any(part.leader >= 0 for part in topic.partitions.values())
    }


@dataclass(frozen=True, slots=True)
class TopicIds:
    """Topic name -> topic id, as requested from the brokers at `asked` (monotonic time).

    A topic that is deleted and made again gets a new id, and its offsets start again.
    """

    asked: float = 0.0
    of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Log:
    """The log of a partition: its topic's id (None from brokers without ids), first offset, and last offset + 1."""

    topic_id: str | None
    first: int
    end: int


class TopicWatch:
    """Keeps checking which wanted topics are alive, in its own thread so that the poll loop never waits.

    `topics` is the last answer of the cluster; `reachable` says whether the last request was answered, `error` why not;
    `looked` whether any was ever answered. `ids` are the ids of `topics`, requested more often.
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
        self.ids = TopicIds()
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
        """Look now, without waiting for the interval."""
        self._again.set()

    def close(self) -> None:
        self._closing.set()
        self._again.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def missing(self) -> list[str]:
        """Configured topics that don't exist. A daily topic may be absent: not every night is observed."""
        named = {*self._settings.topics, *self._settings.photometry_topics}
        return sorted((self.wanted & named) - self.topics) if self.looked else []

    @property
    def missing_for_a_complete_reading(self) -> list[str]:
        needed = needed_topics(self._settings, self._clock(), self._span)
        return sorted(needed - self.topics) if self.looked else []

    def ask_ids(self, topics: Iterable[str]) -> TopicIds:
        """The ids of the `topics` that exist. Raises KafkaException while the brokers don't answer."""
        asked, ids = monotonic(), {}
        for name, answer in self._client.describe_topics(
            TopicCollection(sorted(topics)), request_timeout=LIST_TIMEOUT_S
        ).items():
            try:
                topic_id = str(answer.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
            else:
                if topic_id != NO_TOPIC_ID:
                    ids[name] = topic_id
        return TopicIds(asked, ids)

    def ask_logs(self, places: Iterable[Partition]) -> dict[Partition, Log]:
        """The logs of partitions as they are now, without those that their topics don't have (any more).

        Raises KafkaException where the brokers don't tell one.
        """
        places = list(places)
        ids = self.ask_ids({topic for topic, _ in places}).of
        first, ends = (
            self._client.list_offsets(
                {TopicPartition(*place): which for place in places}, request_timeout=LIST_TIMEOUT_S
            )
            for which in (OffsetSpec(OFFSET_BEGINNING), OffsetSpec(OFFSET_END))  # type: ignore[abstract]
        )
        ends_at = {(part.topic, part.partition): answer for part, answer in ends.items()}
        logs = {}
        for part, answer in first.items():
            end = ends_at[part.topic, part.partition]
            if not _is_missing(answer) and not _is_missing(end):
                logs[part.topic, part.partition] = Log(ids.get(part.topic), answer.result().offset, end.result().offset)
        return logs

    def _run(self) -> None:
        next_look = 0.0
        while not self._closing.is_set():
            if self._again.is_set() or monotonic() >= next_look:
                self._again.clear()
                self._look()
                settled = self.reachable and self.topics and not self.missing
                interval = self._settings.topic_refresh_s
                next_look = monotonic() + (interval if settled else min(interval, EAGER_REFRESH_S))
            self._look_at_ids()
            self._again.wait(max(0.0, min(TOPIC_ID_INTERVAL_S, next_look - monotonic())))

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # a single broker's error is more specific
            self.error = error.str()

    def _look(self) -> None:
        self.wanted = frozenset(wanted_topics(self._settings, self._clock(), self._span))
        try:
            metadata = self._client.list_topics(timeout=LIST_TIMEOUT_S)
        except KafkaException as error:
            self.error = error.args[0].str()
            self._client.poll(0)  # `_on_error` gets the reason
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

    def _look_at_ids(self) -> None:
        if not self.topics or not self.reachable:
            return
        try:
            ids = self.ask_ids(self.topics)
        except KafkaException as error:
            KAFKA_LOG.debug("the brokers do not give the topics' ids: %s", error.args[0].str())
            return
        if any(name not in ids.of and name in self.ids.of for name in self.topics):
            self._again.set()  # a topic has just disappeared
        self.ids = ids


def _is_missing(answer: Future[Any]) -> bool:
    """Whether the brokers answered that there is no such partition."""
    error = answer.exception()
    return isinstance(error, KafkaException) and error.args[0].code() in (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    )


def _milliseconds(time: datetime) -> int:
    """Milliseconds since 1970, floored in integers to avoid float rounding."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)
