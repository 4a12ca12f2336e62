"""What both stores answer alike: reads over one borrowed connection, whose tables the engine knows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.photometry import SURVEYS, SURVEYS_BY_POSITION
from service.store.interface import (
    Counterpart,
    Increment,
    Sort,
    StoredClassification,
    StoredCutouts,
    StoredObject,
    storable,
)
from service.store.joining import JoinTables, boxes_around, preview, sources_as_objects
from service.store.paging import Page
from service.store.sky import Cone, separation_arcsec

C = TypeVar("C")  # connection
C_contra = TypeVar("C_contra", contravariant=True)
Embeddings = tuple[list[str], NDArray[np.float16]]


class Classifications(Protocol[C_contra]):
    """The engine's module `classifications`; see the methods of `Store`."""

    def latest(self, connection: C_contra, object_id: str) -> StoredClassification | None: ...
    def query(
        self, connection: C_contra, page: Page, cone: Cone | None
    ) -> tuple[list[StoredClassification], str | None]: ...
    def class_mix(self, connection: C_contra, since: float) -> dict[str, int]: ...
    def embeddings(self, connection: C_contra, classifier: str, version: str, limit: int) -> Embeddings: ...
    def history(self, connection: C_contra, object_id: str, limit: int) -> list[StoredClassification]: ...


class ReadingStore(ABC, Generic[C]):
    """The methods of `Store` that change nothing; an engine adds the others."""

    _classifications: Classifications[C]
    _sources: Callable[[C], JoinTables]
    _objects: Callable[[C, Sequence[str]], dict[str, StoredObject]]
    _cutouts: Callable[[C, str], StoredCutouts | None]
    _join_radius: float

    @abstractmethod
    def _reader(self) -> AbstractContextManager[C]: ...

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

    def counterparts(self, known: StoredObject) -> list[Counterpart]:
        own = _surveys(known)
        with self._reader() as connection, self._snapshot(connection):
            positions = self._sources(connection).object_positions(
                boxes_around([(known.ra, known.dec)], self._join_radius), []
            )
            apart = {
                each.name: separation_arcsec(known.ra, known.dec, each.ra, each.dec)
                for each in positions
                if each.name != known.object_id
            }
            near = sorted((far, name) for name, far in apart.items() if far <= self._join_radius)
            objects = self._objects(connection, [name for _, name in near])
        return [
            Counterpart(name, surveys[0], far)
            for far, name in near
            if (surveys := _surveys(objects[name]) if name in objects else []) and not set(surveys) & set(own)
        ]

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
        sort: Sort = "newest",
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[list[StoredClassification], str | None]:
        page = Page(top_class, min_probability, since, cone is not None, sort, limit, cursor)
        with self._reader() as connection:
            return self._classifications.query(connection, page, cone)

    def class_mix(self, since: float) -> dict[str, int]:
        with self._reader() as connection:
            return self._classifications.class_mix(connection, since)

    def embeddings(self, classifier: str, version: str, limit: int = 100_000) -> Embeddings:
        with self._reader() as connection:
            return self._classifications.embeddings(connection, classifier, version, limit)

    def cutouts(self, object_id: str) -> StoredCutouts | None:
        if not storable(object_id):
            return None
        with self._reader() as connection:
            return self._cutouts(connection, object_id)

    def history(self, object_id: str, limit: int = 1000) -> list[StoredClassification]:
        if not storable(object_id):
            return []
        with self._reader() as connection:
            return self._classifications.history(connection, object_id, limit)


def _surveys(known: StoredObject) -> list[str]:
    """The surveys whose alerts an object has, not those whose photometry has joined it."""
    found = [SURVEYS[code] for code in np.unique(known.light_curve.points["survey"]).tolist()]
    return [name for name in found if name not in SURVEYS_BY_POSITION]
