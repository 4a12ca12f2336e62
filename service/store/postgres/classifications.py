"""Classifications in PostgreSQL: recording and querying."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, LiteralString, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from service.store import encoding
from service.store.interface import StoredClassification
from service.store.merging import ClassifierKey, classifier_key, latest_per_object
from service.store.paging import Page
from service.store.postgres.rows import Connection, execute, transposed, write
from service.store.sky import Cone


def record(connection: Connection, classifications: Sequence[StoredClassification]) -> None:
    """`Store.record`, in a transaction."""
    classifiers = _registered(connection, classifications)
    numbers = {key: number for key, (number, _) in classifiers.items()}
    ordered = sorted(classifications, key=lambda c: (c.object_id, c.candid, numbers[classifier_key(c)]))
    write(
        connection,
        _INSERT_HISTORY,
        transposed(
            (
                c.object_id, c.candid, numbers[classifier_key(c)], c.active, float(c.mjd),
                float(c.published_at), c.top_class or encoding.NO_CLASS, float(c.top_probability),
                encoding.encode_probabilities(c.document),
            )
            for c in ordered
        ),
    )  # fmt: skip
    newest = latest_per_object(classifications)
    if newest:
        write(
            connection,
            _UPSERT_LATEST,
            transposed(
                (
                    c.object_id, c.candid, number, float(c.mjd), float(c.published_at),
                    c.top_class or encoding.NO_CLASS, float(c.top_probability),
                    encoding.encode_document(c.document, sample), encoding.encode_embedding(c.embedding),
                )
                for c in newest
                for number, sample in (classifiers[classifier_key(c)],)
            ),
        )  # fmt: skip


def latest(connection: Connection, object_id: str) -> StoredClassification | None:
    row = execute(connection, f"{_LATEST} WHERE object_id = %s", [object_id]).fetchone()
    return None if row is None else encoding.decode_latest(row)


def query(connection: Connection, page: Page, cone: Cone | None) -> tuple[list[StoredClassification], str | None]:
    """One page of `Store.query`; with a `cone`, `page` must be limited to a set of objects."""
    parameters = page.parameters
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


def class_mix(connection: Connection, since: float) -> dict[str, int]:
    return dict(
        execute(
            connection,
            """
            SELECT top_class, count(*) FROM alert_classifier.latest WHERE published_at >= %s AND top_class <> %s
            GROUP BY top_class ORDER BY top_class COLLATE "C"
            """,
            [since, encoding.NO_CLASS],
        ).fetchall()
    )


def embeddings(
    connection: Connection, classifier: str, version: str, limit: int
) -> tuple[list[str], NDArray[np.float16]]:
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


def history(connection: Connection, object_id: str, limit: int) -> list[StoredClassification]:
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


_LATEST: Final[LiteralString] = """
    SELECT object_id, candid, classifiers.classifier, version, mjd, published_at, top_class, top_probability,
           document, sample, embedding
    FROM alert_classifier.latest JOIN alert_classifier.classifiers ON number = latest.classifier
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
    """(number, sample document) of every classifier in `classifications`; new ones are added."""
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
