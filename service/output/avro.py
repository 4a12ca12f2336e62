"""Avro single-object encoding (Avro 1.11): two magic bytes, the schema's fingerprint, the body.

Ten bytes of frame identify a message's schema to any Avro library, without a registry and without embedding 20 KB of
schema in a message of 600 bytes. The schemas are in `schemas/` and served by the API.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from io import BytesIO
from typing import Any, Final

import fastavro
import orjson
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from service.errors import AlertClassifierError

MARKER: Final = b"\xc3\x01"


class SchemaMismatchError(AlertClassifierError, ValueError):
    """A message that was not written with this schema."""


class SingleObject:
    """Encodes and decodes records of one schema, a file of the package's folder `schemas`."""

    def __init__(self, name: str, former: Sequence[str] = ()) -> None:
        """`former`: names of schemas of earlier versions whose messages are still read."""
        self.name = name
        self.header: bytes
        self._schema: Any
        self._former = {one.header: one._schema for one in map(SingleObject, former)}
        self.text: str = resources.files("service.output").joinpath("schemas", f"{name}.avsc").read_text("utf-8")
        parsed = orjson.loads(self.text)
        self._schema = parse_schema(parsed)
        # eight bytes, little-endian, as specified; fastavro returns them in that order as hex
        print_ = bytes.fromhex(fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO"))
        self.header = MARKER + print_

    def encode(self, record: dict[str, Any]) -> bytes:
        """Timestamps as integers of microseconds since 1970. Raises on a record that does not fit the schema."""
        buffer = BytesIO()
        buffer.write(self.header)
        fastavro.schemaless_writer(buffer, self._schema, record)
        return buffer.getvalue()

    def decode(self, message: bytes) -> dict[str, Any]:
        """Timestamps become datetimes in UTC. Raises SchemaMismatchError."""
        written_by = self._schema if message[:10] == self.header else self._former.get(message[:10])
        if written_by is None:
            raise SchemaMismatchError(
                f"not a {self.name} message of this schema: it begins with {message[:10].hex()},"
                f" not {self.header.hex()}"
            )
        buffer = BytesIO(message)
        buffer.seek(len(self.header))
        try:
            record: dict[str, Any] = fastavro.schemaless_reader(buffer, written_by, self._schema)  # type: ignore[assignment]
        except (EOFError, ValueError, IndexError) as error:
            raise SchemaMismatchError(f"a {self.name} message of {len(message)} bytes is damaged: {error!r}") from error
        return record


CLASSIFICATION: Final = SingleObject("classification")


def encode_classification(document: dict[str, Any]) -> bytes:
    """The message of a classification. Its `top_class` can't be null: where none is named, it is the prior's."""
    if document["top_class"] is None:
        probabilities = document["probabilities"]
        document = document | {"top_class": max(probabilities, key=probabilities.__getitem__)}
    return CLASSIFICATION.encode(document)


def decode_classification(message: bytes) -> dict[str, Any]:
    """The fields of a published message; timestamps as datetimes in UTC. Raises SchemaMismatchError.

    With a flag `no_detection` or `unusable_photometry` its `top_class` is the training prior's and says nothing.
    """
    return CLASSIFICATION.decode(message)
