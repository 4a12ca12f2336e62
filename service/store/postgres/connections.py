"""Connections to PostgreSQL: the pool, migrations, retried transactions, and an unavailable server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, LiteralString, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from service.store.interface import StoreDamagedError, StoreUnavailableError, StoreVersionError
from service.store.migrations import migrations
from service.store.postgres.rows import Connection

_log = logging.getLogger(__name__)

# One connection writes batches, a few answer the API; PostgreSQL allows 100 in all by default, for all replicas.
POOL_SIZE: Final = 8

# How long a call waits for a connection. While the server is unavailable each call takes this long to fail.
CONNECTION_TIMEOUT_S: Final = 3.0

# Defaults that the url may override: a server that vanishes silently (network cut) is noticed within 10 s.
CONNECTION_DEFAULTS: Final = {
    "application_name": "alert-classifier",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

# A frozen replica may hold locks on rows: others give up waiting after the first timeout, the server releases the rows
# after the last. A batch takes some 20 ms, so none of these is reached normally.
SESSION: Final[LiteralString] = """
    SET lock_timeout = '10s'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '15s'
"""

# How often a transaction that conflicts with another replica is retried before StoreUnavailableError is raised.
ATTEMPTS: Final = 10

_MIGRATION_LOCK: Final = 0x616C657274  # any number that nothing else locks; this one spells "alert"

_T = TypeVar("_T")


class OvertakenError(Exception):
    """Another replica inserted one of our objects after we looked, or is adding photometry that may be near ours."""


class Connections:
    """A pool of connections to `dsn`, a URL or a libpq connection string. Any thread may call any method.

    Without `create`, calls raise StoreUnavailableError if the tables were never made. Raises ValueError where `dsn` is
    neither.
    """

    def __init__(self, dsn: str, create: bool = True) -> None:
        self._create = create
        try:
            settings = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
        except psycopg.ProgrammingError:  # it quotes what it does not understand, such as a password with a bare %
            raise ValueError("this is no connection string of PostgreSQL") from None
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
            # the interval between attempts doubles up to this limit; the next call then tries at once
            reconnect_timeout=CONNECTION_TIMEOUT_S,
            configure=_configure,
            # one short round trip per batch; without it each pooled connection fails a batch after a server restart
            check=ConnectionPool.check_connection,
            open=True,
            name="alert-classifier-store",
        )

    def transact(self, transaction: Callable[[Connection], _T]) -> _T:
        """Run `transaction` in a transaction; from the start again if it conflicts with another replica."""
        with self.connection() as connection:
            for attempt in range(ATTEMPTS):
                try:
                    with connection.transaction():
                        return transaction(connection)
                except (OvertakenError, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
                    _log.info("store %s: attempt %d met another replica (%r)", self._place, attempt + 1, error)
        raise StoreUnavailableError(f"store {self._place}: other replicas got in the way {ATTEMPTS} times")

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to up-to-date tables, for the block. If the server goes away, the block's errors are raised as
        StoreUnavailableError. Raises StoreVersionError if the tables are too new.
        """
        try:
            with self._pool.connection() as connection:
                self._make_ready(connection)
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
            raise StoreUnavailableError(f"store {self._place}: {self._reason(error)}") from error
        except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted) as error:
            raise StoreDamagedError(
                f"store {self._place} is damaged ({self._reason(error)}): see the server's log and its pg_amcheck"
            ) from error

    def close(self) -> None:
        self._pool.close()

    def _reason(self, error: psycopg.Error) -> str:
        """The first line of the error; the pool only knows that it timed out, so ask the server once more."""
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
                _migrate(connection, self._place, self._create)
                self._ready = True


def _configure(connection: Connection) -> None:
    connection.execute(SESSION)


def _migrate(connection: Connection, place: str, create: bool) -> None:
    known = migrations("postgres")
    if not create and connection.execute("SELECT to_regclass('alert_classifier.schema_version')").fetchone() == (None,):
        raise StoreUnavailableError(f"store {place} is not there: the database has no tables of this service")
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
