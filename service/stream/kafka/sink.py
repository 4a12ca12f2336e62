"""Classifications and dead letters to Kafka, at least once: idempotent, with keys, every acknowledgement awaited."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from service import metrics
from service.config import KafkaSettings
from service.output.dead_letter import DeadLetter
from service.output.formats import Headers
from service.stream.batch import Batch, DeadLettered, Item, Published, dead_letter
from service.stream.interfaces import StreamError
from service.stream.kafka.client_settings import (
    KAFKA_LOG,
    LOGGED_BY_LIBRDKAFKA,
    MAX_MESSAGE_BYTES,
    client_config,
    is_fatal,
    producer_config,
)

log = logging.getLogger(__name__)

# A broker answers within milliseconds; when the oldest batch waits this long, `trouble` reports it.
STALLED_S: Final = 5.0
# A refused message too large for the dead-letter topic is cut to this: enough for any header.
SHORTENED_BYTES: Final = 65_536
# No classification is larger, with all its shadows and flags.
LARGEST_ANSWER_BYTES: Final = 10_000
# Errors for a deleted topic, or a partition that no longer exists.
GONE: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
# Timeout of one admin request; the end of the process may have to wait for it.
ADMIN_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Record:
    """A message to be produced."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers | None = None
    letter: DeadLetter | None = None  # the dead letter it encodes, in case it must be shortened

    def shortened(self) -> Record | None:
        """The same dead letter with only the first bytes of its message; None if that does not make it smaller."""
        if self.letter is None or len(self.value) <= 2 * SHORTENED_BYTES:
            return None
        return replace(self, value=self.letter.encode(SHORTENED_BYTES), letter=None)


def records(items: Iterator[Item] | list[Item], settings: KafkaSettings) -> Iterator[Record]:
    """The records to produce for `items`; filtered and returned ones have none."""
    for item in items:
        outcome = item.outcome
        if isinstance(outcome, Published):
            for message in outcome.messages:
                yield Record(message.topic, message.key, message.value, message.headers)
        elif isinstance(outcome, DeadLettered):
            letter = dead_letter(item.message, outcome)
            # a compacted topic takes no message without a key
            yield Record(
                settings.dead_letter_topic, letter.key or letter.place.encode(), letter.encode(), letter=letter
            )


@dataclass(slots=True)
class _Sent:
    """A batch being sent: records not yet produced, not yet acknowledged, and to be sent again."""

    batch: Batch
    letters: list[Record]
    answers: list[Record]
    since: float = field(default_factory=monotonic)
    waiting: int = 0
    refused: list[tuple[Record, KafkaError]] = field(default_factory=list)
    held: bool = False  # a record was refused and is not acknowledged yet
    again_at: float = 0.0

    @property
    def arrived(self) -> bool:
        return not (self.letters or self.answers or self.waiting or self.refused)


class KafkaSink:
    """Produces without waiting; a batch is acknowledged when all its records are."""

    def __init__(self, settings: KafkaSettings, retry_s: float = 1.0) -> None:
        self._settings = settings
        self._retry_s = retry_s
        self._producer = Producer({**producer_config(settings), "error_cb": self._on_error}, logger=KAFKA_LOG)
        self._sent: deque[_Sent] = deque()
        self._given_up: Callable[[], bool] = lambda: False
        self._fatal: KafkaError | None = None
        self._trouble: str | None = "the output topics have not been looked at yet"
        self._next_look = 0.0

    @property
    def pending(self) -> int:
        return len(self._sent)

    @property
    def trouble(self) -> str | None:
        if self._trouble is None and self._sent and monotonic() - self._sent[0].since > STALLED_S:
            return f"the output brokers have acknowledged nothing for {monotonic() - self._sent[0].since:.0f} s"
        return self._trouble

    def open(self, given_up: Callable[[], bool]) -> None:
        self._given_up = given_up
        while not given_up():
            try:
                ensure_topics(self._settings)
                trouble = why_refused(self._settings)
                # Connect now: a first batch would wait up to half a second for brokers and an id for idempotence.
                self._producer.list_topics(self._settings.output_topic, timeout=ADMIN_TIMEOUT_S)
            except KafkaException as error:
                trouble = f"the output topics can't be looked at: {error.args[0]}"
            if trouble is not None and trouble != self._trouble:  # log an outage once, not every few seconds
                log.warning(trouble)
            self._trouble = trouble
            if trouble is None:
                return
            self._producer.poll(self._retry_s)

    def send(self, batch: Batch) -> None:
        made = list(records(batch.items, self._settings))
        letters = [record for record in made if record.letter is not None]
        self._sent.append(_Sent(batch, letters, [record for record in made if record.letter is None]))
        self._produce_in_turn()
        self._producer.poll(0)

    def acknowledged(self, timeout_s: float) -> list[Batch]:
        self._producer.poll(timeout_s)
        if self._fatal is not None:
            raise StreamError(f"the Kafka producer failed for good: {self._fatal}")
        for sent in self._sent:
            if not sent.waiting and sent.refused and monotonic() >= sent.again_at:
                self._send_again(sent)
        arrived = []
        self._produce_in_turn()
        while self._sent and self._sent[0].arrived:
            arrived.append(self._sent.popleft().batch)
            self._trouble = None
        if self._sent and monotonic() > max(self._sent[0].since + STALLED_S, self._next_look):
            self._look_at_topics()
        return arrived

    def _produce_in_turn(self) -> None:
        """Dead letters go before the classifications of their batch, and nothing after a refused record: if a topic
        refuses permanently, offsets are not committed, and later records would be produced again at each restart.
        """
        for sent in self._sent:
            letters, sent.letters = sent.letters, []
            for record in letters:
                self._produce(sent, record)
            if sent.answers and not sent.waiting and not sent.refused:
                answers, sent.answers = sent.answers, []
                for record in answers:
                    self._produce(sent, record)
            sent.held = sent.held and bool(sent.waiting or sent.refused)
            if sent.answers or sent.held:
                return

    def _look_at_topics(self) -> None:
        """Make a deleted topic again, as at the start."""
        self._next_look = monotonic() + STALLED_S
        try:
            gone = ensure_topics(self._settings)
        except KafkaException:
            return  # nothing is acknowledged, and `trouble` says so
        if gone:
            self._trouble = f"{', '.join(gone)} is gone, and made again where that is allowed"

    def close(self) -> None:
        """Drop unacknowledged batches: they are read and classified again."""
        if self._sent:
            self._producer.purge()
        self._producer.flush(self._retry_s)

    def _produce(self, sent: _Sent, record: Record) -> None:
        sent.waiting += 1
        report = partial(self._on_delivery, sent, record)
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, on_delivery=report, headers=record.headers
                )
            except BufferError:  # the client's queue is full: serve acknowledgements until it is not
                self._producer.poll(0.1)
                if self._given_up():
                    return
            except KafkaException as error:  # refused by the client itself, e.g. larger than message.max.bytes
                self._on_delivery(sent, record, error.args[0], None)
                return
            else:
                return

    def _on_delivery(self, sent: _Sent, record: Record, error: KafkaError | None, _: Any) -> None:
        sent.waiting -= 1
        if error is not None:
            sent.refused.append((record, error))
            sent.held = True
            shorter = is_too_large(error) and record.shortened() is not None
            sent.again_at = monotonic() + (0 if shorter else self._retry_s)

    def _send_again(self, sent: _Sent) -> None:
        refused, sent.refused = sent.refused, []
        if any(error.code() in GONE for _, error in refused):
            self._look_at_topics()
        metrics.PUBLISH_RETRIES.inc()
        for record, error in refused:
            shorter = record.shortened() if is_too_large(error) else None
            if shorter is None and not (error.code() in GONE and self._trouble):
                trouble = f"{record.topic} takes no messages: {error}"
                if trouble != self._trouble:
                    log.warning(trouble)
                self._trouble = trouble
            self._produce(sent, shorter or record)
            if is_too_large(error):  # the topic's limit may have refused a batch of many records: send one by one
                self._producer.flush(self._retry_s)

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._fatal = error
        elif error.code() not in LOGGED_BY_LIBRDKAFKA:
            KAFKA_LOG.warning("producer: %s", error.str())


def is_too_large(error: KafkaError) -> bool:
    return error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)


def answer_topics(settings: KafkaSettings) -> list[str]:
    """The topics of classifications, that of all of them first."""
    return [settings.output_topic, *(output.topic for output in settings.outputs)]


def ensure_topics(settings: KafkaSettings) -> list[str]:
    """Make the output topics and the dead-letter topic where they don't exist, with the brokers' default partitions and
    replicas, and return their names. Raises KafkaException while the brokers don't answer; missing permission is only
    logged.
    """
    admin = AdminClient(client_config(settings), logger=KAFKA_LOG)
    existing = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
    wanted = {
        **{topic: {} for topic in answer_topics(settings)},
        # it must take what the input topics take, and its wrapping
        settings.dead_letter_topic: {"max.message.bytes": str(MAX_MESSAGE_BYTES)},
    }
    new = [NewTopic(name, config=config) for name, config in wanted.items() if name not in existing]
    if not new:
        return []
    for name, done in admin.create_topics(new, request_timeout=ADMIN_TIMEOUT_S).items():
        try:
            done.result()
            log.info("made the topic %s", name)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            if error.args[0].retriable():
                raise
            log.warning("the topic %s is not there and can't be made: %s", name, error.args[0])
    return [topic.topic for topic in new]


def why_refused(settings: KafkaSettings) -> str | None:
    """Why an output topic would permanently refuse our records, judged by its settings; None: it would not."""
    admin = AdminClient(client_config(settings), logger=KAFKA_LOG)
    needed = dict.fromkeys(answer_topics(settings), LARGEST_ANSWER_BYTES) | {
        settings.dead_letter_topic: 2 * SHORTENED_BYTES
    }
    topics = admin.describe_topics(
        TopicCollection(list(needed)), include_authorized_operations=True, request_timeout=ADMIN_TIMEOUT_S
    )
    for name, description in topics.items():
        try:
            allowed = description.result().authorized_operations
        except KafkaException as error:
            if error.args[0].retriable():
                raise
            return f"{name} can't be written to: {error.args[0]}"
        if allowed and AclOperation.WRITE not in allowed and AclOperation.ALL not in allowed:
            return f"{name} can't be written to: the brokers' access control does not allow it"
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in needed]
    for resource, answer in admin.describe_configs(resources, request_timeout=ADMIN_TIMEOUT_S).items():
        try:
            limit = int(answer.result()["max.message.bytes"].value)
        except KafkaException as error:
            if error.args[0].retriable():
                raise
            log.info("the settings of %s may not be looked at: %s", resource.name, error.args[0])
        else:
            if limit < needed[resource.name]:
                return (
                    f"{resource.name} takes too little: its max.message.bytes is {limit}, not {needed[resource.name]}"
                )
    return None
