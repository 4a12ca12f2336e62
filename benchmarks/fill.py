"""Fill a store with made-up objects: a few through the store itself, the others as copies of these under other names.

Positions lie over the northern sky, classes are of very different frequency, times of a month. Bytes are those of some
hundred objects, so a document names another object than its row does; nothing that is measured looks into it. What the
store promises (indexes, totals) holds afterwards. PostgreSQL takes `COPY`, SQLite a file that nobody else has open.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from benchmarks.store import CLASSES, EMBEDDING, SHAPES, alert, answer, draw
from service.store import open_store
from service.store.sky import cell_of
from service.store.traits import Traits

CHUNK: Final = 50_000
DAYS: Final = 30.0  # over which the latest classifications are spread
SHARES: Final = np.array([0.05, 0.01, 0.02, 0.005, 0.001, 0.2, 0.05, 0.02, 0.15, 0.2, 0.1, 0.02, 0.1, 0.074])
PARENTS: Final = ("Transient",) * 5 + ("Stochastic",) * 3 + ("Periodic",) * 6  # of CLASSES
FLAGS: Final = ("low_quality", "out_of_distribution", "too_few_points")
NEWEST_MJD: Final = 60030.0
VECTORS: Final = 5000  # different embeddings

Row = tuple[Any, ...]
COLUMNS: Final = {
    "objects": ("object_id", "ra", "dec", "cell", "last_mjd", "light_curve", "context"),
    "latest": ("object_id", "candid", "classifier", "mjd", "published_at", "top_class", "top_probability", "document",
               "embedding", "detections", "traits", "cell"),
    "history": ("object_id", "candid", "classifier", "active", "mjd", "published_at", "top_class", "top_probability",
                "probabilities"),
}  # fmt: skip


def fill(path: Path, objects: int, seed: int = 0) -> None:
    """Make the SQLite store at `path` hold `objects`, the same ones for the same seed (but for the time of day)."""
    rng = np.random.default_rng(seed)
    _first(f"sqlite:///{path}", min(objects, SHAPES), rng)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = DELETE", "synchronous = OFF", "cache_size = -500000", "temp_store = FILE"):
            connection.execute(f"PRAGMA {pragma}")
        select = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN (?, ?, ?)"
        )
        indexes = connection.execute(select, tuple(COLUMNS)).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")  # made in one go afterwards, which is far faster
        traits = _traits(connection)
        samples = _samples(connection)
        for start in range(SHAPES, objects, CHUNK):
            connection.execute("BEGIN")
            for table, rows in _rows(rng, start, min(CHUNK, objects - start), samples, traits).items():
                marks = ", ".join("?" * len(COLUMNS[table]))
                connection.executemany(f"INSERT INTO {table} ({', '.join(COLUMNS[table])}) VALUES ({marks})", rows)
            connection.execute("COMMIT")
            if start // CHUNK % 10 == 0:
                print(f"{start + CHUNK:,} objects", file=sys.stderr, flush=True)
        connection.execute("UPDATE totals SET objects = ?, classifications = ?", (objects, objects))
        for name, sql in indexes:
            connection.execute(sql)
            print(f"index {name}", file=sys.stderr, flush=True)
        connection.execute("PRAGMA journal_mode = WAL")


def copy(path: Path, url: str) -> None:
    """Make the PostgreSQL store at `url`, which must be empty, hold what the SQLite store at `path` does."""
    import psycopg  # an optional extra

    with closing(open_store(url)) as store:
        store.check()  # makes the tables
    with psycopg.connect(url) as there, closing(sqlite3.connect(path)) as here:
        there.execute("SET search_path TO alert_classifier")
        select = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'alert_classifier' AND indexdef !~ 'UNIQUE'"
        )
        indexes = there.execute(select).fetchall()
        for name, _ in indexes:
            there.execute(f"DROP INDEX {name}")
        numbered = {"classifiers": ("number", "classifier", "version", "classes", "sample"),
                    "traits": ("number", "survey", "superclass", "flags")}  # fmt: skip
        for table, columns in (numbered | COLUMNS).items():
            rows = here.execute(f"SELECT {', '.join(columns)} FROM {table}")
            if table in numbered:
                marks = ", ".join(["%s"] * len(columns))
                insert = f"INSERT INTO {table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE VALUES ({marks})"
                there.cursor().executemany(insert, rows.fetchall())
                continue
            active = columns.index("active") if "active" in columns else None
            with there.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copying:
                for row in rows:
                    copying.write_row([bool(v) if i == active else v for i, v in enumerate(row)])
        for _, definition in indexes:
            there.execute(definition)
        there.commit()
        there.autocommit = True
        there.execute("VACUUM ANALYZE")


def _first(url: str, objects: int, rng: np.random.Generator) -> None:
    """Through the store, so that the tables and the bytes in them are its own."""
    shapes = [draw(rng) for _ in range(SHAPES)]
    with closing(open_store(url)) as store:
        increments = [alert(which, 0, shapes) for which in range(objects)]
        store.merge(increments)
        store.record([answer(each, 0, rng) for each in increments])


def _traits(connection: sqlite3.Connection) -> dict[Traits, int]:
    combinations = [tuple(flag for i, flag in enumerate(FLAGS) if bits >> i & 1) for bits in range(2 ** len(FLAGS))]
    wanted = [
        ("ztf", parent, orjson.dumps(flags).decode()) for parent in sorted(set(PARENTS)) for flags in combinations
    ]
    connection.executemany(
        "INSERT INTO traits (survey, superclass, flags) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", wanted
    )
    rows = connection.execute("SELECT survey, superclass, flags, number FROM traits").fetchall()
    return {row[:3]: row[3] for row in rows}


def _samples(connection: sqlite3.Connection) -> list[Row]:
    """(light curve, context, classifier, document, probabilities) of the objects that are there."""
    return connection.execute(
        """
        SELECT light_curve, context, latest.classifier, document, probabilities
        FROM objects JOIN latest USING (object_id) JOIN history USING (object_id)
        """
    ).fetchall()


def _rows(
    rng: np.random.Generator, start: int, count: int, samples: list[Row], traits: dict[Traits, int]
) -> dict[str, Iterator[Row]]:
    """The rows of `count` objects, by table."""
    names = [f"ZTF25{which:07d}" for which in range(start, start + count)]
    ra, dec = rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-0.5, 1.0, count)))
    cells = [cell_of(*place) for place in zip(ra.tolist(), dec.tolist(), strict=True)]
    kinds = rng.choice(len(CLASSES), count, p=SHARES).tolist()
    passed = DAYS * rng.random(count)
    published, mjd = (time.time() - passed * 86400).tolist(), (NEWEST_MJD - passed).tolist()
    probabilities = rng.beta(4, 2, count).tolist()
    detections = (2 + rng.exponential(12, count).astype(int)).tolist()
    raised = rng.random((count, len(FLAGS))) < 0.1
    flags = [orjson.dumps([f for f, up in zip(FLAGS, row, strict=True) if up]).decode() for row in raised.tolist()]
    numbers = [traits["ztf", PARENTS[kind], said] for kind, said in zip(kinds, flags, strict=True)]
    vectors = [row.tobytes() for row in rng.standard_normal((VECTORS, EMBEDDING)).astype("<f2")]
    alike = [samples[which] for which in rng.integers(0, len(samples), count).tolist()]
    candids = range(10**17 + start, 10**17 + start + count)
    which = rng.integers(0, VECTORS, count).tolist()
    return {
        "objects": (
            (names[i], ra[i].item(), dec[i].item(), cells[i], mjd[i], alike[i][0], alike[i][1]) for i in range(count)
        ),
        "latest": (
            (names[i], candids[i], alike[i][2], mjd[i], published[i], CLASSES[kinds[i]], probabilities[i], alike[i][3],
             vectors[which[i]], detections[i], numbers[i], cells[i])
            for i in range(count)
        ),
        "history": (
            (names[i], candids[i], alike[i][2], 1, mjd[i], published[i], CLASSES[kinds[i]], probabilities[i],
             alike[i][4])
            for i in range(count)
        ),
    }  # fmt: skip
