"""Statements and rows that the parts of the PostgreSQL store share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, LiteralString

import psycopg

from service.store import encoding
from service.store.interface import StoredObject
from service.store.sky import cell_of

Connection = psycopg.Connection[tuple[Any, ...]]

# Rows to be written are locked in the order of their names, so that replicas can't deadlock.
LOCKED: Final[LiteralString] = "ORDER BY object_id FOR NO KEY UPDATE"


def load_objects(
    connection: Connection, object_ids: Sequence[str], locking: LiteralString = ""
) -> dict[str, StoredObject]:
    """The stored objects among `object_ids`."""
    rows = execute(
        connection,
        f"""
        SELECT object_id, ra, dec, last_mjd, light_curve FROM alert_classifier.objects
        WHERE object_id = ANY(%s) {locking}
        """,
        [list(object_ids)],
    )
    return {
        object_id: StoredObject(object_id, ra, dec, last_mjd, encoding.decode_light_curve(light_curve, object_id))
        for object_id, ra, dec, last_mjd, light_curve in rows
    }


def object_columns(objects: Sequence[StoredObject]) -> list[list[Any]]:
    """object_id, ra, dec, cell, last_mjd, light_curve: one list each."""
    return transposed(
        (
            o.object_id, float(o.ra), float(o.dec), cell_of(o.ra, o.dec), o.last_mjd,
            encoding.encode_light_curve(o.light_curve),
        )
        for o in objects
    )  # fmt: skip


def transposed(rows: Iterator[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def write(connection: Connection, sql: LiteralString, columns: list[list[Any]]) -> int:
    return execute(connection, sql, columns).rowcount


def execute(
    connection: Connection, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()
) -> psycopg.Cursor[tuple[Any, ...]]:
    """Run a statement with results in binary, so that bytes are not sent as hexadecimal."""
    return connection.cursor(binary=True).execute(sql, parameters)
