"""Broken alerts of every kind that a stream has been seen or feared to carry."""

from __future__ import annotations

import io
import random
from typing import Any

import fastavro

from service.config import PipelineSettings


def poison(packet: bytes, number: int = 0) -> dict[str, tuple[bytes, set[str]]]:
    """name -> (a message made of the good `packet`, the reason codes that it may be refused with).

    `number` makes the messages of several calls distinct.
    """
    reader = fastavro.reader(io.BytesIO(packet))
    schema: Any = reader.writer_schema
    record: Any = next(iter(reader))
    fields = [field for field in schema["fields"] if field["name"] != "objectId"]
    nameless = {key: value for key, value in record.items() if key != "objectId"}
    dateless = {**record, "candidate": {**record["candidate"], "jd": float("nan")}}
    noise = random.Random(number)
    foreign = {"type": "record", "name": "n", "fields": [{"name": "x", "type": "int"}]}
    return {
        "truncated": (packet[: len(packet) // 2 + number], {"truncated", "bad_block", "bad_sync"}),
        "random bytes": (noise.randbytes(5000), {"bad_magic"}),
        "random behind the magic": (b"Obj\x01" + noise.randbytes(5000), {"truncated", "bad_header", "bad_value"}),
        "empty": (b"", {"empty"}),
        "another schema": (_write(foreign, {"x": number}), {"unsupported_survey"}),
        "no object id": (_write({**schema, "fields": fields}, nameless), {"missing_field"}),
        "NaN epoch": (_write(schema, dateless), {"bad_value"}),
        "10 MB": (packet + noise.randbytes(PipelineSettings().max_message_bytes), {"too_large"}),
    }  # fmt: skip


def _write(schema: Any, record: Any) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, [record])
    return buffer.getvalue()
