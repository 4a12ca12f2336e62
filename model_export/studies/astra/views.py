"""Astra-CLR's three views of a star, and the arrays they become (arXiv:2606.31627, section 3 and the authors' code).

A star is (mjd, magnitude relative to its mean, band code) sorted by time. A view takes a random contiguous window of
each band; the short view is half as long, the hard one noisier, with half of its 5-day bins gone and one outlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.inference.preprocessing.alert_clr import ASTRA_LENGTHS, Arrays, astra_sequence

Floats = NDArray[np.float64]
BIN_DAYS: Final = 5.0
# A flare or a cosmic ray: the point becomes this much brighter than the mean, plus up to half a magnitude.
OUTLIER: Final = -0.696
OUTLIER_SPREAD: Final = 0.5


@dataclass(frozen=True)
class AstraView:
    """noise [mag]; lengths of the windows in g, r, i; fraction of 5-day bins dropped; whether one point goes wild."""

    noise: float
    lengths: tuple[int, int, int]
    bins_dropped: float = 0.0
    outlier: bool = False


ANCHOR: Final = AstraView(0.05, ASTRA_LENGTHS)
SHORT: Final = AstraView(0.0, (150, 175, 25))
HARD: Final = AstraView(0.10, ASTRA_LENGTHS, bins_dropped=0.5, outlier=True)
VIEWS: Final = (ANCHOR, SHORT, HARD)


def draw_view(
    rng: np.random.Generator, mjd: Floats, magnitude: Floats, band: NDArray[np.integer], view: AstraView
) -> Arrays:
    """One view as a padded 700-point sequence: input, times, band_info (700, 1), mask (700,)."""
    chosen = np.zeros(len(mjd), dtype=bool)
    for code, length in enumerate(view.lengths):
        mine = np.flatnonzero(band == code)
        start = int(rng.integers(0, max(len(mine) - length, 0) + 1))
        chosen[mine[start : start + length]] = True
    if view.bins_dropped:
        chosen &= ~dropped_bins(rng, mjd, chosen, view.bins_dropped)
    mjd, magnitude, band = mjd[chosen], magnitude[chosen].copy(), band[chosen]
    magnitude += rng.normal(0, view.noise, len(magnitude)) if view.noise else 0.0
    if view.outlier and len(magnitude):
        magnitude[rng.integers(len(magnitude))] = OUTLIER - rng.uniform(0, OUTLIER_SPREAD)
    return astra_sequence(mjd, magnitude, band)


def dropped_bins(
    rng: np.random.Generator, mjd: Floats, chosen: NDArray[np.bool_], fraction: float
) -> NDArray[np.bool_]:
    """Points (n,) in a random `fraction` of the occupied 5-day bins, counted from the star's first epoch.

    A fraction of the occupied bins, not of all, because dropping the empty ones between seasons has no effect.
    """
    bins = np.floor((mjd - mjd[0]) / BIN_DAYS).astype(np.int64)
    occupied = np.unique(bins[chosen])
    gone = rng.permutation(occupied)[: int(len(occupied) * fraction)]
    return np.isin(bins, gone)
