"""Rows of SQLite's table of objects."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from math import nan

import orjson

from service.store import encoding
from service.store.interface import StoredObject


def load_objects(connection: sqlite3.Connection, object_ids: Sequence[str]) -> dict[str, StoredObject]:
    """The stored objects among `object_ids`."""
    rows = connection.execute(
        """
        SELECT object_id, ra, dec, last_mjd, light_curve FROM objects
        WHERE object_id IN (SELECT value FROM json_each(?))
        """,
        (orjson.dumps(list(object_ids)).decode(),),
    )
    return {
        object_id: StoredObject(
            object_id,
            nan if ra is None else ra,
            nan if dec is None else dec,
            last_mjd,
            encoding.decode_light_curve(light_curve, object_id),
        )
        for object_id, ra, dec, last_mjd, light_curve in rows
    }


def nan_for_null(value: float | None) -> float:
    return nan if value is None else value
