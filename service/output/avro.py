"""Avro single-object encoding (Avro 1.11): two magic bytes, the schema's fingerprint, the body.

Ten bytes of frame identify a message's schema to any Avro library, without a registry and without embedding 20 KB of
schema in a message of 600 bytes. Every version that was ever published stays in `schemas/` as NAME_VERSION.avsc, is
served by the API, and is read by `decode`: during a rolling update messages of two versions stand in one topic.

Times are plain longs since version 3: from a schema with a logical type Avro's libraries compute different
fingerprints, so that Rust, Go and Apache's Python refused our messages. The specification leaves logical types out of
the fingerprint, so versions 2 and 3 have one, and the same bytes: who takes the schema of 3 reads messages of both.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib import resources
from io import BytesIO
from typing import Any, Final

import fastavro
import orjson
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from service.errors import AlertClassifierError

MARKER: Final = b"\xc3\x01"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SchemaMismatchError(AlertClassifierError, ValueError):
    """A message that was not written with any version of this schema."""


class SchemaVersion:
    """One published version of a schema. `fingerprint` is its CRC-64-AVRO as Avro frames it, in hex."""

    def __init__(self, name: str, number: int, text: str) -> None:
        self.name = name
        self.number = number
        self.text = text
        parsed = orjson.loads(text)
        self.schema: Any = parse_schema(parsed)
        # eight bytes, little-endian, as specified; fastavro returns them in that order as hex
        self.fingerprint: str = fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO")
        self.header: bytes = MARKER + bytes.fromhex(self.fingerprint)

    @property
    def label(self) -> str:
        """The name of its file and its address below `/schemas`, both without `.avsc`."""
        return f"{self.name}_{self.number}"

    def body(self, record: dict[str, Any]) -> bytes:
        """The record in Avro's binary encoding, without a frame."""
        buffer = BytesIO()
        fastavro.schemaless_writer(buffer, self.schema, record)
        return buffer.getvalue()

    def encode(self, record: dict[str, Any]) -> bytes:
        """Timestamps as integers of microseconds since 1970. Raises on a record that does not fit the schema."""
        buffer = BytesIO()
        buffer.write(self.header)
        fastavro.schemaless_writer(buffer, self.schema, record)
        return buffer.getvalue()


class SingleObject:
    """Encodes records in the newest version of a schema, and decodes those of all its versions."""

    def __init__(self, name: str, times: tuple[str, ...]) -> None:
        """`times`: the fields that are microseconds since 1970, as version 3 has them in its docs alone."""
        self.name = name
        self._times = times
        # The number in a file's name is the version; `dead_letter_2` is no version of `dead`.
        found = {
            int(match[1]): file.read_text("utf-8")
            for file in resources.files("service.output").joinpath("schemas").iterdir()
            if (match := re.fullmatch(rf"{name}_(\d+)\.avsc", file.name))
        }
        self.versions: dict[int, SchemaVersion] = {
            number: SchemaVersion(name, number, found[number]) for number in sorted(found)
        }
        self.newest: SchemaVersion = self.versions[max(self.versions)]
        self.text = self.newest.text
        self.header = self.newest.header
        self.encode = self.newest.encode
        self._by_header = {version.header: version for version in self.versions.values()}

    def decode(self, message: bytes) -> dict[str, Any]:
        """The fields of the newest version, of a message of any; a field that its writer did not know has its default.

        Timestamps become datetimes in UTC. Raises SchemaMismatchError.
        """
        version = self._by_header.get(message[:10])
        if version is None:
            known = " or ".join(version.header.hex() for version in self.versions.values())
            raise SchemaMismatchError(
                f"not a {self.name} message of a known version: it begins with {message[:10].hex() or 'nothing'},"
                f" not {known}"
            )
        buffer = BytesIO(message)
        buffer.seek(len(self.header))
        try:
            record: dict[str, Any] = fastavro.schemaless_reader(buffer, version.schema, self.newest.schema)  # type: ignore[assignment]
        except (EOFError, ValueError, IndexError) as error:
            raise SchemaMismatchError(f"a {self.name} message of {len(message)} bytes is damaged: {error!r}") from error
        for name in self._times:
            if isinstance(time := record[name], int):
                try:
                    record[name] = _EPOCH + timedelta(microseconds=time)
                except OverflowError as error:
                    raise SchemaMismatchError(f"a {self.name} message whose {name} is {time}: no time") from error
        return record


CLASSIFICATION: Final = SingleObject("classification", ("observed", "broker_timestamp", "received", "published"))


def with_top_class(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a `top_class` that is not null, as the Avro schema has it: the prior's where none is named."""
    if document["top_class"] is not None:
        return document
    probabilities = document["probabilities"]
    return document | {"top_class": max(probabilities, key=probabilities.__getitem__)}


def encode_classification(document: dict[str, Any]) -> bytes:
    """The message of a classification. Its `top_class` can't be null: where none is named, it is the prior's."""
    return CLASSIFICATION.encode(with_top_class(document))


def decode_classification(message: bytes) -> dict[str, Any]:
    """The fields of a published message of any version; timestamps as datetimes in UTC. Raises SchemaMismatchError.

    With a flag `no_detection` or `unusable_photometry` its `top_class` is the training prior's and says nothing.
    """
    return CLASSIFICATION.decode(message)
