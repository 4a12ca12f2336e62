"""Several streams that one process reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from service.config.kafka import checked_pattern, checked_registry
from service.config.kinds import Group
from service.config.quality import QualitySettings

INPUT_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


class InputSettings(Group):
    """One of several streams that are read together. What is unset is as in `kafka`; credentials only where the brokers
    are those of `kafka` too.
    """

    name: str = Field(description="in accounts, metrics and health; lower case")
    survey: Literal["", "ztf", "lsst"] = Field(
        default="", description="whose alerts come from it; another's become dead letters; empty: any"
    )
    bootstrap_servers: str = Field(default="", description="host:port,... of its brokers; empty: those of `kafka`")
    topics: list[str] = Field(default_factory=list, description="explicit topics; empty: the daily pattern")
    photometry_topics: list[str] = Field(default_factory=list, description="as in `kafka`")
    daily_pattern: str | None = Field(default=None, description="as in `kafka`")
    programids: list[int] | None = Field(default=None, description="as in `kafka`")
    days_back: int | None = Field(default=None, ge=0, le=30, description="as in `kafka`")
    group_id: str = Field(
        default="",
        description="Rubin's brokers want the user's name first; empty: `kafka.group_id`, a dash and the name",
    )
    group_instance_id: str | None = Field(default=None, description="as in `kafka`")
    schema_registry_url: SecretStr = Field(default=SecretStr(""), description="for framed messages of this input")
    schema_folder: Path | None = Field(default=None, description="`<id>.avsc` files, instead of a registry")
    librdkafka: dict[str, SecretStr] = Field(default_factory=dict, description="properties of its clients (SASL, ...)")
    librdkafka_consumer: dict[str, SecretStr] = Field(default_factory=dict, description="of its consumer alone")
    max_batch: int | None = Field(default=None, ge=1, le=10_000, description="as in `pipeline`")
    quality: QualitySettings | None = Field(default=None, description="cuts of its alerts, a table as `quality`")

    @field_validator("name")
    @classmethod
    def _name_is_a_word(cls, name: str) -> str:
        if not INPUT_NAME.fullmatch(name) or len(name) > 40:
            raise ValueError("must be a short name in lower case, like rubin or ztf-public")
        return name

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_is_a_url(cls, given: SecretStr) -> SecretStr:
        return checked_registry(given)

    @field_validator("daily_pattern")
    @classmethod
    def _pattern_formats(cls, pattern: str | None) -> str | None:
        return pattern if pattern is None else checked_pattern(pattern)

    @model_validator(mode="after")
    def _registry_or_folder(self) -> InputSettings:
        if self.schema_registry_url.get_secret_value() and self.schema_folder:
            raise ValueError("schema_registry_url and schema_folder exclude one another")
        return self


def inputs_by_name(given: Any) -> Any:
    """Inputs as a table by name, from a list of tables with a name each (`[[inputs]]`) or from such a table: only by
    name can the environment add a password to an input of the file.
    """
    if isinstance(given, list):
        named: dict[str, Any] = {}
        for number, each in enumerate(given):
            name = each.get("name") if isinstance(each, dict) else None
            if not isinstance(name, str) or name in named:
                why = "stands twice" if isinstance(name, str) else "is missing"
                raise ValueError(f"the name of input {number + 1} {why}")
            named[name] = each
        return named
    if isinstance(given, dict):
        return {name: {**table, "name": name} if isinstance(table, dict) else table for name, table in given.items()}
    return given
