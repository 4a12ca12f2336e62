"""Columns of numbers and names -> points, for all input: JSON, CSV, Parquet, tensors and training tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.errors import AlertClassifierError
from service.photometry.bands import BAND_CODES, SURVEY_CODES
from service.photometry.lightcurve import POINT, Kind

# Bounds of each value, ends included; one outside is a code for "none" (99, -999) or another quantity.
BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "mjd": (0, 100_000),  # 1858 to 2132: refuses a Julian date (2.46 million) given by mistake
    "mag": (-5, 50),  # forced photometry of an empty position has a magnitude near 46 and an unbounded error
    "magerr": (0, 1e30),
    "limit": (-5, 50),
    "magnr": (-5, 50),
    "sign": (-1, 1),
    "candid": (0, 2**63 - 1),
    "flux": (-1e15, 1e15),
    "fluxerr": (0, 1e15),
}
_HINTS: Final = {
    "mjd": "; a modified Julian date is the Julian date less 2400000.5",
    "mag": "; leave it empty for an upper limit",
}
# These only describe a measurement: out of bounds they count as unknown, as in packets.
_DESCRIBING: Final = ("limit", "magnr")

KIND_NAMES: Final[dict[str, int]] = {kind.name.lower(): int(kind) for kind in Kind}
_CODES: Final = {"band": BAND_CODES, "survey": SURVEY_CODES}


class ColumnError(AlertClassifierError, ValueError):
    """`column` has an impossible value in `row` (from 0); `reason` continues a sentence after the column's name."""

    def __init__(self, column: str, row: int, reason: str) -> None:
        super().__init__(f"column {column} {reason}")
        self.column, self.row, self.reason = column, row, reason


def points_from_columns(columns: Mapping[str, Any]) -> NDArray[np.void]:
    """Points (n,) of dtype `POINT`, row by row, from columns (n,) in the units of `POINT`.

    mjd, band and mag are required; magerr, limit, magnr, sign, candid, survey and kind are optional. NaN or None is an
    unknown number; band and survey are codes (`codes`). A point without mag is an upper limit, any other a detection,
    unless `kind` says otherwise. No packet brought them: their `brought_by` is 0, so a packet's version of the same
    measurement stands. Raises ColumnError; an impossible `limit` or `magnr` counts as unknown.
    """
    numbers = {name: known(name, columns[name]) for name in BOUNDS if name in columns}
    kind = np.where(np.isnan(numbers["mag"]), Kind.UPPER_LIMIT, Kind.DETECTION)
    for row, name in enumerate(columns.get("kind", ())):
        if name is None:
            continue
        if name not in KIND_NAMES:
            raise ColumnError("kind", row, f"has unknown values {name}; known are {', '.join(KIND_NAMES)}")
        if (name == "upper_limit") != (kind[row] == Kind.UPPER_LIMIT):
            wrong = "an upper limit has no mag" if name == "upper_limit" else f"a point of kind {name} needs a mag"
            raise ColumnError("kind", row, wrong)
        kind[row] = KIND_NAMES[name]
    unknown = {"magerr": np.nan, "limit": np.nan, "magnr": np.nan, "sign": 0, "candid": 0, "survey": 0, "brought_by": 0}
    values = unknown | dict(columns) | numbers | {"kind": kind}
    points = np.empty(len(kind), dtype=POINT)
    for field in POINT.names or ():
        points[field] = values[field]
    points["sign"][kind == Kind.UPPER_LIMIT] = 0
    return points


def known(column: str, values: ArrayLike) -> NDArray[Any]:
    """The numbers (n,) of a column, all within its bounds or NaN. Raises ColumnError if one is not."""
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iuf":  # those are compared in their own precision: a bound in float32 may be above it
        numbers = numbers.astype(np.float64)  # None becomes NaN
    low, high = BOUNDS[column]
    outside = (numbers < low) | (numbers > high)  # NaN, unknown, is neither
    if column in _DESCRIBING:
        return np.where(outside, np.nan, numbers)
    if column == "mjd":
        outside |= np.isnan(numbers)
    rows = np.flatnonzero(outside)
    if len(rows):
        count = "1 value that is" if len(rows) == 1 else f"{len(rows)} values that are"
        row = int(rows[0])
        raise ColumnError(
            column,
            row,
            f"has {count} not between {low:.15g} and {high:.15g}: row {row + 1} has {numbers[row]:.15g}"
            f"{_HINTS.get(column, '')}",
        )
    return numbers


def codes(column: str, names: Sequence[str | None]) -> NDArray[np.int8]:
    """The codes (n,) of band or survey `names`. Raises ColumnError that lists the known ones."""
    code_of = _CODES[column]
    try:
        return np.array([code_of[name] for name in names], dtype=np.int8)  # type: ignore[index]
    except KeyError:
        unknown = sorted({str(name) or "(empty)" for name in names if name not in code_of})
        row = next(row for row, name in enumerate(names) if name not in code_of)
        reason = f"has unknown values {', '.join(unknown)}; known are {', '.join(code_of)}"
        raise ColumnError(column, row, reason) from None
