"""Light curves: time-ordered, immutable sets of photometric points, merged by set union.

A light curve is one structured array: packing copies its bytes, and every column is a view.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.errors import AlertClassifierError
from service.photometry.bands import BAND_CODES, SURVEY_CODES
from service.photometry.union import union


class LightCurveError(AlertClassifierError, ValueError):
    """A column that can't be one of a light curve; the message names it."""


class Kind(IntEnum):
    """How a point was measured. Stored in every light curve: append, never reorder."""

    DETECTION = 0  # a difference-image source above the survey's threshold: an alert
    UPPER_LIMIT = 1  # the position was observed without a source above the threshold
    FORCED = 2  # flux measured at the position, with or without a source


# From this many points on, light curves are merged from where the shorter begin: below, finding the place costs more.
LONG: Final = 200
_MARGIN_DAYS: Final = 1e-5  # epochs within 1e-6 days may be the same, and a light curve is ordered no finer than that

_UNSTAMPED: Final = [
    ("mjd", "<f8"),
    ("candid", "<i8"),
    ("mag", "<f4"),
    ("magerr", "<f4"),
    ("limit", "<f4"),
    ("magnr", "<f4"),
    ("band", "i1"),
    ("kind", "i1"),
    ("sign", "i1"),
    ("survey", "i1"),
]

# One point, 44 bytes. `mag` is the AB magnitude of the absolute difference flux, NaN for an upper limit; `limit` the
# 5-sigma limiting magnitude; `magnr` the magnitude of the nearest reference-image source; NaN where unknown.
# `candid` is the alert's identifier, 0 where unknown. `sign` is +1 or -1, 0 where unknown or for an upper limit.
# `brought_by` is the candid of the newest packet that held this point, 0 where no packet did: it decides between two
# versions of a measurement. Candids grow with time.
POINT: Final = np.dtype([*_UNSTAMPED, ("brought_by", "<i8")])

# First byte of a packed light curve: its points' layout. The first is from before `brought_by`, and still
# that of light curves in which it is 0 throughout.
_LAYOUTS: Final = {b"\x01": np.dtype(_UNSTAMPED), b"\x02": POINT}

_CODES: Final[dict[str, dict[str, int]]] = {
    "band": BAND_CODES, "survey": SURVEY_CODES, "kind": {kind.name.lower(): int(kind) for kind in Kind},
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class LightCurve:
    """An object's photometry: read-only `points`, shape (n,), dtype `POINT`, ordered by time, each measurement once.

    Make one with `from_columns`, `unpack` or `merge`; the constructor does not check its argument.
    """

    points: NDArray[np.void]

    @classmethod
    def from_points(cls, points: NDArray[np.void]) -> LightCurve:
        """Sort points of dtype `POINT` by time and keep each measurement once."""
        return cls(_frozen(union(points)))

    @classmethod
    def from_columns(
        cls,
        mjd: ArrayLike,
        band: ArrayLike,
        *,
        mag: ArrayLike = np.nan,
        magerr: ArrayLike = np.nan,
        limit: ArrayLike = np.nan,
        sign: ArrayLike = 0,
        kind: ArrayLike = Kind.DETECTION,
        candid: ArrayLike = 0,
        magnr: ArrayLike = np.nan,
        survey: ArrayLike = 0,
        brought_by: ArrayLike = 0,
    ) -> LightCurve:
        """Columns of the length of `mjd` (or scalars for all points) in any order; units as in `POINT`; `band`,
        `survey` and `kind` as names or codes.

        The sign of an upper limit is ignored. Raises LightCurveError naming the column.
        """
        mjd = _numbers("mjd", mjd)
        if mjd.ndim != 1:
            raise LightCurveError(f"mjd must be a list of times, one per point, not of shape {mjd.shape}")
        points = np.empty(mjd.shape, dtype=POINT)
        columns: dict[str, ArrayLike] = {
            "mjd": mjd, "candid": candid, "mag": mag, "magerr": magerr, "limit": limit, "magnr": magnr,
            "band": band, "kind": kind, "sign": sign, "survey": survey, "brought_by": brought_by,
        }  # fmt: skip
        for name, values in columns.items():
            column = _codes(name, values) if name in _CODES else _numbers(name, values)
            if column.ndim and column.shape != mjd.shape:
                raise LightCurveError(
                    f"{name} has shape {column.shape}, mjd {mjd.shape}: one value per point is needed, or one for all"
                )
            points[name] = column
        points["sign"][points["kind"] == Kind.UPPER_LIMIT] = 0
        if not np.isfinite(mjd).all():
            raise LightCurveError(f"mjd of point {int(np.flatnonzero(~np.isfinite(mjd))[0])} is not a finite number")
        return cls.from_points(points)

    @classmethod
    def empty(cls) -> LightCurve:
        return cls(_frozen(np.empty(0, dtype=POINT)))

    @classmethod
    def unpack(cls, packed: bytes) -> LightCurve:
        """Inverse of `pack`. Raises ValueError on bytes that `pack` did not write."""
        layout = _LAYOUTS.get(packed[:1])
        if layout is None or (len(packed) - 1) % layout.itemsize:
            raise ValueError(f"not a packed light curve: {len(packed)} bytes, format {packed[:1].hex() or 'missing'}")
        points = np.frombuffer(packed, dtype=layout, offset=1)
        return cls(points if layout is POINT else _frozen(_words(points, POINT)))

    @staticmethod
    def packed_length(packed: bytes) -> int:
        """How many points are packed in it."""
        return (len(packed) - 1) // _LAYOUTS[packed[:1]].itemsize

    @classmethod
    def unpack_before(cls, parts: Sequence[bytes], newest: LightCurve) -> LightCurve:
        """The light curve whose points are packed in `parts`, one after the other, and then those of `newest`.

        Raises ValueError as `unpack`.
        """
        if any(part[:1] != b"\x02" or len(part) % POINT.itemsize != 1 for part in parts):
            return cls(end_to_end([*[cls.unpack(part) for part in parts], newest]))
        joined = b"".join([*[memoryview(part)[1:] for part in parts], newest.points.tobytes()])
        return cls(np.frombuffer(joined, dtype=POINT))

    def pack(self) -> bytes:
        """One format byte, then 44 bytes per point, or 36 if no packet brought any; exact, including NaN payloads."""
        packed = self.points.tobytes()
        if any(packed[-8:]) or self.points["brought_by"].any():  # mostly the last one says it
            return b"\x02" + packed
        return b"\x01" + _words(self.points, _LAYOUTS[b"\x01"]).tobytes()

    def merge(self, *others: LightCurve) -> LightCurve:
        """Set union of all points; commutative, associative, idempotent.

        Of two versions of a measurement the one from the later packet (`brought_by`) stands, then the one with fewer
        unknown values, then the smaller bit pattern. It keeps the greatest `candid` of all of them.
        """
        return merge([self, *others])

    def select(self, mask: NDArray[np.bool_]) -> LightCurve:
        """The points where `mask` (n,) holds."""
        return LightCurve(_frozen(self.points[mask]))

    def first_detections(self, count: int) -> LightCurve:
        """The points up to and including the `count`-th detection: those known when it arrived."""
        where = np.flatnonzero(self.is_detection)
        if len(where) < count:
            return self
        return LightCurve(self.points[: where[count - 1] + 1] if count > 0 else self.points[:0])

    @property
    def mjd(self) -> NDArray[np.float64]:
        return self.points["mjd"]

    @property
    def band(self) -> NDArray[np.int8]:
        return self.points["band"]

    @property
    def kind(self) -> NDArray[np.int8]:
        return self.points["kind"]

    @property
    def is_detection(self) -> NDArray[np.bool_]:
        return np.equal(self.kind, Kind.DETECTION)

    @property
    def n_detections(self) -> int:
        return int(np.count_nonzero(self.is_detection))

    def __len__(self) -> int:
        return len(self.points)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same measurements, whichever packets brought them."""
        if not isinstance(other, LightCurve) or len(self) != len(other):
            return False
        unstamped = _LAYOUTS[b"\x01"]
        return _words(self.points, unstamped).tobytes() == _words(other.points, unstamped).tobytes()

    def is_identical(self, other: LightCurve) -> bool:
        """Whether both also came with the same packets: merged with anything, they give the same."""
        return len(self.points) == len(other.points) and self.points.tobytes() == other.points.tobytes()

    __hash__ = None  # type: ignore[assignment]


def merge(light_curves: Sequence[LightCurve]) -> LightCurve:
    """Set union of any number of light curves; see `LightCurve.merge`."""
    filled = [curve for curve in light_curves if len(curve.points)]
    if len(filled) < 2:
        return filled[0] if filled else LightCurve.empty()
    if sum([len(curve.points) for curve in filled]) < LONG:
        return LightCurve.from_points(end_to_end(filled))
    if len(filled) == 2 and (shared := _shared(*sorted(filled, key=lambda curve: float(curve.mjd[0])))) is not None:
        return shared
    # An alert adds to the end of a long history: what lies before it stays as it is.
    longest = max(filled, key=len)
    others = [curve for curve in filled if curve is not longest]
    begin = min((float(curve.mjd[0]) for curve in others), default=np.inf) - _MARGIN_DAYS
    untouched = bisect_left(longest.mjd, begin)
    rest = _frozen(union(end_to_end([LightCurve(longest.points[untouched:]), *others])))
    return LightCurve(end_to_end([LightCurve(longest.points[:untouched]), LightCurve(rest)]))


def _shared(early: LightCurve, late: LightCurve) -> LightCurve | None:
    """The union where `late`, to the last bit, begins with points of `early`: a packet may bring a year again that the
    store has. Only what comes behind them is united: it can't hold a measurement of theirs, as both are in order. None
    where they do not share their beginning.
    """
    begin = bisect_left(early.mjd, late.mjd[0])  # numpy's search would first copy the column
    if early.points[begin : begin + 1].tobytes() != late.points[:1].tobytes():
        return None
    known, again = early.points[begin:].view(np.uint32), late.points.view(np.uint32)
    words = min(len(known), len(again))
    differs = known[:words] != again[:words]
    first = int(differs.argmax())
    same = (first if differs[first] else words) // (POINT.itemsize // 4)
    end = begin + same
    rest = [LightCurve(early.points[end:]), LightCurve(late.points[same:])]
    filled = [curve for curve in rest if len(curve)]
    if len(filled) == 2:
        filled = [LightCurve(_frozen(union(end_to_end(filled))))]
    return LightCurve(end_to_end([LightCurve(early.points[:end]), *filled]))


def end_to_end(light_curves: Iterable[LightCurve]) -> NDArray[np.void]:
    """The points of all light curves in one read-only array, one light curve after the other."""
    # Joins bytes, because np.concatenate compares the fields of every structured array, 10 us each.
    return np.frombuffer(b"".join([curve.points.tobytes() for curve in light_curves]), dtype=POINT)


def _words(points: NDArray[np.void], layout: np.dtype[np.void]) -> NDArray[np.void]:
    """The same points in another layout: fields at its end are cut off, or 0."""
    words = np.zeros((len(points), layout.itemsize // 4), dtype=np.uint32)
    given = points.view(np.uint32).reshape(len(points), points.dtype.itemsize // 4)
    shared = min(words.shape[1], given.shape[1])
    words[:, :shared] = given[:, :shared]
    return words.reshape(-1).view(layout)


def _frozen(points: NDArray[np.void]) -> NDArray[np.void]:
    points.setflags(write=False)
    return points


def _numbers(name: str, values: ArrayLike) -> NDArray[Any]:
    """As numbers; None is unknown. A candid keeps its 64 bits."""
    column = np.asarray(values)
    if column.dtype.kind in "biuf":
        return column.astype(np.float64) if name == "mjd" else column
    try:
        return column.astype(np.int64 if name in ("candid", "sign") else np.float64)
    except (TypeError, ValueError):
        raise LightCurveError(f"{name} must be numbers: {str(values)[:60]} are none") from None


def _codes(name: str, values: ArrayLike) -> NDArray[Any]:
    """Names or codes of bands, surveys or kinds as codes."""
    known = _CODES[name]
    column = np.asarray(values)
    if column.dtype.kind in "UO":
        given = set(column.ravel().tolist())
        if all(isinstance(each, str) for each in given):
            unknown = sorted(given - known.keys())
            if unknown:
                raise LightCurveError(f"{name} has unknown values {', '.join(unknown)}; known are {', '.join(known)}")
            return np.array([known[each] for each in column.ravel().tolist()], dtype=np.int8).reshape(column.shape)
    if not column.size:  # an empty list has no type
        return column.astype(np.int8)
    if column.dtype.kind not in "iu":
        raise LightCurveError(f"{name} must be names ({', '.join(known)}) or their codes from 0")
    if column.min() < 0 or column.max() >= len(known):
        codes = ", ".join(f"{code} {each}" for each, code in known.items())
        raise LightCurveError(f"{name} has a code that is none; there are {codes}")
    return column
