"""The classifier for the engines that hold archives (`alert_classifier.spark`, `alert_classifier.dask`).

Columns that hold a light curve's points in each row -> predictions, with one classifier for a whole process.
Scheduling, memory and failures are the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.exports.rows import BAND_SPELLINGS, SIGN_SPELLINGS
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.photometry import CONTEXT_COLUMNS, Context, LightCurve
from service.photometry.columns import BOUNDS, ColumnError, points_from_columns
from service.photometry.context import context_values
from service.photometry.time import JD_OF_MJD_ZERO

# What a column of points may be; mjd or jd, band and mag are needed. Values are as in exports: a band is its name or
# ZTF's number, a point without mag is an upper limit, -999 and NaN are no value.
COLUMNS: Final = ("mjd", "jd", "band", "mag", "magerr", "limit", "sign", "magnr")
_NO_VALUE: Final = -999.0


@lru_cache(maxsize=4)
def classifier_of(bundle: str | None) -> Classifier:
    """The classifier of a bundle's folder (None: the shipped one), opened once in a process. One thread, because the
    engine has a worker for each core.
    """
    return Classifier(load_bundle(bundle), threads=1)


def predictions(
    columns: Mapping[str, Sequence[ArrayLike | None]],
    context: Mapping[str, ArrayLike] | None = None,
    bundle: str | None = None,
) -> list[Prediction]:
    """A prediction for each row. `columns` names of COLUMNS -> the points' values in each row, equally many in all
    columns of a row; None is no points. `context` (ra, dec [deg] and names of CONTEXT_COLUMNS -> (rows,)) says what
    lies around each object, as packets say it.

    A point that no reader of ours would take (no time, an unknown band, an impossible magnitude) is left out. Raises
    ColumnError where the columns needed are not there or don't fit one another.
    """
    curves = light_curves(columns)
    contexts = None
    if context is not None and curves:
        contexts = [Context(values) for values in context_values(context, len(curves))]
    return classifier_of(bundle).classify(curves, contexts)


def light_curves(columns: Mapping[str, Sequence[ArrayLike | None]]) -> list[LightCurve]:
    """As `predictions` reads them."""
    time = "mjd" if "mjd" in columns else "jd"
    for name in (time, "band", "mag"):
        if name not in columns:
            raise ColumnError(name, 0, f"is not there; needed are mjd or jd, band, mag, known {', '.join(COLUMNS)}")
    rows = {name: [_values(name, row) for row in column] for name, column in columns.items() if name in COLUMNS}
    counts = np.array([len(row) for row in rows[time]], dtype=np.int64)
    for name, column in rows.items():
        for number, (row, count) in enumerate(zip(column, counts, strict=True)):
            if len(row) != count:
                raise ColumnError(name, number, f"has {len(row)} values in row {number + 1}, {time} has {count}")
    if not counts.sum():
        return [LightCurve.empty() for _ in counts]
    flat = {name: np.concatenate([row for row in column if len(row)]) for name, column in rows.items()}
    points, is_kept = _points(flat)
    stops = np.cumsum(np.bincount(np.repeat(np.arange(len(counts)), counts)[is_kept], minlength=len(counts)))
    return [LightCurve.from_points(some) for some in np.split(points, stops[:-1])]


def _points(flat: dict[str, NDArray[Any]]) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """Points (m,) of the rows that can be read, and which those are (n,)."""
    mjd = _numbers(flat["mjd"]) if "mjd" in flat else _numbers(flat["jd"]) - JD_OF_MJD_ZERO
    columns: dict[str, NDArray[Any]] = {"mjd": mjd, "band": _codes(flat["band"], BAND_SPELLINGS, unknown=-1)}
    columns |= {name: _numbers(flat[name]) for name in ("mag", "magerr", "limit", "magnr") if name in flat}
    if "sign" in flat:
        columns["sign"] = _codes(flat["sign"], SIGN_SPELLINGS, unknown=0)
    is_kept = ~np.isnan(mjd) & (columns["band"] >= 0)
    for name in ("mjd", "mag", "magerr"):
        if name in columns:
            low, high = BOUNDS[name]
            is_kept &= ~((columns[name] < low) | (columns[name] > high))  # NaN, no value, is neither
    return points_from_columns({name: values[is_kept] for name, values in columns.items()}), is_kept


def _values(name: str, row: ArrayLike | None) -> NDArray[Any]:
    if isinstance(row, str):
        hint = "Dask makes text of arrays unless dask.config.set({'dataframe.convert-string': False})"
        raise ColumnError(name, 0, f"holds text, {row[:40]!r}, instead of an array: {hint}")
    return np.empty(0) if row is None else np.asarray(row)


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    numbers = values.astype(np.float64)  # None becomes NaN
    return np.where((numbers == _NO_VALUE) | np.isinf(numbers), np.nan, numbers)


def _codes(values: NDArray[Any], code_of: Mapping[str, int], unknown: int) -> NDArray[np.int8]:
    """Codes of names or numbers, `unknown` of any other."""
    if values.dtype.kind in "iuf":
        known, which = np.unique(values, return_inverse=True)
        spelled = [f"{value:g}" for value in known.tolist()]
        return np.array([code_of.get(text, unknown) for text in spelled], dtype=np.int8)[which]
    return np.array([code_of.get(str(value).strip(), unknown) for value in values.tolist()], dtype=np.int8)


def known_context(names: Sequence[str]) -> list[str]:
    """Those of `names` that say something of an object's surroundings."""
    return [name for name in (*CONTEXT_COLUMNS, "ra", "dec") if name in names]
