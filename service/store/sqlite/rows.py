"""Rows of SQLite's table of objects."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from math import nan

import orjson

from service.store import encoding
from service.store.blocks import Changes
from service.store.interface import StoredObject
from service.store.kept import KeptBlocks, by_object


def load_objects(connection: sqlite3.Connection, object_ids: Sequence[str]) -> dict[str, StoredObject]:
    """The stored objects among `object_ids`."""
    if connection.in_transaction:
        return _load_objects(connection, object_ids)
    connection.execute("BEGIN")  # so that rows and their blocks are of the same moment
    try:
        return _load_objects(connection, object_ids)
    finally:
        connection.execute("COMMIT")


def _load_objects(connection: sqlite3.Connection, object_ids: Sequence[str]) -> dict[str, StoredObject]:
    rows = connection.execute(
        """
        SELECT object_id, ra, dec, last_mjd, light_curve, context FROM objects
        WHERE object_id IN (SELECT value FROM json_each(?))
        """,
        (orjson.dumps(list(object_ids)).decode(),),
    )
    found = {}
    continuing = {}
    for object_id, ra, dec, last_mjd, packed, context in rows:
        light_curve, continues = encoding.decode_newest(packed, object_id)
        found[object_id] = StoredObject(
            object_id,
            nan if ra is None else ra,
            nan if dec is None else dec,
            last_mjd,
            light_curve,
            encoding.decode_context(context),
        )
        if continues:
            continuing[object_id] = found[object_id]
    if continuing:
        blocks: dict[str, list[tuple[int, bytes]]] = {}
        for object_id, number, packed in connection.execute(
            """
            SELECT object_id, number, light_curve FROM blocks
            WHERE object_id IN (SELECT value FROM json_each(?))
            """,
            (orjson.dumps(list(continuing)).decode(),),
        ):
            blocks.setdefault(object_id, []).append((number, packed))
        for object_id, stored in continuing.items():
            found[object_id] = encoding.with_blocks(stored, sorted(blocks.get(object_id, [])))
    return found


def write_blocks(connection: sqlite3.Connection, objects: Sequence[StoredObject], found: Sequence[Changes]) -> None:
    """Write the blocks of `objects` that differ from the stored ones."""
    connection.executemany(
        """
        INSERT INTO blocks (object_id, number, light_curve) VALUES (?, ?, ?)
        ON CONFLICT (object_id, number) DO UPDATE SET light_curve = excluded.light_curve
        """,
        [
            (o.object_id, number, encoding.encode_light_curve(block))
            for o, each in zip(objects, found, strict=True)
            for number, block in each.blocks
        ],
    )


def kept_of(connection: sqlite3.Connection, object_ids: Sequence[str]) -> dict[str, dict[str, bytes]]:
    """What models have kept of objects; see `Store.kept_blocks`."""
    return by_object(
        connection.execute(
            """
            SELECT object_id, embeds_as, embeddings FROM kept_blocks
            WHERE object_id IN (SELECT value FROM json_each(?))
            """,
            (orjson.dumps(list(object_ids)).decode(),),
        )
    )


def keep(connection: sqlite3.Connection, kept: Sequence[KeptBlocks], in_use: Collection[str]) -> None:
    """Write what models keep of objects; see `Store.keep_blocks`."""
    connection.execute(
        """
        DELETE FROM kept_blocks WHERE object_id IN (SELECT value FROM json_each(?))
        AND embeds_as NOT IN (SELECT value FROM json_each(?))
        """,
        (orjson.dumps([each.object_id for each in kept]).decode(), orjson.dumps(sorted(in_use)).decode()),
    )
    connection.executemany(
        """
        INSERT INTO kept_blocks (object_id, embeds_as, embeddings)
        SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM objects WHERE object_id = ?)
        ON CONFLICT (object_id, embeds_as) DO UPDATE SET embeddings = excluded.embeddings
        """,
        [(each.object_id, each.embeds_as, each.embeddings, each.object_id) for each in kept],
    )


def nan_for_null(value: float | None) -> float:
    return nan if value is None else value
