"""Statements and rows that the parts of the PostgreSQL store share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, LiteralString

import psycopg

from service.store import encoding
from service.store.blocks import Changes
from service.store.interface import StoredObject
from service.store.kept import KeptBlocks, by_object
from service.store.sky import cell_of

Connection = psycopg.Connection[tuple[Any, ...]]

# Rows to be written are locked in the order of their names, so that replicas can't deadlock.
LOCKED: Final[LiteralString] = "ORDER BY object_id FOR NO KEY UPDATE"


def load_objects(
    connection: Connection, object_ids: Sequence[str], locking: LiteralString = ""
) -> dict[str, StoredObject]:
    """The stored objects among `object_ids`."""
    names = list(object_ids)
    rows = execute(connection, f"{_ROWS} {locking}", [names]) if locking else execute(connection, _BOTH, [names, names])
    found = {}
    blocks: dict[str, list[tuple[int, bytes]]] = {}
    continuing = []
    for object_id, packed, number, ra, dec, last_mjd, context in rows:
        if number is not None:
            blocks.setdefault(object_id, []).append((number, packed))
            continue
        light_curve, continues = encoding.decode_newest(packed, object_id)
        found[object_id] = StoredObject(object_id, ra, dec, last_mjd, light_curve, encoding.decode_context(context))
        continuing += [object_id] if continues else []
    if locking and continuing:  # a statement of its own sees what others committed while this one waited for the lock
        for object_id, packed, number, *_ in execute(connection, f"{_BLOCKS} ORDER BY number", [continuing]):
            blocks.setdefault(object_id, []).append((number, packed))
    for object_id in continuing:
        found[object_id] = encoding.with_blocks(found[object_id], blocks.get(object_id, []))
    return found


def object_columns(objects: Sequence[StoredObject], packed: Sequence[bytes]) -> list[list[Any]]:
    """object_id, ra, dec, cell, last_mjd, light_curve (`packed`): one list each."""
    return transposed(
        (o.object_id, float(o.ra), float(o.dec), cell_of(o.ra, o.dec), o.last_mjd, light_curve)
        for o, light_curve in zip(objects, packed, strict=True)
    )


def write_blocks(connection: Connection, objects: Sequence[StoredObject], found: Sequence[Changes]) -> None:
    """Write the blocks of `objects`, whose rows are locked, that differ from the stored ones."""
    blocks = [
        (o.object_id, number, encoding.encode_light_curve(block))
        for o, each in zip(objects, found, strict=True)
        for number, block in each.blocks
    ]
    if blocks:
        write(connection, _UPSERT_BLOCKS, transposed(iter(blocks)))


def kept_of(connection: Connection, object_ids: Sequence[str]) -> dict[str, dict[str, bytes]]:
    """What models have kept of objects; see `Store.kept_blocks`."""
    return by_object(
        execute(
            connection,
            "SELECT object_id, embeds_as, embeddings FROM alert_classifier.kept_blocks WHERE object_id = ANY(%s)",
            [list(object_ids)],
        )
    )


def keep(connection: Connection, kept: Sequence[KeptBlocks], in_use: Collection[str]) -> None:
    """Write what models keep of objects; see `Store.keep_blocks`."""
    names = sorted({each.object_id for each in kept})
    locked = f"SELECT object_id FROM alert_classifier.objects WHERE object_id = ANY(%s) {LOCKED}"
    there = {object_id for (object_id,) in execute(connection, locked, [names])}
    execute(
        connection,
        "DELETE FROM alert_classifier.kept_blocks WHERE object_id = ANY(%s) AND embeds_as <> ALL(%s)",
        [sorted(there), sorted(in_use)],
    )
    rows = [(each.object_id, each.embeds_as, each.embeddings) for each in kept if each.object_id in there]
    if rows:
        write(connection, _UPSERT_KEPT, transposed(iter(rows)))


_ROWS: Final[LiteralString] = """
    SELECT object_id, light_curve, NULL::integer, ra, dec, last_mjd, context FROM alert_classifier.objects
    WHERE object_id = ANY(%s)
"""
_BLOCKS: Final[LiteralString] = """
    SELECT object_id, light_curve, number, NULL::float8, NULL::float8, NULL::float8, NULL::bytea
    FROM alert_classifier.blocks
    WHERE object_id = ANY(%s)
"""
_BOTH: Final[LiteralString] = f"{_ROWS} UNION ALL {_BLOCKS} ORDER BY 3"
_UPSERT_BLOCKS: Final[LiteralString] = """
    INSERT INTO alert_classifier.blocks (object_id, number, light_curve)
    SELECT * FROM unnest(%b::text[], %b::int4[], %b::bytea[])
    ON CONFLICT (object_id, number) DO UPDATE SET light_curve = excluded.light_curve
"""
_UPSERT_KEPT: Final[LiteralString] = """
    INSERT INTO alert_classifier.kept_blocks (object_id, embeds_as, embeddings)
    SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[])
    ON CONFLICT (object_id, embeds_as) DO UPDATE SET embeddings = excluded.embeddings
"""


def with_contexts(objects: Sequence[StoredObject], packed: Sequence[bytes]) -> list[list[Any]]:
    """`object_columns`, and the context, which position sources don't have."""
    return [*object_columns(objects, packed), [encoding.encode_context(o.context) for o in objects]]


def transposed(rows: Iterator[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def write(connection: Connection, sql: LiteralString, columns: list[list[Any]]) -> int:
    return execute(connection, sql, columns).rowcount


def execute(
    connection: Connection, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()
) -> psycopg.Cursor[tuple[Any, ...]]:
    """Run a statement with results in binary, so that bytes are not sent as hexadecimal."""
    return connection.cursor(binary=True).execute(sql, parameters)
