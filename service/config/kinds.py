"""What every group of settings is made of."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from service.errors import AlertClassifierError


class ConfigError(AlertClassifierError, ValueError):
    """An invalid setting; the message names it and says what would be right."""


class Delivery(StrEnum):
    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


class OutputFormat(StrEnum):
    """See `service.output.formats`."""

    SINGLE_OBJECT = "single_object"
    CONTAINER = "container"
    JSON = "json"
    CONFLUENT = "confluent"
    BODY = "body"
    ELASTICC = "elasticc"


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, hide_input_in_errors=True)
