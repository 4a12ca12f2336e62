"""librdkafka's properties: ours, then the operator's, and a log that does not repeat itself."""

from __future__ import annotations

import logging
import socket

import pytest

from service.config import Delivery, KafkaSettings
from service.stream.kafka.client_settings import (
    KAFKA_LOG,
    consumer_config,
    is_cooperative,
    producer_config,
    transactional_id,
)
from service.stream.kafka.sink import KafkaSink


def test_the_operator_has_the_last_word() -> None:
    settings = KafkaSettings(
        bootstrap_servers="broker:9093",
        librdkafka={"security.protocol": "SASL_SSL", "linger.ms": "50"},
        librdkafka_consumer={"session.timeout.ms": "60000"},
        librdkafka_producer={"linger.ms": "100"},
    )
    consumer, producer = consumer_config(settings, "group"), producer_config(settings)
    assert consumer["security.protocol"] == producer["security.protocol"] == "SASL_SSL"
    assert consumer["session.timeout.ms"] == "60000"
    assert producer["linger.ms"] == "100"
    assert consumer["enable.auto.commit"] is False
    assert producer["enable.idempotence"] is True


def test_the_brokers_own_protocol_takes_no_client_side_strategy() -> None:
    classic = consumer_config(KafkaSettings(), "group")
    modern = consumer_config(KafkaSettings(librdkafka_consumer={"group.protocol": "consumer"}), "group")
    eager = consumer_config(KafkaSettings(librdkafka_consumer={"partition.assignment.strategy": "range"}), "group")
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"
    assert "partition.assignment.strategy" not in modern
    assert "session.timeout.ms" not in modern
    assert [is_cooperative(config) for config in (classic, modern, eager)] == [True, True, False]


def test_a_static_member_has_more_time_to_come_back() -> None:
    settings = KafkaSettings(group_instance_id="replica-0")
    assert consumer_config(settings, "g")["group.instance.id"] == "replica-0"
    assert (
        consumer_config(settings, "g")["session.timeout.ms"]
        > consumer_config(KafkaSettings(), "g")["session.timeout.ms"]
    )


def test_a_transactional_id_survives_a_restart_and_differs_between_replicas() -> None:
    exactly_once = {"delivery": Delivery.EXACTLY_ONCE, "group_id": "night"}
    assert transactional_id(KafkaSettings(**exactly_once)) == f"night-{socket.gethostname()}"
    assert transactional_id(KafkaSettings(**exactly_once, group_instance_id="replica-1")) == "night-replica-1"
    assert producer_config(KafkaSettings(**exactly_once, transactional_id="mine"))["transactional.id"] == "mine"
    assert "transactional.id" not in producer_config(KafkaSettings())


def test_an_absent_broker_is_told_of_once_by_each_who_knows(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers, at once
        taken.bind(("127.0.0.1", 0))
        sink = KafkaSink(KafkaSettings(bootstrap_servers=f"127.0.0.1:{taken.getsockname()[1]}"), retry_s=0.01)
        attempts = iter(range(3))
        sink.open(lambda: next(attempts, None) is None)
        sink.close()
    told = [(record.name, record.levelno) for record in caplog.records]
    assert told.count(("service.stream.kafka.sink", logging.WARNING)) == 1
    assert not any(record.getMessage().startswith("producer: ") for record in caplog.records)
    assert any("Connection refused" in record.getMessage() for record in caplog.records)
    assert sink.trouble


def test_the_client_does_not_repeat_itself(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for attempt in range(100):
            KAFKA_LOG.warning("broker-a: connection refused (after %d ms)", attempt)
        KAFKA_LOG.warning("broker-b: connection refused (after 1 ms)")
    assert [record.getMessage() for record in caplog.records] == [
        "broker-a: connection refused (after 0 ms)",
        "broker-b: connection refused (after 1 ms)",
    ]
