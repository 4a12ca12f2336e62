"""Shared by the models of two-survey sources: black bodies, dust, random walks, power-law spectra, number counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from service.photometry.flux import flux_from_magnitude
from service.simulate import shapes
from service.simulate.shapes import Floats

WAVELENGTHS: Final = np.linspace(4000.0, 8300.0, 16)  # angstrom (K,): the blue end of g to the red end of o
R_WAVELENGTH: Final = 6366.0  # angstrom; magnitudes below are at this wavelength where nothing else is said
RELATIVE: Final = WAVELENGTHS / R_WAVELENGTH
_G_OVER_R: Final = 4746.0 / R_WAVELENGTH
_HC_OVER_K: Final = 1.43878e8  # angstrom kelvin


@dataclass(frozen=True)
class Sky:
    """times [MJD] (T,), ascending, at which the source is asked for; the surveys look from `start` to `stop`, earlier
    times belong to reference images.
    """

    times: Floats
    start: float
    stop: float


# Flux density [uJy] (T, K) of one object, drawn at random.
Model: TypeAlias = Callable[[np.random.Generator, Sky], Floats]


def black_body(wavelength: Floats, temperature: Floats) -> Floats:
    """Planck's law per unit frequency, up to a constant: wavelength [angstrom] and temperature [K] broadcast."""
    return np.asarray(wavelength**-3.0 / np.expm1(np.minimum(_HC_OVER_K / (wavelength * temperature), 500.0)))


def reddened(rng: np.random.Generator, flux: Floats, mean: float = 0.06) -> Floats:
    """`flux` dimmed by a random (exponential) amount of Galactic dust, A proportional to wavelength^-1.3."""
    excess = min(float(rng.exponential(mean)), 0.6)
    return np.asarray(flux * 10.0 ** (-0.4 * 3.1 * excess * (WAVELENGTHS / 5500.0) ** -1.3))


def damped_random_walk(rng: np.random.Generator, times: Floats, damping: float, scatter: float) -> Floats:
    """One walk (T,): damping [days], scatter the long-term sigma."""
    return shapes.damped_random_walk(times, damping, np.roll(rng.standard_normal(len(times)), 1)) * scatter


def power_law(r: float, g_minus_r: float, change: Floats, power: float) -> Floats:
    """Flux (T, K) of a source of mean magnitude `r` and a power-law spectrum of the given colour; `change` [mag] (T,)
    at the wavelength of r goes as wavelength^`power` elsewhere.
    """
    slope = g_minus_r / (2.5 * np.log10(1 / _G_OVER_R))
    spectrum = flux_from_magnitude(r) * RELATIVE**slope
    return np.asarray(spectrum * 10.0 ** (-0.4 * change[:, None] * RELATIVE**power))


def counts(rng: np.random.Generator, bright: float, faint: float, slope: float) -> float:
    """A magnitude from counts that grow as 10^(slope m)."""
    return float(shapes.counts(rng, None, bright, faint, slope))
