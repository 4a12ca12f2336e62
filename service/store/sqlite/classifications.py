"""Classifications in SQLite: recording and querying."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import orjson

from service.store import encoding
from service.store.interface import StoredClassification
from service.store.listing import CLASSES, Row
from service.store.merging import ClassifierKey, classifier_key, latest_per_object
from service.store.traits import Traits, detections_of, place_of, traits_of

TABLES: Final = ""
_LIST: Final = re.compile(r"IN \{(\w+)\}")


def record(connection: sqlite3.Connection, classifications: Sequence[StoredClassification]) -> None:
    """`Store.record`, in a transaction that holds the write lock."""
    classifiers = _registered(connection, classifications)
    added = connection.executemany(
        "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (
                c.object_id, c.candid, classifiers[classifier_key(c)][0], c.active, c.mjd, c.published_at,
                c.top_class or encoding.NO_CLASS, c.top_probability, encoding.encode_probabilities(c.document),
            )
            for c in sorted(classifications, key=lambda c: c.object_id)
        ],
    ).rowcount  # fmt: skip
    newest = latest_per_object(classifications)
    described = [traits_of(c) for c in newest]
    traits = _numbered(connection, set(described))
    connection.executemany(
        """
        INSERT INTO latest VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (object_id) DO UPDATE SET candid = excluded.candid, classifier = excluded.classifier,
            mjd = excluded.mjd, published_at = excluded.published_at, top_class = excluded.top_class,
            top_probability = excluded.top_probability, document = excluded.document,
            embedding = excluded.embedding, detections = excluded.detections, traits = excluded.traits,
            cell = excluded.cell
        WHERE (excluded.mjd, excluded.candid) > (latest.mjd, latest.candid)
           OR ((excluded.mjd, excluded.candid) = (latest.mjd, latest.candid)
               AND excluded.classifier <> latest.classifier AND excluded.published_at > latest.published_at)
        """,
        [
            (
                c.object_id, c.candid, number, c.mjd, c.published_at, c.top_class or encoding.NO_CLASS,
                c.top_probability, encoding.encode_document(c.document, sample), encoding.encode_embedding(c.embedding),
                detections_of(c.document), traits[described_as], place_of(c.document),
            )
            for c, described_as in zip(newest, described, strict=True)
            for number, sample in (classifiers[classifier_key(c)],)
        ],
    )  # fmt: skip
    connection.execute("UPDATE totals SET classifications = classifications + ?", (added,))


def latest(connection: sqlite3.Connection, object_id: str) -> StoredClassification | None:
    row = connection.execute(f"{_LATEST} WHERE object_id = ?", (object_id,)).fetchone()
    return None if row is None else encoding.decode_latest(row)


def run(connection: sqlite3.Connection, sql: str, parameters: dict[str, Any]) -> list[Row]:
    """See `service.store.listing`."""
    given = {
        name: orjson.dumps(value).decode() if isinstance(value, list) else value for name, value in parameters.items()
    }
    return connection.execute(_LIST.sub(r"IN (SELECT value FROM json_each(:\1))", sql), given).fetchall()


def of(connection: sqlite3.Connection, object_ids: Sequence[str]) -> list[StoredClassification]:
    """The latest classifications of these objects, in any order."""
    rows = connection.execute(
        f"{_LATEST} WHERE object_id IN (SELECT value FROM json_each(?))", (orjson.dumps(list(object_ids)).decode(),)
    ).fetchall()
    return [encoding.decode_latest(row) for row in rows]


def class_mix(connection: sqlite3.Connection, since: float) -> dict[str, int]:
    return dict(
        connection.execute(
            f"""
            SELECT top_class, count(*) FROM latest
            WHERE top_class IN ({CLASSES.format(tables=TABLES)}) AND published_at >= ? AND top_class <> ?
            GROUP BY 1 ORDER BY 1
            """,
            (since, encoding.NO_CLASS),
        ).fetchall()
    )


def embeddings(
    connection: sqlite3.Connection, classifier: str, version: str, object_ids: Sequence[str]
) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = connection.execute(
        """
        SELECT object_id, embedding FROM latest WHERE object_id IN (SELECT value FROM json_each(?))
        AND embedding IS NOT NULL
        AND classifier IN (SELECT number FROM classifiers WHERE classifiers.classifier = ? AND version = ?)
        """,
        (orjson.dumps(list(object_ids)).decode(), classifier, version),
    ).fetchall()
    return found


def history(connection: sqlite3.Connection, object_id: str, limit: int) -> list[StoredClassification]:
    rows = connection.execute(
        """
        SELECT object_id, candid, classifiers.classifier, version, mjd, published_at, top_class,
               top_probability, active, probabilities, classes
        FROM history JOIN classifiers ON number = history.classifier
        WHERE object_id = ? ORDER BY mjd DESC, candid DESC, published_at DESC LIMIT ?
        """,
        (object_id, limit),
    ).fetchall()
    return [encoding.decode_history(row) for row in reversed(rows)]


_LATEST: Final = """
    SELECT object_id, candid, classifiers.classifier, version, mjd, published_at, top_class, top_probability,
           document, sample, embedding
    FROM latest JOIN classifiers ON number = latest.classifier
"""


def _numbered(connection: sqlite3.Connection, wanted: set[Traits]) -> dict[Traits, int]:
    """The number of each; new ones are added."""
    found: dict[Traits, int] = {}
    for traits in sorted(wanted):
        select = "SELECT number FROM traits WHERE (survey, superclass, flags) = (?, ?, ?)"
        row = connection.execute(select, traits).fetchone()
        if row is None:
            connection.execute("INSERT INTO traits (survey, superclass, flags) VALUES (?, ?, ?)", traits)
            row = connection.execute(select, traits).fetchone()
        found[traits] = row[0]
    return found


def _registered(
    connection: sqlite3.Connection, classifications: Sequence[StoredClassification]
) -> dict[ClassifierKey, tuple[int, bytes]]:
    """(number, sample document) of every classifier in `classifications`; new ones are added."""
    found: dict[ClassifierKey, tuple[int, bytes]] = {}
    for classification in classifications:
        key = classifier_key(classification)
        if key not in found:
            row = (*key[:2], orjson.dumps(key[2]).decode())
            connection.execute(
                "INSERT INTO classifiers (classifier, version, classes, sample) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (*row, encoding.document_json(classification.document)),
            )
            found[key] = connection.execute(
                "SELECT number, sample FROM classifiers WHERE (classifier, version, classes) = (?, ?, ?)", row
            ).fetchone()
    return found
