"""Damage of SQLite's file: where it is, and what can still be read.

SQLite notices damage where it breaks the structure of a page: "database disk image is malformed". Then everything on
that page is gone, and everything below it; all else can be read. Rows are reached by their number, so a damaged index
costs nothing, and the indexes tell the names of the objects whose rows are gone.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.store import encoding
from service.store.interface import LightCurveDamagedError, StoreDamagedError, StoreUnavailableError

# Problems that a check lists: one damaged page may give hundreds.
MOST_PROBLEMS: Final = 50
# Behind a row that can't be read, so many row numbers are tried, 20 us each. A damaged page hides some 3 rows, or 1,000
# if it is one of those that lead to others.
MOST_HIDDEN: Final = 100_000

TABLES: Final = ("objects", "sources", "latest")  # with the name in the first column, and an index of names
NAMES: Final = {"objects": "object_id", "sources": "source_id", "latest": "object_id"}
# The tables that hold light curves.
DECODE: Final[dict[str, Callable[[bytes, str], object]]] = {
    "objects": encoding.decode_newest,
    "sources": encoding.decode_light_curve,
    "blocks": encoding.decode_light_curve,
}
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """`problems` as SQLite tells them; `lost` are the names of objects and sources whose light curve, or a part of
    it, can't be read.
    """

    objects: int
    sources: int
    classifications: int
    problems: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def damaged(self) -> bool:
        return bool(self.problems or self.lost)


def check(path: Path) -> Findings:
    """Read everything in the file; another process may use it meanwhile. Raises StoreUnavailableError."""
    with closing(open_damaged(path)) as connection:
        counts = Counter[str]()

        def count(table: str, columns: Sequence[str], row: Row) -> None:
            counts[table] += 1

        lost = read_all(connection, count)
        problems = problems_of(connection)
    return Findings(counts["objects"], counts["sources"], counts["history"], tuple(problems), tuple(lost))


def damaged_names(connection: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    """Those of `names` whose object, source or latest classification lies in a damaged place."""

    def is_damaged(name: str) -> bool:
        try:
            for table, key in NAMES.items():
                connection.execute(f"SELECT * FROM {table} WHERE {key} = ?", (name,)).fetchall()
            for table in ("blocks", "kept_blocks", "history"):
                connection.execute(f"SELECT * FROM {table} WHERE object_id = ?", (name,)).fetchall()
        except sqlite3.DatabaseError:
            return True
        return False

    return [name for name in names if is_damaged(name)]


def open_damaged(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise StoreUnavailableError(f"store {path} is not there")
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StoreDamagedError(
            f"store {path} can't be read at all ({error}): put a backup in its place, or remove it and read the stream"
            " again (serve --from)"
        ) from error
    return connection


def problems_of(connection: sqlite3.Connection) -> list[str]:
    found: list[str] = []
    try:
        for (text,) in connection.execute(f"PRAGMA integrity_check({MOST_PROBLEMS})"):
            found += [line for line in str(text).splitlines() if line not in ("ok", "*** in database main ***")]
    except sqlite3.DatabaseError as error:
        found.append(str(error))
    return found


def read_all(connection: sqlite3.Connection, take: Callable[[str, Sequence[str], Row], None]) -> list[str]:
    """Hand every row that can be read to `take`; returns the names whose light curves can't be."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    known: set[str] = set()
    lost: set[str] = set()
    for table in ("classifiers", "traits", "watches", "notices", *TABLES):
        if table not in tables:  # made by an older version of the service
            continue
        columns = _columns(connection, table)
        found = set()
        for row in _rows(connection, table, columns):
            if table in DECODE and not _is_light_curve(table, row[0], row[columns.index("light_curve")]):
                continue
            take(table, columns, row)
            found.add(row[0])
        if table in NAMES:
            names = _names(connection, table) | found
            known |= names
            if table != "latest":
                lost |= names - found
    if "blocks" in tables:
        lost |= _blocks(connection, take)
    for row in _history(connection, sorted(known)):
        take("history", _columns(connection, "history"), row)
    return sorted(lost)


def _blocks(connection: sqlite3.Connection, take: Callable[[str, Sequence[str], Row], None]) -> set[str]:
    """Hand on the blocks of light curves; returns the names of objects of which one can't be read. Those keep none: a
    light curve has no gaps.
    """
    expected: set[Row] = set()
    with suppress(sqlite3.DatabaseError):
        query = "SELECT object_id, number FROM blocks INDEXED BY sqlite_autoindex_blocks_1"
        for row in connection.execute(query):
            expected.add(row)
    columns = ("object_id", "number", "light_curve")
    sound = {row[:2] for row in _rows(connection, "blocks", columns) if _is_light_curve("blocks", row[0], row[2])}
    broken = {name for name, _ in expected - sound}
    numbers: dict[str, list[int]] = {}
    for name, number in sorted(sound):
        numbers.setdefault(name, []).append(number)
    broken |= {name for name, found in numbers.items() if found != list(range(len(found)))}
    for row in _rows(connection, "blocks", columns):
        if row[:2] in sound and row[0] not in broken:
            take("blocks", columns, row)
    return broken


def _rows(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a table, by their numbers; those that can't be reached are left out."""
    select = f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid"
    at = hidden = 0
    while hidden <= MOST_HIDDEN:
        try:
            for number, *row in connection.execute(select, (at,)):
                at, hidden = number, 0
                yield tuple(row)
        except sqlite3.DatabaseError:
            at, hidden = at + 1, hidden + 1
        else:
            return


def _history(connection: sqlite3.Connection, names: Sequence[str]) -> Iterator[Row]:
    """The rows of the history, whose key begins with the object's name; behind damage, by the names that are known."""
    columns = ", ".join(_columns(connection, "history"))
    last: Row = ("", 0, 0)
    with suppress(sqlite3.DatabaseError):
        for row in connection.execute(f"SELECT {columns} FROM history ORDER BY object_id, candid, classifier"):
            yield row
            last = row[:3]
        return
    behind = f"SELECT {columns} FROM history WHERE object_id = ? AND (candid, classifier) > (?, ?)"
    for name in names[bisect_left(names, last[0]) :]:
        after = last[1:] if name == last[0] else (-(1 << 63), 0)
        with suppress(sqlite3.DatabaseError):
            yield from connection.execute(behind, (name, *after))


def _names(connection: sqlite3.Connection, table: str) -> set[str]:
    """The names in a table's index, as far as that can be read."""
    names: set[str] = set()
    with suppress(sqlite3.DatabaseError):
        query = f"SELECT {NAMES[table]} FROM {table} INDEXED BY sqlite_autoindex_{table}_1"
        for (name,) in connection.execute(query):
            names.add(name)
    return names


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _is_light_curve(table: str, name: str, stored: bytes) -> bool:
    try:
        DECODE[table](stored, name)
    except LightCurveDamagedError:
        return False
    return True
