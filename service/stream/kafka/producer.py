"""Packets to a topic, at a given rate: for `simulate --topic`, load tests and replays of dead letters."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic, sleep
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from service.config import KafkaSettings, revealed
from service.errors import AlertClassifierError
from service.stream.kafka.client_settings import MAX_MESSAGE_BYTES, client_config, made

FLUSH_S: Final = 60.0
# The client's queue holds at most a hundred alerts; more would only hide a slow broker.
QUEUE_KB: Final = 32_768


class PublishError(AlertClassifierError, RuntimeError):
    """Messages that could not be published; the message says how many and why the first failed."""


def publish(
    messages: Iterable[tuple[bytes | None, bytes]],
    settings: KafkaSettings,
    topic: str,
    rate_per_s: float | None = None,
) -> int:
    """Publish (key, value) pairs to `topic`, which must exist, `rate_per_s` of them per second (None: as fast as the
    broker takes them), and return how many were acknowledged. Raises PublishError.
    """
    producer = made(
        Producer,
        {
            **client_config(settings),
            "enable.idempotence": True,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queue.buffering.max.kbytes": QUEUE_KB,
            "linger.ms": 5,
            **revealed(settings.librdkafka | settings.librdkafka_producer),
        },
    )
    acknowledged = 0
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, _: Any) -> None:
        nonlocal acknowledged
        if error is None:
            acknowledged += 1
        else:
            failed.append(error)

    begin = monotonic()
    for number, (key, value) in enumerate(messages):
        if rate_per_s is not None:
            if number == 1:
                # A client takes up to half a second to connect and get its producer id; the messages due meanwhile
                # would be sent as one burst. So the clock starts when the first message is acknowledged.
                producer.flush(FLUSH_S)
                begin = monotonic() - 1 / rate_per_s
            # against the clock, not with equal pauses: a late message does not delay the next ones
            producer.poll(0)
            sleep(max(0.0, begin + number / rate_per_s - monotonic()))
        _produce(producer, topic, key, value, report)
        if failed:
            break
    producer.flush(FLUSH_S)
    if failed or len(producer):
        why = failed[0] if failed else f"the brokers did not acknowledge within {FLUSH_S:.0f} s"
        raise PublishError(f"{len(failed) + len(producer)} messages were not published to {topic}: {why}")
    return acknowledged


def _produce(producer: Producer, topic: str, key: bytes | None, value: bytes, report: Any) -> None:
    while True:
        try:
            producer.produce(topic, value, key, on_delivery=report)
        except BufferError:
            producer.poll(0.1)
        except KafkaException as error:
            raise PublishError(f"a message of {len(value)} bytes can't be published to {topic}: {error}") from error
        else:
            producer.poll(0)
            return
