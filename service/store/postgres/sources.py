"""Position sources in PostgreSQL, for `service.store.joining`.

A source and the object that it should join may reach two replicas at the same moment, and neither transaction would see
the other's. So a transaction that adds or changes sources takes an advisory lock exclusively (`lock_exclusive`), one
that adds objects takes it shared (`lock_shared`). Transactions that add objects can run side by side: if both want the
same source, its row is locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString

import psycopg

from service.store import encoding
from service.store.blocks import all_changes
from service.store.interface import StoredObject
from service.store.joining import Box, PositionSource
from service.store.postgres.rows import (
    LOCKED,
    Connection,
    execute,
    load_objects,
    object_columns,
    transposed,
    write,
    write_blocks,
)
from service.store.sky import NamedPosition

_LOCK: Final = 0x736B79  # any number that nothing else locks; this one spells "sky"

_COLUMNS: Final[LiteralString] = "source_id, ra, dec, last_mjd, light_curve, object_id"


def lock_shared(connection: Connection) -> None:
    """For a transaction that adds objects; call it before locking any row."""
    execute(connection, "SELECT pg_advisory_xact_lock_shared(%s)", [_LOCK])


def try_lock_shared(connection: Connection) -> bool:
    """The same without waiting, so it may be called at any time; False if the lock is not available."""
    row = execute(connection, "SELECT pg_try_advisory_xact_lock_shared(%s)", [_LOCK]).fetchone()
    return row is not None and bool(row[0])


def lock_exclusive(connection: Connection) -> None:
    """Keep other transactions from adding objects or sources; call it before locking any row."""
    execute(connection, "SELECT pg_advisory_xact_lock(%s)", [_LOCK])


class PostgresSources:
    """See `JoinTables`; the transaction must hold one of the locks above, or only read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def any_sources(self) -> bool:
        return execute(self._connection, "SELECT 1 FROM alert_classifier.sources LIMIT 1").fetchone() is not None

    def sources(self, source_ids: Sequence[str]) -> dict[str, PositionSource]:
        sql: LiteralString = f"SELECT {_COLUMNS} FROM alert_classifier.sources WHERE source_id = ANY(%s)"
        return _sources(execute(self._connection, sql, [list(source_ids)]))

    def sources_in(self, boxes: Sequence[Box]) -> dict[str, PositionSource]:
        sql: LiteralString = f"""
            SELECT {_COLUMNS} FROM alert_classifier.sources WHERE source_id IN (
                SELECT source_id FROM unnest(%s::int4[], %s::float8[], %s::float8[]) AS box (cell, low, high)
                JOIN alert_classifier.sources AS s ON s.cell = box.cell AND s.dec BETWEEN box.low AND box.high
            ) ORDER BY source_id FOR UPDATE
        """
        columns = [[box.cell for box in boxes], [box.low for box in boxes], [box.high for box in boxes]]
        return _sources(execute(self._connection, sql, columns))

    def sources_of(self, object_ids: Sequence[str]) -> list[PositionSource]:
        sql: LiteralString = f"SELECT {_COLUMNS} FROM alert_classifier.sources WHERE object_id = ANY(%s)"
        return list(_sources(execute(self._connection, sql, [list(object_ids)])).values())

    def objects(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        return load_objects(self._connection, object_ids, LOCKED)

    def object_positions(self, boxes: Sequence[Box], object_ids: Sequence[str]) -> list[NamedPosition]:
        rows = execute(
            self._connection,
            """
            SELECT object_id, ra, dec FROM alert_classifier.objects WHERE cell = ANY(%s)
            UNION SELECT object_id, ra, dec FROM alert_classifier.objects WHERE object_id = ANY(%s)
            """,
            [sorted({box.cell for box in boxes}), list(object_ids)],
        )
        return [NamedPosition(*row) for row in rows]

    def write_sources(self, sources: Sequence[PositionSource]) -> None:
        if sources:
            *columns, curves = object_columns(
                [source.stored for source in sources],
                [encoding.encode_light_curve(source.stored.light_curve) for source in sources],
            )
            write(self._connection, _UPSERT, [*columns, [source.host for source in sources], curves])

    def write_objects(self, objects: Sequence[StoredObject], before: Mapping[str, StoredObject]) -> None:
        if objects:
            found = all_changes(objects, before)
            rows = (
                (o.object_id, encoding.encode_light_curve(each.newest, each.continues))
                for o, each in zip(objects, found, strict=True)
            )
            write(self._connection, _UPDATE_OBJECTS, transposed(rows))
            write_blocks(self._connection, objects, found)

    def forget_latest(self, names: Sequence[str]) -> None:
        if names:
            execute(
                self._connection,
                """
                DELETE FROM alert_classifier.latest WHERE object_id = ANY(%s) AND NOT EXISTS
                    (SELECT 1 FROM alert_classifier.objects AS o WHERE o.object_id = latest.object_id)
                """,
                [list(names)],
            )


_UPSERT: Final[LiteralString] = """
    INSERT INTO alert_classifier.sources (source_id, ra, dec, cell, last_mjd, object_id, light_curve)
    SELECT * FROM unnest(%b::text[], %b::float8[], %b::float8[], %b::int4[], %b::float8[], %b::text[], %b::bytea[])
    ON CONFLICT (source_id) DO UPDATE SET ra = excluded.ra, dec = excluded.dec, cell = excluded.cell,
        last_mjd = excluded.last_mjd, object_id = excluded.object_id, light_curve = excluded.light_curve
"""
_UPDATE_OBJECTS: Final[LiteralString] = """
    UPDATE alert_classifier.objects AS o SET light_curve = n.light_curve
    FROM unnest(%b::text[], %b::bytea[]) AS n (object_id, light_curve) WHERE o.object_id = n.object_id
"""


def _sources(rows: psycopg.Cursor[tuple[Any, ...]]) -> dict[str, PositionSource]:
    return {
        name: PositionSource(
            StoredObject(name, ra, dec, last_mjd, encoding.decode_light_curve(light_curve, name)), host
        )
        for name, ra, dec, last_mjd, light_curve, host in rows
    }
