"""A light curve of ZTF and ATLAS points -> the arrays of a graph with a branch per survey (`two-survey/1`).

All measurements of a survey in one night and band become one point, and the survey's blue and red band take the places
of g and r in the tokens of `alert_tokens`, so that one encoder can read both surveys. A survey without detections is
absent: it has one token of zeros, which the graph ignores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.preprocessing.alert_clr import (
    CONTEXT_FEATURES,
    POINT_FEATURES,
    Arrays,
    Tokens,
    alert_tokens,
    windows,
)
from service.photometry import BAND_CODES, SURVEY_CODES, Kind, LightCurve
from service.photometry.flux import flux_error_from_magnitude, flux_from_magnitude, magnitude_from_flux

# survey -> its blue and its red band, in the order of the graph's inputs
TWO_SURVEYS: Final[dict[str, tuple[str, str]]] = {"ztf": ("g", "r"), "atlas": ("c", "o")}
NIGHT_FEATURES: Final = ("night_scatter", "night_visits", "is_atlas")
TWO_SURVEY_FEATURES: Final = (*POINT_FEATURES, *NIGHT_FEATURES)
SAME_NIGHT: Final = 0.25  # days: measurements in one band closer than this to the previous one are combined

_TYPICAL_ERROR: Final = 0.1  # mag, where none is given
_OWN_CONTEXT: Final = {
    "reference": False,
    "limit_counts": False,
}  # ATLAS has no such columns, so ZTF's are not used either


def two_survey(light_curve: LightCurve, parameters: Mapping[str, Any]) -> Arrays:
    """For each survey S of `ztf`, `atlas`: `S_points` (W, L, 19) and `S_context` (12,); and `present` (2,), 1 where the
    survey detected the object. Raises ValueError if none did.
    """
    return two_survey_batch(light_curve.points, np.array([len(light_curve)]), parameters)[0]


def two_survey_batch(
    points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]
) -> list[Arrays]:
    """`two_survey` of many light curves laid end to end."""
    inputs: list[Arrays] = [{} for _ in counts]
    present = np.zeros((len(counts), len(TWO_SURVEYS)), dtype=np.float32)
    for number, survey in enumerate(TWO_SURVEYS):
        tokens = survey_tokens(points, counts, (survey,), parameters)
        present[:, number] = tokens.counts > 0
        stops = np.cumsum(tokens.counts)
        for arrays, stop, count, context in zip(inputs, stops, tokens.counts, tokens.context, strict=True):
            absent = np.zeros((1, 1, len(TWO_SURVEY_FEATURES)), dtype=np.float32)
            arrays[f"{survey}_points"] = windows(tokens.points[stop - count : stop], parameters) if count else absent
            arrays[f"{survey}_context"] = context
    if not present.any(axis=1).all():
        raise ValueError("a light curve has no detection with a magnitude by ZTF in g, r or by ATLAS in c, o")
    for arrays, flags in zip(inputs, present, strict=True):
        arrays["present"] = flags
    return inputs


def survey_tokens(
    points: NDArray[np.void], counts: NDArray[np.int64], surveys: Sequence[str], parameters: Mapping[str, Any]
) -> Tokens:
    """Tokens (N, 19), counts (B,), context (B, 12) of the points of `surveys` in many light curves end to end.

    ATLAS is recognised by its bands, ZTF by bands and survey name. One survey gives the tokens of its branch, several
    one common sequence in time order. The first 16 of the 19 numbers are those of `alert_tokens` (blue as g, red as r);
    then follow half the log1p of the chi square per degree of freedom of the night's detections, the log of their
    number, and whether the point is ATLAS's. A light curve without a detection has no tokens and a context of zeros.
    """
    curve = np.repeat(np.arange(len(counts)), counts)
    saw, colour = np.full(len(points), -1, dtype=np.int8), np.zeros(len(points), dtype=np.int8)
    for survey in surveys:
        number = list(TWO_SURVEYS).index(survey)
        # c and o always mean ATLAS, whatever the point's survey; g and r count only with the survey ZTF
        of_survey = (points["survey"] == SURVEY_CODES[survey]) | (survey == "atlas")
        for place, band in enumerate(TWO_SURVEYS[survey]):
            chosen = of_survey & (points["band"] == BAND_CODES[band])
            saw[chosen], colour[chosen] = number, place
    detected = (points["kind"] == Kind.DETECTION) & ~np.isnan(points["mag"])
    used = (saw >= 0) & (detected | (points["kind"] == Kind.UPPER_LIMIT))
    gap = float(parameters.get("same_night", SAME_NIGHT))
    points, curve, night = _nights(points[used], curve[used], saw[used], colour[used], gap)
    keep = _beside_detections(points, curve)
    points, curve, night = points[keep], curve[keep], night[keep]
    left = np.bincount(curve, minlength=len(counts))
    seen = left > 0
    width = len(TWO_SURVEY_FEATURES)
    if not seen.any():
        return Tokens(
            np.zeros((0, width), np.float32), left, np.zeros((len(counts), len(CONTEXT_FEATURES)), np.float32)
        )
    tokens = alert_tokens(points, left[seen], dict(parameters) | _OWN_CONTEXT)
    context = np.zeros((len(counts), len(CONTEXT_FEATURES)), dtype=np.float32)
    context[seen] = tokens.context
    return Tokens(np.concatenate((tokens.points, night), axis=1), left, context)


def _nights(
    points: NDArray[np.void], curve: NDArray[np.int64], saw: NDArray[np.int8], colour: NDArray[np.int8], gap: float
) -> tuple[NDArray[np.void], NDArray[np.int64], NDArray[np.float32]]:
    """One point per curve, survey `saw`, band and night, in time order within its curve, with `colour` as its band; its
    curve; its NIGHT_FEATURES.

    Detections of a night are averaged as signed fluxes by inverse variance, ignoring upper limits; a night with only
    upper limits keeps the deepest.
    """
    order = np.lexsort((points["mjd"], colour, saw, curve))
    points, curve, saw, colour = points[order], curve[order], saw[order], colour[order]
    if not len(points):
        return points, curve, np.zeros((0, len(NIGHT_FEATURES)), np.float32)
    starts = np.ones(len(points), dtype=np.bool_)
    same = (np.diff(curve) == 0) & (np.diff(saw) == 0) & (np.diff(colour) == 0)
    starts[1:] = ~same | (np.diff(points["mjd"]) > gap)
    first, group = np.flatnonzero(starts), np.cumsum(starts) - 1

    def total(values: NDArray[np.generic]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.bincount(group, weights=values, minlength=len(first)).astype(np.float64)
        return sums

    detected = points["kind"] == Kind.DETECTION
    mag = np.where(detected, points["mag"], 20.0).astype(np.float64)
    error = np.where(points["magerr"] > 0, points["magerr"], _TYPICAL_ERROR)  # NaN is not above zero
    flux = flux_from_magnitude(mag, np.where(points["sign"] < 0, -1, 1))
    weight = detected / flux_error_from_magnitude(mag, error) ** 2
    number = total(detected)
    some = number > 0
    sum_of_weights = np.where(some, total(weight), 1.0)
    mean = total(weight * flux) / sum_of_weights
    chi_square = total(weight * (flux - mean[group]) ** 2) / np.maximum(number - 1, 1)
    combined_mag, combined_error, sign = magnitude_from_flux(mean, 1 / np.sqrt(sum_of_weights))

    out = points[first].copy()
    counted = np.where(some[group], detected, 1.0)
    out["mjd"] = total(counted * points["mjd"]) / total(counted)
    out["band"] = colour[first]
    out["kind"] = np.where(some, Kind.DETECTION, Kind.UPPER_LIMIT)
    out["mag"] = np.where(some, combined_mag, np.nan)
    out["magerr"] = np.where(some, combined_error, np.nan)
    out["limit"] = np.fmax.reduceat(points["limit"], first)
    out["sign"] = np.where(some & (total(np.abs(points["sign"])) > 0), sign, 0)
    features = np.empty((len(first), len(NIGHT_FEATURES)), dtype=np.float32)
    features[:, 0] = 0.5 * np.log1p(chi_square * (number > 1))
    features[:, 1] = np.log(np.maximum(number, 1))
    features[:, 2] = saw[first] == list(TWO_SURVEYS).index("atlas")
    order = np.lexsort((out["mjd"], curve[first]))
    return out[order], curve[first][order], features[order]


def _beside_detections(points: NDArray[np.void], curve: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which points to keep (N,): detections, and upper limits next to a detection in their own band, as in
    `alert_tokens`; none of a curve without detections.
    """
    detected = points["kind"] == Kind.DETECTION
    order = np.lexsort((np.arange(len(points)), points["band"], curve))
    key, seen = (curve * 2 + points["band"])[order], detected[order]
    same = key[1:] == key[:-1]
    kept = seen.copy()
    kept[1:] |= same & seen[:-1]
    kept[:-1] |= same & seen[1:]
    keep = np.empty(len(kept), dtype=np.bool_)
    keep[order] = kept
    return keep
