"""Where alerts come from and classifications go to."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, field_validator, model_validator

from service.config.kinds import Delivery, Group, OutputFormat

_WEB_ADDRESS: Final = re.compile(r"https?://([^\s@/]*@)?[^\s@/:]+(:\d+)?(/[^\s@]*)?")


def checked_registry(given: SecretStr) -> SecretStr:
    """Refuse what is no URL: the client would only complain at the first framed message, and quote its password."""
    url = given.get_secret_value()
    if url and not _WEB_ADDRESS.fullmatch(url):
        raise ValueError(
            "must be a URL like https://registry:8081 (in a user or password, % is written %25, @ %40 and / %2F)"
        )
    return given


def checked_pattern(pattern: str) -> str:
    try:
        pattern.format(date=datetime.now(UTC), programid=1)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"only {{date:...}} and {{programid}} may stand in the pattern ({error})") from error
    return pattern


class OutputSettings(Group):
    """One more topic for classifications: it gets what meets all the conditions that are set."""

    topic: str = Field(min_length=1)
    format: OutputFormat = OutputFormat.SINGLE_OBJECT
    schema_version: int | None = Field(default=None, ge=1, le=4, description="of the classification; unset: the newest")
    classes: list[str] = Field(default_factory=list, description="its top class is one of these")
    superclasses: list[str] = Field(default_factory=list, description="its most probable superclass is one of these")
    min_probability: float = Field(
        default=0.0, ge=0, le=1, description="of the top class; with superclasses and no classes, of the superclass"
    )
    flags: list[str] = Field(default_factory=list, description="it bears all of these")
    without_flags: list[str] = Field(default_factory=list, description="it bears none of these")
    surveys: list[str] = Field(default_factory=list, description="of the alert: ztf, atlas, ...")


class KafkaSettings(Group):
    """Where alerts come from and classifications go to. Without `bootstrap_servers` nothing is streamed."""

    bootstrap_servers: str = Field(default="", description="host:port,... of the brokers; empty: no streaming")
    topics: list[str] = Field(default_factory=list, description="explicit input topics; empty: the daily pattern")
    photometry_topics: list[str] = Field(
        default_factory=list,
        description="topics with ATLAS photometry of positions, followed beside the alerts (schema: atlas_photometry)",
    )
    daily_pattern: str = Field(
        default="ztf_{date:%Y%m%d}_programid{programid}",
        description="name of a UTC day's topic, as a Python format of `date` and `programid`",
    )
    programids: list[int] = Field(default=[1], description="program ids followed under the daily pattern (1: public)")
    days_back: int = Field(default=1, ge=0, le=30, description="past days followed besides today (ZTF keeps about 7)")
    topic_refresh_s: float = Field(default=30.0, gt=0, description="how often the window of daily topics is re-checked")
    group_id: str = Field(default="alert-classifier", min_length=1)
    group_instance_id: str = Field(default="", description="static membership: a restart does not rebalance the group")
    output_topic: str = Field(default="alert-classifications", min_length=1)
    output_format: OutputFormat = Field(default=OutputFormat.SINGLE_OBJECT, description="of `output_topic`")
    output_schema_version: int | None = Field(
        default=None, ge=1, le=4, description="of the messages in `output_topic`; unset: the newest"
    )
    outputs: list[OutputSettings] = Field(
        default_factory=list, description="further topics, each with a format and a choice of its own"
    )
    broker_name: str = Field(default="alert-classifier", description="brokerName in messages of the format `elasticc`")
    dead_letter_topic: str = Field(default="alert-classifications-dead-letters", min_length=1)
    output_bootstrap_servers: str = Field(
        default="",
        description="host:port,... of the brokers that output_topic and dead_letter_topic are on, where they are others"
        " than the input's (at_least_once only); empty: the same",
    )
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    transactional_id: str = Field(
        default="", description="exactly_once: stable per replica; default from group_id and host"
    )
    schema_registry_url: SecretStr = Field(
        default=SecretStr(""),
        description="for Confluent-framed input, and output of the format `confluent`; `user:password@` may stand"
        " before the host",
    )
    schema_folder: Path | None = Field(default=None, description="`<id>.avsc` files, instead of a registry")
    librdkafka: dict[str, SecretStr] = Field(
        default_factory=dict, description="any librdkafka property, for consumer and producer (SASL, TLS, ...)"
    )
    librdkafka_consumer: dict[str, SecretStr] = Field(default_factory=dict, description="for the consumer alone")
    librdkafka_producer: dict[str, SecretStr] = Field(default_factory=dict, description="for the producer alone")
    librdkafka_output: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="as librdkafka, for the brokers of output_bootstrap_servers, which get no other",
    )

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_is_a_url(cls, given: SecretStr) -> SecretStr:
        return checked_registry(given)

    @model_validator(mode="after")
    def _outputs_agree(self) -> KafkaSettings:
        topics = [self.output_topic, self.dead_letter_topic, *(output.topic for output in self.outputs)]
        twice = [topic for topic in dict.fromkeys(topics) if topics.count(topic) > 1]
        if twice:
            raise ValueError(f"output_topic, dead_letter_topic and outputs must differ: {twice[0]} stands twice")
        inputs = [topic for topic in topics if topic in (*self.topics, *self.photometry_topics)]
        if inputs:
            raise ValueError(f"{inputs[0]} is read and written: the service would classify its own answers")
        formats = [self.output_format, *(output.format for output in self.outputs)]
        if OutputFormat.CONFLUENT in formats and not self.schema_registry_url.get_secret_value():
            raise ValueError("the output format confluent needs schema_registry_url")
        return self

    @field_validator("daily_pattern")
    @classmethod
    def _pattern_formats(cls, pattern: str) -> str:
        return checked_pattern(pattern)

    @model_validator(mode="after")
    def _output_elsewhere(self) -> KafkaSettings:
        if self.output_bootstrap_servers and self.delivery is Delivery.EXACTLY_ONCE:
            raise ValueError("output_bootstrap_servers goes with at_least_once: a transaction is within one cluster")
        if self.librdkafka_output and not self.output_bootstrap_servers:
            raise ValueError("librdkafka_output is for the brokers of output_bootstrap_servers, which is empty")
        return self

    def output_side(self) -> KafkaSettings:
        """As the clients of the output's cluster see them."""
        if not self.output_bootstrap_servers:
            return self
        changes = {
            "bootstrap_servers": self.output_bootstrap_servers,
            "output_bootstrap_servers": "",
            "librdkafka": self.librdkafka_output,
            "librdkafka_output": {},
            "librdkafka_consumer": {},
        }
        return self.model_copy(update=changes)

    def input_side(self) -> KafkaSettings:
        """As a producer to the input's cluster sees them."""
        return self.model_copy(update={"librdkafka_producer": {}}) if self.output_bootstrap_servers else self
