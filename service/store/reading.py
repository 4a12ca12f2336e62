"""What both stores answer alike: reads over one borrowed connection, whose tables the engine knows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.photometry import SURVEYS, SURVEYS_BY_POSITION
from service.store import watches
from service.store.encoding import decode_embeddings
from service.store.filters import Filters, Notice, Watch
from service.store.interface import Counterpart, Increment, Sort, StoredClassification, StoredObject, storable
from service.store.joining import JoinTables, boxes_around, preview, sources_as_objects
from service.store.listing import Row, Run, keys_of, newest
from service.store.paging import Page
from service.store.sky import Cone, Positions
from service.store.watches import Watching

C = TypeVar("C")  # connection
T = TypeVar("T")
C_contra = TypeVar("C_contra", contravariant=True)
Embeddings = tuple[list[str], NDArray[np.float16]]


class Classifications(Protocol[C_contra]):
    """The engine's module `classifications`; see the methods of `Store`. `TABLES` stands before a table's name."""

    TABLES: str

    def latest(self, connection: C_contra, object_id: str) -> StoredClassification | None: ...
    def run(self, connection: C_contra, sql: str, parameters: dict[str, Any]) -> list[Row]: ...
    def of(self, connection: C_contra, object_ids: Sequence[str]) -> list[StoredClassification]: ...
    def class_mix(self, connection: C_contra, since: float) -> dict[str, int]: ...
    def embeddings(
        self, connection: C_contra, classifier: str, version: str, object_ids: Sequence[str]
    ) -> list[tuple[str, bytes]]: ...
    def history(self, connection: C_contra, object_id: str, limit: int) -> list[StoredClassification]: ...


class ReadingStore(ABC, Generic[C]):
    """The methods of `Store` that change nothing; an engine adds the others."""

    _classifications: Classifications[C]
    _sources: Callable[[C], JoinTables]
    _objects: Callable[[C, Sequence[str]], dict[str, StoredObject]]
    _kept: Callable[[C, Sequence[str]], dict[str, dict[str, bytes]]]
    _join_radius: float
    _watching: Watching

    @abstractmethod
    def _reader(self) -> AbstractContextManager[C]: ...

    @abstractmethod
    def _write(self, change: Callable[[Run], T]) -> T:
        """Run `change` in a write transaction."""

    def _snapshot(self, connection: C) -> AbstractContextManager[object]:
        """Several reads that see the same; an engine whose readers lock rows needs a transaction for it."""
        return nullcontext()

    def preview(self, increment: Increment, by_position: bool = False) -> StoredObject:
        with self._reader() as connection, self._snapshot(connection):
            return preview(self._sources(connection), increment, by_position, self._join_radius)

    def load(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        names = list(filter(storable, object_ids))
        with self._reader() as connection:
            found = self._objects(connection, names)
            if len(found) < len(set(names)):
                with self._snapshot(connection):
                    found |= sources_as_objects(self._sources(connection), [n for n in names if n not in found])
        return found

    def joined(self, object_id: str) -> list[str]:
        if not storable(object_id):
            return []
        with self._reader() as connection:
            return sorted(s.stored.object_id for s in self._sources(connection).sources_of([object_id]))

    def counterparts(self, known: Sequence[StoredObject]) -> list[list[Counterpart]]:
        with self._reader() as connection, self._snapshot(connection):
            boxes = boxes_around([(each.ra, each.dec) for each in known], self._join_radius)
            near = Positions(self._sources(connection).object_positions(boxes, []))
            found = [near.within(each.ra, each.dec, self._join_radius) for each in known]
            own = {each.object_id for each in known}
            others = {name for beside in found for _, name in beside} - own
            objects = self._objects(connection, sorted(others)) if others else {}
        surveys = {name: _surveys(each) for name, each in objects.items()}
        surveys |= {each.object_id: _surveys(each) for each in known}
        return [
            [
                Counterpart(name, surveys[name][0], far)
                for far, name in beside
                if surveys.get(name) and not set(surveys[name]) & set(surveys[each.object_id])
            ]
            for each, beside in zip(known, found, strict=True)
        ]

    def kept_blocks(self, object_ids: Sequence[str]) -> dict[str, dict[str, bytes]]:
        names = list(filter(storable, object_ids))
        if not names:
            return {}
        with self._reader() as connection:
            return self._kept(connection, names)

    def latest(self, object_id: str) -> StoredClassification | None:
        if not storable(object_id):
            return None
        with self._reader() as connection:
            return self._classifications.latest(connection, object_id)

    def query(
        self,
        *,
        top_class: str | None = None,
        min_probability: float = 0.0,
        since: float | None = None,
        cone: Cone | None = None,
        superclass: str | None = None,
        survey: str | None = None,
        seen_since: float | None = None,
        seen_before: float | None = None,
        min_detections: int | None = None,
        max_detections: int | None = None,
        flags: Sequence[str] = (),
        without_flags: Sequence[str] = (),
        prefix: str | None = None,
        sort: Sort = "newest",
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[list[StoredClassification], str | None]:
        filters = Filters(
            top_class, min_probability, since, cone, superclass, survey, seen_since, seen_before, min_detections,
            max_detections, tuple(flags), tuple(without_flags), prefix,
        )  # fmt: skip
        page = Page.of(filters, sort, limit, cursor)
        with self._reader() as connection:
            keys, further = keys_of(partial(self._classifications.run, connection), page, self._classifications.TABLES)
            found = {each.object_id: each for each in self._classifications.of(connection, [name for _, name in keys])}
        return [found[name] for _, name in keys if name in found], further

    def class_mix(self, since: float) -> dict[str, int]:
        with self._reader() as connection:
            return self._classifications.class_mix(connection, since)

    def embeddings(self, classifier: str, version: str, limit: int = 100_000) -> Embeddings:
        with self._reader() as connection:
            names = newest(partial(self._classifications.run, connection), limit, self._classifications.TABLES)
            found = dict(self._classifications.embeddings(connection, classifier, version, names))
        return decode_embeddings([(name, found[name]) for name in names if name in found])

    def watches(self) -> list[Watch]:
        with self._reader() as connection:
            return watches.load(partial(self._classifications.run, connection), self._classifications.TABLES)

    def add_watch(self, watch: Watch) -> bool:
        self._watching.forget()
        return self._write(lambda run: watches.add(run, self._classifications.TABLES, watch))

    def remove_watch(self, name: str) -> bool:
        self._watching.forget()
        return self._write(lambda run: watches.remove(run, self._classifications.TABLES, name))

    def notices(self, name: str, limit: int = 100) -> list[Notice]:
        with self._reader() as connection:
            run = partial(self._classifications.run, connection)
            return watches.notices(run, self._classifications.TABLES, name, limit)

    def lease_notices(self, name: str, now: float, lease_s: float, limit: int) -> list[Notice]:
        return self._write(lambda run: watches.lease(run, self._classifications.TABLES, name, now, lease_s, limit))

    def notices_delivered(self, name: str, numbers: Sequence[int], now: float) -> None:
        self._write(lambda run: watches.delivered(run, self._classifications.TABLES, name, numbers, now))

    def notices_failed(self, name: str, error: str, next_try: float) -> None:
        self._write(lambda run: watches.failed(run, self._classifications.TABLES, name, error, next_try))

    def prune_notices(self, before: float) -> int:
        return self._write(lambda run: watches.prune(run, self._classifications.TABLES, before))

    def history(self, object_id: str, limit: int = 1000) -> list[StoredClassification]:
        if not storable(object_id):
            return []
        with self._reader() as connection:
            return self._classifications.history(connection, object_id, limit)


def _surveys(known: StoredObject) -> list[str]:
    """The surveys whose alerts an object has, not those whose photometry has joined it."""
    found = [SURVEYS[code] for code in np.unique(known.light_curve.points["survey"]).tolist()]
    return [name for name in found if name not in SURVEYS_BY_POSITION]
