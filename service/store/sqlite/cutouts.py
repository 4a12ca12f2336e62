"""Pictures in SQLite, bounded in size: the ones kept first go first."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from service.store.interface import StoredCutouts, newest_cutouts

# Rows that one look for the oldest brings; a batch replaces at most as many as it has objects.
_CHUNK = 256


def keep(connection: sqlite3.Connection, cutouts: Sequence[StoredCutouts], most_bytes: int) -> None:
    names = [each.object_id for each in cutouts]
    rows = connection.execute(
        "SELECT object_id, mjd, candid FROM cutouts WHERE object_id IN (SELECT value FROM json_each(?))",
        (orjson.dumps(names).decode(),),
    )
    newer = newest_cutouts(cutouts, {name: (mjd, candid) for name, mjd, candid in rows})
    forget(connection, [each.object_id for each in newer])
    connection.executemany(
        """
        INSERT INTO cutouts (object_id, candid, mjd, bytes, science, template, difference)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        [(c.object_id, c.candid, c.mjd, c.nbytes, c.science, c.template, c.difference) for c in newer],
    )
    _count(connection, sum(each.nbytes for each in newer))
    _shrink(connection, most_bytes)


def read(connection: sqlite3.Connection, object_id: str) -> StoredCutouts | None:
    row = connection.execute(
        "SELECT object_id, candid, mjd, science, template, difference FROM cutouts WHERE object_id = ?", (object_id,)
    ).fetchone()
    return None if row is None else StoredCutouts(*row)


def forget(connection: sqlite3.Connection, object_ids: Sequence[str]) -> None:
    """Delete the pictures of these objects."""
    gone = connection.execute(
        "DELETE FROM cutouts WHERE object_id IN (SELECT value FROM json_each(?)) RETURNING bytes",
        (orjson.dumps(list(object_ids)).decode(),),
    ).fetchall()
    _count(connection, -sum(size for (size,) in gone))


def _shrink(connection: sqlite3.Connection, most_bytes: int) -> None:
    while (total := connection.execute("SELECT bytes FROM cutout_total").fetchone()[0]) > most_bytes:
        oldest = connection.execute("SELECT object_id, bytes FROM cutouts ORDER BY rowid LIMIT ?", (_CHUNK,)).fetchall()
        chosen = []
        for object_id, size in oldest:
            if total <= most_bytes:
                break
            chosen.append(object_id)
            total -= size
        if not chosen:
            return
        forget(connection, chosen)


def _count(connection: sqlite3.Connection, more: int) -> None:
    if more:
        connection.execute("UPDATE cutout_total SET bytes = bytes + ?", (more,))
