"""Exactly once: classifications, dead letters and offsets of some batches in one Kafka transaction.

Consumers with isolation level read_committed see every alert's classification once, whatever fails. A failed
transaction is aborted and retried with the same records, except those of partitions that were meanwhile assigned to
another replica. The broker fences twice: by the transactional id (another process uses this replica's name) and by the
group's generation (this replica was expelled from the group).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import sleep
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from service import metrics
from service.config import KafkaSettings
from service.stream.batch import Batch, Item, Message, Returned
from service.stream.interfaces import StreamError
from service.stream.kafka.client_settings import (
    KAFKA_LOG,
    LOGGED_BY_LIBRDKAFKA,
    is_fatal,
    producer_config,
    transactional_id,
)
from service.stream.kafka.sink import Record, ensure_topics, is_too_large, records, why_refused

log = logging.getLogger(__name__)

# Timeout of one call to the transaction coordinator; a retriable failure is retried.
CALL_TIMEOUT_S: Final = 5.0


# librdkafka 2.16 may never return from send_offsets_to_transaction if the group's coordinator was unavailable, despite
# the timeout (its issues 5456 and 5511): this long after the timeout the client counts as stuck.
STUCK_S: Final = 3.0


# Errors that an abort itself gives to the records: they are not the reason of the abort.
PURGED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class Owner(Protocol):
    """What the sink needs from the source: which messages this replica still owns, offsets, group metadata."""

    def owns(self, message: Message) -> bool: ...

    def group_metadata(self) -> Any: ...

    def next_offsets(self, items: Sequence[Item]) -> list[TopicPartition]: ...


class TransactionalSink:
    """Publishes all waiting batches in one transaction; they are acknowledged when it is committed."""

    def __init__(self, settings: KafkaSettings, owner: Owner, retry_s: float = 1.0) -> None:
        self._settings = settings
        self._owner = owner
        self._retry_s = retry_s
        self._producer = self._new_producer()
        self._given_up: Callable[[], bool] = lambda: False
        self._waiting: list[Batch] = []
        self._shorten = False
        self._refused: str | None = None
        self.trouble: str | None = "the transactional producer is not registered yet"

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def open(self, given_up: Callable[[], bool]) -> None:
        """Register the transactional id, which ends a transaction left open by an earlier process of this name."""
        self._given_up = given_up
        self._until_done(lambda: ensure_topics(self._settings))
        self._until_done(self._check_refusal)
        self._until_done(lambda: self._producer.init_transactions(CALL_TIMEOUT_S))
        self.trouble = None

    def send(self, batch: Batch) -> None:
        self._waiting.append(batch)

    def acknowledged(self, timeout_s: float) -> list[Batch]:
        """Returns the waiting batches once their transaction is committed; none if the runner has given up."""
        self._producer.poll(0)
        while self._waiting and not self._given_up():
            # Get the membership before checking ownership: a rebalance in between makes the membership stale, and the
            # broker refuses the transaction. In the other order it could accept offsets of partitions we have lost.
            membership = self._owner.group_metadata()
            items = [item for batch in self._waiting for item in batch.items]
            for item in items:
                if not self._owner.owns(item.message):
                    item.outcome = Returned()
            ours = [item for item in items if not isinstance(item.outcome, Returned)]
            try:
                if ours:
                    self._transact(ours, membership)
            except KafkaException as error:
                self._abort(error.args[0])
            except _StuckClientError:
                self._replace_producer()
            else:
                self.trouble = self._refused = None
                arrived, self._waiting = self._waiting, []
                return arrived
        return []

    def close(self) -> None:
        """Nothing to do: an open transaction ends by the broker's timeout or with the next process of this name."""

    def _transact(self, ours: list[Item], membership: Any) -> None:
        failed: list[KafkaError] = []

        def report(error: KafkaError | None, message: Any) -> None:
            if error is None:
                return
            failed.append(error)
            if error.code() not in PURGED:
                self._refused = f"{message.topic()} takes no messages: {error}"

        self._producer.begin_transaction()
        for record in records(ours, self._settings):
            self._produce(record, report)
        producer = self._producer
        positions = self._owner.next_offsets(ours)
        self._call(
            lambda: _within(
                CALL_TIMEOUT_S + STUCK_S,
                lambda: producer.send_offsets_to_transaction(positions, membership, CALL_TIMEOUT_S),
            )
        )
        self._call(lambda: self._producer.commit_transaction(CALL_TIMEOUT_S))
        if failed:  # the commit should have failed already, as it flushes first; this makes sure
            raise KafkaException(failed[0])
        self._shorten = False

    def _produce(self, record: Record, report: Callable[[KafkaError | None, Any], None]) -> None:
        if self._shorten:
            record = record.shortened() or record
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, on_delivery=report, headers=record.headers
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _call(self, call: Callable[[], None]) -> None:
        """Repeat a call while it fails with a retriable error: librdkafka resumes it."""
        while True:
            try:
                return call()
            except KafkaException as error:
                if not error.args[0].retriable() or self._given_up():
                    raise
                self._report(self._why(error.args[0]))
                metrics.PUBLISH_RETRIES.inc()

    def _replace_producer(self) -> None:
        """Continue with a new client of the same name; registering it ends the stuck client's transaction."""
        self.trouble = "the Kafka client does not return from a transaction: it is replaced"
        log.warning(self.trouble)
        metrics.PUBLISH_RETRIES.inc()
        self._producer = self._new_producer()
        self._until_done(lambda: self._producer.init_transactions(CALL_TIMEOUT_S))

    def _new_producer(self) -> Producer:
        return Producer({**producer_config(self._settings), "error_cb": self._on_error}, logger=KAFKA_LOG)

    def _abort(self, error: KafkaError) -> None:
        """Abort the open transaction so that it can be retried. Raises StreamError if this replica was fenced."""
        if is_fatal(error) or error.code() == KafkaError.PRODUCER_FENCED:
            raise StreamError(
                f"this replica's transactional id {transactional_id(self._settings)!r} was taken over ({error}):"
                " nothing of its open transaction is visible. Give every replica its own kafka.transactional_id,"
                " or start it anew"
            )
        self._shorten = self._shorten or is_too_large(error)
        self._report(self._why(error, aborted=True))
        metrics.PUBLISH_RETRIES.inc()
        self._until_done(lambda: self._producer.abort_transaction(CALL_TIMEOUT_S))
        if not self._shorten and not self._given_up():
            sleep(min(self._retry_s, 0.2))

    def _why(self, error: KafkaError, aborted: bool = False) -> str:
        """Why a transaction can't be committed. A deleted topic is made again, as at the start."""
        try:
            gone = ensure_topics(self._settings)
        except KafkaException as unreachable:
            return f"the output brokers do not answer: {unreachable.args[0]}"
        if gone:
            return f"{', '.join(gone)} is gone, and made again where that is allowed"
        if self._refused is not None:
            return self._refused
        if aborted:
            return f"a transaction was aborted and is tried again: {error}"
        return f"the transaction coordinator does not answer: {error}"

    def _report(self, trouble: str) -> None:
        """Set `trouble` until a transaction is committed; log an outage once, not every few seconds."""
        if trouble != self.trouble:
            log.warning(trouble)
        self.trouble = trouble

    def _check_refusal(self) -> None:
        while not self._given_up() and (refusal := why_refused(self._settings)) is not None:
            self._report(refusal)
            sleep(self._retry_s)

    def _until_done(self, call: Callable[[], object]) -> None:
        while not self._given_up():
            try:
                call()
            except KafkaException as error:
                if error.args[0].code() == KafkaError._STATE:
                    return  # there is no transaction to abort
                if is_fatal(error.args[0]):
                    raise StreamError(f"the transactional producer failed for good: {error.args[0]}") from error
                self._report(f"the transaction coordinator does not answer: {error.args[0]}")
                sleep(self._retry_s)
            else:
                return

    def _on_error(self, error: KafkaError) -> None:
        if error.code() not in LOGGED_BY_LIBRDKAFKA:
            KAFKA_LOG.warning("producer: %s", error.str())


class _StuckClientError(RuntimeError):
    """A call of the client library did not return."""


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Make a call that may never return; if so, abandon its thread and raise _StuckClientError."""
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, name="offsets", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise _StuckClientError
    if errors:
        raise errors[0]
