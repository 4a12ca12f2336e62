"""Long light curves in blocks, so that an alert of an old object writes its newest points and not years of history.

An object's row holds its newest points. What is older than `OPEN_DAYS` moves in blocks of `BLOCK` points into rows of
their own, each whole in time: all blocks and then the row's own points, end to end, are the light curve. Where the cuts
are depends on the order in which alerts came; the light curve does not. A point that comes late, or again with another
value, changes the block that it falls into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.photometry import LightCurve
from service.store.interface import StoredObject

BLOCK: Final = 128  # points: 3 kB packed, so that SQLite keeps one on a page

# Packets repeat the last 30 days, so blocks of what is older are hardly ever touched.
OPEN_DAYS: Final = 40.0

# A block that late points have made longer than this has all of them cut anew: an archive read backwards would
# otherwise end in a single one.
LONGEST: Final = 4 * BLOCK


@dataclass(frozen=True, slots=True)
class Changes:
    """What to write of one object: `newest` into its row, and `blocks` (number, points) that are new or differ.
    `continues`: it has blocks, written now or before.
    """

    newest: LightCurve
    blocks: list[tuple[int, LightCurve]]
    continues: bool


def changes(before: StoredObject | None, after: StoredObject) -> Changes:
    """What to write of `after` where the store holds `before`."""
    closed = () if before is None else before.closed
    points = after.light_curve.points
    if before is not None and closed:
        stop = sum(closed)
        if before.light_curve.points[:stop].tobytes() != points[:stop].tobytes():  # an alert seldom reaches so far back
            return _cut_again(before, after.light_curve)
    else:
        stop = 0
    newest = LightCurve(points[stop:])
    if len(newest) < BLOCK or newest.mjd[BLOCK - 1] >= newest.mjd[-1] - OPEN_DAYS:
        return Changes(newest, [], bool(closed))
    cuts = [stop, *_more_cuts(points["mjd"], stop)]
    pieces = [LightCurve(points[begin:end]) for begin, end in pairwise(cuts)]
    return Changes(LightCurve(points[cuts[-1] :]), list(enumerate(pieces, len(closed))), bool(closed or pieces))


def all_changes(objects: Sequence[StoredObject], before: Mapping[str, StoredObject]) -> list[Changes]:
    return [changes(before.get(thing.object_id), thing) for thing in objects]


def _cut_again(before: StoredObject, after: LightCurve) -> Changes:
    """The same where points changed within the blocks: those that they fell into are written."""
    closed, mjd = before.closed, after.mjd
    stops = np.cumsum(closed)
    ends = np.where(stops > 0, before.light_curve.mjd[stops - 1], -np.inf)
    cuts: list[int] = np.maximum.accumulate(np.searchsorted(mjd, ends, side="right")).tolist()
    if max(end - begin for begin, end in pairwise([0, *cuts])) > LONGEST:
        cuts = []
    cuts += _more_cuts(mjd, cuts[-1] if cuts else 0)
    cuts += [cuts[-1] if cuts else 0] * (len(closed) - len(cuts))  # cut anew into fewer: the others remain, empty
    written = []
    for number, (begin, end) in enumerate(pairwise([0, *cuts])):
        block = after.points[begin:end]
        if number < len(closed):
            was = int(stops[number]) - closed[number]
            if before.light_curve.points[was : was + closed[number]].tobytes() == block.tobytes():
                continue
        written.append((number, LightCurve(block)))
    return Changes(LightCurve(after.points[cuts[-1] :]), written, True)


def _more_cuts(mjd: NDArray[np.float64], start: int) -> list[int]:
    """Where to cut blocks off the points from `start` on, whose epochs are `mjd` (n,): never within an epoch, so that
    the same cuts are found again by their epochs.
    """
    settled = int(np.searchsorted(mjd, mjd[-1] - OPEN_DAYS)) if len(mjd) else 0
    cuts = []
    while start + BLOCK <= settled:
        start = int(np.searchsorted(mjd, mjd[start + BLOCK - 1], side="right"))
        cuts.append(start)
    return cuts
