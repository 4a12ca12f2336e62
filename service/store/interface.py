"""The interface of a store of partial light curves. SQLite and PostgreSQL both pass the same tests."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import AlertClassifierError
from service.photometry import Context, LightCurve
from service.store.filters import Notice, Watch
from service.store.kept import KeptBlocks
from service.store.sky import Cone

_NEVER_STORED: Final = re.compile("[\0\ud800-\udfff]")

Sort = Literal["newest", "most_probable", "name"]


class StoreUnavailableError(AlertClassifierError, RuntimeError):
    """The store can't be reached or written (server down, disk full). Nothing was written; try again later."""


class StoreDamagedError(StoreUnavailableError):
    """The store's file is damaged: waiting does not help. The message says what to do and names objects where known."""


class StoredDataError(AlertClassifierError, ValueError):
    """What is stored of an object can't be read: it was damaged at rest. Others are not concerned."""


class LightCurveDamagedError(StoredDataError):
    """The stored light curve of one object can't be read; the message names it. Everything else can."""


class StoreVersionError(AlertClassifierError, RuntimeError):
    """The store was made by a newer version of the service than this one."""


def storable(text: str) -> bool:
    """Whether every store can keep `text`: PostgreSQL takes no NUL, UTF-8 no lone surrogates."""
    return (text.isascii() and "\0" not in text) or _NEVER_STORED.search(text) is None


@dataclass(frozen=True, slots=True)
class Increment:
    """The points that an alert adds to its object, or photometry to its position source (`object_id` is then the name
    of the source). ra, dec [deg], NaN if unknown. `context` is what the alert says of the surroundings, if anything.

    Raises ValueError on an object_id that is empty or not `storable`.
    """

    object_id: str
    ra: float
    dec: float
    light_curve: LightCurve
    context: Context | None = None

    def __post_init__(self) -> None:
        if not self.object_id or not storable(self.object_id):
            raise ValueError(f"object_id {self.object_id!r} is empty or holds a character that no store can keep")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in the store. ra, dec [deg] are those of its newest alert by epoch; `last_mjd` [days].

    `light_curve` holds the points of its alerts and of the position sources that joined it; `context` is that of its
    newest alert which has one (`service.photometry.context.newest`);
    `closed` says how many of its points each block of the store holds (see `service.store.blocks`).
    """

    object_id: str
    ra: float
    dec: float
    last_mjd: float
    light_curve: LightCurve
    context: Context | None = None
    closed: tuple[int, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Counterpart:
    """An object of another survey at the place of an object, probably the same source of light."""

    object_id: str
    survey: str
    separation_arcsec: float


@dataclass(frozen=True, slots=True)
class StoredClassification:
    """One published classification. (object_id, candid, classifier, version) identifies it.

    `mjd` is the alert's epoch [days]; `published_at` seconds since 1970; `document` the published message as JSON-able
    values: the output schema's fields, of which the store itself reads only `probabilities` (class -> probability).
    `top_class` is None where the answer names no class. `active` is False for the answer of a shadow bundle: it is kept
    in the history and is never the latest. `embedding` (D,) is kept as float16, for the latest classification only.
    """

    object_id: str
    candid: int
    classifier: str
    version: str
    mjd: float
    published_at: float
    top_class: str | None
    top_probability: float
    document: dict[str, Any]
    active: bool = True
    embedding: NDArray[np.floating[Any]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Numbers of objects, of classifications in the history, of bytes on disk and of position sources, joined or not.
    For a large PostgreSQL the counts are estimates.
    """

    objects: int
    classifications: int
    bytes: int
    sources: int = 0


class Store(Protocol):
    """Every method may be called from any thread. All raise StoreUnavailableError when the store can't answer."""

    def merge(self, increments: Sequence[Increment]) -> list[StoredObject]:
        """Merge a batch in one transaction and return the object of each increment, as known at that increment.

        Element i holds what was stored before the batch and increments 0..i of the same object, in order. Each object
        is read and written once. Keys are locked in sorted order, so that replicas can't deadlock. Merging the same
        batch again changes nothing.

        A merge survives a crash of the service, and a crash of the machine once a later `record` has returned.
        """
        ...

    def join(self, increments: Sequence[Increment]) -> list[StoredObject]:
        """Merge photometry by position in one transaction and return the object that each source has joined.

        A position source (named by `object_id`) keeps its own name and joins the nearest object within the radius; it
        moves to an object that appears later and is nearer. Element i is the joined object, with all its photometry,
        or the source itself if it has joined none. Joining the same batch again changes nothing.

        Raises ValueError if a known source is given another position.
        """
        ...

    def preview(self, increment: Increment, by_position: bool = False) -> StoredObject:
        """What `merge`, or `join` for photometry by position, would return for one increment; nothing is stored.

        Raises ValueError if a known source is given another position.
        """
        ...

    def load(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        """The stored objects among `object_ids`. A source's name gives the object that it has joined, or itself."""
        ...

    def joined(self, object_id: str) -> list[str]:
        """Names of the position sources that have joined an object."""
        ...

    def counterparts(self, known: Sequence[StoredObject]) -> list[list[Counterpart]]:
        """Of each of these objects, in their order: objects of other surveys within the join radius, nearest first.
        Surveys name the same source each for itself.

        They are looked for when asked, by the index of the sky, so it does not matter which came first.
        """
        ...

    def record(self, classifications: Sequence[StoredClassification]) -> None:
        """Store classifications in one transaction; recording one again changes nothing.

        When it returns, they and everything merged before are on the disk.

        The latest of an object is the active one with the greatest (mjd, candid); of several classifiers' answers to
        the same alert, the one published last.
        """
        ...

    def kept_blocks(self, object_ids: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """What models have kept of the objects among `object_ids` that they kept anything of: object -> the name that
        the model `embeds_as` -> embeddings.
        """
        ...

    def keep_blocks(self, kept: Sequence[KeptBlocks], in_use: Collection[str]) -> None:
        """Keep these, of objects that are in the store, in one transaction that does not wait for the disk; the last
        written stands. What models kept of the same objects that are not `in_use` is forgotten.
        """
        ...

    def latest(self, object_id: str) -> StoredClassification | None: ...

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
        """Latest classification per object, in order of `sort`, and a cursor for the next page (None: end).

        The work of a page is bounded: where few objects pass the filters it may be short, or empty, and still have a
        next one.

        `since` is in seconds since 1970; `seen_since`, `seen_before` are epochs of the object's last alert [mjd].
        `superclass` is the most probable one; all of `flags` are borne, none of `without_flags`. `prefix` is how the
        object's name begins, in any case, and sorts by name. What was recorded by a version that did not keep survey,
        superclass, flags and numbers of detections apart is not found by them until the object's next alert.

        An answer that names no class has no probability either: above a `min_probability` of 0 it is not found. An
        object that is classified anew while someone pages moves to the front of the newest: no page shows it twice.
        Raises ValueError on a cursor that was not given for the same `sort`.
        """
        ...

    def class_mix(self, since: float) -> dict[str, int]:
        """Objects per top class whose latest classification was published at or after `since` [s since 1970]; those
        whose answer names none are left out.
        """
        ...

    def embeddings(self, classifier: str, version: str, limit: int = 100_000) -> tuple[list[str], NDArray[np.float16]]:
        """(object ids, their latest embeddings (n, D)) of one classifier version, newest first, among the `limit`
        objects that were classified last.
        """
        ...

    def history(self, object_id: str, limit: int = 1000) -> list[StoredClassification]:
        """The last `limit` classifications of an object, including shadows' answers, oldest first.

        Their `document` holds only the probabilities, in single precision, and they have no embedding.
        """
        ...

    def watches(self) -> list[Watch]:
        """The saved filters, by name; `record` notices what passes one for the first time."""
        ...

    def add_watch(self, watch: Watch) -> bool:
        """False where there is one of that name. Raises ValueError on a filter that can't be watched."""
        ...

    def remove_watch(self, name: str) -> bool:
        """With what it noticed. False where there is none of that name."""
        ...

    def notices(self, name: str, limit: int = 100) -> list[Notice]:
        """What a watch noticed last, the newest first."""
        ...

    def lease_notices(self, name: str, now: float, lease_s: float, limit: int) -> list[Notice]:
        """The oldest notices that wait for the webhook, for the caller alone to send for `lease_s` from `now` on; none
        where another has them or it is not yet time to try again.
        """
        ...

    def notices_delivered(self, name: str, numbers: Sequence[int], now: float) -> None: ...

    def notices_failed(self, name: str, error: str, next_try: float) -> None: ...

    def prune_notices(self, before: float) -> int:
        """Forget what was noticed before a time [s since 1970], and what is too much; how many had not been told."""
        ...

    def prune(self, older_than_mjd: float) -> int:
        """Delete objects and position sources last detected before `older_than_mjd`, with their classifications; return
        how many.

        Uses small transactions, so that the stream can continue meanwhile.
        """
        ...

    def statistics(self) -> StoreStatistics: ...

    def check(self) -> None:
        """Raise StoreUnavailableError unless the store can be written now."""
        ...

    def close(self) -> None: ...
