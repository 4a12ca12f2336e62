"""The streams that one process reads: the one of `kafka`, or each of `inputs`, as settings of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.config import InputSettings, KafkaSettings, Settings
from service.photometry import SURVEYS_BY_POSITION


@dataclass(frozen=True, slots=True)
class Input:
    """One stream: `settings` are those of a process that reads it alone. The unnamed one is that of `kafka`.

    `surveys`: whose alerts may come from it; empty: anybody's.
    """

    name: str
    settings: Settings
    surveys: frozenset[str] = frozenset()


def each_input(settings: Settings) -> list[Input]:
    """In the order in which they are named."""
    if not settings.inputs:
        return [Input("", settings)]
    return [_alone(settings, name, given) for name, given in settings.inputs.items()]


def _alone(settings: Settings, name: str, given: InputSettings) -> Input:
    changes: dict[str, Any] = {"kafka": _kafka(settings.kafka, name, given), "inputs": {}}
    if given.quality is not None:
        changes["quality"] = given.quality
    pipeline: dict[str, Any] = {}
    if settings.pipeline.counterparts is None:
        pipeline["counterparts"] = len(settings.inputs) > 1
    if given.max_batch is not None:
        pipeline["max_batch"] = given.max_batch
    changes["pipeline"] = settings.pipeline.model_copy(update=pipeline)
    surveys = {given.survey, *(SURVEYS_BY_POSITION if given.photometry_topics else ())} if given.survey else ()
    return Input(name, settings.model_copy(update=changes), frozenset(surveys))


def _kafka(kafka: KafkaSettings, name: str, given: InputSettings) -> KafkaSettings:
    """`kafka` with this input's topics, and the classifications where they go anyway."""
    changes: dict[str, Any] = {
        "topics": given.topics,
        "photometry_topics": given.photometry_topics,
        "group_id": given.group_id or f"{kafka.group_id}-{name}",
        # one producer for each input, so one transaction for each
        "transactional_id": kafka.transactional_id and f"{kafka.transactional_id}-{name}",
        "output_bootstrap_servers": kafka.bootstrap_servers,
        "librdkafka_output": kafka.librdkafka,
    }
    for field in ("daily_pattern", "programids", "days_back", "group_instance_id"):
        if (value := getattr(given, field)) is not None:
            changes[field] = value
    if given.schema_registry_url.get_secret_value() or given.schema_folder:
        changes |= {"schema_registry_url": given.schema_registry_url, "schema_folder": given.schema_folder}
    if given.bootstrap_servers not in ("", kafka.bootstrap_servers):  # others' brokers get none of our credentials
        changes |= {
            "bootstrap_servers": given.bootstrap_servers,
            "librdkafka": given.librdkafka,
            "librdkafka_consumer": given.librdkafka_consumer,
        }
    else:
        changes |= {
            "librdkafka": kafka.librdkafka | given.librdkafka,
            "librdkafka_consumer": kafka.librdkafka_consumer | given.librdkafka_consumer,
        }
    return kafka.model_copy(update=changes)


def framed(settings: Settings) -> KafkaSettings:
    """Where the writer schemas of framed packets are that come in files and requests: `kafka` says it, or the first
    input that does; numbers of several registries can't be told apart.
    """
    candidates = [settings.kafka, *(each.settings.kafka for each in each_input(settings))]
    told = (each for each in candidates if each.schema_registry_url.get_secret_value() or each.schema_folder)
    return next(told, settings.kafka)


def reader_of(settings: Settings, topic: str) -> KafkaSettings:
    """The settings of the input that reads a topic, by its name alone: it stands in one input only.

    A daily topic is known by the pattern's text up to the date. Where nothing fits, `kafka`.
    """
    inputs = [each.settings.kafka for each in each_input(settings)]
    for kafka in inputs:
        if topic in (*kafka.topics, *kafka.photometry_topics):
            return kafka
    for kafka in inputs:
        if not kafka.topics and topic.startswith(kafka.daily_pattern.partition("{")[0]):
            return kafka
    return settings.kafka
