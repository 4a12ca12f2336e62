"""The compiled loop that makes an alert-clr graph's tokens: one pass per light curve, no intermediate arrays.

The columns are explained in `alert_clr.alert_tokens`; bands are the codes 0, 1, 2 (g, r, i).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from service.jit import jit, jit_inline
from service.photometry import Kind
from service.photometry.flux import MAG_PER_RELATIVE_FLUX

_N_BANDS: Final = 3  # the model's, codes 0 to 2
_DETECTION: Final = int(Kind.DETECTION)
_FORCED: Final = int(Kind.FORCED)
_DEFAULT_LIMIT: Final = 20.5  # the typical ZTF 5-sigma depth, for an upper limit without one
_DEFAULT_ERROR: Final = 0.1  # mag
_SMALLEST_ERROR: Final = 0.005  # mag; published errors of 0 exist
_LARGEST_ERROR: Final = 1.0
_FAINTEST: Final = 8.0  # mag below the peak: anything fainter means "gone"
_BRIGHTEST_REFERENCE: Final = 5.0  # mag; packets hold -999 where no reference source is near
_FAINTEST_REFERENCE: Final = 26.0
_FLUX_PER_MAG: Final = -0.4 * math.log(10.0)


@jit
def fill(points, counts, tokens, kept, context, window, max_windows):  # type: ignore[no-untyped-def]
    """Fill in `tokens` (N, 16) float32 end to end, their number per light curve `kept` (B,), and `context` (B, 12).

    `points` (N,) of dtype POINT end to end, `counts` (B,) of each. With a `window` above 0 only the tokens in the
    windows of `alert_clr.windows` are filled in; the others keep what was there. Returns the number of tokens, or -1 if
    a light curve has no detection with a finite magnitude. Raises ValueError if `counts` don't sum to N.
    """
    longest = 0
    total = 0
    for curve in range(len(counts)):
        longest = max(longest, counts[curve])
        total += counts[curve]
    if total != len(points):
        raise ValueError("counts do not sum to the number of points")
    chosen = np.empty(longest, np.int64)
    depth = np.empty(longest, np.float64)
    total = 0
    begin = 0
    for curve in range(len(counts)):
        end = begin + counts[curve]
        number = _choose(points, begin, end, chosen, context[curve])
        if not _fill_one(points, chosen, depth, number, tokens, total, context[curve], window, max_windows):
            return -1
        kept[curve] = number
        total += number
        begin = end
    return total


@jit_inline
def _choose(points, begin, end, chosen, context):  # type: ignore[no-untyped-def]
    """Choose detections, and upper limits next to a detection in their own band; count all limits in `context`."""
    last = np.full(_N_BANDS, -1, np.int64)  # place in `chosen` of each band's last point
    drop = np.zeros(end - begin, np.bool_)
    number = 0
    before = 0
    after = 0
    detected_before = False
    for index in range(begin, end):
        band = points[index].band
        if points[index].kind == _FORCED or band < 0 or band >= _N_BANDS:
            continue
        chosen[number] = index
        previous = last[band]
        if points[index].kind == _DETECTION:
            detected_before = True
            if previous >= 0:
                drop[previous] = False
        else:
            if detected_before:
                after += 1
            else:
                before += 1
            drop[number] = previous < 0 or points[chosen[previous]].kind != _DETECTION
        last[band] = number
        number += 1
    context[10] = math.log1p(before)
    context[11] = math.log1p(after)
    kept = 0
    for place in range(number):
        if not drop[place]:
            chosen[kept] = chosen[place]
            kept += 1
    return kept


@jit_inline
def _fill_one(  # type: ignore[no-untyped-def]
    points, chosen, depth, number, tokens, offset, context, window, max_windows
):
    peak = np.inf
    first = np.inf
    last = -np.inf
    for place in range(number):
        point = points[chosen[place]]
        if point.kind == _DETECTION:
            depth[place] = np.inf if np.isnan(point.mag) else point.mag
            peak = min(peak, depth[place])
            first = min(first, point.mjd)
            last = max(last, point.mjd)
        else:
            depth[place] = _DEFAULT_LIMIT if np.isnan(point.limit) else point.limit
    if not np.isfinite(peak):
        return False
    at_peak = np.inf
    for place in range(number):
        point = points[chosen[place]]
        if point.kind == _DETECTION and depth[place] == peak:
            at_peak = min(at_peak, point.mjd)

    detections = np.zeros(_N_BANDS, np.int64)
    latest = np.full(_N_BANDS, -1, np.int64)  # place of each band's last detection
    references = np.zeros(_N_BANDS, np.int64)
    reference = np.zeros(_N_BANDS, np.float64)
    cut = window > 0 and number > window
    windows = min((number + window - 1) // window, max_windows) if cut else 1
    current = 0  # the first window that ends behind `place`
    for place in range(number):
        point = points[chosen[place]]
        token = tokens[offset + place]
        detected = point.kind == _DETECTION
        while cut and current < windows and place >= _start(current, windows, number - window) + window:
            current += 1
        if cut and (current == windows or place < _start(current, windows, number - window)):
            if detected:
                latest[point.band] = place
                detections[point.band] += 1
            if _BRIGHTEST_REFERENCE < point.magnr < _FAINTEST_REFERENCE:  # False for NaN
                references[point.band] += 1
                reference[point.band] += point.magnr
            continue
        faintness = depth[place] - peak
        days = point.mjd - first
        token[0] = days
        token[1] = _signed_log(days)
        token[2] = _signed_log(point.mjd - at_peak)
        token[3] = math.log1p(abs(point.mjd - points[chosen[place - 1]].mjd)) if place else 0.0
        token[4] = 0.0
        token[5] = _clip(faintness, -_FAINTEST, _FAINTEST)
        token[6] = 0.0
        if detected:
            error = _DEFAULT_ERROR if np.isnan(point.magerr) else point.magerr
            flux = math.exp(_FLUX_PER_MAG * faintness)
            token[4] = -flux if point.sign < 0 else flux
            token[6] = math.log10(MAG_PER_RELATIVE_FLUX / _clip(error, _SMALLEST_ERROR, _LARGEST_ERROR))
        for band in range(_N_BANDS):
            token[7 + band] = point.band == band
        token[10] = not detected
        token[11] = point.sign
        for band in range(2):  # g and r
            before = latest[band]
            if before >= 0:
                token[12 + 2 * band] = _clip(depth[place] - depth[before], -_FAINTEST, _FAINTEST)
                token[13 + 2 * band] = 1.0 / (1.0 + abs(point.mjd - points[chosen[before]].mjd))
            else:
                token[12 + 2 * band] = 0.0
                token[13 + 2 * band] = 0.0
        if detected:
            latest[point.band] = place
            detections[point.band] += 1
        if _BRIGHTEST_REFERENCE < point.magnr < _FAINTEST_REFERENCE:  # False for NaN
            references[point.band] += 1
            reference[point.band] += point.magnr

    context[0] = (peak - 18.0) / 2.0
    context[1] = 1.0
    for band in range(2):
        known = references[band] > 0
        context[2 + 2 * band] = (reference[band] / references[band] - 18.0) / 3.0 if known else 0.0
        context[3 + 2 * band] = known
    for band in range(_N_BANDS):
        context[6 + band] = math.log1p(detections[band])
    context[9] = math.log1p(last - first)
    return True


@jit_inline
def _start(window, windows, last):  # type: ignore[no-untyped-def]
    """Where a window begins, as numpy's rint(linspace(0, last, windows)) says."""
    return last if window > 0 and window == windows - 1 else np.int64(np.rint(window * (last / max(windows - 1, 1))))


@jit_inline
def _signed_log(days):  # type: ignore[no-untyped-def]
    return math.copysign(math.log1p(abs(days)), days)


@jit_inline
def _clip(value, low, high):  # type: ignore[no-untyped-def]
    """NaN stays NaN."""
    if value < low:
        return low
    if value > high:
        return high
    return value
