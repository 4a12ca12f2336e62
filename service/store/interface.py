"""What any store of partial light curves must do. SQLite and PostgreSQL both pass the same tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.photometry import LightCurve


class StoreUnavailableError(RuntimeError):
    """The store can't be reached or can't write (server down, disk full): try again later, nothing was written."""


@dataclass(frozen=True, slots=True)
class Increment:
    """What one alert adds to its object. ra, dec [deg]."""

    object_id: str
    ra: float
    dec: float
    light_curve: LightCurve


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object at rest. ra, dec [deg] are those of the latest alert."""

    object_id: str
    ra: float
    dec: float
    light_curve: LightCurve


@dataclass(frozen=True, slots=True)
class StoredClassification:
    """One published classification. (object_id, candid, classifier, version) identifies it.

    `mjd` is the alert's epoch [days]; `published_at` seconds since 1970; `document` the published message as JSON-able
    values: the output schema's fields.
    """

    object_id: str
    candid: int
    classifier: str
    version: str
    mjd: float
    published_at: float
    top_class: str
    top_probability: float
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    objects: int
    classifications: int
    bytes: int


class Store(Protocol):
    """Every method may be called from any thread. All raise StoreUnavailableError when the store can't answer."""

    def merge(self, increments: Sequence[Increment]) -> list[LightCurve]:
        """Merge a batch in one transaction and return the light curve as it was known at each increment.

        Element i holds what was stored before the batch and increments 0..i of the same object, in order. An object is
        read and written once however often it occurs; keys are locked in sorted order, so that replicas can't
        deadlock. Merging the same batch again changes nothing.
        """
        ...

    def load(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        """The known ones among `object_ids`."""
        ...

    def record(self, classifications: Sequence[StoredClassification]) -> None:
        """Remember published classifications in one transaction; recording one again changes nothing.

        The latest of an object is the one with the greatest (mjd, candid) among the active classifier's answers.
        """
        ...

    def latest(self, object_id: str) -> StoredClassification | None: ...

    def query(
        self,
        *,
        top_class: str | None = None,
        min_probability: float = 0.0,
        since: float | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[list[StoredClassification], str | None]:
        """Latest classification per object, newest `published_at` first, and a cursor for the next page (None: end).

        `since` is in seconds since 1970. Raises ValueError on a cursor that this store did not give.
        """
        ...

    def history(self, object_id: str, limit: int = 1000) -> list[StoredClassification]:
        """All classifications of an object, oldest first; their `document` may be reduced to the probabilities."""
        ...

    def prune(self, older_than_mjd: float) -> int:
        """Forget objects whose last detection is older; their classifications go too. Returns how many went."""
        ...

    def statistics(self) -> StoreStatistics: ...

    def check(self) -> None:
        """Raise StoreUnavailableError unless the store can be written to now."""
        ...

    def close(self) -> None: ...
