"""Light curve -> the input arrays of a graph; the same code in training and serving.

All functions give float32 arrays {input name: array} without a batch axis, and raise ValueError for a light curve
without a detection in the bands g, r, i. `preprocessing.registry` maps the id in a bundle's manifest to a function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.preprocessing.token_kernel import fill
from service.photometry import BAND_CODES, ZTF_WAVELENGTHS, Kind, LightCurve

Arrays = dict[str, NDArray[np.float32]]

# Columns of a token, in order; explained in `alert_tokens`.
POINT_FEATURES: Final = (
    "days", "log_days", "log_days_from_peak", "log_gap", "flux", "faintness", "log_snr", "g", "r", "i", "upper_limit",
    "sign", "step_g", "recency_g", "step_r", "recency_r",
)  # fmt: skip
CONTEXT_FEATURES: Final = (
    "peak_magnitude", "peak_magnitude_known", "reference_g", "reference_g_known", "reference_r", "reference_r_known",
    "log_detections_g", "log_detections_r", "log_detections_i", "log_span", "log_limits_before", "log_limits_after",
)  # fmt: skip

# Optional context and its columns: a manifest may switch each off, training drops each at random.
OPTIONAL_CONTEXT: Final[dict[str, slice]] = {
    "peak_magnitude": slice(0, 2),
    "reference": slice(2, 6),
    "limit_counts": slice(10, 12),
}

_MODEL_BANDS: Final = (BAND_CODES["g"], BAND_CODES["r"], BAND_CODES["i"])  # codes 0, 1, 2: columns 7, 8, 9
_DEFAULT_ERROR: Final = 0.1  # mag
_ERROR_RANGE: Final = (0.005, 1.0)  # mag; published errors of 0 exist
_NOTHING_SEEN: Final = "a light curve has no detection with a magnitude in the bands g, r, i"


# Astra-CLR (arXiv:2606.31627): windows of 300 g, 350 r and 50 i points, band after band, each padded at its end.
ASTRA_LENGTHS: Final = (300, 350, 50)
ASTRA_EPOCH: Final = 58000.0  # mjd
_ASTRA_WAVELENGTHS: Final = np.log10([ZTF_WAVELENGTHS[name] for name in ("g", "r", "i")])  # of angstrom


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of light curves end to end: `points` (N, F) in time order within each, `counts` (B,) of each, summing to
    N, `context` (B, C).
    """

    points: NDArray[np.float32]
    counts: NDArray[np.int64]
    context: NDArray[np.float32]


def alert_clr(light_curve: LightCurve, parameters: Mapping[str, Any]) -> Arrays:
    """Inputs of an alert-clr graph: `points` (W, L, 16) and `context` (12,).

    Up to `window` tokens make one window of their exact length; more make `ceil(n / window)` windows of `window`
    tokens, at most `max_windows`, spread evenly from start to end. They overlap, so none needs padding.
    """
    return alert_clr_batch(light_curve.points, np.array([len(light_curve)]), parameters)[0]


def alert_clr_batch(points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]) -> list[Arrays]:
    """`alert_clr` of many light curves end to end, with bit-identical results."""
    tokens = alert_tokens(points, counts, parameters, only_windows=True)
    stops = np.cumsum(tokens.counts)
    return [
        {"points": windows(tokens.points[stop - count : stop], parameters), "context": context}
        for stop, count, context in zip(stops, tokens.counts, tokens.context, strict=True)
    ]


def windows(points: NDArray[np.float32], parameters: Mapping[str, Any]) -> NDArray[np.float32]:
    """Cut one light curve's tokens (n, F) into windows (W, L, F)."""
    length, most = _window(parameters)
    if len(points) <= length:
        return points[None]
    count = min(-(-len(points) // length), most)
    last = len(points) - length
    step = last / max(count - 1, 1)
    starts = [round(window * step) for window in range(count - 1)] + [last if count > 1 else 0]
    return np.stack([points[start : start + length] for start in starts])


def _window(parameters: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens per window, and how many windows at most."""
    return int(parameters.get("window", 128)), int(parameters.get("max_windows", 4))


def alert_tokens(
    points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any], only_windows: bool = False
) -> Tokens:
    """Tokens of many light curves at once: `points` (N,) of dtype `POINT` end to end, `counts` (B,) points of each.
    With `only_windows` those that `windows` leaves out of a long light curve are not filled in.

    Upper limits are kept only next to a detection in their own band, where they bracket it; the others are counted in
    the context. Forced photometry and bands other than g, r, i are left out. Per token:

    days since the first detection; the same, and the time from the brightest detection, as signed log1p; log1p gap to
    the previous token; signed difference flux relative to the brightest (0 for a limit); magnitudes below the brightest
    (of the detection or limit); log10 signal-to-noise; band; whether it is an upper limit; sign of the difference (0
    unknown); and relative to the previous detection in g and in r: the change in magnitude and 1 / (1 + age in days),
    both 0 if there is none.
    """
    points = np.ascontiguousarray(points).view()
    points.setflags(write=False)  # the kernel is compiled for read-only arrays
    tokens = np.empty((len(points), len(POINT_FEATURES)), dtype=np.float32)
    kept = np.empty(len(counts), dtype=np.int64)
    context = np.empty((len(counts), len(CONTEXT_FEATURES)), dtype=np.float32)
    window, most = _window(parameters) if only_windows else (0, 0)
    number = fill(points, np.asarray(counts, dtype=np.int64), tokens, kept, context, window, most)
    if number < 0:
        raise ValueError(_NOTHING_SEEN)
    for name, columns in OPTIONAL_CONTEXT.items():
        if not parameters.get(name, True):
            context[:, columns] = 0.0
    return Tokens(tokens[:number], kept, context)


def astra_clr(light_curve: LightCurve, parameters: Mapping[str, Any]) -> Arrays:
    """Inputs of an astra-clr graph: three windows (start, middle, end of each band) of 700 points.

    `input` (3, 700, 1): magnitude minus the inverse-variance weighted mean of the whole light curve, all bands
    together; `times` (3, 700, 1): mjd - 58000; `band_info` (3, 700, 1): log10 of the effective wavelength in angstrom;
    `mask` (3, 700): 1 on padding. Only detections in g, r, i are used; the model expects total magnitudes of stars.
    """
    points = light_curve.points
    points = points[(points["kind"] == Kind.DETECTION) & (points["band"] <= _MODEL_BANDS[-1]) & (points["band"] >= 0)]
    if not len(points):
        raise ValueError(_NOTHING_SEEN)
    error = points["magerr"].astype(np.float64)
    weight = 1.0 / np.clip(np.where(np.isnan(error), _DEFAULT_ERROR, error), *_ERROR_RANGE) ** 2
    magnitude = points["mag"].astype(np.float64)
    magnitude -= (magnitude * weight).sum() / weight.sum()
    fused = []
    for window in range(3):
        chosen = []
        for band, length in zip(_MODEL_BANDS, ASTRA_LENGTHS, strict=True):
            mine = np.flatnonzero(points["band"] == band)
            start = max(len(mine) - length, 0) * window // 2
            chosen.append(mine[start : start + length])
        rows = np.concatenate(chosen)
        fused.append(astra_sequence(points["mjd"][rows], magnitude[rows], points["band"][rows]))
    return {name: np.stack([sequence[name] for sequence in fused]) for name in fused[0]}


def astra_clr_batch(points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]) -> list[Arrays]:
    """`astra_clr` of many light curves laid end to end."""
    stops = np.cumsum(counts)
    return [
        astra_clr(LightCurve(points[stop - count : stop]), parameters)
        for stop, count in zip(stops, counts, strict=True)
    ]


def astra_sequence(mjd: NDArray[np.float64], magnitude: NDArray[np.float64], band: NDArray[np.integer[Any]]) -> Arrays:
    """One band-major sequence of 700 points, zero-padded at the end of each band; at most `ASTRA_LENGTHS` per band."""
    total = sum(ASTRA_LENGTHS)
    sequence = np.zeros((3, total, 1), dtype=np.float32)
    mask = np.ones(total, dtype=np.float32)
    offset = 0
    for code, length in enumerate(ASTRA_LENGTHS):
        mine = band == code
        rows = slice(offset, offset + int(np.count_nonzero(mine)))
        sequence[0, rows, 0] = magnitude[mine]
        sequence[1, rows, 0] = mjd[mine] - ASTRA_EPOCH
        sequence[2, rows, 0] = _ASTRA_WAVELENGTHS[code]
        mask[rows] = 0.0
        offset += length
    return {"input": sequence[0], "times": sequence[1], "band_info": sequence[2], "mask": mask}
