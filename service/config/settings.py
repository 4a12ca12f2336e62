"""All groups together, and what one of them means for another."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from service.config.groups import (
    ApiSettings,
    LogSettings,
    ModelSettings,
    PipelineSettings,
    StoreSettings,
    WatchSettings,
)
from service.config.inputs import InputSettings, inputs_by_name
from service.config.kafka import KafkaSettings
from service.config.kinds import Delivery
from service.config.quality import QualitySettings

ENV_PREFIX: Final = "ALERT_CLASSIFIER_"


class Settings(BaseSettings):
    """Everything the service can be told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    inputs: dict[str, InputSettings] = Field(
        default_factory=dict, description="several streams read together, instead of the one of `kafka`"
    )
    store: StoreSettings = StoreSettings()
    model: ModelSettings = ModelSettings()
    quality: QualitySettings = QualitySettings()
    pipeline: PipelineSettings = PipelineSettings()
    api: ApiSettings = ApiSettings()
    watch: WatchSettings = WatchSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _File(settings_cls))

    @field_validator("inputs", mode="before")
    @classmethod
    def _inputsinputs_by_name(cls, given: Any) -> Any:
        return inputs_by_name(given)

    @model_validator(mode="after")
    def _registry_or_folder(self) -> Settings:
        if self.kafka.schema_registry_url.get_secret_value() and self.kafka.schema_folder:
            raise ValueError("kafka.schema_registry_url and kafka.schema_folder exclude one another")
        return self

    @model_validator(mode="after")
    def _inputs_agree(self) -> Settings:
        if not self.inputs:
            return self
        kafka = self.kafka
        if not kafka.bootstrap_servers:
            raise ValueError("inputs need kafka.bootstrap_servers: the brokers of the classifications")
        if kafka.topics or kafka.photometry_topics or kafka.output_bootstrap_servers:
            raise ValueError(
                "with inputs, topics and photometry_topics are set in each of them, and kafka.bootstrap_servers are the"
                " brokers of the classifications: leave kafka.topics, kafka.photometry_topics and"
                " kafka.output_bootstrap_servers out"
            )
        readers: dict[str, str] = {}
        groups: dict[tuple[str, str], str] = {}
        written = {kafka.output_topic, kafka.dead_letter_topic, *(output.topic for output in kafka.outputs)}
        for name, each in self.inputs.items():
            elsewhere = each.bootstrap_servers not in ("", kafka.bootstrap_servers)
            if elsewhere and kafka.delivery is Delivery.EXACTLY_ONCE:
                raise ValueError(
                    f"kafka.delivery = exactly_once, but the input {name} is on other brokers than the classifications:"
                    " a transaction is within one cluster; take at_least_once, or mirror its topics to"
                    " kafka.bootstrap_servers"
                )
            patterns = [] if each.topics else [each.daily_pattern or kafka.daily_pattern]
            for topic in (*each.topics, *each.photometry_topics, *patterns):
                if topic in written and not elsewhere:
                    raise ValueError(f"{topic} is read and written: the service would classify its own answers")
                # accounts, dead letters and what puts them through again go by the topic's name
                if readers.setdefault(topic, name) != name:
                    raise ValueError(f"the inputs {readers[topic]} and {name} both read {topic}")
            group = each.bootstrap_servers or kafka.bootstrap_servers, each.group_id
            if each.group_id and groups.setdefault(group, name) != name:
                raise ValueError(f"the inputs {groups[group]} and {name} have one group_id: give each its own")
        return self


class _File(TomlConfigSettingsSource):
    """The TOML file, its inputs by name."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        if isinstance(values.get("inputs"), list):
            with suppress(ValueError):  # told by the validator of the settings
                values = {**values, "inputs": inputs_by_name(values["inputs"])}
        return values
