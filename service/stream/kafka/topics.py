"""Which topics to follow: the configured names, or the survey's daily topics of some days, where they are alive."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from service.config import KafkaSettings
from service.errors import AlertClassifierError

# How far back an older daily topic is looked for: `KafkaSettings.days_back` may be no longer.
LOOK_BACK: Final = timedelta(days=30)


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


def missing_topics(settings: KafkaSettings, alive: Set[str], now: datetime, span: Span | None = None) -> set[str]:
    """The topics whose absence from the living ones makes a bounded reading incomplete.

    Those that are named must be there. A daily topic may be absent because nothing was observed, and then there is
    nothing to miss, or because it has expired. Topics expire in order, so it may have if no older one is alive.
    Without a span nobody asked for certain days: then one day of the window must be there.
    """
    if settings.topics:
        return wanted_topics(settings, now, span) - alive
    first, last = _window(settings, now, span)
    daily = _daily(settings, first, last)
    if span is None:
        gone = set() if daily & alive else daily
    else:
        if span.until is not None:  # midnight belongs to the day before
            last = min(last, (span.until - timedelta(microseconds=1)).astimezone(UTC).date())
        gone = {
            name
            for programid in settings.programids
            for day in _days(first, last)
            if (name := _name(settings, day, programid)) not in alive
            and not any(_name(settings, older, programid) in alive for older in _days(day - LOOK_BACK, day))
        }
    return gone | (set(settings.photometry_topics) - alive)


def topics_to_look_for(settings: KafkaSettings, now: datetime, span: Span | None = None) -> set[str]:
    """Those that `wanted_topics` and `missing_topics` ask for."""
    if settings.topics:
        return wanted_topics(settings, now, span)
    first, last = _window(settings, now, span)
    return wanted_topics(settings, now, span) | _daily(settings, first - LOOK_BACK, last)


def _window(settings: KafkaSettings, now: datetime, span: Span | None) -> tuple[date, date]:
    """The first and the last UTC day to read."""
    today = now.astimezone(UTC).date()
    if span is None:
        return today - timedelta(days=settings.days_back), today
    return span.start.astimezone(UTC).date(), min(today, (span.until or now).astimezone(UTC).date())


def _daily(settings: KafkaSettings, first: date, last: date) -> set[str]:
    return {_name(settings, day, programid) for day in _days(first, last) for programid in settings.programids}


def _name(settings: KafkaSettings, day: date, programid: int) -> str:
    return settings.daily_pattern.format(date=day, programid=programid)


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


def _milliseconds(time: datetime) -> int:
    """Milliseconds since 1970, floored in integers to avoid float rounding."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)
