"""Classifications in SQLite: recording and querying."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.store import encoding
from service.store.interface import StoredClassification
from service.store.merging import ClassifierKey, classifier_key, latest_per_object
from service.store.paging import Page
from service.store.sky import Cone


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
    connection.executemany(
        """
        INSERT INTO latest VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (object_id) DO UPDATE SET candid = excluded.candid, classifier = excluded.classifier,
            mjd = excluded.mjd, published_at = excluded.published_at, top_class = excluded.top_class,
            top_probability = excluded.top_probability, document = excluded.document,
            embedding = excluded.embedding
        WHERE (excluded.mjd, excluded.candid) > (latest.mjd, latest.candid)
           OR ((excluded.mjd, excluded.candid) = (latest.mjd, latest.candid)
               AND excluded.classifier <> latest.classifier AND excluded.published_at > latest.published_at)
        """,
        [
            (
                c.object_id, c.candid, number, c.mjd, c.published_at, c.top_class or encoding.NO_CLASS,
                c.top_probability, encoding.encode_document(c.document, sample), encoding.encode_embedding(c.embedding),
            )
            for c in latest_per_object(classifications)
            for number, sample in (classifiers[classifier_key(c)],)
        ],
    )  # fmt: skip
    connection.execute("UPDATE totals SET classifications = classifications + ?", (added,))


def latest(connection: sqlite3.Connection, object_id: str) -> StoredClassification | None:
    row = connection.execute(f"{_LATEST} WHERE object_id = ?", (object_id,)).fetchone()
    return None if row is None else encoding.decode_latest(row)


def query(
    connection: sqlite3.Connection, page: Page, cone: Cone | None
) -> tuple[list[StoredClassification], str | None]:
    """One page of `Store.query`; with a `cone`, `page` must be limited to a set of objects."""
    parameters = page.parameters
    if cone is not None:
        parameters["object_ids"] = orjson.dumps(_inside(connection, cone)).decode()
    chosen = page.chosen("latest", "(SELECT value FROM json_each(:object_ids))")
    rows = connection.execute(f"{_LATEST} WHERE object_id IN ({chosen}) {page.order}", parameters).fetchall()
    return page.cut([encoding.decode_latest(row) for row in rows])


def class_mix(connection: sqlite3.Connection, since: float) -> dict[str, int]:
    return dict(
        connection.execute(
            "SELECT top_class, count(*) FROM latest WHERE published_at >= ? AND top_class <> ? GROUP BY 1 ORDER BY 1",
            (since, encoding.NO_CLASS),
        ).fetchall()
    )


def embeddings(
    connection: sqlite3.Connection, classifier: str, version: str, limit: int
) -> tuple[list[str], NDArray[np.float16]]:
    rows = connection.execute(
        """
        SELECT object_id, embedding FROM latest JOIN classifiers ON number = latest.classifier
        WHERE embedding IS NOT NULL AND classifiers.classifier = ? AND version = ?
        ORDER BY published_at DESC, object_id DESC LIMIT ?
        """,
        (classifier, version, limit),
    ).fetchall()
    return encoding.decode_embeddings(rows)


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


def _inside(connection: sqlite3.Connection, cone: Cone) -> list[str]:
    rows = connection.execute(
        """
        SELECT object_id, ra, dec FROM objects WHERE cell IN (SELECT value FROM json_each(:cells))
        UNION ALL SELECT source_id, ra, dec FROM sources
        WHERE cell IN (SELECT value FROM json_each(:cells)) AND object_id IS NULL
        """,
        {"cells": orjson.dumps(cone.cells()).decode()},
    ).fetchall()
    return cone.select(rows)
