"""Alerts from Kafka: batches, commits after acknowledged output, backpressure by pausing, clean rebalances.

Only the poll thread calls the consumer: a call from another thread would wait for `consume`. Other threads read cached
fields.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any, Final

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from service import metrics
from service.config import Delivery, KafkaSettings
from service.stream.batch import Batch, Item, Message, Partition
from service.stream.interfaces import StreamError
from service.stream.kafka.assigned import Assigned
from service.stream.kafka.assignment import Assignment
from service.stream.kafka.bounded import BoundedReading
from service.stream.kafka.client_settings import (
    KAFKA_LOG,
    LOGGED_BY_LIBRDKAFKA,
    client_config,
    consumer_config,
    is_cooperative,
    is_fatal,
    starts_at_end,
)
from service.stream.kafka.positions import Positions, as_partitions, cut_at, listed
from service.stream.kafka.skipped import DELETED, NO_MESSAGE, OUTSIDE_SPAN, OnSkipped, Skipped
from service.stream.kafka.topic_watch import TopicWatch
from service.stream.kafka.topics import Span

log = logging.getLogger(__name__)

# How long a poll waits for a first message; the poll loop is blocked meanwhile.
IDLE_POLL_S: Final = 0.1
# How often offsets are committed: after a crash at most this much is read again.
COMMIT_INTERVAL_S: Final = 1.0
# A revoked partition is released when its alerts in flight are settled, or after this long; the group waits meanwhile.
REVOKE_DRAIN_S: Final = 10.0
LAG_INTERVAL_S: Final = 2.0
# The group metadata that a transaction carries is refreshed at every rebalance. In between it changes only under
# KIP-848, and if it is stale the transaction is retried. Each refresh blocks all other threads for 0.2 ms.
MEMBERSHIP_INTERVAL_S: Final = 0.2
# Broker timestamps outside these are wrong: seconds taken for milliseconds, a clock at 1970, or a fast clock.
EARLIEST_TIMESTAMP_S: Final = datetime(2010, 1, 1, tzinfo=UTC).timestamp()
LATEST_TIMESTAMP_AHEAD_S: Final = 60.0


class KafkaSource:
    """A member of a consumer group as a source of the stream.

    With a `span`, only messages of that time are read, in a separate group; with `exit_at_end` reading ends at the end
    of the topics. In `exactly_once` the sink commits the offsets, through `group_metadata` and `owns`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        span: Span | None = None,
        exit_at_end: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_skipped: OnSkipped = lambda place, reason, count: None,
        input_name: str = "",
    ) -> None:
        self._input = input_name
        self.settings = settings
        self.span = span
        self.group_id = settings.group_id if span is None else backfill_group(settings.group_id, span)
        self.joined = False
        self._commits = settings.delivery is Delivery.AT_LEAST_ONCE
        config = consumer_config(settings, self.group_id)
        self._cooperative = is_cooperative(config)
        self._skipped = Skipped(on_skipped)
        self._consumer = Consumer(
            {**config, "error_cb": self._on_error, "on_commit": self._on_commit}, logger=KAFKA_LOG
        )
        self._watch = TopicWatch(client_config(settings), settings, span, clock)
        self._assigned = Assigned()
        self._positions = Positions(
            self._consumer, self._watch, self._assigned, self._skipped, span, starts_at_end(settings), self._cooperative
        )
        self._subscribed: frozenset[str] = frozenset()
        self._bounds = BoundedReading(self._watch, self._assigned, self._skipped, span, exit_at_end, clock)
        self._lag: dict[Partition, int] = {}
        self._membership: Any = None
        self._paused = False
        self._next_commit = self._next_lag = self._next_membership = 0.0
        self._fatal: KafkaError | None = None
        self._closed = False
        self._watch.start()

    # -- as the runner sees it

    @property
    def exhausted(self) -> bool:
        return self._bounds.has_read_all(self.joined) and not self._bounds.incomplete()

    def poll(self, maximum: int, linger_s: float) -> list[Message]:
        """Raises StreamError when this member can't go on."""
        self._follow_topics()
        self._check_complete()
        if not self._subscribed:
            self._consumer.poll(IDLE_POLL_S)
            return []
        first = self._consume(1, IDLE_POLL_S)
        messages = self._accept(first)
        if messages and maximum > 1:
            messages += self._accept(self._consume(maximum - 1, linger_s))
        if self._fatal is not None:
            raise StreamError(_explain(self._fatal, self.settings))
        self._assigned.compare_ids(self._watch.ids)
        self._positions.find_again(self._paused)
        self._bounds.bound(self._go_on_to)
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
        self._consumer.pause(as_partitions(self._assigned.of))

    def resume(self) -> None:
        self._paused = False
        self._consumer.resume(as_partitions(p for p, part in self._assigned.of.items() if not part.finished))

    def acknowledge(self, batch: Batch) -> None:
        self._assigned.settle(batch, committed=not self._commits)  # in exactly_once the sink's transaction has

    def close(self) -> None:
        """Commit settled offsets and leave the group (a static member keeps its assignment)."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        self._commit(wait=True)
        self._consumer.close()

    # -- as the sink and the health check see it

    def owns(self, message: Message) -> bool:
        """Whether the partition of `message` has been ours continuously since it was polled."""
        return self._assigned.owns(message)

    def next_offsets(self, items: Sequence[Item]) -> list[TopicPartition]:
        """The offsets to commit once `items` are answered."""
        return self._assigned.offsets_behind(items)

    def group_metadata(self) -> Any:
        """For `send_offsets_to_transaction`: the broker refuses offsets from a member that has left the group."""
        return self._membership

    @property
    def partitions(self) -> list[Partition]:
        return self._assigned.places

    @property
    def trouble(self) -> str | None:
        """Why nothing is consumed, as text, or None."""
        if not self._watch.reachable:
            return f"the brokers {self.settings.bootstrap_servers} do not answer: {self._watch.error}"
        if not self._watch.topics:
            return f"none of the topics {', '.join(sorted(self._watch.wanted))} exists"
        if missing := self._watch.missing:
            return f"not there: the topics {', '.join(missing)}"
        if not self.joined:
            return f"the group {self.group_id} has not assigned partitions yet"
        return self._skipped.lost_lately or None

    def lag(self) -> dict[Partition, int]:
        """Messages between the settled offset and the end, per partition, as measured within the last seconds."""
        return dict(self._lag)

    def lag_seconds(self, lag: dict[Partition, int]) -> float:
        """See `Assigned.lag_seconds`."""
        return self._assigned.lag_seconds(lag)

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
            assignment = self._assigned.of.get(place)
            if assignment is None or assignment.finished or assignment.displaced:
                continue
            offset = raw.offset()
            if assignment.until is not None and offset >= assignment.until:
                self._go_on_to(place, assignment, assignment.until)
                continue
            kind, milliseconds = raw.timestamp()
            has_timestamp = kind != TIMESTAMP_NOT_AVAILABLE
            value = raw.value() or b""
            self._go_on_to(place, assignment, offset)
            wanted = self.span is None or not has_timestamp or self.span.holds(milliseconds)
            if not wanted:
                self._skipped.count(place, OUTSIDE_SPAN, 1)
            new = wanted and assignment.take(offset, hash((milliseconds, len(value), value[-64:], raw.key())))
            self._go_on_to(place, assignment, offset + 1, message=True)
            if not new:
                continue
            timestamp = _possible(milliseconds / 1000, now) if has_timestamp else None
            if assignment.newest_done is None:  # earlier messages are about as old as the first one read
                assignment.newest_done = timestamp
            accepted.append(
                Message(
                    topic=place[0],
                    partition=place[1],
                    offset=offset,
                    value=value,
                    key=raw.key(),
                    timestamp=timestamp,
                    received=now,
                    epoch=assignment.epoch,
                )
            )
        return accepted

    def _go_on_to(self, place: Partition, assignment: Assignment, offset: int, *, message: bool = False) -> None:
        """Advance to `offset`. Without `message`, the offsets in between held no message and are counted as skipped."""
        with self._assigned.lock:
            passed = assignment.pass_to(offset)
        if not message:
            self._skipped.count(place, NO_MESSAGE, passed)
        self._skipped.count(place, DELETED, assignment.unread_of_former(at_end=False))
        if assignment.until is not None and offset >= assignment.until:
            assignment.finished = True
            self._consumer.pause([TopicPartition(*place)])

    def _check_complete(self) -> None:
        """Raise StreamError if a bounded reading ended incomplete, once all that was read is answered."""
        if self._bounds.has_read_all(self.joined) and self._assigned.drained and (why := self._bounds.incomplete()):
            self._commit(wait=True)
            raise StreamError(f"the reading is not complete: {why}")

    def _on_message_error(self, raw: Any, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            place = raw.topic(), raw.partition()
            assignment = self._assigned.of.get(place)
            if assignment is not None and not assignment.displaced:
                self._go_on_to(place, assignment, max(raw.offset(), assignment.position or 0))
                self._skipped.count(place, DELETED, assignment.unread_of_former(at_end=True))
        elif code == KafkaError._AUTO_OFFSET_RESET:  # the position is not in the log; nothing more is fetched
            assignment = self._assigned.of.get((raw.topic(), raw.partition()))
            if assignment is not None:
                assignment.displaced = True
                assignment.cut_at = cut_at(error)
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
        elif error.code() not in LOGGED_BY_LIBRDKAFKA:
            KAFKA_LOG.warning("consumer: %s", error.str())

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        begin = self._positions.begin_in(partitions)
        if self._cooperative:
            consumer.incremental_assign(begin)
        else:
            consumer.assign(begin)
        if self._paused and begin:
            consumer.pause(begin)
        self._membership = consumer.consumer_group_metadata()
        self.joined = True
        if partitions:
            log.info("assigned %s", listed(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Wait until the alerts under way are answered, commit, release the partitions."""
        places = {(part.topic, part.partition) for part in partitions}
        self._membership = consumer.consumer_group_metadata()  # a transaction under way needs the present generation
        self._assigned.wait_until_drained(places, REVOKE_DRAIN_S)
        self._commit(wait=True)
        self._drop(places)
        if partitions:
            log.info("revoked %s", listed(partitions))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The group has expelled us: other members have the partitions already, and we may not commit."""
        log.warning("lost %s: this replica was taken for dead", listed(partitions))
        self._drop({(part.topic, part.partition) for part in partitions})

    def _drop(self, places: set[Partition]) -> None:
        for place, assignment in self._assigned.drop(places).items():
            self._positions.remember(place, assignment)
            with suppress(KeyError):  # never measured
                metrics.CONSUMER_LAG.remove(self._input, place[0], str(place[1]))

    def _commit(self, wait: bool = False) -> None:
        """Commit settled offsets; `wait` for the broker's answer.

        In `exactly_once` transactions commit the messages; this only commits offsets without a message after them.
        """
        offsets = self._assigned.uncommitted()
        if not offsets:
            return
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:  # the next one covers it; a crash before that repeats some alerts
            KAFKA_LOG.warning("offsets could not be committed now: %s", error.args[0].str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        # a member that was just replaced may not commit; its successor reads and merges the same alerts again
        if error is not None and error.code() != KafkaError._NO_OFFSET:
            KAFKA_LOG.warning("offsets were not committed: %s", error.str())
            return
        self._assigned.committed(partitions)

    def _measure_lag(self) -> None:
        lag = {}
        for place, position in self._assigned.positions().items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            if high >= 0:  # else nothing has been fetched yet
                lag[place] = max(0, high - max(low, position or 0))
                self._assigned.of[place].measure_end(high)
        self._lag = lag
        for (topic, partition), behind in lag.items():
            metrics.CONSUMER_LAG.labels(self._input, topic, str(partition)).set(behind)
        metrics.CONSUMER_LAG_SECONDS.labels(self._input).set(self.lag_seconds(lag))


def backfill_group(group_id: str, span: Span) -> str:
    """A separate group for each span: production is not rebalanced, and an interrupted backfill can continue."""
    until = f"-{span.until.astimezone(UTC):%Y%m%dT%H%M%S}" if span.until is not None else ""
    return f"{group_id}-backfill-{span.start.astimezone(UTC):%Y%m%dT%H%M%S}{until}"


def _possible(timestamp: float, now: float) -> float | None:
    """`timestamp` in seconds since 1970; None, and counted, if it is impossible."""
    if EARLIEST_TIMESTAMP_S <= timestamp <= now + LATEST_TIMESTAMP_AHEAD_S:
        return timestamp
    metrics.IMPOSSIBLE_TIMESTAMPS.inc()
    return None


def _explain(error: KafkaError, settings: KafkaSettings) -> str:
    if error.code() == KafkaError.FENCED_INSTANCE_ID or "group.instance.id" in error.str():
        return (
            f"another process joined as kafka.group_instance_id {settings.group_instance_id!r}:"
            " give every replica its own"
        )
    return f"the Kafka consumer failed for good: {error}"
