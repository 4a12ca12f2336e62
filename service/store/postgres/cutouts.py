"""Pictures in PostgreSQL, bounded in size: the ones kept first go first.

The row of cutout_total is locked before any other, here and in a prune, so that replicas can't deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.store.interface import StoredCutouts, newest_cutouts
from service.store.postgres.rows import Connection, execute

_CHUNK = 256  # rows that one look for the oldest brings


def keep(connection: Connection, cutouts: Sequence[StoredCutouts], most_bytes: int) -> None:
    total = _lock(connection)
    rows = execute(
        connection,
        "SELECT object_id, mjd, candid FROM alert_classifier.cutouts WHERE object_id = ANY(%s)",
        [[each.object_id for each in cutouts]],
    ).fetchall()
    newer = newest_cutouts(cutouts, {name: (mjd, candid) for name, mjd, candid in rows})
    total -= _delete(connection, [each.object_id for each in newer])
    if newer:
        columns = zip(
            *((c.object_id, c.candid, c.mjd, c.nbytes, c.science, c.template, c.difference) for c in newer), strict=True
        )
        execute(
            connection,
            """
            INSERT INTO alert_classifier.cutouts (object_id, candid, mjd, bytes, science, template, difference)
            SELECT * FROM unnest(
                %b::text[], %b::int8[], %b::float8[], %b::int4[], %b::bytea[], %b::bytea[], %b::bytea[]
            )
            """,
            [list(column) for column in columns],
        )
        total += sum(each.nbytes for each in newer)
    total = _shrink(connection, total, most_bytes)
    execute(connection, "UPDATE alert_classifier.cutout_total SET bytes = %s", [total])


def read(connection: Connection, object_id: str) -> StoredCutouts | None:
    row = execute(
        connection,
        """
        SELECT object_id, candid, mjd, science, template, difference
        FROM alert_classifier.cutouts WHERE object_id = %s
        """,
        [object_id],
    ).fetchone()
    return None if row is None else StoredCutouts(*row[:3], *map(bytes, row[3:]))


def forget(connection: Connection, object_ids: Sequence[str]) -> None:
    """Delete the pictures of these objects."""
    total = _lock(connection)
    if freed := _delete(connection, object_ids):
        execute(connection, "UPDATE alert_classifier.cutout_total SET bytes = %s", [total - freed])


def _lock(connection: Connection) -> int:
    row = execute(connection, "SELECT bytes FROM alert_classifier.cutout_total FOR UPDATE").fetchone()
    assert row is not None
    return int(row[0])


def _delete(connection: Connection, object_ids: Sequence[str]) -> int:
    gone = execute(
        connection,
        "DELETE FROM alert_classifier.cutouts WHERE object_id = ANY(%s) RETURNING bytes",
        [list(object_ids)],
    ).fetchall()
    return sum(size for (size,) in gone)


def _shrink(connection: Connection, total: int, most_bytes: int) -> int:
    while total > most_bytes:
        oldest = execute(
            connection,
            "SELECT object_id, bytes FROM alert_classifier.cutouts ORDER BY number LIMIT %s",
            [_CHUNK],
        ).fetchall()
        chosen, left = [], total
        for object_id, size in oldest:
            if left <= most_bytes:
                break
            chosen.append(object_id)
            left -= size
        if not chosen:
            break
        total -= _delete(connection, chosen)
    return total
