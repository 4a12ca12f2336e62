"""The embedded store: one SQLite file in write-ahead-log mode, with one writer and any number of readers."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from service.store import encoding
from service.store.blocks import all_changes
from service.store.interface import (
    Increment,
    StoreDamagedError,
    StoredClassification,
    StoredObject,
    StoreStatistics,
    StoreUnavailableError,
    StoreVersionError,
)
from service.store.joining import (
    JOIN_RADIUS_ARCSEC,
    join_batch,
    join_waiting_sources,
    with_waiting_sources,
)
from service.store.kept import KeptBlocks, last_of_each
from service.store.listing import Run
from service.store.merging import merge_batch
from service.store.migrations import migrations
from service.store.reading import ReadingStore, T
from service.store.sky import cell_of
from service.store.sqlite import classifications as sqlite_classifications
from service.store.sqlite.checkpoints import BACKSTOP, Checkpointer
from service.store.sqlite.damage import damaged_names
from service.store.sqlite.rows import keep, kept_of, load_objects, write_blocks
from service.store.sqlite.sources import SqliteSources
from service.store.watches import Watching

# How long a write waits for another process (a prune, a backup tool, a second service): longer than any of their
# batches, shorter than the timeout of a Kafka consumer group.
BUSY_TIMEOUT_S: Final = 10.0

# Objects deleted per transaction: some 50 ms, so that batches of the stream get their turn.
PRUNE_CHUNK: Final = 2000

# Cache for pages of the writer's indexes, kept from batch to batch.
WRITER_CACHE_KIB: Final = 32_768

# With less free space than this `check` fails: a large batch writes 10 MB to the log.
MINIMUM_FREE_BYTES: Final = 16_000_000

# Errors that may pass by themselves; any other is a defect and is raised as it is.
_UNAVAILABLE: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
# Errors that don't: the file's structure is broken.
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# Of so many objects at most it is asked which are damaged: 0.1 ms each.
MOST_ASKED: Final = 1000


class SqliteStore(ReadingStore[sqlite3.Connection]):
    """See `Store`. `path` None keeps everything in a temporary file that `close` removes. Photometry by position joins
    objects within `join_radius_arcsec`; 0: none.

    Raises StoreUnavailableError if the file can't be made or opened, StoreVersionError if it is too new.
    """

    _classifications, _sources = sqlite_classifications, SqliteSources
    _objects, _kept = staticmethod(load_objects), staticmethod(kept_of)

    def __init__(
        self, path: Path | None = None, join_radius_arcsec: float = JOIN_RADIUS_ARCSEC, *, create: bool = True
    ) -> None:
        if path is not None and not create and not path.exists():
            raise StoreUnavailableError(f"store {path} is not there")
        self._join_radius, self._watching = join_radius_arcsec, Watching()
        self._temporary = tempfile.TemporaryDirectory(prefix="alert-classifier-") if path is None else None
        self.path = path if path is not None else Path(self._temporary.name) / "store.db"  # type: ignore[union-attr]
        self._write_lock = threading.Lock()
        self._idle_readers: list[sqlite3.Connection] = []
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailableError(f"store {self.path}: {error.strerror or error}") from error
        self._damage: str | None = None
        with self._translated():
            self._writer = self._connect()
            self._writer.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
            self._writer.execute(f"PRAGMA wal_autocheckpoint = {BACKSTOP}")
            self._migrate()
            self._checkpointer = Checkpointer(self._connect(), self._write_lock)

    def merge(self, increments: Sequence[Increment]) -> list[StoredObject]:
        if not increments:
            return []
        ids = sorted({increment.object_id for increment in increments})
        with self._damage_named(ids), self._transaction(durable=False) as connection:
            stored = load_objects(connection, ids)
            known, changed = merge_batch(stored, increments)
            found = all_changes(changed, stored)
            connection.executemany(
                """
                INSERT INTO objects (object_id, ra, dec, cell, last_mjd, light_curve, context)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (object_id) DO UPDATE SET ra = excluded.ra, dec = excluded.dec, cell = excluded.cell,
                    last_mjd = excluded.last_mjd, light_curve = excluded.light_curve, context = excluded.context
                """,
                [
                    (
                        o.object_id,
                        o.ra,
                        o.dec,
                        cell_of(o.ra, o.dec),
                        o.last_mjd,
                        encoding.encode_light_curve(each.newest, each.continues),
                        encoding.encode_context(o.context),
                    )
                    for o, each in zip(changed, found, strict=True)
                ],
            )
            write_blocks(connection, changed, found)
            if len(ids) > len(stored):
                connection.execute("UPDATE totals SET objects = objects + ?", (len(ids) - len(stored),))
                new = [o for o in changed if o.object_id not in stored]
                known = with_waiting_sources(
                    known, join_waiting_sources(SqliteSources(connection), new, self._join_radius)
                )
        return known

    def join(self, increments: Sequence[Increment]) -> list[StoredObject]:
        if not increments:
            return []
        names = [increment.object_id for increment in increments]
        with self._damage_named(names), self._transaction(durable=False) as connection:
            return join_batch(SqliteSources(connection), increments, self._join_radius)

    def record(self, classifications: Sequence[StoredClassification]) -> None:
        if not classifications:
            return
        names = [each.object_id for each in classifications]
        with self._damage_named(names), self._transaction() as connection:
            sqlite_classifications.record(connection, classifications)
            self._watching.notice(partial(sqlite_classifications.run, connection), "", classifications)

    def _write(self, change: Callable[[Run], T]) -> T:
        with self._transaction() as connection:
            return change(partial(sqlite_classifications.run, connection))

    def keep_blocks(self, kept: Sequence[KeptBlocks], in_use: Collection[str]) -> None:
        if not kept:
            return
        last = last_of_each(kept)
        with self._damage_named([each.object_id for each in last]), self._transaction(durable=False) as connection:
            keep(connection, last, in_use)

    def prune(self, older_than_mjd: float) -> int:
        with self._reader() as connection:
            old = [
                object_id
                for (object_id,) in connection.execute(
                    """
                    SELECT object_id FROM objects WHERE last_mjd < :limit
                    UNION SELECT source_id FROM sources WHERE last_mjd < :limit
                    """,
                    {"limit": older_than_mjd},
                )
            ]
        pruned = 0
        for start in range(0, len(old), PRUNE_CHUNK):
            with self._transaction() as connection:
                pruned += _prune(connection, old[start : start + PRUNE_CHUNK], older_than_mjd)
        return pruned

    def statistics(self) -> StoreStatistics:
        with self._reader() as connection:
            objects, classifications = connection.execute("SELECT objects, classifications FROM totals").fetchone()
            sources = connection.execute("SELECT count(*) FROM sources").fetchone()[0]
        files = [self.path, Path(f"{self.path}-wal")]
        return StoreStatistics(objects, classifications, sum(f.stat().st_size for f in files if f.exists()), sources)

    def check(self) -> None:
        if self._damage is not None:  # found by a call for some object; this one may not come by it
            raise StoreDamagedError(self._damage)
        with self._transaction() as connection:
            # twice, because SQLite does not write an unchanged page, and this one must reach the disk
            connection.execute("UPDATE totals SET objects = objects + 1")
            connection.execute("UPDATE totals SET objects = objects - 1")
        free = shutil.disk_usage(self.path.parent).free
        if free < MINIMUM_FREE_BYTES:
            raise StoreUnavailableError(f"store {self.path}: the disk is full ({free / 1e6:.0f} MB left)")

    def close(self) -> None:
        self._closed = True
        self._checkpointer.stop()
        while self._idle_readers:
            self._idle_readers.pop().close()
        with self._write_lock:
            self._writer.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """The writer, in a transaction that holds the file's write lock from its start.

        `durable` waits at the end until this and all earlier transactions, which share the log, are on the disk. Only
        merges don't wait, which saves some 4 ms per batch: after a crash of the machine their alerts are delivered
        again, unless their classifications were already recorded (durably) and published.
        """
        with self._write_lock, self._translated():
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # some failures, such as a full disk, have rolled back already
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._checkpointer.wake()

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            try:
                connection = self._idle_readers.pop()
            except IndexError:
                connection = self._connect()
                connection.execute("PRAGMA query_only = ON")
            try:
                yield connection
            finally:
                if self._closed:
                    connection.close()
                else:
                    self._idle_readers.append(connection)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
            if code in _DAMAGED:
                raise self._damaged(str(error)) from error
            if code in _UNAVAILABLE:
                raise StoreUnavailableError(f"store {self.path}: {error}") from error
            raise

    def _damaged(self, why: str) -> StoreDamagedError:
        """Remembered until the process ends, for `check`."""
        self._damage = (
            f"store {self.path} is damaged ({why}): stop the service, then `alert-classifier store repair` makes a new"
            " file of what can be read"
        )
        return StoreDamagedError(self._damage)

    @contextmanager
    def _damage_named(self, names: Sequence[str]) -> Iterator[None]:
        """Say which of these objects are damaged, where they are."""
        try:
            yield
        except StoreDamagedError as error:
            with suppress(sqlite3.Error), closing(self._connect()) as connection:
                found = damaged_names(connection, list(dict.fromkeys(names))[:MOST_ASKED])
            if found:
                some = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
                raise self._damaged(f"{error.__cause__}; among others {some}") from error
            raise

    def _connect(self) -> sqlite3.Connection:
        # isolation_level None: we begin transactions ourselves. check_same_thread: the lock and the pool ensure it.
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        return connection

    def _migrate(self) -> None:
        known = migrations("sqlite")
        for version, sql in known:
            self._writer.execute("BEGIN IMMEDIATE")  # another process may be migrating too
            try:
                if self._version() < version:
                    for statement in _statements(sql):
                        self._writer.execute(statement)
                    self._writer.execute(f"PRAGMA user_version = {version}")
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        if self._version() > len(known):
            raise StoreVersionError(
                f"store {self.path} has tables of version {self._version()}, this service knows {len(known)}: update it"
            )

    def _version(self) -> int:
        version: int = self._writer.execute("PRAGMA user_version").fetchone()[0]
        return version


def _prune(connection: sqlite3.Connection, names: Sequence[str], older_than_mjd: float) -> int:
    chosen = orjson.dumps(list(names)).decode()
    # skip those that got an alert since they were chosen
    objects, sources = (
        {
            name
            for (name,) in connection.execute(
                f"DELETE FROM {table} WHERE {key} IN (SELECT value FROM json_each(?)) AND last_mjd < ? RETURNING {key}",
                (chosen, older_than_mjd),
            ).fetchall()
        }
        for table, key in (("objects", "object_id"), ("sources", "source_id"))
    )
    for table in ("blocks", "kept_blocks"):
        connection.execute(
            f"DELETE FROM {table} WHERE object_id IN (SELECT value FROM json_each(?))",
            (orjson.dumps(sorted(objects)).decode(),),
        )
    gone = objects | sources
    ids = (orjson.dumps(sorted(gone)).decode(),)
    connection.execute(
        "UPDATE sources SET object_id = NULL WHERE object_id IN (SELECT value FROM json_each(?))",
        (orjson.dumps(sorted(objects)).decode(),),
    )
    # an object and a source may have the same name
    nameless = """
        SELECT value FROM json_each(?) WHERE value NOT IN (SELECT object_id FROM objects WHERE object_id = value)
        AND value NOT IN (SELECT source_id FROM sources WHERE source_id = value)
    """
    connection.execute(f"DELETE FROM latest WHERE object_id IN ({nameless})", ids)
    deleted = connection.execute(f"DELETE FROM history WHERE object_id IN ({nameless})", ids)
    connection.execute(
        "UPDATE totals SET objects = objects - ?, classifications = classifications - ?",
        (len(objects), deleted.rowcount),
    )
    return len(gone)


def _statements(sql: str) -> Iterator[str]:
    """The statements of a script; each must end at the end of a line."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
