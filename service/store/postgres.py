"""The shared store: PostgreSQL (13 or later), for several replicas of the service. Needs the `postgres` extra."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, LiteralString, TypeVar, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from service.photometry import LightCurve
from service.store import encoding
from service.store.interface import (
    Increment,
    Sort,
    StoredClassification,
    StoredObject,
    StoreStatistics,
    StoreUnavailableError,
    StoreVersionError,
    storable,
)
from service.store.joining import JOIN_RADIUS_ARCSEC, adopt, join_batch, sources_as_objects, with_adopted
from service.store.merging import ClassifierKey, classifier_key, latest_per_object, merge_batch
from service.store.migrations import migrations
from service.store.paging import Page
from service.store.sky import Cone

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg_pool import ConnectionPool, PoolTimeout

    from service.store.postgres_rows import LOCKED, Connection, execute, load_objects, object_columns, transposed, write
    from service.store.postgres_sources import PostgresSources, keep_still, may_move, may_move_now
except ImportError as error:
    raise ImportError(
        "the PostgreSQL store needs the postgres extra: pip install 'alert-classifier[postgres]'"
    ) from error

_log = logging.getLogger(__name__)

# One connection writes batches, a few answer the API; PostgreSQL allows 100 in all by default, for all replicas.
POOL_SIZE: Final = 8

# How long a call waits for a connection. While the server is away each call takes this long to say so.
CONNECTION_TIMEOUT_S: Final = 3.0

# Defaults that the url may override: a server that vanished without a word (network cut) is noticed within 10 s.
CONNECTION_DEFAULTS: Final = {
    "application_name": "alert-classifier",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

# A frozen replica may hold rows that others wait for: they give up after the first, the server frees the rows after
# the last. A batch takes some 20 ms, so none of these is reached in health.
SESSION: Final[LiteralString] = """
    SET lock_timeout = '10s'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '15s'
"""

# Times that a transaction is run again when another replica got in its way, before the caller is told to wait.
ATTEMPTS: Final = 10

PRUNE_CHUNK: Final = 2000  # objects forgotten per transaction: some 100 ms

_MIGRATION_LOCK: Final = 0x616C657274  # any constant that no one else locks; this one spells "alert"

_LATEST: Final[LiteralString] = """
    SELECT object_id, candid, classifiers.classifier, version, mjd, published_at, top_class, top_probability,
           document, sample, embedding
    FROM alert_classifier.latest JOIN alert_classifier.classifiers ON number = latest.classifier
"""

_T = TypeVar("_T")


class _OvertakenError(Exception):
    """Another replica inserted one of our objects after we looked, or brings photometry that ours may be near."""


class PostgresStore:
    """See `Store`. `dsn` is a URL or a libpq connection string.

    The server need not be up: tables are made or brought up to date at the first call that reaches it, under a lock
    that several replicas may contend for. Calls raise StoreVersionError where the tables are too new. Photometry by
    position joins objects within `join_radius_arcsec`; 0: none.
    """

    def __init__(self, dsn: str, join_radius_arcsec: float = JOIN_RADIUS_ARCSEC) -> None:
        self._join_radius = join_radius_arcsec
        settings = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
        self._place = f"{settings.get('host', 'localhost')}/{settings.get('dbname', '')}"
        self._conninfo = make_conninfo(**(CONNECTION_DEFAULTS | settings))
        self._ready = False
        self._ready_lock = threading.Lock()
        self._pool = ConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=POOL_SIZE,
            timeout=CONNECTION_TIMEOUT_S,
            # tries double their distance until this gives up; the next call then tries at once
            reconnect_timeout=CONNECTION_TIMEOUT_S,
            configure=_configure,
            # one short round trip per batch; without it every pooled connection of a restarted server fails a batch
            check=ConnectionPool.check_connection,
            open=True,
            name="alert-classifier-store",
        )

    def merge(self, increments: Sequence[Increment]) -> list[LightCurve]:
        if not increments:
            return []
        ids = sorted({increment.object_id for increment in increments})

        patient = False  # only after an attempt that could not have the lock at once: it costs a round trip

        def transaction(connection: Connection) -> list[LightCurve]:
            # Rows are locked in sorted order, then new ones inserted in sorted order. A replica that inserts one of
            # ours in between makes us start again: waiting for it here could close a circle of waits.
            nonlocal patient
            if patient:
                may_move(connection)
            stored = load_objects(connection, ids, LOCKED)
            known, changed = merge_batch(stored, increments)
            new = [o for o in changed if o.object_id not in stored]
            if new and not patient and not may_move_now(connection):
                patient = True
                raise _OvertakenError
            if new and write(connection, _INSERT_OBJECTS, object_columns(new)) < len(new):
                raise _OvertakenError
            if len(changed) > len(new):
                write(connection, _UPDATE_OBJECTS, object_columns([o for o in changed if o.object_id in stored]))
            if not new:
                return known
            return with_adopted(known, increments, adopt(PostgresSources(connection), new, self._join_radius))

        return self._transact(transaction)

    def join(self, increments: Sequence[Increment]) -> list[StoredObject]:
        if not increments:
            return []

        def transaction(connection: Connection) -> list[StoredObject]:
            keep_still(connection)
            return join_batch(PostgresSources(connection), increments, self._join_radius)

        return self._transact(transaction)

    def load(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        names = list(filter(storable, object_ids))
        with self._connection() as connection:
            found = load_objects(connection, names)
            if len(found) < len(set(names)):
                with connection.transaction():
                    found |= sources_as_objects(PostgresSources(connection), [n for n in names if n not in found])
        return found

    def joined(self, object_id: str) -> list[str]:
        if not storable(object_id):
            return []
        with self._connection() as connection:
            return sorted(s.stored.object_id for s in PostgresSources(connection).sources_of([object_id]))

    def record(self, classifications: Sequence[StoredClassification]) -> None:
        if not classifications:
            return

        def transaction(connection: Connection) -> None:
            classifiers = _registered(connection, classifications)
            numbers = {key: number for key, (number, _) in classifiers.items()}
            history = sorted(classifications, key=lambda c: (c.object_id, c.candid, numbers[classifier_key(c)]))
            write(
                connection,
                _INSERT_HISTORY,
                transposed(
                    (
                        c.object_id, c.candid, numbers[classifier_key(c)], c.active, float(c.mjd),
                        float(c.published_at), c.top_class, float(c.top_probability),
                        encoding.encode_probabilities(c.document),
                    )
                    for c in history
                ),
            )  # fmt: skip
            latest = latest_per_object(classifications)
            if latest:
                write(
                    connection,
                    _UPSERT_LATEST,
                    transposed(
                        (
                            c.object_id, c.candid, number, float(c.mjd), float(c.published_at), c.top_class,
                            float(c.top_probability), encoding.encode_document(c.document, sample),
                            encoding.encode_embedding(c.embedding),
                        )
                        for c in latest
                        for number, sample in (classifiers[classifier_key(c)],)
                    ),
                )  # fmt: skip

        self._transact(transaction)

    def latest(self, object_id: str) -> StoredClassification | None:
        if not storable(object_id):
            return None
        with self._connection() as connection:
            row = execute(connection, f"{_LATEST} WHERE object_id = %s", [object_id]).fetchone()
        return None if row is None else encoding.decode_latest(row)

    def query(
        self,
        *,
        top_class: str | None = None,
        min_probability: float = 0.0,
        since: float | None = None,
        cone: Cone | None = None,
        sort: Sort = "newest",
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[list[StoredClassification], str | None]:
        page = Page(top_class, min_probability, since, cone is not None, sort, limit, cursor)
        parameters = page.parameters
        with self._connection() as connection:
            if cone is not None:
                rows = execute(
                    connection,
                    """
                    SELECT object_id, ra, dec FROM alert_classifier.objects WHERE cell = ANY(%(cells)s)
                    UNION ALL SELECT source_id, ra, dec FROM alert_classifier.sources
                    WHERE cell = ANY(%(cells)s) AND object_id IS NULL
                    """,
                    {"cells": cone.cells()},
                ).fetchall()
                parameters["object_ids"] = cone.select(rows)
            chosen = page.chosen("alert_classifier.latest", "(SELECT unnest(:object_ids::text[]))")
            # psycopg writes a placeholder as %(name)s; `::` is PostgreSQL's cast
            chosen = re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", chosen)
            found = execute(connection, f"{_LATEST} WHERE object_id IN ({chosen}) {page.order}", parameters).fetchall()
        return page.cut([encoding.decode_latest(row) for row in found])

    def class_mix(self, since: float) -> dict[str, int]:
        with self._connection() as connection:
            return dict(
                execute(
                    connection,
                    """
                    SELECT top_class, count(*) FROM alert_classifier.latest WHERE published_at >= %s
                    GROUP BY top_class ORDER BY top_class COLLATE "C"
                    """,
                    [since],
                ).fetchall()
            )

    def embeddings(self, classifier: str, version: str, limit: int = 100_000) -> tuple[list[str], NDArray[np.float16]]:
        with self._connection() as connection:
            rows = execute(
                connection,
                """
                SELECT object_id, embedding
                FROM alert_classifier.latest JOIN alert_classifier.classifiers ON number = latest.classifier
                WHERE embedding IS NOT NULL AND classifiers.classifier = %s AND version = %s
                ORDER BY published_at DESC, object_id DESC LIMIT %s
                """,
                [classifier, version, limit],
            ).fetchall()
        return encoding.decode_embeddings(rows)

    def history(self, object_id: str, limit: int = 1000) -> list[StoredClassification]:
        if not storable(object_id):
            return []
        with self._connection() as connection:
            rows = execute(
                connection,
                """
                SELECT object_id, candid, classifiers.classifier, version, mjd, published_at, top_class,
                       top_probability, active, probabilities, classes
                FROM alert_classifier.history JOIN alert_classifier.classifiers ON number = history.classifier
                WHERE object_id = %s ORDER BY mjd DESC, candid DESC, published_at DESC LIMIT %s
                """,
                [object_id, limit],
            ).fetchall()
        return [encoding.decode_history(row) for row in reversed(rows)]

    def prune(self, older_than_mjd: float) -> int:
        with self._connection() as connection:
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
            pruned += self._transact(partial(_prune, names=chunk, older_than_mjd=older_than_mjd))
        return pruned

    def statistics(self) -> StoreStatistics:
        with self._connection() as connection:
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
        with self._connection() as connection:
            execute(connection, "UPDATE alert_classifier.schema_version SET checked_at = now()")

    def close(self) -> None:
        self._pool.close()

    def _transact(self, transaction: Callable[[Connection], _T]) -> _T:
        """Run `transaction` in a transaction; again from the start when another replica got in its way."""
        with self._connection() as connection:
            for attempt in range(ATTEMPTS):
                try:
                    with connection.transaction():
                        return transaction(connection)
                except (_OvertakenError, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
                    _log.info("store %s: attempt %d met another replica (%r)", self._place, attempt + 1, error)
        raise StoreUnavailableError(f"store {self._place}: other replicas got in the way {ATTEMPTS} times")

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            with self._pool.connection() as connection:
                self._make_ready(connection)
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
            raise StoreUnavailableError(f"store {self._place}: {self._reason(error)}") from error

    def _reason(self, error: psycopg.Error) -> str:
        """The first line of what went wrong; the pool knows only that it waited, so the server is asked once more."""
        if isinstance(error, PoolTimeout):
            try:
                psycopg.connect(self._conninfo).close()
            except psycopg.Error as refusal:
                error = refusal
        return (str(error).strip() or type(error).__name__).splitlines()[0]

    def _make_ready(self, connection: Connection) -> None:
        if self._ready:
            return
        with self._ready_lock:
            if not self._ready:
                _migrate(connection, self._place)
                self._ready = True


_INSERT_OBJECTS: Final[LiteralString] = """
    INSERT INTO alert_classifier.objects (object_id, ra, dec, cell, last_mjd, light_curve)
    SELECT * FROM unnest(%b::text[], %b::float8[], %b::float8[], %b::int4[], %b::float8[], %b::bytea[])
    ON CONFLICT DO NOTHING
"""
_UPDATE_OBJECTS: Final[LiteralString] = """
    UPDATE alert_classifier.objects AS o
    SET ra = n.ra, dec = n.dec, cell = n.cell, last_mjd = n.last_mjd, light_curve = n.light_curve
    FROM unnest(%b::text[], %b::float8[], %b::float8[], %b::int4[], %b::float8[], %b::bytea[])
         AS n (object_id, ra, dec, cell, last_mjd, light_curve)
    WHERE o.object_id = n.object_id
"""
_INSERT_HISTORY: Final[LiteralString] = """
    INSERT INTO alert_classifier.history
    SELECT * FROM unnest(%b::text[], %b::int8[], %b::int4[], %b::bool[], %b::float8[], %b::float8[], %b::text[],
                         %b::float8[], %b::bytea[])
    ON CONFLICT DO NOTHING
"""
_UPSERT_LATEST: Final[LiteralString] = """
    INSERT INTO alert_classifier.latest AS l
    SELECT * FROM unnest(%b::text[], %b::int8[], %b::int4[], %b::float8[], %b::float8[], %b::text[], %b::float8[],
                         %b::bytea[], %b::bytea[])
    ON CONFLICT (object_id) DO UPDATE SET candid = excluded.candid, classifier = excluded.classifier,
        mjd = excluded.mjd, published_at = excluded.published_at, top_class = excluded.top_class,
        top_probability = excluded.top_probability, document = excluded.document, embedding = excluded.embedding
    WHERE (excluded.mjd, excluded.candid) > (l.mjd, l.candid)
       OR ((excluded.mjd, excluded.candid) = (l.mjd, l.candid)
           AND excluded.classifier <> l.classifier AND excluded.published_at > l.published_at)
"""


def _registered(
    connection: Connection, classifications: Sequence[StoredClassification]
) -> dict[ClassifierKey, tuple[int, bytes]]:
    """(number, sample document) of every classifier that speaks in `classifications`; new ones are added."""
    found: dict[ClassifierKey, tuple[int, bytes]] = {}
    for classification in classifications:
        key = classifier_key(classification)
        if key not in found:
            row = [*key[:2], orjson.dumps(key[2]).decode()]
            select: LiteralString = """
                SELECT number, sample FROM alert_classifier.classifiers
                WHERE classifier = %s AND version = %s AND classes = %s
            """
            known = execute(connection, select, row).fetchone()
            if known is None:
                execute(
                    connection,
                    """
                    INSERT INTO alert_classifier.classifiers (classifier, version, classes, sample)
                    VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
                    """,
                    [*row, encoding.document_json(classification.document)],
                )
                known = execute(connection, select, row).fetchone()
            found[key] = cast(tuple[int, bytes], known)
    return found


def _prune(connection: Connection, names: list[str], older_than_mjd: float) -> int:
    keep_still(connection)  # what goes is no longer there to be joined
    # those that an alert has reached since they were chosen stay
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
    execute(
        connection, "UPDATE alert_classifier.sources SET object_id = NULL WHERE object_id = ANY(%s)", [sorted(objects)]
    )
    gone = sorted(objects | sources)
    # an object and a source may have one name
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
    """Exact up to 100,000 rows (as the planner believes), the planner's estimate above: counting reads them all."""
    row = execute(
        connection,
        f"""
        SELECT CASE WHEN reltuples > 100000 THEN reltuples::bigint
                    ELSE (SELECT count(*) FROM alert_classifier.{table}) END
        FROM pg_class WHERE oid = 'alert_classifier.{table}'::regclass
        """,
    ).fetchone()
    return int(row[0]) if row else 0


def _configure(connection: Connection) -> None:
    connection.execute(SESSION)


def _migrate(connection: Connection, place: str) -> None:
    known = migrations("postgres")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        connection.execute("CREATE SCHEMA IF NOT EXISTS alert_classifier")
        connection.execute(
            """
            CREATE TABLE IF NOT EXISTS alert_classifier.schema_version
            (version integer NOT NULL, checked_at timestamptz NOT NULL DEFAULT now())
            """
        )
        row = connection.execute("SELECT version FROM alert_classifier.schema_version").fetchone()
        current = row[0] if row else 0
        if current > len(known):
            raise StoreVersionError(
                f"store {place} has tables of version {current}, this service knows {len(known)}: update it"
            )
        for version, sql in known[current:]:
            connection.execute(sql)
            _log.info("store %s: tables brought to version %d", place, version)
        if row is None:
            connection.execute("INSERT INTO alert_classifier.schema_version VALUES (%s)", [len(known)])
        else:
            connection.execute("UPDATE alert_classifier.schema_version SET version = %s", [len(known)])
