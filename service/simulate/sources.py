"""What a simulated source is: its true brightness at the survey's epochs, and what the reference images hold of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.photometry.flux import flux_from_magnitude
from service.simulate.shapes import Floats

# The reference images were stacked from about this many exposures within a season, this long before the simulated time.
REFERENCE_FRAMES: Final = 15
REFERENCE_SPAN: Final = 150.0  # days
REFERENCE_AGE: Final = 2500.0  # days

FAINTEST_REFERENCE: Final = 22.8  # mag: nothing fainter is found in a reference image


@dataclass(frozen=True, slots=True)
class Epochs:
    """The exposures of one field, in time order. mjd [days] (T,); band (T,), 0, 1, 2 = g, r, i."""

    mjd: Floats
    band: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Sources:
    """n sources of one class.

    flux [uJy] (n, T): of the varying source. reference [uJy] (n, 3): the same source's flux in the reference images of
    g, r, i. magnr [mag] (n, 3) and distnr [pixel] (n,): the nearest source of the reference images, which for a
    variable star is the star itself and for a supernova its host. star (n,): whether that one is a star. known [days]
    (n,): how long the object had been known when the simulated time starts; 0 for one that is new.
    """

    flux: Floats
    reference: Floats
    magnr: Floats
    distnr: Floats
    star: NDArray[np.bool_]
    known: Floats


Model: TypeAlias = Callable[[np.random.Generator, int, Epochs], Sources]


def reference_times(rng: np.random.Generator, epochs: Epochs) -> Floats:
    """Epochs [days] of the reference images' exposures, (REFERENCE_FRAMES,)."""
    start = epochs.mjd[0] - REFERENCE_AGE
    return np.sort(rng.uniform(start, start + REFERENCE_SPAN, REFERENCE_FRAMES))


def by_band(per_band: Floats, epochs: Epochs) -> Floats:
    """(n, 3) values per band, spread over the epochs: (n, T)."""
    return np.asarray(per_band[:, epochs.band])


def colours(r: Floats, g_minus_r: Floats, r_minus_i: Floats) -> Floats:
    """(n, 3) magnitudes in g, r, i."""
    return np.stack([r + g_minus_r, r, r - r_minus_i], axis=1)


def variable(
    rng: np.random.Generator, epochs: Epochs, mean: Floats, change: Floats, reference_change: Floats, star: bool = True
) -> Sources:
    """Sources that were always there: magnitudes `mean` (n, 3) + `change` (n, T), and in each reference exposure
    `mean` + `reference_change` (n, 3, frames).
    """
    n = len(mean)
    flux = flux_from_magnitude(by_band(mean, epochs) + change)
    reference = flux_from_magnitude(mean[:, :, None] + reference_change).mean(axis=2)
    magnr = -2.5 * np.log10(reference) + 23.9 + rng.normal(0, 0.01, reference.shape)
    distnr = rng.rayleigh(0.18, n)
    absent = magnr[:, 1] > FAINTEST_REFERENCE
    distnr[absent] = rng.uniform(3, 20, int(absent.sum()))
    magnr[absent] = rng.uniform(19, 22.5, (int(absent.sum()), 1))
    known = rng.uniform(300, REFERENCE_AGE, n)
    return Sources(flux, reference, magnr, distnr, np.full(n, star), known)
