"""What the compiled kernel of tokens must say: the same in plain numpy, the form in which it was first trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.preprocessing.alert_clr import CONTEXT_FEATURES, POINT_FEATURES, Tokens
from service.photometry import BAND_CODES, Kind
from service.photometry.flux import MAG_PER_RELATIVE_FLUX

_MODEL_BANDS: Final = (BAND_CODES["g"], BAND_CODES["r"], BAND_CODES["i"])
_DEFAULT_LIMIT: Final = 20.5
_DEFAULT_ERROR: Final = 0.1
_ERROR_RANGE: Final = (0.005, 1.0)
_FAINTEST: Final = 8.0
_REFERENCE_RANGE: Final = (5.0, 26.0)


def reference_tokens(points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]) -> Tokens:
    """`service.inference.preprocessing.alert_clr.alert_tokens`, a column at a time."""
    known = (points["kind"] != Kind.FORCED) & (points["band"] <= _MODEL_BANDS[-1]) & (points["band"] >= 0)
    curve = np.repeat(np.arange(len(counts)), counts)
    if not known.all():
        points, curve = points[known], curve[known]
    limits_before, limits_after, keep = _limits(points, curve, len(counts))
    points, curve = points[keep], curve[keep]
    counts = np.bincount(curve, minlength=len(counts))
    if not counts.all():
        raise ValueError("a light curve has no detection")
    starts = np.cumsum(counts) - counts
    detected = points["kind"] == Kind.DETECTION
    band = points["band"]
    depth = _depth(points, detected)

    # the brightest and the first detection of each curve
    peak = np.minimum.reduceat(np.where(detected, depth, np.inf), starts)
    if not np.isfinite(peak).all():
        raise ValueError("a light curve has no detection")
    mjd = points["mjd"]
    first = np.minimum.reduceat(np.where(detected, mjd, np.inf), starts)
    last = np.maximum.reduceat(np.where(detected, mjd, -np.inf), starts)
    faintness = depth - peak[curve]
    at_peak = np.minimum.reduceat(np.where(detected & (faintness == 0), mjd, np.inf), starts)
    days = mjd - first[curve]

    tokens = np.empty((len(points), len(POINT_FEATURES)), dtype=np.float32)
    tokens[:, 0] = days
    tokens[:, 1] = _signed_log(days)
    tokens[:, 2] = _signed_log(mjd - at_peak[curve])
    tokens[0, 3] = 0.0
    tokens[1:, 3] = np.log1p(np.abs(mjd[1:] - mjd[:-1]))
    tokens[starts, 3] = 0.0
    error = points["magerr"]
    error = np.clip(np.where(np.isnan(error), _DEFAULT_ERROR, error), *_ERROR_RANGE)
    sign = points["sign"]
    tokens[:, 4] = detected * np.where(sign < 0, -1.0, 1.0) * 10.0 ** (-0.4 * faintness)
    tokens[:, 5] = np.clip(faintness, -_FAINTEST, _FAINTEST)
    tokens[:, 6] = detected * np.log10(MAG_PER_RELATIVE_FLUX / error)
    tokens[:, 7:10] = band[:, None] == _MODEL_BANDS
    tokens[:, 10] = ~detected
    tokens[:, 11] = sign
    index = np.arange(len(points))
    for column, code in ((12, _MODEL_BANDS[0]), (14, _MODEL_BANDS[1])):
        tokens[:, column : column + 2] = _against_last(detected & (band == code), index, starts[curve], depth, mjd)

    context = np.zeros((len(counts), len(CONTEXT_FEATURES)), dtype=np.float32)
    if parameters.get("peak_magnitude", True):
        context[:, 0] = (peak - 18.0) / 2.0
        context[:, 1] = 1.0
    if parameters.get("reference", True):
        for column, code in ((2, _MODEL_BANDS[0]), (4, _MODEL_BANDS[1])):
            context[:, column : column + 2] = _reference(points["magnr"], band == code, curve, len(counts))
    for code in _MODEL_BANDS:
        context[:, 6 + code] = np.log1p(np.bincount(curve[detected & (band == code)], minlength=len(counts)))
    context[:, 9] = np.log1p(last - first)
    if parameters.get("limit_counts", True):
        context[:, 10] = np.log1p(limits_before)
        context[:, 11] = np.log1p(limits_after)
    return Tokens(tokens, counts, context)


def _limits(
    points: NDArray[np.void], curve: NDArray[np.int64], n_curves: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Upper limits before and after each curve's first detection (B,), and which points to keep (N,)."""
    detected = points["kind"] == Kind.DETECTION
    key = curve * 8 + points["band"]
    order = np.argsort(key, kind="stable")  # by curve and band; time order survives
    key, seen = key[order], detected[order]
    same = key[1:] == key[:-1]
    keep = seen.copy()
    keep[1:] |= same & seen[:-1]
    keep[:-1] |= same & seen[1:]
    kept = np.empty_like(keep)
    kept[order] = keep
    earlier = np.cumsum(detected)
    starts = np.searchsorted(curve, np.arange(n_curves))
    before_curve = np.concatenate(([0], earlier))[starts]
    before = ~detected & (earlier == before_curve[curve])
    n_before = np.bincount(curve[before], minlength=n_curves)
    n_limits = np.bincount(curve[~detected], minlength=n_curves)
    return n_before, n_limits - n_before, kept


def _depth(points: NDArray[np.void], detected: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Magnitude of a detection, limiting magnitude of an upper limit (n,)."""
    depth = np.where(detected, points["mag"], points["limit"]).astype(np.float64)
    return np.where(np.isnan(depth), np.where(detected, np.inf, _DEFAULT_LIMIT), depth)


def _signed_log(days: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.copysign(np.log1p(np.abs(days)), days)


def _against_last(
    of_band: NDArray[np.bool_],
    index: NDArray[np.int64],
    start: NDArray[np.int64],
    depth: NDArray[np.float64],
    mjd: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(n, 2): magnitude step and recency against the last detection of one band before each point, 0 where none."""
    last = np.empty_like(index)
    last[0] = -1
    np.maximum.accumulate(np.where(of_band, index, -1)[:-1], out=last[1:])
    exists = last >= start
    step = np.clip(depth - depth[last], -_FAINTEST, _FAINTEST)
    recency = 1.0 / (1.0 + np.abs(mjd - mjd[last]))
    return np.stack((exists * step, exists * recency), axis=1)


def _reference(
    magnr: NDArray[np.float32], of_band: NDArray[np.bool_], curve: NDArray[np.int64], n_curves: int
) -> NDArray[np.float64]:
    """(B, 2): mean reference magnitude in one band, centred and scaled, and whether there is one."""
    usable = of_band & (magnr > _REFERENCE_RANGE[0]) & (magnr < _REFERENCE_RANGE[1])  # False for NaN
    where = curve[usable]
    number = np.bincount(where, minlength=n_curves)
    total = np.bincount(where, weights=magnr[usable], minlength=n_curves)
    known = number > 0
    return np.stack((known * (total / np.maximum(number, 1) - 18.0) / 3.0, known), axis=1)
