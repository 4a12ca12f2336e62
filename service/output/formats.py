"""The forms in which a classification is published: what each client of the field reads.

| format | value | for |
|---|---|---|
| `single_object` | Avro, framed by the schema's fingerprint | any Avro library, Spark; the default |
| `container` | Avro container file with its schema | hop-client, babamul |
| `json` | JSON, as files and HTTP have it | hop-client, lasair, kcat, pandas, polars, DuckDB |
| `confluent` | Avro, framed by a registry's number | Confluent's deserialisers, ksqlDB, Kafka Connect |
| `body` | Avro without frame; the key is the writer's schema | fink-client |
| `elasticc` | ELAsTiCC's `brokerClassification`, without frame | tools that compare brokers |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import fastavro
import orjson

from service.config import OutputFormat
from service.output.avro import CLASSIFICATION, SchemaMismatchError, SchemaVersion, with_top_class
from service.output.elasticc import broker_classification

Document = dict[str, Any]
Headers = list[tuple[str, str | bytes | None]]  # as confluent-kafka takes them
# The first byte of a message in Confluent's wire format; four bytes follow, the schema's number in the registry.
CONFLUENT_MAGIC: Final = b"\x00"
# Of all container messages; a reader finds the blocks by it. Any sixteen bytes would do.
_SYNC: Final = b"alert-classifier"


@dataclass(frozen=True, slots=True)
class Form:
    """How a classification becomes a message: `encode` its value, `headers` of each, `key` (None: the object's id)."""

    encode: Callable[[Document], bytes]
    headers: Headers
    key: bytes | None = None


def form(
    kind: OutputFormat,
    schema_version: int | None = None,
    *,
    broker: str = "",
    registered: Callable[[SchemaVersion], int] | None = None,
) -> Form:
    """The form of a format, in a version of the schema (None: the newest).

    `broker`: the name that ELAsTiCC's record bears. `registered` gives a schema its number in the registry; called at
    once, for `confluent` alone.
    """
    version = CLASSIFICATION.newest if schema_version is None else CLASSIFICATION.versions[schema_version]
    headers: Headers = [("schema", version.label.encode()), ("schema_fingerprint", version.fingerprint.encode())]
    if kind is OutputFormat.SINGLE_OBJECT:
        return Form(lambda document: version.encode(with_top_class(document)), headers)
    if kind is OutputFormat.CONTAINER:
        return Form(lambda document: _container(version, document), [*headers, ("_format", b"avro")])
    if kind is OutputFormat.JSON:
        return Form(orjson.dumps, [*headers, ("_format", b"json")])
    if kind is OutputFormat.CONFLUENT:
        assert registered is not None
        frame = CONFLUENT_MAGIC + registered(version).to_bytes(4, "big")
        return Form(lambda document: frame + version.body(with_top_class(document)), headers)
    if kind is OutputFormat.BODY:
        key = orjson.dumps(orjson.loads(version.text))
        return Form(lambda document: version.body(with_top_class(document)), headers, key)
    return Form(lambda document: broker_classification(document, broker), [("schema", b"elasticc.v0_9_1")])


def read(kind: OutputFormat, schema_version: int | None, value: bytes) -> Document:
    """The fields of a message of any format but `elasticc`, as `decode_classification` gives them; JSON keeps times in
    microseconds. Raises SchemaMismatchError.
    """
    version = CLASSIFICATION.newest if schema_version is None else CLASSIFICATION.versions[schema_version]
    try:
        if kind is OutputFormat.JSON:
            document: Document = orjson.loads(value)
            return document
        if kind is OutputFormat.CONTAINER:
            [record] = fastavro.reader(BytesIO(value))
            assert isinstance(record, dict)
            return CLASSIFICATION.decode(version.encode(record))
    except (ValueError, EOFError, IndexError) as error:
        raise SchemaMismatchError(f"not a classification as {kind}: {error!r}") from error
    if kind is OutputFormat.ELASTICC:
        raise SchemaMismatchError("elasticc messages do not say what a classification says")
    frame = {OutputFormat.CONFLUENT: 5}.get(kind, 0)
    return CLASSIFICATION.decode(value if kind is OutputFormat.SINGLE_OBJECT else version.header + value[frame:])


def _container(version: SchemaVersion, document: Document) -> bytes:
    buffer = BytesIO()
    fastavro.writer(buffer, version.schema, [with_top_class(document)], sync_marker=_SYNC)
    return buffer.getvalue()
