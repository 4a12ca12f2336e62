"""Where the writer schemas of framed messages come from: a schema registry or a folder of files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from service.alerts.alert import AlertError
from service.config import KafkaSettings
from service.errors import AlertClassifierError
from service.secrets import masked


class SchemaSourceUnavailableError(AlertClassifierError, RuntimeError):
    """The registry can't be reached or does not answer. The message is not at fault; try again later."""


class SchemaSource(Protocol):
    def schema(self, schema_id: int) -> bytes:
        """The JSON text of writer schema `schema_id`.

        Raises AlertError `unknown_schema` if it does not exist, SchemaSourceUnavailableError if nothing answers.
        """
        ...


class SchemaFolder:
    """Schemas as files `<id>.avsc`; others, `<anything>.avsc`, are for records without id or header."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def schema(self, schema_id: int) -> bytes:
        path = self._folder / f"{schema_id}.avsc"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise AlertError("unknown_schema", f"writer schema {schema_id}: no {path.name} in {self._folder}") from None
        except OSError as error:
            raise SchemaSourceUnavailableError(f"{path} can't be read: {error}") from error

    def all(self) -> list[bytes]:
        """The JSON text of every schema in the folder, ordered by name. Raises the same as `schema`."""
        try:
            return [path.read_bytes() for path in sorted(self._folder.glob("*.avsc"))]
        except OSError as error:
            raise SchemaSourceUnavailableError(f"{self._folder} can't be read: {error}") from error


class SchemaRegistry:
    """Schemas from a Confluent-compatible registry, e.g. `http://registry:8081`, also with `user:password@`."""

    # The client's default of 3 retries with backoff would delay a whole batch, and the pipeline retries anyway.
    _TIMEOUT = 5.0  # seconds
    _RETRIES = 1

    def __init__(self, url: str) -> None:
        # imported here: the client's imports take long, and most deployments have no registry
        from confluent_kafka.schema_registry import SchemaRegistryClient
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        self._refusal = SchemaRegistryError
        self._client = SchemaRegistryClient({"url": url, "timeout": self._TIMEOUT, "max.retries": self._RETRIES})

    def schema(self, schema_id: int) -> bytes:
        try:
            schema = self._client.get_schema(schema_id)
        except Exception as error:  # the registry's refusals and the HTTP library's errors
            if isinstance(error, self._refusal) and error.http_status_code == 404:
                raise AlertError("unknown_schema", f"writer schema {schema_id} is not in the registry") from error
            raise SchemaSourceUnavailableError(f"schema registry: {masked(str(error))}") from error
        if schema.schema_type not in (None, "AVRO"):
            raise AlertError("unsupported_schema", f"writer schema {schema_id} is {schema.schema_type}, not AVRO")
        return str(schema.schema_str).encode()


def schema_source(kafka: KafkaSettings) -> SchemaSource | None:
    """The source of writer schemas for framed messages, if configured."""
    if url := kafka.schema_registry_url.get_secret_value():
        return SchemaRegistry(url)
    return SchemaFolder(kafka.schema_folder) if kafka.schema_folder is not None else None
