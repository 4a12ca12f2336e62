"""The most similar objects: exact cosine over the stored embeddings, cached in memory for a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.store.interface import Store, StoredClassification, StoreUnavailableError

log = logging.getLogger(__name__)

# The objects that were classified last: 10^5 embeddings of 96 are 40 MB in single precision, and comparing with all
# takes 2.5 ms. For ten million they would be 4 GB, and an index over them in the store would cost every alert.
MOST_COMPARED: Final = 100_000
# New alerts appear among the neighbours after a minute or two; reading 10^5 embeddings takes a second, which nobody
# waits for.
KEPT_S: Final = 60.0
MANY: Final = 10_000  # fewer are read in the request, in a tenth of a second


@dataclass(frozen=True, slots=True)
class Nearest:
    """`found` holds (classification, cosine), most similar first; `compared` is the number of objects compared."""

    found: list[tuple[StoredClassification, float]]
    compared: int


@dataclass(frozen=True, slots=True)
class _Vectors:
    classifier: tuple[str, str]
    ids: list[str]
    unit: NDArray[np.float32]  # (n, D), each of length one
    since: float


class Neighbours:
    """Safe to use from many threads."""

    def __init__(self, store: Store, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._clock = clock
        self._reading = threading.Lock()
        self._vectors: _Vectors | None = None
        self._renewal: threading.Thread | None = None

    def of(self, stored: StoredClassification, limit: int) -> Nearest:
        """The `limit` objects most similar to `stored`, which must have an embedding; without the object itself."""
        assert stored.embedding is not None
        vectors = self._read((stored.classifier, stored.version))
        if not vectors.ids:
            return Nearest([], 0)
        direction = stored.embedding.astype(np.float32)
        cosine = vectors.unit @ (direction / np.linalg.norm(direction))
        # two extra: the object itself may be among them, and one may have been pruned meanwhile
        count = min(limit + 2, len(cosine))
        best = np.argpartition(-cosine, count - 1)[:count]
        found: list[tuple[StoredClassification, float]] = []
        for row in best[np.argsort(-cosine[best])].tolist():
            if vectors.ids[row] != stored.object_id and len(found) < limit:
                latest = self._store.latest(vectors.ids[row])
                if latest is not None:
                    found.append((latest, float(np.clip(cosine[row], -1, 1))))
        return Nearest(found, len(vectors.ids))

    def _read(self, classifier: tuple[str, str]) -> _Vectors:
        """The vectors; where they are old, still these, while a thread reads them anew."""
        with self._reading:
            vectors = self._vectors
            if vectors is not None and vectors.classifier == classifier:
                if self._clock() - vectors.since <= KEPT_S:
                    return vectors
                if len(vectors.ids) >= MANY:
                    if self._renewal is None or not self._renewal.is_alive():
                        self._begin(classifier)
                    return vectors
            self._vectors = self._fresh(classifier)
            return self._vectors

    def _renew(self, classifier: tuple[str, str]) -> None:
        try:
            self._vectors = self._fresh(classifier)
        except StoreUnavailableError as error:  # the old ones stand; the next request tries again
            log.debug("no embeddings from the store: %s", error)

    def _fresh(self, classifier: tuple[str, str]) -> _Vectors:
        ids, halves = self._store.embeddings(*classifier, limit=MOST_COMPARED)
        unit = halves.astype(np.float32)
        length = np.linalg.norm(unit, axis=1, keepdims=True) if len(ids) else np.ones((0, 1), np.float32)
        np.divide(unit, length, out=unit, where=length > 0)  # zero embeddings get similarity 0
        return _Vectors(classifier, ids, unit, self._clock())

    def begin(self, classifier: tuple[str, str]) -> None:
        """Where reading takes long, read the vectors in a thread: the first who asks does not wait either."""
        try:
            if self._store.statistics().objects >= MANY:
                self._begin(classifier)
        except StoreUnavailableError as error:
            log.debug("no embeddings from the store: %s", error)

    def _begin(self, classifier: tuple[str, str]) -> None:
        self._renewal = threading.Thread(target=self._renew, args=(classifier,), name="neighbours", daemon=True)
        self._renewal.start()

    def renewed(self) -> None:
        """Wait until nothing is being read anew."""
        if self._renewal is not None:
            self._renewal.join()
