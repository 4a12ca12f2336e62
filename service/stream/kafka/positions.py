"""Where to begin in a partition: where this process stopped, else where its group did, else at the start.

Both only count for the log that they were of: see `assignment`. librdkafka's `auto.offset.reset` decides nothing, as it
skips without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import count
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from service.stream.batch import Partition
from service.stream.kafka.assignment import Assignment, Known
from service.stream.kafka.skipped import DELETED, EXPIRED, TRUNCATED, Skipped
from service.stream.kafka.topics import Log, Span, TopicWatch

log = logging.getLogger(__name__)

# Questions to the broker within a rebalance.
QUERY_TIMEOUT_S: Final = 10.0


class Positions:
    """Asked from the poll thread only, as it asks the consumer."""

    def __init__(
        self, consumer: Consumer, watch: TopicWatch, skipped: Skipped, span: Span | None, new_groups_begin_at_end: bool
    ) -> None:
        self._consumer = consumer
        self._watch = watch
        self._skipped = skipped
        self._span = span
        self._new_groups_begin_at_end = new_groups_begin_at_end
        self._known: dict[Partition, Known] = {}  # of partitions that went, for the case that they come back
        self._epochs = count(1)

    def remember(self, partition: Partition, assignment: Assignment) -> None:
        """The partition goes: it was read and settled as far as `assignment` says."""
        if (known := assignment.known()) is not None:
            self._known[partition] = known

    def unknown(self) -> Assignment:
        """For a partition of which the brokers don't tell now where to begin: nothing of it is taken until they do."""
        return Assignment(next(self._epochs), displaced=True)

    def begin(
        self, partitions: list[TopicPartition], displaced: Mapping[Partition, Assignment]
    ) -> dict[Partition, Assignment]:
        """New assignments, of the partitions that are there; `displaced` are former ones whose position the broker says
        is not in the log.

        Raises KafkaException while the brokers don't tell.
        """
        if not partitions:
            return {}
        committed = self._consumer.committed(partitions, timeout=QUERY_TIMEOUT_S)
        for part in committed:
            if part.error is not None:
                raise KafkaException(part.error)
        logs = self._watch.ask_logs((part.topic, part.partition) for part in partitions)
        starts = self._starts_of_span(logs)
        begun = {}
        for part in committed:
            partition = part.topic, part.partition
            if partition in logs:
                begun[partition] = self._begin(
                    partition, part, logs[partition], starts.get(partition), displaced.get(partition)
                )
        return begun

    def _begin(
        self,
        partition: Partition,
        committed: TopicPartition,
        now: Log,
        start_of_span: int | None,
        displaced: Assignment | None,
    ) -> Assignment:
        known = self._known.pop(partition, None)
        former = None
        made_again = bool(now.topic_id and committed.metadata and committed.metadata != now.topic_id)
        position = committed.offset if committed.offset >= 0 and not made_again else None
        if known is not None and known.is_of_another_log(now.topic_id):
            position, former, made_again = None, known.as_former(), True
        elif known is not None:
            position = max(position or 0, known.position)
        if made_again:
            log.warning("the topic of %s/%d was made again: it is read from its start", *partition)
        if position is None and start_of_span is not None:
            position = start_of_span
        elif position is None:
            position = now.end if self._new_groups_begin_at_end and not made_again else now.first
            self._skipped.tell(partition, EXPIRED, now.first if made_again else 0)
        elif position < now.first:
            self._skipped.tell(partition, EXPIRED, now.first - position)
            position = now.first
        elif position > now.end and displaced is not None:
            log.error("the log of %s/%d ends before what was read of it: all of it is read again", *partition)
            self._skipped.tell(partition, TRUNCATED, max(0, displaced.end - position))
            position = now.first
        assignment = Assignment(next(self._epochs), now.topic_id, position, start=position, end=now.end, former=former)
        self._skipped.tell(partition, DELETED, assignment.unread_of_former(at_end=False))
        return assignment

    def _starts_of_span(self, logs: Mapping[Partition, Log]) -> dict[Partition, int]:
        """The first message that is not older than the span's start: none before it is, whatever the order."""
        if self._span is None:
            return {}
        asked = [TopicPartition(*partition, self._span.start_ms) for partition in logs]
        found = self._consumer.offsets_for_times(asked, timeout=QUERY_TIMEOUT_S)
        offsets = {(part.topic, part.partition): part.offset for part in found}
        return {partition: at if at >= 0 else logs[partition].end for partition, at in offsets.items()}
