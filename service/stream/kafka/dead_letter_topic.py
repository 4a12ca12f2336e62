"""Reading the dead-letter topic, and publishing its messages again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from service.config import KafkaSettings, Settings, revealed
from service.output.avro import SchemaMismatchError
from service.output.dead_letter import DeadLetter
from service.stream.inputs import reader_of
from service.stream.interfaces import StreamError
from service.stream.kafka.client_settings import KAFKA_LOG, client_config, made
from service.stream.kafka.producer import publish

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Replay:
    """How many messages were published again, and which could not be because their bytes were cut."""

    sent: int
    incomplete: tuple[str, ...]


def read_dead_letters(settings: KafkaSettings) -> Iterator[DeadLetter]:
    """Every dead letter now in the topic, each partition's oldest first.

    Commits nothing. Raises StreamError if the brokers don't answer or the topic does not exist. Messages that are no
    dead letters are logged and skipped.
    """
    settings = settings.output_side()
    topic = settings.dead_letter_topic
    consumer = made(
        Consumer,
        {
            **client_config(settings),
            "group.id": f"{settings.group_id}-dead-letters",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,  # the end of a partition is seen after one empty fetch
            **revealed(settings.librdkafka | settings.librdkafka_consumer),
        },
        logger=KAFKA_LOG,
    )
    try:
        metadata = consumer.list_topics(timeout=TIMEOUT_S).topics.get(topic)
        if metadata is None:
            raise StreamError(f"the dead-letter topic {topic} does not exist: nothing has been refused yet")
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in metadata.partitions])
        unfinished = set(metadata.partitions)
        while unfinished:
            raw = consumer.poll(TIMEOUT_S)
            if raw is None:
                raise StreamError(f"{topic} did not answer within {TIMEOUT_S:.0f} s")
            error = raw.error()
            if error is None and raw.partition() in unfinished:
                try:
                    yield DeadLetter.decode(raw.value() or b"")
                except SchemaMismatchError as foreign:
                    log.warning("%s/%d offset %d: %s", topic, raw.partition(), raw.offset(), foreign)
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                unfinished.discard(raw.partition())
            elif error is not None:
                raise KafkaException(error)
    except KafkaException as error:
        raise StreamError(f"the dead-letter topic {topic} can't be read: {error.args[0]}") from error
    finally:
        consumer.close()


def replay_dead_letters(
    settings: Settings,
    select: Callable[[DeadLetter], bool] = lambda letter: True,
    topic: str | None = None,
) -> Replay:
    """Publish the bytes of the selected dead letters again, to the topic of each, on the brokers of the input that
    reads it, or to `topic`.

    They go through the whole pipeline again; one that is refused again becomes a new dead letter. A message with
    several dead letters is sent once. Raises StreamError, PublishError.
    """
    by_topic: dict[str, dict[str, DeadLetter]] = {}
    incomplete = []
    for letter in read_dead_letters(settings.kafka):
        if not select(letter):
            continue
        if letter.truncated:
            incomplete.append(letter.place)
        else:
            by_topic.setdefault(topic or letter.topic, {})[letter.place] = letter
    sent = 0
    for target, letters in by_topic.items():
        sent += publish(
            ((letter.key, letter.value) for letter in letters.values()), reader_of(settings, target), target
        )
    return Replay(sent, tuple(incomplete))
