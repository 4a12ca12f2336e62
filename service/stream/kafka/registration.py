"""Registers the schemas of outputs in Confluent's form with a schema registry."""

from __future__ import annotations

import logging
from typing import Final

from service.config import KafkaSettings, OutputFormat
from service.output.avro import SchemaVersion
from service.output.outputs import Register
from service.secrets import masked
from service.stream.interfaces import StreamError

log = logging.getLogger(__name__)

# At the start somebody waits for an answer: a registry that is down is told within seconds.
TIMEOUT_S: Final = 5.0
RETRIES: Final = 1


def registrar(settings: KafkaSettings) -> Register | None:
    """Registers (topic, schema) under the subject `<topic>-value`, Confluent's TopicNameStrategy; None where no output
    needs it. A schema that is there keeps its number. Raises StreamError where the registry refuses or does not answer.
    """
    if OutputFormat.CONFLUENT not in (settings.output_format, *(output.format for output in settings.outputs)):
        return None
    # imported here: the client's imports take long, and most deployments have no registry
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    client = SchemaRegistryClient(
        {"url": settings.schema_registry_url.get_secret_value(), "timeout": TIMEOUT_S, "max.retries": RETRIES}
    )

    def register(topic: str, version: SchemaVersion) -> int:
        subject = f"{topic}-value"
        try:
            number = client.register_schema(subject, Schema(version.text, "AVRO"))
        except Exception as error:  # the registry's refusals and the HTTP library's errors
            raise StreamError(
                f"the registry in kafka.schema_registry_url does not take {version.label} under {subject}:"
                f" {masked(str(error))}"
            ) from error
        log.info("%s has number %d in the schema registry, as %s", version.label, number, subject)
        return number

    return register
