"""Position sources in SQLite, for `service.store.joining`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from service.store import encoding
from service.store.blocks import all_changes
from service.store.interface import StoredObject
from service.store.joining import Box, PositionSource
from service.store.sky import NamedPosition, cell_of
from service.store.sqlite.rows import load_objects, nan_for_null, write_blocks

_COLUMNS = "source_id, ra, dec, last_mjd, light_curve, object_id"


class SqliteSources:
    """See `JoinTables`; the transaction must hold the write lock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def any_sources(self) -> bool:
        return self._connection.execute("SELECT 1 FROM sources LIMIT 1").fetchone() is not None

    def sources(self, source_ids: Sequence[str]) -> dict[str, PositionSource]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM sources WHERE source_id IN (SELECT value FROM json_each(?))", (_json(source_ids),)
        )
        return _sources(rows)

    def sources_in(self, boxes: Sequence[Box]) -> dict[str, PositionSource]:
        rows = self._connection.execute(
            f"""
            SELECT {_COLUMNS} FROM json_each(?) AS box CROSS JOIN sources
            ON cell = json_extract(box.value, '$[0]')
            AND dec BETWEEN json_extract(box.value, '$[1]') AND json_extract(box.value, '$[2]')
            """,
            (_json([(box.cell, box.low, box.high) for box in boxes]),),
        )
        return _sources(rows)

    def sources_of(self, object_ids: Sequence[str]) -> list[PositionSource]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM sources WHERE object_id IN (SELECT value FROM json_each(?))", (_json(object_ids),)
        )
        return list(_sources(rows).values())

    def objects(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        return load_objects(self._connection, object_ids)

    def object_positions(self, boxes: Sequence[Box], object_ids: Sequence[str]) -> list[NamedPosition]:
        rows = self._connection.execute(
            """
            SELECT object_id, ra, dec FROM objects WHERE cell IN (SELECT value FROM json_each(?))
            UNION SELECT object_id, ra, dec FROM objects WHERE object_id IN (SELECT value FROM json_each(?))
            """,
            (_json(sorted({box.cell for box in boxes})), _json(object_ids)),
        )
        return [NamedPosition(name, nan_for_null(ra), nan_for_null(dec)) for name, ra, dec in rows]

    def write_sources(self, sources: Sequence[PositionSource]) -> None:
        self._connection.executemany(
            """
            INSERT INTO sources (source_id, ra, dec, cell, last_mjd, object_id, light_curve)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (source_id) DO UPDATE SET ra = excluded.ra, dec = excluded.dec, cell = excluded.cell,
                last_mjd = excluded.last_mjd, object_id = excluded.object_id, light_curve = excluded.light_curve
            """,
            [
                (
                    s.stored.object_id, s.stored.ra, s.stored.dec, cell_of(s.stored.ra, s.stored.dec),
                    s.stored.last_mjd, s.host, encoding.encode_light_curve(s.stored.light_curve),
                )
                for s in sources
            ],
        )  # fmt: skip

    def write_objects(self, objects: Sequence[StoredObject], before: Mapping[str, StoredObject]) -> None:
        found = all_changes(objects, before)
        self._connection.executemany(
            "UPDATE objects SET light_curve = ? WHERE object_id = ?",
            [
                (encoding.encode_light_curve(each.newest, each.continues), o.object_id)
                for o, each in zip(objects, found, strict=True)
            ],
        )
        write_blocks(self._connection, objects, found)

    def forget_latest(self, names: Sequence[str]) -> None:
        if names:
            self._connection.execute(
                """
                DELETE FROM latest WHERE object_id IN (SELECT value FROM json_each(?))
                AND object_id NOT IN (SELECT object_id FROM objects WHERE object_id IN (SELECT value FROM json_each(?)))
                """,
                (_json(names), _json(names)),
            )


def _sources(rows: sqlite3.Cursor) -> dict[str, PositionSource]:
    return {
        name: PositionSource(
            StoredObject(
                name, nan_for_null(ra), nan_for_null(dec), last_mjd, encoding.decode_light_curve(light_curve, name)
            ),
            host,
        )
        for name, ra, dec, last_mjd, light_curve, host in rows
    }


def _json(values: Any) -> str:
    return orjson.dumps(list(values)).decode()
