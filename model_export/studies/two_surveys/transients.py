"""Explosions and disruptions: expanding black bodies whose temperature falls, seen once, at a redshift."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model_export.studies.two_surveys.spectra import (
    R_WAVELENGTH,
    RELATIVE,
    WAVELENGTHS,
    Floats,
    Sky,
    black_body,
    counts,
    reddened,
)
from service.photometry.flux import flux_from_magnitude
from service.simulate.shapes import disruption, redshift, villar


def _explosion(
    rng: np.random.Generator,
    sky: Sky,
    absolute: float,
    shape: Callable[[Floats], Floats],
    temperature: Callable[[Floats], Floats],
    *,
    bright: float = 15.0,
    faint: float = 19.2,
    before: float = 15.0,
) -> Floats:
    """An event of absolute r magnitude `absolute` whose r light curve is `shape` of rest-frame days from maximum, (T,),
    or (T, K) where it differs by wavelength beyond what the temperature does.

    Peak magnitudes follow the counts of a Euclidean universe; redshift follows, and stretches time and spectrum.
    """
    peak = counts(rng, bright, faint, 0.6)
    z = redshift(np.float64(peak - absolute))
    maximum = rng.uniform(sky.start - before, sky.stop - 15.0)
    days = (sky.times - maximum) / (1 + z)
    kelvin = temperature(days)[:, None]
    rest, rest_r = WAVELENGTHS / (1 + z), np.array(R_WAVELENGTH / (1 + z))
    colour = black_body(rest, kelvin) / black_body(rest_r, kelvin)
    dust_in_host = 10.0 ** (-0.4 * rng.exponential(0.12) * (RELATIVE**-1.3 - 1.0))
    return reddened(rng, flux_from_magnitude(peak) * shape(days).reshape(len(days), -1) * colour * dust_in_host, 0.04)


def _cooling(hot: float, cold: float, scale: float, since: float = 0.0) -> Callable[[Floats], Floats]:
    """Temperature [K] that falls from `hot` to `cold` within `scale` days from day `since` on."""
    return lambda days: cold + (hot - cold) * np.exp(-np.maximum(days - since, 0.0) / scale)


def _rise_and_fall(rise: float, plateau: float, slope: float, fall: float, tail: float = 0.0) -> Callable:
    """Villar et al. 2019 (ApJ 884, 83, eq. 1) with a radioactive tail (111 d), its maximum 1 at day 0."""

    def raw(days: Floats) -> Floats:
        return villar(days, rise, plateau, slope, fall, tail)

    grid = np.linspace(0, 120, 481)
    curve = raw(grid)
    return lambda days: raw(days + grid[curve.argmax()]) / curve.max()


def sn_ia(rng: np.random.Generator, sky: Sky) -> Floats:
    """M_r = -19.2, stretch 10 %, 1.1 mag in 15 d in the blue (Phillips 1993), second maximum beyond 6,800 angstrom."""
    stretch = float(np.clip(rng.normal(1.0, 0.1), 0.7, 1.3))
    main = _rise_and_fall(3.6, 3.0, 0.01, 19.0, 0.05)
    red = 0.2 / (1 + np.exp(-(WAVELENGTHS - 6800) / 250))  # (K,)

    def shape(days: Floats) -> Floats:
        hump = np.exp(-0.5 * ((days / stretch - 26) / 8) ** 2)
        return np.asarray(main(days / stretch)[:, None] + hump[:, None] * red)

    cooling = _cooling(rng.normal(11500, 700), rng.normal(4500, 250), 14.0 * stretch, -6.0)
    return _explosion(rng, sky, -19.2 - 1.5 * (stretch - 1) + rng.normal(0, 0.15), shape, cooling)


def sn_ibc(rng: np.random.Generator, sky: Sky) -> Floats:
    """M_r = -17.6 +- 0.8, red, no plateau to speak of (Drout et al. 2011; Taddia et al. 2018)."""
    shape = _rise_and_fall(
        max(rng.normal(4.5, 0.9), 2), max(rng.normal(7, 3), 1), 0.01, max(rng.normal(25, 5), 10), 0.1
    )
    return _explosion(rng, sky, rng.normal(-17.6, 0.8), shape, _cooling(rng.normal(7800, 800), 4600, 14, -5))


def sn_iib(rng: np.random.Generator, sky: Sky) -> Floats:
    """As Ibc, after a blue peak of two to five days from the cooling envelope (Arcavi et al. 2017; Morales-Garoffolo
    2014).
    """
    second = _rise_and_fall(max(rng.normal(5, 0.8), 3), max(rng.normal(6, 2), 1), 0.01, max(rng.normal(24, 4), 12), 0.1)
    height, width, lead = rng.uniform(0.35, 0.9), rng.uniform(2.0, 5.0), rng.normal(19, 2)

    def shape(days: Floats) -> Floats:
        since = days + lead
        first = height * np.exp(-np.clip(since, 0, None) / width) * (since > 0)
        return np.asarray(second(days) + first)

    def temperature(days: Floats) -> Floats:
        early = 9000 * np.exp(-np.clip(days + lead, 0, None) / 5.0)
        return np.asarray(_cooling(7600, 4700, 16, -4)(days) + early)

    return _explosion(rng, sky, rng.normal(-17.2, 0.5), shape, temperature)


def sn_ii(rng: np.random.Generator, sky: Sky) -> Floats:
    """A fast rise and a plateau of 80 +- 20 d for seven in ten, 30 +- 12 d for the others (Anderson et al. 2014)."""
    length = rng.normal(80, 20) if rng.random() < 0.7 else rng.normal(30, 12)
    shape = _rise_and_fall(
        max(rng.normal(2.5, 0.7), 1), float(np.clip(length, 10, 130)), 0.004, max(rng.normal(15, 4), 6), 0.15
    )
    return _explosion(
        rng, sky, rng.normal(-17.0, 0.9), shape, _cooling(rng.normal(13000, 1500), 5300, 18, -3), before=60
    )


def sn_iin(rng: np.random.Generator, sky: Sky) -> Floats:
    """Powered by its surroundings: bright, slow, hot for long (Nyholm et al. 2020, A&A 637, A73)."""
    shape = _rise_and_fall(max(rng.normal(8, 3), 3), max(rng.normal(20, 10), 3), 0.006, rng.lognormal(4.1, 0.35))
    return _explosion(
        rng, sky, rng.normal(-18.9, 0.8), shape, _cooling(rng.normal(13500, 2000), 6800, 60, -10), before=60
    )


def slsn(rng: np.random.Generator, sky: Sky) -> Floats:
    """M_r = -21.5 +- 0.6, slow and blue (Gal-Yam 2019, ARA&A 57, 305; Chen et al. 2023)."""
    shape = _rise_and_fall(max(rng.normal(11, 3), 5), max(rng.normal(12, 6), 2), 0.006, rng.lognormal(3.75, 0.25))
    return _explosion(
        rng, sky, rng.normal(-21.5, 0.6), shape, _cooling(rng.normal(15000, 1800), 6500, 40, -15), before=60
    )


def tde(rng: np.random.Generator, sky: Sky) -> Floats:
    """Gaussian rise, (1 + t / t0)^(-5/3), at a constant 12 to 35 kK (van Velzen et al. 2021, ApJ 908, 4)."""
    rise, decay = np.exp(rng.uniform(np.log([10, 30]), np.log([25, 90])))
    kelvin = rng.uniform(12_000, 35_000)

    def shape(days: Floats) -> Floats:
        return disruption(days, rise, decay)

    return _explosion(
        rng, sky, rng.normal(-19.8, 0.7), shape, lambda days: np.full(len(days), kelvin), before=90, faint=18.9
    )
