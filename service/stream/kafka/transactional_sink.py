"""Exactly once: classifications, dead letters and offsets of some batches in one Kafka transaction.

Whoever reads the output at isolation level read_committed sees every alert's classification once, whatever happened.
A transaction that fails is aborted and tried again with the same records, less those whose partitions have gone to
another replica meanwhile. The broker fences twice: by the transactional id (another process took over this replica's
name) and by the group's generation (the group went on without this replica).
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
from service.stream.kafka.client_settings import KAFKA_LOG, TOLD_ELSEWHERE, is_fatal, producer_config, transactional_id
from service.stream.kafka.sink import Record, ensure_topics, is_too_large, records, why_refused

log = logging.getLogger(__name__)

# One call to the transaction coordinator; a retriable failure is called again.
CALL_TIMEOUT_S: Final = 5.0


# librdkafka 2.16 may never return from send_offsets_to_transaction when the group's coordinator was away, whatever its
# timeout (its issues 5456 and 5511): this long after the timeout the client is taken for stuck.
STUCK_S: Final = 3.0


# What aborting a transaction says of its records: not why it was aborted.
PURGED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class Owner(Protocol):
    """What the sink asks of the source: which messages are still this replica's to answer, and proof of membership."""

    def owns(self, message: Message) -> bool: ...

    def group_metadata(self) -> Any: ...

    def next_offsets(self, items: Sequence[Item]) -> list[TopicPartition]: ...


class TransactionalSink:
    """Publishes all batches that wait in one transaction; they have arrived when it is committed."""

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
        """Register the transactional id: what an earlier process of this name left open is ended."""
        self._given_up = given_up
        self._until_done(lambda: ensure_topics(self._settings))
        self._until_done(self._check_refusal)
        self._until_done(lambda: self._producer.init_transactions(CALL_TIMEOUT_S))
        self.trouble = None

    def send(self, batch: Batch) -> None:
        self._waiting.append(batch)

    def acknowledged(self, timeout_s: float) -> list[Batch]:
        """Returns when a transaction of all that waits is committed; nothing, when the runner has given up."""
        self._producer.poll(0)  # what the client has to say
        while self._waiting and not self._given_up():
            # Membership first, ownership second: a rebalance in between makes the membership stale, and the broker
            # refuses the transaction. The other way round it could take offsets of partitions that have gone.
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
        """An open transaction is left to the broker's timeout or to the next process of this name."""

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
        if failed:  # a commit flushes first and fails when a record failed; this only holds the client to it
            raise KafkaException(failed[0])
        self._shorten = False

    def _produce(self, record: Record, report: Callable[[KafkaError | None, Any], None]) -> None:
        if self._shorten:
            record = record.shortened() or record
        while True:
            try:
                self._producer.produce(record.topic, record.value, record.key, on_delivery=report)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _call(self, call: Callable[[], None]) -> None:
        """A call that times out or meets a moving coordinator is made again: librdkafka resumes it."""
        while True:
            try:
                return call()
            except KafkaException as error:
                if not error.args[0].retriable() or self._given_up():
                    raise
                self._tell(self._why(error.args[0]))
                metrics.PUBLISH_RETRIES.inc()

    def _replace_producer(self) -> None:
        """Go on with a new client of the same name: registering it ends what the stuck one left open."""
        self.trouble = "the Kafka client does not return from a transaction: it is replaced"
        log.warning(self.trouble)
        metrics.PUBLISH_RETRIES.inc()
        self._producer = self._new_producer()
        self._until_done(lambda: self._producer.init_transactions(CALL_TIMEOUT_S))

    def _new_producer(self) -> Producer:
        return Producer({**producer_config(self._settings), "error_cb": self._on_error}, logger=KAFKA_LOG)

    def _abort(self, error: KafkaError) -> None:
        """Undo the open transaction so that it can be tried again. Raises StreamError where this replica was fenced."""
        if is_fatal(error) or error.code() == KafkaError.PRODUCER_FENCED:
            raise StreamError(
                f"this replica's transactional id {transactional_id(self._settings)!r} was taken over ({error}):"
                " nothing of its open transaction is visible. Give every replica its own kafka.transactional_id,"
                " or start it anew"
            )
        self._shorten = self._shorten or is_too_large(error)
        self._tell(self._why(error, aborted=True))
        metrics.PUBLISH_RETRIES.inc()
        self._until_done(lambda: self._producer.abort_transaction(CALL_TIMEOUT_S))
        if not self._shorten and not self._given_up():
            sleep(min(self._retry_s, 0.2))

    def _why(self, error: KafkaError, aborted: bool = False) -> str:
        """What keeps a transaction from being committed. A topic that is gone is made again, as at the start."""
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

    def _tell(self, trouble: str) -> None:
        """It stands until a transaction is committed; an outage is logged once, not every few seconds."""
        if trouble != self.trouble:
            log.warning(trouble)
        self.trouble = trouble

    def _check_refusal(self) -> None:
        while not self._given_up() and (refusal := why_refused(self._settings)) is not None:
            self._tell(refusal)
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
                self._tell(f"the transaction coordinator does not answer: {error.args[0]}")
                sleep(self._retry_s)
            else:
                return

    def _on_error(self, error: KafkaError) -> None:
        if error.code() not in TOLD_ELSEWHERE:
            KAFKA_LOG.warning("producer: %s", error.str())


class _StuckClientError(RuntimeError):
    """A call into the client did not return."""


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Make a call that may never return; then its thread is left behind and _StuckClientError raised."""
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
