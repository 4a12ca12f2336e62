"""librdkafka's settings for our clients, each with the reason why it is not the default; an operator's come last."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from service.config import ConfigError, Delivery, KafkaSettings, revealed
from service.secrets import masked

# librdkafka logs every attempt to connect, up to twenty a second; the same message passes once in this time.
REPEAT_S: Final = 30.0

# A replica that dies without leaving the group is replaced after this long; a static member must restart within it.
SESSION_TIMEOUT_MS: Final = 15_000
STATIC_SESSION_TIMEOUT_MS: Final = 45_000
# How long an open transaction of a dead replica may hide the records that others wrote after it.
TRANSACTION_TIMEOUT_MS: Final = 20_000
# A changed number of partitions is noticed within this time.
METADATA_REFRESH_MS: Final = 10_000
# An alert of 70 KB is refused only if its topic's limit is below that; a dead letter may be a message of 10 MB.
MAX_MESSAGE_BYTES: Final = 24_000_000


class _OnceInAWhile(logging.Filter):
    """Drops a message if the same one, ignoring numbers, passed within REPEAT_S."""

    def __init__(self) -> None:
        super().__init__()
        self._heard: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        gist = re.sub(r"\d+", "", record.getMessage())
        now = monotonic()
        if now - self._heard.get(gist, -REPEAT_S) < REPEAT_S:
            return False
        if len(self._heard) > 1000:  # bounds the memory if every message is new
            self._heard.clear()
        self._heard[gist] = now
        return True


KAFKA_LOG: Final = logging.getLogger("service.stream.librdkafka")
KAFKA_LOG.addFilter(_OnceInAWhile())

# librdkafka already logs these with the broker's name; don't log them again from error_cb.
LOGGED_BY_LIBRDKAFKA: Final = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})


def made(client: Callable[..., Any], config: dict[str, Any], **options: Any) -> Any:
    """`client(config)`. Raises ConfigError where librdkafka refuses a property."""
    try:
        return client(config, **options)
    except KafkaException as error:
        raise ConfigError(f"kafka.librdkafka: {masked(error.args[0].str())}") from None


def is_fatal(error: KafkaError) -> bool:
    """Whether a client is unusable from now on. Errors given to a callback have codes of their own for it."""
    return error.fatal() or error.code() in (KafkaError._FATAL, KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID)


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """The settings that all clients of the cluster share."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": f"alert-classifier-{socket.gethostname()}",
        # reconnect to a broker within a second of its return
        "reconnect.backoff.max.ms": 1000,
        # asking for tomorrow's topic must not create an empty one
        "allow.auto.create.topics": False,
        **revealed(settings.librdkafka),
    }


def consumer_config(settings: KafkaSettings, group_id: str) -> dict[str, Any]:
    own = revealed(settings.librdkafka | settings.librdkafka_consumer)
    config: dict[str, Any] = {
        **client_config(settings),
        "group.id": group_id,
        # we commit offsets ourselves, after acknowledged output
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # added partitions are read within seconds, not after 5 minutes
        "topic.metadata.refresh.interval.ms": METADATA_REFRESH_MS,
        # 4 MB per partition and request: with the default of 1 MB a drain gets 14 alerts of 70 KB at a time. More is no
        # faster and costs page faults, 70 for each of Rubin's messages instead of 34, as answers beyond some 30 MB
        # are memory that malloc takes from the system each time. A message of 10 MB comes alone, whatever this says.
        "max.partition.fetch.bytes": 4_000_000,
        "fetch.max.bytes": 16_000_000,
        # prefetch at most some 900 alerts, to bound memory
        "queued.max.messages.kbytes": 65_536,
        # with the default of 1 s a drain starves each time that the queue was full
        "fetch.queue.backoff.ms": 20,
        # tells a bounded read (exit_at_end) that it has caught up
        "enable.partition.eof": True,
    }
    if own.get("group.protocol", "classic").lower() != "consumer":  # KIP-848: the broker decides about these
        # During a rebalance only the moving partitions pause.
        config["partition.assignment.strategy"] = "cooperative-sticky"
        static = bool(settings.group_instance_id)
        config["session.timeout.ms"] = STATIC_SESSION_TIMEOUT_MS if static else SESSION_TIMEOUT_MS
    if settings.group_instance_id:
        config["group.instance.id"] = settings.group_instance_id
    # the source decides: librdkafka would silently skip expired messages (see `starts_at_end`)
    return {**config, **own, "auto.offset.reset": "error"}


def starts_at_end(settings: KafkaSettings) -> bool:
    """Whether the operator wants a new group to begin with new messages; by default it reads everything that the topics
    still hold, because it is better to answer an alert twice than never."""
    own = revealed(settings.librdkafka | settings.librdkafka_consumer)
    return own.get("auto.offset.reset", "earliest").lower() in ("latest", "largest", "end")


def is_cooperative(config: dict[str, Any]) -> bool:
    """Whether partitions come and go one by one (`incremental_assign`) under this consumer configuration."""
    strategy = config.get("partition.assignment.strategy", "")
    return config.get("group.protocol", "classic").lower() == "consumer" or "cooperative" in strategy


def producer_config(settings: KafkaSettings) -> dict[str, Any]:
    config: dict[str, Any] = {
        **client_config(settings),
        # acks=all, retries without end, no duplicate and no reordering by a retry
        "enable.idempotence": True,
        # wait for an absent broker without limit; backpressure holds the alerts meanwhile
        "message.timeout.ms": 0,
        # a classification has 300 bytes, a batch compresses to a third
        "compression.type": "lz4",
        "linger.ms": 2,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        # a topic that is deleted, or made again with fewer partitions, is noticed within seconds, not minutes
        "topic.metadata.refresh.interval.ms": METADATA_REFRESH_MS,
        "topic.metadata.propagation.max.ms": METADATA_REFRESH_MS // 2,
    }
    if settings.delivery is Delivery.EXACTLY_ONCE:
        config["transactional.id"] = transactional_id(settings)
        config["transaction.timeout.ms"] = TRANSACTION_TIMEOUT_MS
        config["message.timeout.ms"] = TRANSACTION_TIMEOUT_MS - 1000  # must end before its transaction does
        # The broker refuses a new transaction for some milliseconds while it completes the last one; with the default
        # of 100 ms between retries every batch would take that long.
        config["retry.backoff.ms"] = 10
    return {**config, **revealed(settings.librdkafka | settings.librdkafka_producer)}


def transactional_id(settings: KafkaSettings) -> str:
    """Stable over restarts, so that a restarted replica ends the transaction that it left open."""
    return settings.transactional_id or f"{settings.group_id}-{settings.group_instance_id or socket.gethostname()}"
