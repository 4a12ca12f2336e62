"""Watches: filters that are kept in the store, and the objects that passed one, for feeds and webhooks.

An object is noticed when it passes a watch's filter for the first time, in the transaction that records its
classification: so nothing is missed, whatever fails afterwards. Both engines run the SQL here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from time import monotonic, time
from typing import Any, Final

import orjson

from service.store.filters import Filters, Notice, Watch
from service.store.interface import StoredClassification
from service.store.listing import Run
from service.store.sky import Cone
from service.store.traits import detections_of, superclass_of

# Watches are looked up in the store this often by whoever records: a new one begins within it, on every replica.
LOOKED_UP_S: Final = 5.0
# What was noticed is kept for a month; an object that passes again afterwards is noticed again.
KEPT_S: Final = 30 * 86400.0
MOST_KEPT: Final = 100_000  # per watch, so that a filter that everything passes does not fill the disk


# What a saved filter may hold: what one classification tells by itself, not when it was made or asked for.
LASTING: Final = (
    "top_class", "superclass", "min_probability", "min_detections", "max_detections", "flags", "without_flags",
    "survey", "cone",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What watches look at of a classification; made once for all of them."""

    classification: StoredClassification
    top_class: str | None
    top_probability: float
    superclass: str
    survey: str
    flags: frozenset[str]
    detections: int

    @classmethod
    def of(cls, c: StoredClassification) -> Answer:
        flags = frozenset(c.document.get("flags") or ())
        survey = c.document.get("survey") or ""
        return cls(c, c.top_class, c.top_probability, superclass_of(c), survey, flags, detections_of(c.document))


def condition(filters: Filters) -> Callable[[Answer], bool]:
    """Whether `Store.query` would find an answer, if it is the latest of its object."""
    tests: list[Callable[[Answer], bool]] = []
    f, wanted, unwanted = filters, frozenset(filters.flags), frozenset(filters.without_flags)
    if f.top_class is not None:
        tests.append(lambda a: a.top_class == f.top_class)
    if f.min_probability > 0:
        tests.append(lambda a: a.top_probability >= f.min_probability and a.top_class is not None)
    if f.superclass is not None:
        tests.append(lambda a: a.superclass == f.superclass)
    if f.survey is not None:
        tests.append(lambda a: a.survey == f.survey)
    if wanted:
        tests.append(lambda a: wanted <= a.flags)
    if unwanted:
        tests.append(lambda a: unwanted.isdisjoint(a.flags))
    if (least := f.min_detections) is not None:
        tests.append(lambda a: a.detections >= least)
    if (most := f.max_detections) is not None:
        tests.append(lambda a: a.detections <= most)
    if f.cone is not None:
        tests.append(partial(_inside, f.cone))
    if len(tests) == 1:
        return tests[0]
    return lambda a: all(test(a) for test in tests)


def _inside(cone: Cone, answer: Answer) -> bool:
    ra, dec = answer.classification.document.get("ra"), answer.classification.document.get("dec")
    if ra is None or dec is None or abs(dec - cone.dec) > cone.radius:  # the exact test takes 20 us
        return False
    return bool(cone.holds(ra, dec))


class Watching:
    """The watches, as whoever records knows them. Used in write transactions only, one at a time."""

    def __init__(self) -> None:
        self._known: list[tuple[str, Callable[[Answer], bool]]] = []
        self._looked_up = float("-inf")

    def notice(self, run: Run, tables: str, classifications: Sequence[StoredClassification]) -> None:
        """Note which objects pass which watch for the first time, and are to be told."""
        now = monotonic()
        if now - self._looked_up > LOOKED_UP_S:
            self._known = [(each.name, condition(each.filters)) for each in load(run, tables)]
            self._looked_up = now
        if not self._known:
            return
        answers = [Answer.of(c) for c in classifications if c.active]
        for name, passes in self._known:
            passing = {each.classification.object_id: each for each in answers if passes(each)}
            if not passing:
                continue
            names = sorted(passing)  # in one order, so that replicas can't deadlock
            known = run(
                f"SELECT object_id FROM {tables}notices WHERE watch = :watch AND object_id IN {{names}}",
                {"watch": name, "names": names},
            )
            for object_id in sorted(passing.keys() - {row[0] for row in known}):
                document = passing[object_id].classification.document
                run(_NOTICE.format(tables=tables), _noticed(name, object_id, document))

    def forget(self) -> None:
        """Look the watches up again at the next call."""
        self._looked_up = float("-inf")


_NOTICE: Final = """
    INSERT INTO {tables}notices (watch, object_id, noticed_at, document, waiting)
    SELECT name, :object_id, :now, :document, CASE WHEN url IS NULL THEN 0 ELSE 1 END
    FROM {tables}watches WHERE name = :watch
    ON CONFLICT (watch, object_id) DO NOTHING
"""


def _noticed(watch: str, object_id: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"watch": watch, "object_id": object_id, "now": time(), "document": _json(document)}


_COLUMNS: Final = "name, filters, created, url, secret, next_try, failures, last_error, last_delivery"


def load(run: Run, tables: str) -> list[Watch]:
    """All watches, by name."""
    rows = run(
        f"""
        SELECT {_COLUMNS},
            (SELECT count(*) FROM {tables}notices AS n WHERE n.watch = w.name AND n.waiting = 1)
        FROM {tables}watches AS w ORDER BY name
        """,
        {},
    )
    return [Watch(row[0], decode_filters(row[1]), *row[2:]) for row in rows]


def add(run: Run, tables: str, watch: Watch) -> bool:
    """False where there is one of that name already."""
    return bool(
        run(
            f"""
            INSERT INTO {tables}watches (name, filters, created, url, secret)
            VALUES (:name, :filters, :created, :url, :secret) ON CONFLICT DO NOTHING RETURNING name
            """,
            {
                "name": watch.name, "filters": encode_filters(watch.filters), "created": watch.created,
                "url": watch.url, "secret": watch.secret,
            },
        )
    )  # fmt: skip


def remove(run: Run, tables: str, name: str) -> bool:
    """With what it noticed. False where there is none of that name."""
    run(f"DELETE FROM {tables}notices WHERE watch = :name", {"name": name})
    return bool(run(f"DELETE FROM {tables}watches WHERE name = :name RETURNING name", {"name": name}))


def notices(run: Run, tables: str, name: str, limit: int) -> list[Notice]:
    """What a watch noticed last, the newest first."""
    rows = run(
        f"""
        SELECT number, object_id, noticed_at, document FROM {tables}notices
        WHERE watch = :name ORDER BY number DESC LIMIT :limit
        """,
        {"name": name, "limit": limit},
    )
    return [Notice(row[0], row[1], row[2], orjson.loads(row[3])) for row in rows]


def lease(run: Run, tables: str, name: str, now: float, lease_s: float, limit: int) -> list[Notice]:
    """The oldest notices that wait for the webhook, for the caller alone to send until the lease ends.

    None where another has them, or it is not yet time to try again.
    """
    leased = run(
        f"""
        UPDATE {tables}watches SET leased_until = :until
        WHERE name = :name AND leased_until <= :now AND next_try <= :now AND EXISTS
            (SELECT 1 FROM {tables}notices WHERE watch = :name AND waiting = 1)
        RETURNING name
        """,
        {"name": name, "now": now, "until": now + lease_s},
    )
    if not leased:
        return []
    rows = run(
        f"""
        SELECT number, object_id, noticed_at, document FROM {tables}notices
        WHERE watch = :name AND waiting = 1 ORDER BY number LIMIT :limit
        """,
        {"name": name, "limit": limit},
    )
    return [Notice(row[0], row[1], row[2], orjson.loads(row[3])) for row in rows]


def delivered(run: Run, tables: str, name: str, numbers: Sequence[int], now: float) -> None:
    """These are told; the lease ends."""
    run(
        f"UPDATE {tables}notices SET waiting = 0 WHERE watch = :name AND number IN {{numbers}}",
        {"name": name, "numbers": list(numbers)},
    )
    run(
        f"""
        UPDATE {tables}watches SET leased_until = 0, next_try = 0, failures = 0, last_error = NULL, last_delivery = :now
        WHERE name = :name
        """,
        {"name": name, "now": now},
    )


def failed(run: Run, tables: str, name: str, error: str, next_try: float) -> None:
    """They could not be told: the lease ends, and they are tried again."""
    run(
        f"""
        UPDATE {tables}watches SET leased_until = 0, next_try = :next_try, failures = failures + 1, last_error = :error
        WHERE name = :name
        """,
        {"name": name, "next_try": next_try, "error": error},
    )


def prune(run: Run, tables: str, before: float) -> int:
    """Forget what was noticed before a time, and of each watch what is beyond MOST_KEPT; how many were never told."""
    untold = 0
    for (name,) in run(f"SELECT name FROM {tables}watches", {}):
        last = run(
            f"SELECT number FROM {tables}notices WHERE watch = :name ORDER BY number DESC LIMIT 1 OFFSET :most",
            {"name": name, "most": MOST_KEPT - 1},
        )
        gone = run(
            f"""
            DELETE FROM {tables}notices WHERE watch = :name AND (noticed_at < :before OR number < :first)
            RETURNING waiting
            """,
            {"name": name, "before": before, "first": last[0][0] if last else 0},
        )
        untold += sum(waiting for (waiting,) in gone)
    return untold


def encode_filters(filters: Filters) -> str:
    """Raises ValueError on one that can't be saved."""
    strangers = [
        field.name
        for field in fields(filters)
        if field.name not in LASTING and getattr(filters, field.name) is not None
    ]
    if strangers:
        raise ValueError(f"{strangers[0]} can't be watched: it is no property of an answer")
    said = {name: value for name, value in asdict(filters).items() if name in LASTING and value not in (None, (), 0.0)}
    if not said:
        raise ValueError("a watch needs a filter: everything would pass this one")
    return _json(said)


def decode_filters(text: str) -> Filters:
    said: dict[str, Any] = orjson.loads(text)
    if "cone" in said:
        said["cone"] = Cone(**said["cone"])
    for name in ("flags", "without_flags"):
        said[name] = tuple(said.get(name, ()))
    return Filters(**said)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
