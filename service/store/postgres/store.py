"""The shared store: PostgreSQL (13 or later), for several replicas of the service. Needs the `postgres` extra."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, LiteralString

from service.errors import MissingExtraError
from service.store.blocks import all_changes
from service.store.encoding import encode_light_curve
from service.store.interface import Increment, StoredClassification, StoredObject, StoreStatistics
from service.store.joining import (
    JOIN_RADIUS_ARCSEC,
    join_batch,
    join_waiting_sources,
    with_waiting_sources,
)
from service.store.kept import KeptBlocks, last_of_each
from service.store.listing import Run
from service.store.merging import merge_batch
from service.store.reading import ReadingStore, T
from service.store.watches import Watching

try:
    from service.store.postgres import classifications as postgres_classifications
    from service.store.postgres.connections import Connections, OvertakenError
    from service.store.postgres.rows import (
        LOCKED,
        Connection,
        execute,
        keep,
        kept_of,
        load_objects,
        with_contexts,
        write,
        write_blocks,
    )
    from service.store.postgres.sources import PostgresSources, lock_exclusive, lock_shared, try_lock_shared
except ImportError as error:
    raise MissingExtraError(
        "the PostgreSQL store needs the postgres extra: pip install 'alert-classifier[postgres]'"
    ) from error

PRUNE_CHUNK: Final = 2000  # objects deleted per transaction: some 100 ms


class PostgresStore(ReadingStore[Connection]):
    """See `Store`. `dsn` is a URL or a libpq connection string.

    The server need not be running: tables are made or migrated at the first call that reaches it, under a lock so that
    only one replica does it. Calls raise StoreVersionError if the tables are too new. Photometry by position joins
    objects within `join_radius_arcsec`; 0: none.
    """

    _classifications, _sources = postgres_classifications, PostgresSources
    _objects, _kept = staticmethod(load_objects), staticmethod(kept_of)

    def __init__(self, dsn: str, join_radius_arcsec: float = JOIN_RADIUS_ARCSEC, *, create: bool = True) -> None:
        self._join_radius, self._watching = join_radius_arcsec, Watching()
        self._connections = Connections(dsn, create)

    def merge(self, increments: Sequence[Increment]) -> list[StoredObject]:
        if not increments:
            return []
        ids = sorted({increment.object_id for increment in increments})

        patient = False  # waiting for the lock costs a round trip, so first try without

        def transaction(connection: Connection) -> list[StoredObject]:
            # Rows are locked in sorted order, then new ones inserted in sorted order. If another replica inserts one of
            # ours in between, we start again, because waiting for it here could deadlock.
            nonlocal patient
            if patient:
                lock_shared(connection)
            stored = load_objects(connection, ids, LOCKED)
            known, changed = merge_batch(stored, increments)
            new = [o for o in changed if o.object_id not in stored]
            if new and not patient and not try_lock_shared(connection):
                patient = True
                raise OvertakenError
            found = all_changes(changed, stored)
            packed = {
                o.object_id: encode_light_curve(each.newest, each.continues)
                for o, each in zip(changed, found, strict=True)
            }
            if new:
                columns = with_contexts(new, [packed[o.object_id] for o in new])
                if write(connection, _INSERT_OBJECTS, columns) < len(new):
                    raise OvertakenError
            if len(changed) > len(new):
                old = [o for o in changed if o.object_id in stored]
                write(connection, _UPDATE_OBJECTS, with_contexts(old, [packed[o.object_id] for o in old]))
            write_blocks(connection, changed, found)
            if not new:
                return known
            return with_waiting_sources(
                known, join_waiting_sources(PostgresSources(connection), new, self._join_radius)
            )

        return self._connections.transact(transaction)

    def join(self, increments: Sequence[Increment]) -> list[StoredObject]:
        if not increments:
            return []

        def transaction(connection: Connection) -> list[StoredObject]:
            lock_exclusive(connection)
            return join_batch(PostgresSources(connection), increments, self._join_radius)

        return self._connections.transact(transaction)

    def record(self, classifications: Sequence[StoredClassification]) -> None:
        if not classifications:
            return

        def transaction(connection: Connection) -> None:
            postgres_classifications.record(connection, classifications)
            run = partial(postgres_classifications.run, connection)
            self._watching.notice(run, postgres_classifications.TABLES, classifications)

        self._connections.transact(transaction)

    def _write(self, change: Callable[[Run], T]) -> T:
        return self._connections.transact(lambda connection: change(partial(postgres_classifications.run, connection)))

    def keep_blocks(self, kept: Sequence[KeptBlocks], in_use: Collection[str]) -> None:
        if not kept:
            return
        last = last_of_each(kept)
        self._connections.transact(lambda connection: keep(connection, last, in_use))

    def prune(self, older_than_mjd: float) -> int:
        with self._connections.connection() as connection:
            rows = execute(
                connection,
                """
                SELECT object_id FROM alert_classifier.objects WHERE last_mjd < %(limit)s
                UNION SELECT source_id FROM alert_classifier.sources WHERE last_mjd < %(limit)s ORDER BY 1
                """,
                {"limit": older_than_mjd},
            ).fetchall()
        old = [object_id for (object_id,) in rows]
        pruned = 0
        for start in range(0, len(old), PRUNE_CHUNK):
            chunk = old[start : start + PRUNE_CHUNK]
            pruned += self._connections.transact(partial(_prune, names=chunk, older_than_mjd=older_than_mjd))
        return pruned

    def statistics(self) -> StoreStatistics:
        with self._connections.connection() as connection:
            objects = _count(connection, "objects")
            classifications = _count(connection, "history")
            row = execute(
                connection,
                """
                SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
                WHERE relnamespace = 'alert_classifier'::regnamespace AND relkind = 'r'
                """,
            ).fetchone()
            sources = _count(connection, "sources")
        return StoreStatistics(objects, classifications, row[0] if row else 0, sources)

    def check(self) -> None:
        with self._connections.connection() as connection:
            execute(connection, "UPDATE alert_classifier.schema_version SET checked_at = now()")

    def close(self) -> None:
        self._connections.close()

    def _reader(self) -> AbstractContextManager[Connection]:
        return self._connections.connection()

    def _snapshot(self, connection: Connection) -> AbstractContextManager[object]:
        return connection.transaction()


_INSERT_OBJECTS: Final[LiteralString] = """
    INSERT INTO alert_classifier.objects (object_id, ra, dec, cell, last_mjd, light_curve, context)
    SELECT * FROM unnest(%b::text[], %b::float8[], %b::float8[], %b::int4[], %b::float8[], %b::bytea[], %b::bytea[])
    ON CONFLICT DO NOTHING
"""
_UPDATE_OBJECTS: Final[LiteralString] = """
    UPDATE alert_classifier.objects AS o
    SET ra = n.ra, dec = n.dec, cell = n.cell, last_mjd = n.last_mjd, light_curve = n.light_curve, context = n.context
    FROM unnest(%b::text[], %b::float8[], %b::float8[], %b::int4[], %b::float8[], %b::bytea[], %b::bytea[])
         AS n (object_id, ra, dec, cell, last_mjd, light_curve, context)
    WHERE o.object_id = n.object_id
"""


def _prune(connection: Connection, names: list[str], older_than_mjd: float) -> int:
    lock_exclusive(connection)  # nothing may join what is being deleted
    # skip those that got an alert since they were chosen
    objects, sources = (
        {name for (name,) in execute(connection, delete, [names, older_than_mjd]).fetchall()}
        for delete in (
            """
            DELETE FROM alert_classifier.objects WHERE object_id = ANY(%s) AND last_mjd < %s RETURNING object_id
            """,
            """
            DELETE FROM alert_classifier.sources WHERE source_id = ANY(%s) AND last_mjd < %s RETURNING source_id
            """,
        )
    )
    execute(connection, "DELETE FROM alert_classifier.blocks WHERE object_id = ANY(%s)", [sorted(objects)])
    execute(connection, "DELETE FROM alert_classifier.kept_blocks WHERE object_id = ANY(%s)", [sorted(objects)])
    execute(
        connection, "UPDATE alert_classifier.sources SET object_id = NULL WHERE object_id = ANY(%s)", [sorted(objects)]
    )
    gone = sorted(objects | sources)
    # an object and a source may have the same name
    left = execute(
        connection,
        """
        SELECT object_id FROM alert_classifier.objects WHERE object_id = ANY(%(gone)s)
        UNION SELECT source_id FROM alert_classifier.sources WHERE source_id = ANY(%(gone)s)
        """,
        {"gone": gone},
    ).fetchall()
    nameless = sorted(set(gone) - {name for (name,) in left})
    execute(connection, "DELETE FROM alert_classifier.history WHERE object_id = ANY(%s)", [nameless])
    execute(connection, "DELETE FROM alert_classifier.latest WHERE object_id = ANY(%s)", [nameless])
    return len(gone)


def _count(connection: Connection, table: LiteralString) -> int:
    """The planner's estimate; below 100,000 rows the exact count, because counting reads every row."""
    row = execute(
        connection,
        f"""
        SELECT CASE WHEN reltuples > 100000 THEN reltuples::bigint
                    ELSE (SELECT count(*) FROM alert_classifier.{table}) END
        FROM pg_class WHERE oid = 'alert_classifier.{table}'::regclass
        """,
    ).fetchone()
    return int(row[0]) if row else 0
