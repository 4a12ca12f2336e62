"""What fastavro reads of a record, in the form of cells: the oracle for the compiled programs."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np

from service.alerts.alert import AlertError
from service.alerts.projection import NEGATIVE, POSITIVE, UNKNOWN, Cells, Field, Projection, Type


def parse(schema: Any) -> Any:
    """fastavro's form of a writer schema (as JSON values). Raises AlertError: bad_schema."""
    try:
        return fastavro.parse_schema(schema)
    except Exception as error:  # fastavro raises KeyError, TypeError and others on invalid schemas
        raise AlertError("bad_schema", f"writer schema: {type(error).__name__}: {error}") from error


def read(data: bytes, start: int, end: int, schema: Any, projection: Projection) -> tuple[Cells, int]:
    """The needed values of the record at `start`, and the position after it.

    Raises AlertError: bad_record, record_overrun, bad_value.
    """
    stream = io.BytesIO(data)  # shares the bytes
    stream.seek(start)
    try:
        record = fastavro.schemaless_reader(stream, schema, None)
    except Exception as error:  # EOFError, IndexError, UnicodeDecodeError, struct.error, OverflowError, ...
        raise AlertError(
            "bad_record", f"record at byte {start} does not match its schema: {type(error).__name__}: {error}"
        ) from error
    if stream.tell() > end:
        raise AlertError("record_overrun", f"record at byte {start} runs {stream.tell() - end} bytes past its end")
    return project(record, projection), stream.tell()


def project(record: Any, projection: Projection) -> Cells:
    """The needed values of a record as fastavro returns it. Raises AlertError: bad_value."""
    texts = bytearray()
    parts = [projection.empty_fields()]
    _fill(parts[0], record, projection.fields, texts, "")
    for table, rows in record.items() if isinstance(record, dict) else ():
        if table not in projection.tables:
            continue
        if rows is not None and not isinstance(rows, list):
            raise AlertError("bad_value", f"{table} is not an array but {type(rows).__name__}")
        for row in rows or ():
            if row is not None:
                parts.append(projection.empty_row())
                _fill(parts[-1], row, projection.columns, texts, f"{table}[].")
    return Cells(bytes(texts), np.concatenate(parts), len(parts) - 1)


def _fill(cells: Any, record: Any, fields: tuple[Field, ...], texts: bytearray, place: str) -> None:
    numbers = cells.view(np.float64)
    for cell, field in enumerate(fields):
        value = record
        for name in field.path.split("."):
            if value is not None and not isinstance(value, dict):
                raise AlertError("bad_value", f"{place}{field.path}: not a record but {type(value).__name__}")
            known = value is not None and name in value
            value = value.get(name) if value is not None else None
        if field.type is Type.PRESENT:
            cells[cell] = known
        elif value is None:
            continue
        elif field.type is Type.SIGN and not isinstance(value, str | bytes):
            cells[cell] = {1: POSITIVE, 0: NEGATIVE, -1: NEGATIVE}.get(value, UNKNOWN)
        elif field.type in (Type.TEXT, Type.SIGN):
            text = value if isinstance(value, bytes) else str(value).encode()
            cells[cell] = len(texts) << 32 | len(text)
            texts += text
        elif not isinstance(value, int | float):
            raise AlertError("bad_value", f"{place}{field.path} is not a number but {type(value).__name__}")
        elif field.type is Type.NUMBER:
            numbers[cell] = value
        else:
            cells[cell] = _integer(value, place + field.path)


def _integer(value: int | float, path: str) -> int:
    if not float(value).is_integer() or not -(2**63) <= value < 2**63:
        raise AlertError("bad_value", f"{path} is {value}, not a 64-bit integer")
    return int(value)
