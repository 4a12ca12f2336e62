"""Bytes -> Alert: Avro containers and framed messages, writer schemas compiled once, survey adapters."""

from service.alerts.alert import Alert, AlertError, Quality
from service.alerts.decode import Decoder
from service.alerts.schemas import (
    SchemaFolder,
    SchemaRegistry,
    SchemaSource,
    SchemaSourceUnavailableError,
    schema_source,
)

__all__ = [
    "Alert",
    "AlertError",
    "Decoder",
    "Quality",
    "SchemaFolder",
    "SchemaRegistry",
    "SchemaSource",
    "SchemaSourceUnavailableError",
    "schema_source",
]
