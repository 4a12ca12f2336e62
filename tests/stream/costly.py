"""Alerts that are as good as any and cost far more: wide schemas, long histories, containers of many records."""

from __future__ import annotations

import copy
import io
from typing import Any, Final

import fastavro

# A schema twice as large as the survey's own. One of ten times that size takes 0.1 s to compile, once.
FOREIGN_FIELDS: Final = 30
ROWS_OF_HISTORY: Final = 1000
RECORDS: Final = 8


def costly(packet: bytes, number: int) -> bytes:
    """The `number`-th costly form of a simulated packet, of three kinds in turn. Its object and candid stay, or are
    counted up where it becomes many.
    """
    reader = fastavro.reader(io.BytesIO(packet))
    schema: Any = reader.writer_schema
    record: Any = next(iter(reader))
    for name in ("cutoutScience", "cutoutTemplate", "cutoutDifference"):
        record[name] = None
    return KINDS[number % len(KINDS)](copy.deepcopy(schema), record, number)


def alerts_in(number: int) -> int:
    """How many alerts the `number`-th one holds."""
    return RECORDS if KINDS[number % len(KINDS)] is many else 1


def wide(schema: Any, record: Any, number: int) -> bytes:
    """A schema that nobody has seen before, with nested fields that are skipped."""
    for field in range(FOREIGN_FIELDS):
        name = f"extra_{number}_{field}"
        inner = [{"name": f"v{i}", "type": ["null", "double", "string"], "default": None} for i in range(4)]
        schema["fields"].append({"name": name, "type": {"type": "record", "name": f"r_{name}", "fields": inner}})
        record[name] = {f"v{i}": (None, 1.5, "text", 2.5)[i] for i in range(4)}
    return written(schema, [record])


def long(schema: Any, record: Any, number: int) -> bytes:
    """A history of a thousand rows."""
    row = record["prv_candidates"][0] if record["prv_candidates"] else None
    if row is None:
        row = {**record["candidate"], "isdiffpos": None, "magpsf": None, "sigmapsf": None, "candid": None}
    newest = record["candidate"]["jd"]
    record["prv_candidates"] = [{**row, "jd": newest - 0.01 * (step + 1)} for step in range(ROWS_OF_HISTORY)]
    return written(schema, [record])


def many(schema: Any, record: Any, number: int) -> bytes:
    """Several alerts in one message."""
    records = []
    for step in range(RECORDS):
        one = copy.deepcopy(record)
        one["candid"] += step
        one["candidate"]["jd"] += 1e-4 * step
        records.append(one)
    return written(schema, records)


def written(schema: Any, records: list[Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, records)
    return buffer.getvalue()


KINDS: Final = (wide, long, many)
