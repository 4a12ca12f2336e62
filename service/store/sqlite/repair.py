"""A new file of what can be read of a damaged one."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from service.store.interface import StoreUnavailableError
from service.store.sqlite.damage import Findings, Row, open_damaged, problems_of, read_all
from service.store.sqlite.store import SqliteStore

# What lies beside SQLite's file, and belongs to it.
COMPANIONS = ("-wal", "-shm")


def repair(path: Path, new: Path) -> Findings:
    """Make the store `new` of everything that can be read of the one at `path`, which is left as it is.

    Raises StoreUnavailableError if `path` is in use, or `new` exists already; StoreDamagedError if nothing can be read.
    """
    if not path.exists():
        raise StoreUnavailableError(f"store {path} is not there")
    if new.exists():
        raise StoreUnavailableError(f"store {new} exists already")
    _refuse_if_used(path)
    with closing(open_damaged(path)) as damaged:
        SqliteStore(new).close()
        with closing(sqlite3.connect(new, isolation_level=None)) as copy:
            return _copy(damaged, copy)


def exchange(path: Path, new: Path) -> Path:
    """Put `new` in the place of the store at `path`; returns where the old one is now."""
    aside = path.with_name(f"{path.name}.damaged")
    if aside.exists():
        raise StoreUnavailableError(f"{aside} exists already: move it away first")
    for ending in ("", *COMPANIONS):
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    new.rename(path)
    return aside


def _copy(damaged: sqlite3.Connection, copy: sqlite3.Connection) -> Findings:
    kept = Counter[str]()

    def keep(table: str, columns: Sequence[str], row: Row) -> None:
        marks = ", ".join("?" * len(columns))
        with suppress(sqlite3.IntegrityError):  # damage may show a row twice, or without what it needs
            copy.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", row)
            kept[table] += 1

    copy.execute("BEGIN")
    lost = read_all(damaged, keep)
    copy.execute("UPDATE sources SET object_id = NULL WHERE object_id NOT IN (SELECT object_id FROM objects)")
    copy.execute("DELETE FROM blocks WHERE object_id NOT IN (SELECT object_id FROM objects)")
    for table in ("latest", "history"):
        copy.execute(f"DELETE FROM {table} WHERE classifier NOT IN (SELECT number FROM classifiers)")
    (classifications,) = copy.execute("SELECT count(*) FROM history").fetchone()
    copy.execute("UPDATE totals SET objects = ?, classifications = ?", (kept["objects"], classifications))
    copy.execute("COMMIT")
    return Findings(kept["objects"], kept["sources"], classifications, tuple(problems_of(copy)), tuple(lost))


def _refuse_if_used(path: Path) -> None:
    """Whoever has the file open in write-ahead-log mode keeps others from holding it alone."""
    with closing(sqlite3.connect(path, timeout=1.0)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # before the first read, else it waits for a write
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(f"store {path} is in use: stop the service first ({error})") from error
        except sqlite3.DatabaseError:
            pass  # it is damaged, as expected
