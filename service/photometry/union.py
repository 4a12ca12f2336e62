"""The set union of points, compiled, because it runs for every alert and every merge into a stored light curve.

Points are handled as their eleven 32-bit words in the layout of POINT: two for mjd, two for candid, one each for mag,
magerr, limit and magnr, one for the four codes (band, kind, sign, survey; lowest byte first), two for brought_by.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.jit import jit, jit_inline

WORDS: Final = 11

CANDID: Final = 2  # first words of the 64-bit numbers
BROUGHT_BY: Final = 9

# Two points are the same measurement if survey, band and kind agree and their epochs fall on the same tick of 0.09 s.
# Packets repeat an epoch to the last digit of a 7-decimal JD, but re-publishers round; exposures take 30 s.
TICKS_PER_DAY: Final = 1_000_000

# Points come as a few ordered runs. One or two, as of a stored light curve and what an alert adds to it, are merged in
# one pass; more are handled fast by insertion sort, but its worst case is quadratic: numpy sorts arrays longer than
# this first.
LONGEST_INSERTION_SORT: Final = 1024


def union(points: NDArray[np.void]) -> NDArray[np.void]:
    """A new array with the preferred copy of each measurement, ordered by time, survey, band and kind.

    Preferred is the copy that the latest packet brought, then the one with fewer unknown values, then the one with the
    smaller bit pattern (from its last word to its first, without candid). It gets the greatest candid of all copies: a
    later packet may repeat a detection with other values and without its candid.
    """
    words = _words(points)
    if len(points) > LONGEST_INSERTION_SORT and not is_two_runs(words):
        tick = np.rint(points["mjd"] * TICKS_PER_DAY).astype(np.int64)
        codes = (points["survey"].astype(np.int64) << 16) | (points["band"].astype(np.int64) << 8) | points["kind"]
        words = _words(points[np.lexsort((codes, tick))])
    chosen = np.empty(len(words), dtype=np.uint32)
    count = choose(words, chosen)
    if count < len(points):
        chosen = chosen[: count * WORDS].copy()
    return chosen.view(points.dtype)


def _words(points: NDArray[np.void]) -> NDArray[np.uint32]:
    words = np.ascontiguousarray(points).view(np.uint32)
    words.setflags(write=False)  # the kernels are compiled for read-only arrays
    return words


@jit
def choose(words, chosen):  # type: ignore[no-untyped-def]
    """Write the union of `words` uint32 (n * 11,) to `chosen`, of equal length; returns how many points it has."""
    count = len(words) // WORDS
    tick = np.empty(count, np.int64)
    what = np.empty(count, np.int64)
    bits = np.empty(1, np.int64)
    mjd = bits.view(np.float64)
    order = np.empty(count, np.int64)
    second = third = count  # where the second and the third ordered run begin
    for index in range(count):
        base = index * WORDS
        bits[0] = np.int64(words[base]) | np.int64(words[base + 1]) << 32
        tick[index] = np.int64(np.rint(mjd[0] * TICKS_PER_DAY))
        codes = np.int64(words[base + 8])
        what[index] = _signed(codes >> 24) << 16 | _signed(codes) << 8 | _signed(codes >> 8)
        order[index] = index
        if index > 0 and _is_before(tick, what, index, index - 1):
            if second == count:
                second = index
            elif third == count:
                third = index
    if third == count and second < count:
        left = np.int64(0)
        right = np.int64(second)
        for place in range(count):
            if right < count and (left == second or _is_before(tick, what, right, left)):
                order[place] = right
                right += 1
            else:
                order[place] = left
                left += 1
    elif second < count:
        for index in range(second, count):
            place = index
            while place > 0 and _is_before(tick, what, index, order[place - 1]):
                order[place] = order[place - 1]
                place -= 1
            order[place] = index
    kept = 0
    place = 0
    while place < count:
        best = order[place]
        named = best
        place += 1
        while place < count and tick[order[place]] == tick[best] and what[order[place]] == what[best]:
            if _is_preferred(words, order[place], best):
                best = order[place]
            if _number(words, order[place], CANDID) > _number(words, named, CANDID):
                named = order[place]
            place += 1
        for word in range(WORDS):
            chosen[kept * WORDS + word] = words[best * WORDS + word]
        if named != best:
            chosen[kept * WORDS + CANDID] = words[named * WORDS + CANDID]
            chosen[kept * WORDS + CANDID + 1] = words[named * WORDS + CANDID + 1]
        kept += 1
    return kept


@jit
def is_two_runs(words):  # type: ignore[no-untyped-def]
    """Whether points uint32 (n * 11,) are two ordered runs, one behind the other, or one."""
    bits = np.empty(1, np.int64)
    mjd = bits.view(np.float64)
    tick = np.empty(2, np.int64)
    what = np.empty(2, np.int64)
    runs = 1
    for index in range(len(words) // WORDS):
        base = index * WORDS
        bits[0] = np.int64(words[base]) | np.int64(words[base + 1]) << 32
        codes = np.int64(words[base + 8])
        tick[0], what[0] = tick[1], what[1]
        tick[1] = np.int64(np.rint(mjd[0] * TICKS_PER_DAY))
        what[1] = _signed(codes >> 24) << 16 | _signed(codes) << 8 | _signed(codes >> 8)
        if index > 0 and _is_before(tick, what, 1, 0):
            runs += 1
            if runs > 2:
                return False
    return True


@jit_inline
def _is_before(tick, what, one, other):  # type: ignore[no-untyped-def]
    return tick[one] < tick[other] or (tick[one] == tick[other] and what[one] < what[other])


@jit_inline
def _signed(code):  # type: ignore[no-untyped-def]
    """The lowest byte as int8."""
    return ((code & 0xFF) ^ 0x80) - 0x80


@jit_inline
def _number(words, point, word):  # type: ignore[no-untyped-def]
    """The 64-bit number that begins at `word` of a point, unsigned, so that 0 (unknown) is the smallest."""
    low = point * WORDS + word
    return np.uint64(words[low]) | np.uint64(words[low + 1]) << np.uint64(32)


@jit_inline
def _is_preferred(words, one, other):  # type: ignore[no-untyped-def]
    a = one * WORDS
    b = other * WORDS
    for word in (BROUGHT_BY + 1, BROUGHT_BY):
        if words[a + word] != words[b + word]:
            return words[a + word] > words[b + word]
    unknown = 0
    for word in range(4, 8):
        unknown += _is_nan(words[a + word]) - _is_nan(words[b + word])
    if unknown != 0:
        return unknown < 0
    for word in (8, 7, 6, 5, 4, 1, 0):
        if words[a + word] != words[b + word]:
            return words[a + word] < words[b + word]
    return False


@jit_inline
def _is_nan(word):  # type: ignore[no-untyped-def]
    """1 where a float32 with these bits is not a number."""
    return 1 if (word & 0x7FFFFFFF) > 0x7F800000 else 0
