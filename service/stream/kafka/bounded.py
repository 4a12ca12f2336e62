"""A reading that ends: at the end that the topics had when it began, or when its span ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from confluent_kafka import KafkaException

from service.stream.batch import Partition
from service.stream.kafka.assigned import Assigned
from service.stream.kafka.assignment import Assignment
from service.stream.kafka.skipped import Skipped
from service.stream.kafka.topic_watch import Log, TopicWatch
from service.stream.kafka.topics import Span

log = logging.getLogger(__name__)


class BoundedReading:
    """Used only from the poll thread. With neither `span` nor `exit_at_end` the reading has no end."""

    def __init__(
        self,
        watch: TopicWatch,
        assigned: Assigned,
        skipped: Skipped,
        span: Span | None,
        exit_at_end: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._watch = watch
        self._assigned = assigned
        self._skipped = skipped
        self._until = span.until if span is not None else None
        self._ends = exit_at_end or self._until is not None
        self._clock = clock

    def has_read_all(self, joined: bool) -> bool:
        """Whether the end is reached; `joined`: the group has assigned partitions."""
        if not self._ends or not self._watch.looked:
            return False
        return not self._watch.topics or (joined and all(part.finished for part in self._assigned.of.values()))

    def incomplete(self) -> str:
        """What could not be read, as text."""
        missing = self._watch.missing_for_a_complete_reading
        reasons = [f"not there: the topics {', '.join(missing)}"] if missing else []
        return "; ".join([*reasons, *filter(None, [self._skipped.lost])])

    def bound(self, go_on_to: Callable[[Partition, Assignment, int], None]) -> None:
        """Set the end of the reading: the end offsets now, or when the span has ended. `go_on_to` advances a partition
        to an offset, beyond which it may be finished.
        """
        if not self._ends or (self._until is not None and self._clock() < self._until):
            return
        unbounded = {place: part for place, part in self._assigned.of.items() if part.until is None}
        logs = self._ask_logs(unbounded)
        for place in logs:
            part = unbounded[place]
            part.until = logs[place].end
            if part.position is not None and part.position >= part.until:
                go_on_to(place, part, part.position)

    def _ask_logs(self, places: Iterable[Partition]) -> dict[Partition, Log]:
        """The logs of partitions; empty while the brokers don't answer."""
        try:
            return self._watch.ask_logs(places) if places else {}
        except KafkaException as error:
            log.warning("the brokers do not say where partitions begin and end: %s", error.args[0])
            return {}
