"""The start offset in a partition: where this process stopped, else where its group did, else the first.

The first two are only valid for the log that they were made for: see `assignment`. librdkafka's `auto.offset.reset` is
not used, because it skips messages silently.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from itertools import count
from time import monotonic
from typing import Final

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from service.stream.batch import Partition
from service.stream.kafka.assigned import Assigned
from service.stream.kafka.assignment import Assignment, FormerAssignment
from service.stream.kafka.skipped import DELETED, EXPIRED, TRUNCATED, Skipped
from service.stream.kafka.topic_watch import Log, TopicWatch
from service.stream.kafka.topics import Span

log = logging.getLogger(__name__)

# Questions to the broker within a rebalance.
QUERY_TIMEOUT_S: Final = 10.0
# How often a lost position is looked up again while the brokers don't answer.
FIND_AGAIN_S: Final = 1.0


class Positions:
    """Used only from the poll thread, because it calls the consumer."""

    def __init__(
        self,
        consumer: Consumer,
        watch: TopicWatch,
        assigned: Assigned,
        skipped: Skipped,
        span: Span | None,
        new_groups_begin_at_end: bool,
        cooperative: bool,
    ) -> None:
        self._consumer = consumer
        self._watch = watch
        self._assigned = assigned
        self._skipped = skipped
        self._span = span
        self._new_groups_begin_at_end = new_groups_begin_at_end
        self._remembered: dict[Partition, FormerAssignment] = {}  # for a later assignment
        self._cooperative = cooperative
        self._find_again = 0.0
        self._epochs = count(1)

    def remember(self, partition: Partition, assignment: Assignment) -> None:
        """Keep the state of a revoked partition."""
        if (remembered := assignment.to_remember()) is not None:
            self._remembered[partition] = remembered

    def begin_in(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Take up partitions, and return them with the offsets at which to begin; while the brokers don't tell one,
        without: it is found later, and messages are ignored until then.
        """
        places = [(part.topic, part.partition) for part in partitions]
        try:
            begun = self._begin_all(
                partitions, {place: self._assigned.of[place] for place in places if place in self._assigned.of}
            )
        except KafkaException as error:
            log.warning("the brokers do not say where to begin in %s: %s", listed(partitions), error.args[0])
            begun = {}
        unknown = {
            place: Assignment(next(self._epochs), displaced=True)
            for place in places
            if place not in self._assigned.of and place not in begun
        }
        self._assigned.update(begun | unknown)
        return [
            TopicPartition(*place, begun[place].position or 0) if place in begun else TopicPartition(*place)
            for place in places
        ]

    def find_again(self, paused: bool) -> None:
        """Choose a new position where the old one is no longer in the log, or the topic was made again."""
        places = [place for place, part in self._assigned.of.items() if part.displaced and part.drained]
        if not places or monotonic() < self._find_again:
            return
        self._find_again = monotonic() + FIND_AGAIN_S
        for place in places:
            self.remember(place, self._assigned.of[place])
        begin = [part for part in self.begin_in(as_partitions(places)) if part.offset >= 0]
        if not begin:
            return
        if self._cooperative:
            self._consumer.incremental_unassign(begin)
            self._consumer.incremental_assign(begin)
        else:
            others = {place: part for place, part in self._assigned.of.items() if place not in places}
            self._consumer.assign(
                begin
                + [
                    TopicPartition(*place, OFFSET_INVALID if part.position is None else part.position)
                    for place, part in others.items()
                ]
            )
        if paused:
            self._consumer.pause(begin)

    def _begin_all(
        self, partitions: list[TopicPartition], displaced: Mapping[Partition, Assignment]
    ) -> dict[Partition, Assignment]:
        """New assignments, of the partitions that are there; `displaced` are former ones whose position the broker says
        is not in the log.

        Raises KafkaException while the brokers don't answer.
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
        remembered = self._remembered.pop(partition, None)
        former = None
        made_again = bool(now.topic_id and committed.metadata and committed.metadata != now.topic_id)
        position = committed.offset if committed.offset >= 0 and not made_again else None
        if remembered is not None and remembered.is_of_another_log(now.topic_id):
            position, former, made_again = None, remembered.as_former(), True
        elif remembered is not None:
            position = max(position or 0, remembered.position)
        if made_again:
            log.warning("the topic of %s/%d was made again: it is read from its start", *partition)
        if position is None and start_of_span is not None:
            position = start_of_span
        elif position is None:
            position = now.end if self._new_groups_begin_at_end and not made_again else now.first
            self._skipped.count(partition, EXPIRED, now.first if made_again else 0)
        elif position < now.first:
            self._skipped.count(partition, EXPIRED, now.first - position)
            position = now.first
        elif displaced is not None and displaced.cut_at is not None:
            log.error("the log of %s/%d was cut at offset %d and goes on there", *partition, displaced.cut_at)
            self._skipped.count(partition, TRUNCATED, max(0, displaced.end - position))
            position = max(now.first, min(position, displaced.cut_at))
        elif position > now.end and displaced is not None:
            log.error("the log of %s/%d ends before what was read of it: all of it is read again", *partition)
            self._skipped.count(partition, TRUNCATED, max(0, displaced.end - position))
            position = now.first
        assignment = Assignment(next(self._epochs), now.topic_id, position, start=position, end=now.end, former=former)
        self._skipped.count(partition, DELETED, assignment.unread_of_former(at_end=False))
        return assignment

    def _starts_of_span(self, logs: Mapping[Partition, Log]) -> dict[Partition, int]:
        """Per partition, the first offset whose message is not older than the span's start."""
        if self._span is None:
            return {}
        asked = [TopicPartition(*partition, self._span.start_ms) for partition in logs]
        found = self._consumer.offsets_for_times(asked, timeout=QUERY_TIMEOUT_S)
        offsets = {(part.topic, part.partition): part.offset for part in found}
        return {partition: at if at >= 0 else logs[partition].end for partition, at in offsets.items()}


def cut_at(error: KafkaError) -> int | None:
    """Where a log was cut, if that is the error. librdkafka compares epochs of the leaders with the brokers, and says
    what it found in the text of its error alone; 0 if that does not tell the place.
    """
    if "log truncation detected" not in error.str():
        return None
    told = re.search(r"broker end offset is (\d+)", error.str())
    return int(told[1]) if told else 0


def as_partitions(places: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*place) for place in places]


def listed(partitions: Iterable[TopicPartition]) -> str:
    """For people."""
    return ", ".join(f"{part.topic}/{part.partition}" for part in partitions)
