"""The compiled loop that cuts long light curves into blocks; the rule is told in `blocks.py`.

Bands are the codes 0, 1, 2 (g, r, i), as in `token_kernel`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from service.jit import jit, jit_inline
from service.photometry import Kind

_N_BANDS: Final = 3  # the model's, codes 0 to 2
_DETECTION: Final = int(Kind.DETECTION)
_FORCED: Final = int(Kind.FORCED)

# Halvings of a cell at most: one of 512 days is then shorter than a millionth of a day, and no two epochs are so near.
_DEEPEST: Final = 30
_FAINTEST: Final = 8.0  # mag below the brightest, as in `token_kernel`
_FLUX_PER_MAG: Final = -0.4 * math.log(10.0)
# Columns of a cell on the stack, and of a block.
_BEGIN: Final = 0
_END: Final = 1
_DEPTH: Final = 2

_NOTHING: Final = 0
_DETECTED: Final = 1
_KEPT_LIMIT: Final = 2
_DROPPED_LIMIT: Final = 3


@jit
def cut(  # type: ignore[no-untyped-def]
    points, counts, window, many, short, cell_days, most, bounds, facts, numbers
):
    """Fill in `bounds` (K, 2), where in `points` each block begins and ends, `facts` (K, 4), and `numbers` (B,) of each
    light curve; see `blocks.Blocks`. Returns K.

    `points` (N,) of dtype POINT end to end, `counts` (B,) of each, in order of time within each. A light curve of up to
    `window` tokens is one block, detections or not, and so is one without any block otherwise. Else a block has up to
    `window` tokens, in a light curve of more than `many` up to `short`. Raises ValueError if
    `counts` don't sum to N.
    """
    total = 0
    for curve in range(len(counts)):
        total += counts[curve]
    if total != len(points):
        raise ValueError("counts do not sum to the number of points")
    stack = np.empty((2 * _DEEPEST + 2, 3), np.int64)
    lows = np.empty(2 * _DEEPEST + 2, np.float64)
    found = 0
    begin = 0
    for curve in range(len(counts)):
        end = begin + counts[curve]
        if not _is_longer(points, begin, end, window):
            number = 0
        else:
            length = short if _is_longer(points, begin, end, many) else window
            number = _cut_one(points, begin, end, length, cell_days, most, bounds[found:], stack, lows)
        if number == 0:
            bounds[found, 0] = begin
            bounds[found, 1] = end
            number = 1
        for block in range(found, found + number):
            _describe(points, bounds[block, 0], bounds[block, 1], facts[block])
        numbers[curve] = number
        found += number
        begin = end
    return found


@jit_inline
def _cut_one(points, begin, end, length, cell_days, most, bounds, stack, lows):  # type: ignore[no-untyped-def]
    """The blocks of one light curve from its end on, then turned around. Returns how many there are."""
    number = 0
    while end > begin and number < most:
        low = np.floor(points[end - 1].mjd / cell_days) * cell_days
        stack[0, _BEGIN] = _first_from(points, begin, end - 1, low)
        stack[0, _END] = end
        stack[0, _DEPTH] = 0
        lows[0] = low
        end = stack[0, _BEGIN]
        waiting = 1
        while waiting > 0 and number < most:
            waiting -= 1
            first = stack[waiting, _BEGIN]
            last = stack[waiting, _END]
            depth = stack[waiting, _DEPTH]
            low = lows[waiting]
            if depth == _DEEPEST or not _is_longer(points, first, last, length):
                if last > first and _is_seen(points, first, last):
                    bounds[number, 0] = first
                    bounds[number, 1] = last
                    number += 1
                continue
            middle = low + cell_days * 0.5 ** (depth + 1)
            between = _first_from(points, first, last, middle)
            stack[waiting, _BEGIN] = first  # the older half waits until the newer one is done
            stack[waiting, _END] = between
            stack[waiting, _DEPTH] = depth + 1
            lows[waiting] = low
            stack[waiting + 1, _BEGIN] = between
            stack[waiting + 1, _END] = last
            stack[waiting + 1, _DEPTH] = depth + 1
            lows[waiting + 1] = middle
            waiting += 2
    for place in range(number // 2):
        for side in range(2):
            swapped = bounds[place, side]
            bounds[place, side] = bounds[number - 1 - place, side]
            bounds[number - 1 - place, side] = swapped
    return number


@jit_inline
def _first_from(points, begin, end, mjd):  # type: ignore[no-untyped-def]
    """The first of the points from `begin` to `end` whose epoch is not before `mjd`; `end` if there is none."""
    while begin < end:
        middle = (begin + end) // 2
        if points[middle].mjd < mjd:
            begin = middle + 1
        else:
            end = middle
    return begin


@jit_inline
def _is_longer(points, begin, end, length):  # type: ignore[no-untyped-def]
    """Whether these points alone make more than `length` tokens, as `token_kernel` chooses them."""
    if end - begin <= length:
        return False
    tokens = 0
    state = np.full(_N_BANDS, _NOTHING, np.int64)
    for index in range(begin, end):
        band = points[index].band
        if points[index].kind == _FORCED or band < 0 or band >= _N_BANDS:
            continue
        if points[index].kind == _DETECTION:
            tokens += 2 if state[band] == _DROPPED_LIMIT else 1
            state[band] = _DETECTED
        elif state[band] == _DETECTED:
            tokens += 1
            state[band] = _KEPT_LIMIT
        else:
            state[band] = _DROPPED_LIMIT
        if tokens > length:
            return True
    return False


@jit_inline
def _is_read(points, index):  # type: ignore[no-untyped-def]
    return points[index].kind != _FORCED and 0 <= points[index].band < _N_BANDS


@jit_inline
def _is_seen(points, begin, end):  # type: ignore[no-untyped-def]
    """Whether there is a detection with a magnitude."""
    for index in range(begin, end):
        if points[index].kind == _DETECTION and _is_read(points, index) and math.isfinite(points[index].mag):
            return True
    return False


@jit_inline
def _describe(points, begin, end, facts):  # type: ignore[no-untyped-def]
    """Of the detections with a magnitude: how many, the brightest magnitude, first and last mjd."""
    number = 0
    peak = np.inf
    first = np.inf
    last = -np.inf
    for index in range(begin, end):
        if points[index].kind == _DETECTION and _is_read(points, index) and math.isfinite(points[index].mag):
            number += 1
            peak = min(peak, points[index].mag)
            first = min(first, points[index].mjd)
            last = max(last, points[index].mjd)
    facts[0] = number
    facts[1] = peak
    facts[2] = first
    facts[3] = last


@jit
def measured(given, points, bounds, words, stops):  # type: ignore[no-untyped-def]
    """Copy what the model reads of the points of each block: mjd, mag, magerr, limit, magnr, and the codes of band,
    kind, sign and survey.

    `given` (N, 11) are `points` (N,) as words; `words` (n, 7) is filled block after block at `bounds` (k, 2), and
    `stops` (k,) says where each ends in it.
    """
    number = 0
    for block in range(len(bounds)):
        for index in range(bounds[block, 0], bounds[block, 1]):
            if _is_read(points, index):
                words[number, 0] = given[index, 0]
                words[number, 1] = given[index, 1]
                for word in range(4, 9):
                    words[number, word - 2] = given[index, word]
                number += 1
        stops[block] = number


@jit
def summarise(facts, embeddings, kept):  # type: ignore[no-untyped-def]
    """Fill in `kept` (2 D + 6,) from `facts` (k, 4) of all blocks and `embeddings` (k - 1, D) of all but the newest."""
    number = len(facts)
    size = embeddings.shape[1]
    best = np.inf
    first = np.inf
    last = -np.inf
    for block in range(number):
        best = min(best, facts[block, 1])
        first = min(first, facts[block, 2])
        last = max(last, facts[block, 3])
    weight = np.empty(number, np.float64)
    total = 0.0
    squares = 0.0
    offset = 0.0
    offset_square = 0.0
    for block in range(number):
        below = min(facts[block, 1] - best, _FAINTEST)
        weight[block] = facts[block, 0] * math.exp(_FLUX_PER_MAG * below)
        total += weight[block]
        squares += weight[block] * weight[block]
        offset += below / number
        offset_square += below * below / number
    before = total - weight[number - 1]
    for column in range(size):
        mean = 0.0
        for block in range(number - 1):
            mean += weight[block] / before * embeddings[block, column]
        variance = 0.0
        for block in range(number - 1):
            variance += weight[block] / before * (embeddings[block, column] - mean) * (embeddings[block, column] - mean)
        kept[column] = mean
        kept[size + column] = variance
    kept[2 * size] = before / total
    kept[2 * size + 1] = math.log(number)
    kept[2 * size + 2] = offset
    kept[2 * size + 3] = math.sqrt(max(offset_square - offset * offset, 0.0))
    kept[2 * size + 4] = math.log1p(last - first)
    kept[2 * size + 5] = math.log(total * total / squares)
