"""Classifications in PostgreSQL: recording and querying."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, LiteralString, cast

import orjson

from service.store import encoding
from service.store.interface import StoredClassification
from service.store.listing import CLASSES, Row
from service.store.merging import ClassifierKey, classifier_key, latest_per_object
from service.store.postgres.rows import Connection, execute, transposed, write
from service.store.traits import Traits, detections_of, place_of, traits_of

TABLES: Final = "alert_classifier."


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
        described = [traits_of(c) for c in newest]
        traits = _numbered(connection, set(described))
        write(
            connection,
            _UPSERT_LATEST,
            transposed(
                (
                    c.object_id, c.candid, number, float(c.mjd), float(c.published_at),
                    c.top_class or encoding.NO_CLASS, float(c.top_probability),
                    encoding.encode_document(c.document, sample), encoding.encode_embedding(c.embedding),
                    detections_of(c.document), traits[described_as], place_of(c.document),
                )
                for c, described_as in zip(newest, described, strict=True)
                for number, sample in (classifiers[classifier_key(c)],)
            ),
        )  # fmt: skip


def latest(connection: Connection, object_id: str) -> StoredClassification | None:
    row = execute(connection, f"{_LATEST} WHERE object_id = %s", [object_id]).fetchone()
    return None if row is None else encoding.decode_latest(row)


def run(connection: Connection, sql: str, parameters: dict[str, Any]) -> list[Row]:
    """See `service.store.listing`."""
    # psycopg writes a placeholder as %(name)s; `::` is PostgreSQL's cast
    sql = re.sub(r"(?<!:):([a-z_0-9]+)", r"%(\1)s", re.sub(r"IN \{(\w+)\}", r"= ANY(:\1)", sql))
    cursor = execute(connection, sql, parameters)
    return list(cursor.fetchall()) if cursor.description is not None else []


def of(connection: Connection, object_ids: Sequence[str]) -> list[StoredClassification]:
    """The latest classifications of these objects, in any order."""
    rows = execute(connection, f"{_LATEST} WHERE object_id = ANY(%s)", [list(object_ids)]).fetchall()
    return [encoding.decode_latest(row) for row in rows]


def class_mix(connection: Connection, since: float) -> dict[str, int]:
    return dict(
        execute(
            connection,
            f"""
            SELECT top_class, count(*) FROM alert_classifier.latest
            WHERE top_class IN ({CLASSES.format(tables=TABLES)}) AND published_at >= %s AND top_class <> %s
            GROUP BY top_class ORDER BY top_class COLLATE "C"
            """,
            [since, encoding.NO_CLASS],
        ).fetchall()
    )


def embeddings(
    connection: Connection, classifier: str, version: str, object_ids: Sequence[str]
) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = execute(
        connection,
        """
        SELECT object_id, embedding FROM alert_classifier.latest WHERE object_id = ANY(%s) AND embedding IS NOT NULL
        AND classifier IN
            (SELECT number FROM alert_classifier.classifiers AS c WHERE c.classifier = %s AND version = %s)
        """,
        [list(object_ids), classifier, version],
    ).fetchall()
    return found


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
                         %b::bytea[], %b::bytea[], %b::int4[], %b::int4[], %b::int4[])
    ON CONFLICT (object_id) DO UPDATE SET candid = excluded.candid, classifier = excluded.classifier,
        mjd = excluded.mjd, published_at = excluded.published_at, top_class = excluded.top_class,
        top_probability = excluded.top_probability, document = excluded.document, embedding = excluded.embedding,
        detections = excluded.detections, traits = excluded.traits, cell = excluded.cell
    WHERE (excluded.mjd, excluded.candid) > (l.mjd, l.candid)
       OR ((excluded.mjd, excluded.candid) = (l.mjd, l.candid)
           AND excluded.classifier <> l.classifier AND excluded.published_at > l.published_at)
"""


def _numbered(connection: Connection, wanted: set[Traits]) -> dict[Traits, int]:
    """The number of each; new ones are added."""
    columns = transposed(iter(sorted(wanted)))
    select: LiteralString = """
        SELECT t.survey, t.superclass, t.flags, number FROM alert_classifier.traits AS t
        JOIN unnest(%b::text[], %b::text[], %b::text[]) AS w (survey, superclass, flags)
            USING (survey, superclass, flags)
    """
    found = {row[:3]: row[3] for row in execute(connection, select, columns).fetchall()}
    if len(found) < len(wanted):
        execute(
            connection,
            """
            INSERT INTO alert_classifier.traits (survey, superclass, flags)
            SELECT * FROM unnest(%b::text[], %b::text[], %b::text[]) ON CONFLICT DO NOTHING
            """,
            columns,
        )
        found = {row[:3]: row[3] for row in execute(connection, select, columns).fetchall()}
    return found


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
