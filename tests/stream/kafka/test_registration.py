"""Schemas of outputs in Confluent's form are registered at the start, and read by Confluent's own deserialiser."""

from __future__ import annotations

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from service.config import KafkaSettings
from service.output.outputs import Outputs
from service.stream.interfaces import StreamError
from service.stream.kafka.registration import registrar
from tests.integration.schema_registry import schema_registry
from tests.output.answers import ANSWER


def test_confluents_deserialiser_reads_an_answer() -> None:
    with schema_registry() as registry:
        outputs = [
            {"topic": "old", "format": "confluent", "schema_version": 1},
            {"topic": "plain", "format": "single_object"},
            {"topic": "new", "format": "confluent"},
        ]
        settings = KafkaSettings(outputs=outputs, schema_registry_url=registry.url)
        for _ in range(2):  # after a restart the numbers are the same
            messages = {message.topic: message for message in Outputs(settings, registrar(settings)).messages(ANSWER)}
            assert registry.subjects == {"old-value": [1], "new-value": [2]}
        assert [messages[topic].value[:5].hex() for topic in ("old", "new")] == ["0000000001", "0000000002"]
        deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry.url}))
        for topic in ("old", "new"):
            read = deserialize(messages[topic].value, SerializationContext(topic, MessageField.VALUE))
            assert read["candid"] == ANSWER["candid"]
            assert ("variance" in read) == (topic == "new")


def test_no_registry_is_asked_where_no_output_needs_it() -> None:
    assert registrar(KafkaSettings(schema_registry_url="http://127.0.0.1:9")) is None


@pytest.mark.parametrize("broken", ["absent", "refusing"])
def test_a_registry_that_takes_no_schema_is_told(broken: str) -> None:
    with schema_registry() as registry:
        registry.refuses = True
        url = registry.url if broken == "refusing" else "http://127.0.0.1:9"
        settings = KafkaSettings(output_format="confluent", schema_registry_url=url)
        with pytest.raises(StreamError, match="does not take classification_4 under alert-classifications-value"):
            Outputs(settings, registrar(settings))
