"""Alerts from Kafka: batches, offsets committed behind acknowledged output, backpressure by pausing, clean rebalances.

The client is asked from the poll thread alone: a call from another thread would wait for `consume` to let it in, and
`consume` hardly ever does. What other threads want to know is written down for them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from time import monotonic, time
from typing import Any, Final

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

from service import metrics
from service.config import Delivery, KafkaSettings
from service.stream.batch import Batch, Message, Partition
from service.stream.interfaces import StreamError
from service.stream.kafka.client_settings import (
    KAFKA_LOG,
    TOLD_ELSEWHERE,
    client_config,
    consumer_config,
    is_cooperative,
    is_fatal,
)
from service.stream.kafka.topics import Span, TopicWatch

log = logging.getLogger(__name__)

# How long a poll waits for a first message; the loop does nothing else meanwhile.
IDLE_POLL_S: Final = 0.1
# Offsets behind acknowledged output are committed this often: what a crash makes the next process read again.
COMMIT_INTERVAL_S: Final = 1.0
# A revoked partition is given up when its alerts under way have arrived, or after this long; the group waits for us.
REVOKE_DRAIN_S: Final = 10.0
# Questions to the broker within a rebalance.
QUERY_TIMEOUT_S: Final = 10.0
LAG_INTERVAL_S: Final = 2.0
# The proof of membership that a transaction carries is renewed at every rebalance; in between it may change only under
# KIP-848, and a stale one costs a transaction that is tried again. Asking holds up every other thread for 0.2 ms.
MEMBERSHIP_INTERVAL_S: Final = 0.2


@dataclass(slots=True)
class _Assignment:
    """A partition while it is ours. `polled`, `done` and `committed` are the next offsets of each; None: none yet."""

    epoch: int
    start: int | None = None
    polled: int | None = None
    done: int | None = None
    committed: int | None = None
    newest_done: float | None = None  # broker timestamp up to which messages are settled
    finished: bool = False  # a bounded read has passed its end here

    @property
    def drained(self) -> bool:
        return self.polled is None or self.polled == self.done


class KafkaSource:
    """A member of a consumer group as a source of the stream.

    With a `span`, in a group of its own, messages of a stretch of time are read again; `exit_at_end` ends where the
    topics end. In `exactly_once` the sink commits the offsets, through `group_metadata` and `owns`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        span: Span | None = None,
        exit_at_end: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.span = span
        self.group_id = settings.group_id if span is None else backfill_group(settings.group_id, span)
        self.joined = False
        self._commits = settings.delivery is Delivery.AT_LEAST_ONCE
        self._exit_at_end = exit_at_end or (span is not None and span.until is not None)
        self._clock = clock
        config = consumer_config(settings, self.group_id)
        self._cooperative = is_cooperative(config)
        self._consumer = Consumer(
            {**config, "error_cb": self._on_error, "on_commit": self._on_commit}, logger=KAFKA_LOG
        )
        self._watch = TopicWatch(client_config(settings), settings, span, clock)
        self._subscribed: frozenset[str] = frozenset()
        self._assigned: dict[Partition, _Assignment] = {}
        self._lag: dict[Partition, int] = {}
        self._membership: Any = None
        self._lock = threading.Condition()
        self._epochs = count(1)
        self._paused = False
        self._next_commit = self._next_lag = self._next_membership = 0.0
        self._fatal: KafkaError | None = None
        self._closed = False
        self._watch.start()

    # -- as the runner sees it

    @property
    def exhausted(self) -> bool:
        if not self._exit_at_end:
            return False
        if self._watch.looked and not self._watch.topics:
            return True  # a bounded read of topics that are not there
        return self.joined and all(part.finished for part in self._assigned.values())

    def poll(self, maximum: int, linger_s: float) -> list[Message]:
        """Raises StreamError when this member can't go on."""
        self._follow_topics()
        if not self._subscribed:
            self._consumer.poll(IDLE_POLL_S)
            return []
        first = self._consume(1, IDLE_POLL_S)
        messages = self._accept(first)
        if messages and maximum > 1:
            messages += self._accept(self._consume(maximum - 1, linger_s))
        if self._fatal is not None:
            raise StreamError(_explain(self._fatal, self.settings))
        now = monotonic()
        if now >= self._next_commit:
            self._commit()
            self._next_commit = now + COMMIT_INTERVAL_S
        if not self._commits and now >= self._next_membership:
            self._membership = self._consumer.consumer_group_metadata()
            self._next_membership = now + MEMBERSHIP_INTERVAL_S
        if now >= self._next_lag:
            self._measure_lag()
            self._next_lag = now + LAG_INTERVAL_S
        return messages

    def pause(self) -> None:
        self._paused = True
        self._consumer.pause(self._partitions(self._assigned))

    def resume(self) -> None:
        self._paused = False
        self._consumer.resume(self._partitions({p: a for p, a in self._assigned.items() if not a.finished}))

    def acknowledge(self, batch: Batch) -> None:
        newest: dict[Partition, float] = {}
        for item in batch.items:
            if item.message.timestamp is not None:
                newest[item.message.topic_partition] = item.message.timestamp
        with self._lock:
            for (place, epoch), offset in batch.next_offsets().items():
                assignment = self._assigned.get(place)
                if assignment is not None and assignment.epoch == epoch:
                    assignment.done = offset
                    assignment.newest_done = newest.get(place, assignment.newest_done)
            self._lock.notify_all()

    def close(self) -> None:
        """Commit what has arrived and leave the group (a static member keeps its place)."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        self._commit(wait=True)
        self._consumer.close()

    # -- as the sink and the health check see it

    def owns(self, message: Message) -> bool:
        """Whether the partition of `message` has been ours without a break since it was polled."""
        with self._lock:
            assignment = self._assigned.get(message.topic_partition)
            return assignment is not None and assignment.epoch == message.epoch

    def group_metadata(self) -> Any:
        """For `send_offsets_to_transaction`: the broker refuses the offsets of a member that is no longer one."""
        return self._membership

    @property
    def partitions(self) -> list[Partition]:
        with self._lock:
            return sorted(self._assigned)

    @property
    def trouble(self) -> str | None:
        """Why nothing is consumed, in words, or None."""
        if not self._watch.reachable:
            return f"the brokers {self.settings.bootstrap_servers} do not answer: {self._watch.error}"
        if not self._watch.topics:
            return f"none of the topics {', '.join(sorted(self._watch.wanted))} exists"
        if not self.joined:
            return f"the group {self.group_id} has not assigned partitions yet"
        return None

    def lag(self) -> dict[Partition, int]:
        """Messages between the settled place and the end, per partition, as measured within the last seconds."""
        return dict(self._lag)

    # -- inside

    def _follow_topics(self) -> None:
        topics = self._watch.topics
        if topics == self._subscribed or not self._watch.looked:
            return
        if topics:
            self._consumer.subscribe(
                sorted(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        else:
            self._consumer.unsubscribe()
        self._subscribed = topics

    def _consume(self, maximum: int, timeout_s: float) -> list[Any]:
        try:
            messages: list[Any] = self._consumer.consume(maximum, timeout_s)
        except KafkaException as error:
            self._on_error(error.args[0])
            return []
        return messages

    def _accept(self, polled: Sequence[Any]) -> list[Message]:
        now = time()
        accepted = []
        for raw in polled:
            error = raw.error()
            if error is not None:
                self._on_message_error(raw, error)
                continue
            place = raw.topic(), raw.partition()
            assignment = self._assigned.get(place)
            if assignment is None or assignment.finished:
                continue
            kind, milliseconds = raw.timestamp()
            timestamp = None if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds / 1000
            if timestamp is not None and self._is_past_end(milliseconds):
                self._finish(place)
                continue
            assignment.polled = raw.offset() + 1
            if assignment.newest_done is None:  # whatever is settled is about as old as the first message taken
                assignment.newest_done = timestamp
            accepted.append(
                Message(
                    topic=place[0],
                    partition=place[1],
                    offset=raw.offset(),
                    value=raw.value() or b"",
                    key=raw.key(),
                    timestamp=timestamp,
                    received=now,
                    epoch=assignment.epoch,
                )
            )
        return accepted

    def _is_past_end(self, timestamp_ms: int) -> bool:
        until_ms = self.span.until_ms if self.span is not None else None
        return until_ms is not None and timestamp_ms >= until_ms

    def _finish(self, place: Partition) -> None:
        self._assigned[place].finished = True
        self._consumer.pause([TopicPartition(*place)])

    def _on_message_error(self, raw: Any, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            place = raw.topic(), raw.partition()
            until = self.span.until if self.span is not None else None
            if self._exit_at_end and place in self._assigned and (until is None or self._clock() >= until):
                self._finish(place)
        elif code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC):
            log.warning("a followed topic is gone: %s", error)
            self._watch.look_again()
        else:
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._fatal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._watch.look_again()
        elif error.code() not in TOLD_ELSEWHERE:
            KAFKA_LOG.warning("consumer: %s", error.str())

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        begin = self._starting_offsets(partitions)
        with self._lock:
            for part in begin:
                known = part.offset if part.offset >= 0 else None
                self._assigned[part.topic, part.partition] = _Assignment(epoch=next(self._epochs), start=known)
        # where nothing is committed, the offset stays unset and auto.offset.reset decides
        if self._cooperative:
            consumer.incremental_assign(begin)
        else:
            consumer.assign(begin)
        if self._paused and begin:
            consumer.pause(begin)
        self._membership = consumer.consumer_group_metadata()
        self.joined = True
        if partitions:
            log.info("assigned %s", _listed(partitions))

    def _starting_offsets(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Where to begin: the committed place; without one, the start of the span if there is a span."""
        if not partitions:
            return []
        try:
            begin: list[TopicPartition] = self._consumer.committed(partitions, timeout=QUERY_TIMEOUT_S)
            if self.span is not None:
                fresh = [part for part in begin if part.offset < 0]
                asked = [TopicPartition(part.topic, part.partition, self.span.start_ms) for part in fresh]
                found = self._consumer.offsets_for_times(asked, timeout=QUERY_TIMEOUT_S) if asked else []
                begin = [part for part in begin if part.offset >= 0] + found
        except KafkaException as error:
            if self.span is not None:  # from the beginning of the topic would be wrong
                raise StreamError(f"the start of the span can't be found: {error.args[0]}") from error
            log.warning("the committed offsets can't be read now: %s", error.args[0])
            return partitions
        return begin

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Let what is under way arrive, commit it, and let go."""
        places = {(part.topic, part.partition) for part in partitions}
        self._membership = consumer.consumer_group_metadata()  # a transaction under way needs the present generation
        deadline = monotonic() + REVOKE_DRAIN_S
        with self._lock:
            while monotonic() < deadline and not all(
                self._assigned[place].drained for place in places & self._assigned.keys()
            ):
                self._lock.wait(deadline - monotonic())
        self._commit(wait=True)
        self._drop(places)
        if partitions:
            log.info("revoked %s", _listed(partitions))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The group has gone on without us: others have the partitions already, and nothing may be committed."""
        log.warning("lost %s: this replica was taken for dead", _listed(partitions))
        self._drop({(part.topic, part.partition) for part in partitions})

    def _drop(self, places: set[Partition]) -> None:
        with self._lock:
            for place in places:
                self._assigned.pop(place, None)
                with suppress(KeyError):  # never measured
                    metrics.CONSUMER_LAG.remove(place[0], str(place[1]))

    def _commit(self, wait: bool = False) -> None:
        """Commit behind what has arrived; `wait` for the broker's answer."""
        with self._lock:
            ready = {
                place: part.done
                for place, part in self._assigned.items()
                if part.done is not None and part.done != part.committed
            }
        if not ready or not self._commits:
            return
        offsets = [TopicPartition(*place, offset) for place, offset in ready.items()]
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:  # the next one covers it; a crash before that repeats some alerts
            KAFKA_LOG.warning("offsets could not be committed now: %s", error.args[0].str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        # a member that has just been replaced may not commit: whoever reads the alerts again merges them again
        if error is not None and error.code() != KafkaError._NO_OFFSET:
            KAFKA_LOG.warning("offsets were not committed: %s", error.str())
            return
        with self._lock:
            for part in partitions:
                assignment = self._assigned.get((part.topic, part.partition))
                if assignment is not None and part.error is None:
                    assignment.committed = part.offset

    def _measure_lag(self) -> None:
        with self._lock:
            places = {
                place: part.done if part.done is not None else part.start for place, part in self._assigned.items()
            }
        lag = {}
        for place, position in places.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            if high >= 0:  # else nothing has been fetched yet
                lag[place] = max(0, high - max(low, position or 0))
        self._lag = lag
        for (topic, partition), behind in lag.items():
            metrics.CONSUMER_LAG.labels(topic, str(partition)).set(behind)
        metrics.CONSUMER_LAG_SECONDS.set(self.lag_seconds(lag))

    def lag_seconds(self, lag: dict[Partition, int]) -> float:
        """Age of the newest settled alert of the partition that is farthest behind, of those where messages wait."""
        with self._lock:
            ages = [
                time() - part.newest_done
                for place, part in self._assigned.items()
                if lag.get(place) and part.newest_done is not None
            ]
        return max(ages, default=0.0)

    def _partitions(self, places: dict[Partition, _Assignment]) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in places]


def backfill_group(group_id: str, span: Span) -> str:
    """A group of its own for each span: production is not rebalanced, and an interrupted backfill goes on."""
    until = f"-{span.until.astimezone(UTC):%Y%m%dT%H%M%S}" if span.until is not None else ""
    return f"{group_id}-backfill-{span.start.astimezone(UTC):%Y%m%dT%H%M%S}{until}"


def _explain(error: KafkaError, settings: KafkaSettings) -> str:
    if error.code() == KafkaError.FENCED_INSTANCE_ID or "group.instance.id" in error.str():
        return (
            f"another process joined as kafka.group_instance_id {settings.group_instance_id!r}:"
            " give every replica its own"
        )
    return f"the Kafka consumer failed for good: {error}"


def _listed(partitions: list[TopicPartition]) -> str:
    return ", ".join(f"{part.topic}/{part.partition}" for part in partitions)
