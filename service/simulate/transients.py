"""Supernovae and tidal disruption events: seen once, bright against a reference image without them.

Peak magnitudes follow counts of a Euclidean universe down to what the survey sees; distance and redshift follow from a
drawn absolute magnitude, and time scales are stretched by 1 + z. K-corrections, dust and radioactive tails are left
out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.photometry.flux import flux_from_magnitude
from service.simulate.shapes import Floats, counts, disruption, redshift, villar
from service.simulate.sources import Epochs, Sources, by_band, colours

_PEAK_BEFORE: Final = 60.0  # days before the first and after the last epoch within which events peak
_PEAK_AFTER: Final = 10.0


def sn_ia(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Bazin et al. 2009 (A&A 499, 653, eq. 1) per band, with a second maximum in r and i 25 days after the first.

    Rise and decline times are chosen to give 17 to 19 days from first light to maximum and a fading of about 1.1 mag
    in g 15 days later (Phillips 1993); a common stretch of 10 % follows luminosity. M_r = -19.2 +- 0.3.
    """
    stretch = rng.normal(1.0, 0.1, n).clip(0.7, 1.25)
    absolute = -19.2 - 1.5 * (stretch - 1) + rng.normal(0, 0.2, n)
    peak, z = _apparent(rng, absolute)
    time = _time_from_peak(rng, n, epochs, z) / stretch[:, None]
    rise = np.array([3.4, 3.8, 3.6])[epochs.band]
    fall = np.array([13.5, 20.0, 19.0])[epochs.band]
    shape = _bazin(time, rise, fall)
    hump = np.array([0.0, 0.12, 0.35])[epochs.band]
    shape = shape + hump * np.exp(-0.5 * ((time - 25) / 7) ** 2)
    band_peak = colours(peak, rng.normal(0.0, 0.08, n), rng.normal(-0.25, 0.08, n))
    return _transient(rng, epochs, band_peak, shape, peak - absolute)


def sn_ibc(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Villar et al. 2019 (ApJ 884, 83, eq. 1), short or no plateau: rise 4 +- 1, plateau 8 +- 4, decline 15 d in g and
    28 d in r. M_r = -17.6 +- 0.9 and g - r = 0.5 at peak (Drout et al. 2011; Taddia et al. 2018).
    """
    absolute = rng.normal(-17.6, 0.9, n)
    peak, z = _apparent(rng, absolute)
    time = _time_from_peak(rng, n, epochs, z)
    plateau = rng.normal(8, 4, n).clip(1, None)
    shape = _villar(rng, time, epochs, rise=(4, 1), plateau=plateau, slope=(0.018, 0.008, 0.006), fall=(15, 28, 32))
    band_peak = colours(peak, rng.normal(0.5, 0.2, n), rng.normal(0.1, 0.12, n))
    return _transient(rng, epochs, band_peak, shape, peak - absolute)


def sn_ii(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Villar et al. 2019 with a fast rise (2.5 +- 1 d) and a plateau: 80 +- 20 d for seven in ten (IIP), 25 +- 12 d
    for the others (IIL, IIb, IIn). g fades on the plateau, r hardly does (Anderson et al. 2014; Valenti et al. 2016).
    M_r = -16.9 +- 1.1.
    """
    absolute = rng.normal(-16.9, 1.1, n)
    long = rng.random(n) < 0.7
    plateau = np.where(long, rng.normal(80, 20, n), rng.normal(25, 12, n)).clip(5, 130)
    peak, z = _apparent(rng, absolute)
    time = _time_from_peak(rng, n, epochs, z, before=130.0)
    shape = _villar(rng, time, epochs, rise=(2.5, 1), plateau=plateau, slope=(0.0095, 0.004, 0.003), fall=(12, 18, 20))
    band_peak = colours(peak, rng.normal(0.05, 0.15, n), rng.normal(0.0, 0.1, n))
    return _transient(rng, epochs, band_peak, shape, peak - absolute)


def slsn(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Villar et al. 2019, slow: rise 12 +- 4, plateau 15 +- 8, decline 35 d in g and 55 d in r, before 1 + z.

    M_r = -21.5 +- 0.6, blue, in faint dwarf hosts (Gal-Yam 2019, ARA&A 57, 305; Chen et al. 2023 for ZTF).
    """
    absolute = rng.normal(-21.5, 0.6, n)
    peak, z = _apparent(rng, absolute, bright=16.5)
    time = _time_from_peak(rng, n, epochs, z, before=150.0)
    plateau = rng.normal(15, 8, n).clip(2, None)
    shape = _villar(rng, time, epochs, rise=(12, 4), plateau=plateau, slope=(0.008, 0.004, 0.003), fall=(35, 55, 60))
    band_peak = colours(peak, rng.normal(-0.15, 0.12, n), rng.normal(-0.15, 0.1, n))
    return _transient(rng, epochs, band_peak, shape, peak - absolute, host=(-16.8, 1.5))


def tde(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Gaussian rise (sigma 10 to 25 d), then (1 + t / t0)^(-5/3) with t0 30 to 90 d, at constant blue colour, in the
    nucleus of a galaxy (Rees 1988; van Velzen et al. 2021, ApJ 908, 4, eqs. 1 to 3). M_g = -20 +- 0.8, T = 12 to 35 kK.
    """
    absolute = rng.normal(-19.8, 0.8, n)
    peak, z = _apparent(rng, absolute)
    time = _time_from_peak(rng, n, epochs, z, before=200.0)
    rise = np.exp(rng.uniform(np.log(10), np.log(25), n))[:, None]
    decay = np.exp(rng.uniform(np.log(30), np.log(90), n))[:, None]
    shape = disruption(time, rise, decay)
    band_peak = colours(peak, rng.normal(-0.22, 0.08, n), rng.normal(-0.2, 0.06, n))
    return _transient(rng, epochs, band_peak, shape, peak - absolute, host=(-20.3, 0.9), nuclear=True)


def _apparent(rng: np.random.Generator, absolute: Floats, bright: float = 15.0) -> tuple[Floats, Floats]:
    """Apparent r peaks and the redshifts at which `absolute` shows so, (n,)."""
    peak = counts(rng, len(absolute), bright, faint=20.4)
    return peak, redshift(peak - absolute)


def _time_from_peak(
    rng: np.random.Generator, n: int, epochs: Epochs, z: Floats, before: float = _PEAK_BEFORE
) -> Floats:
    """Rest-frame days from maximum, (n, T), at redshifts z (n,); maxima fall evenly on the time observed and `before`
    days before it.
    """
    peak = rng.uniform(epochs.mjd[0] - before, epochs.mjd[-1] + _PEAK_AFTER, n)
    return np.asarray((epochs.mjd[None, :] - peak[:, None]) / (1 + z)[:, None])


def _bazin(time: Floats, rise: Floats, fall: Floats) -> Floats:
    """Bazin's shape with its maximum, 1, at time 0. rise, fall [days] (T,)."""
    ratio = rise / fall
    since = time + rise * np.log(1 / ratio - 1)  # days from the logistic's middle, where t0 lies
    top = ratio**ratio * (1 - ratio) ** (1 - ratio)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(np.clip(-since / fall, None, 50)) / (1 + np.exp(-since / rise)) / top)


def _villar(
    rng: np.random.Generator,
    time: Floats,
    epochs: Epochs,
    *,
    rise: tuple[float, float],
    plateau: Floats,
    slope: tuple[float, float, float],
    fall: tuple[float, float, float],
) -> Floats:
    """Villar's shape, its maximum in r at time 0 and 1 in each band, (n, T).

    rise: mean and scatter [days]; plateau [days] (n,); slope [1/day] on the plateau and fall [days] after it in g, r,
    i, scattered by 25 % from event to event.
    """
    n = len(time)
    rises = rng.normal(*rise, n).clip(0.4 * rise[0], None)[:, None]
    scatter = np.exp(rng.normal(0, 0.25, (2, n, 1)))
    slopes = np.minimum(np.array(slope) * scatter[0], 0.8 / plateau[:, None])  # the plateau stays above zero
    falls = np.array(fall) * scatter[1]

    def flux(since: Floats, band: NDArray[np.int8]) -> Floats:
        return villar(since, rises, plateau[:, None], slopes[:, band], falls[:, band])

    grid = np.linspace(0, 150, 151)
    tops = [flux(grid[None, :], np.full(len(grid), band, np.int8)) for band in range(3)]
    maximum = grid[tops[1].argmax(axis=1)]
    top = np.stack([values.max(axis=1) for values in tops], axis=1)
    return np.asarray(flux(time + maximum[:, None], epochs.band) / top[:, epochs.band])


def _transient(
    rng: np.random.Generator,
    epochs: Epochs,
    peak: Floats,
    shape: Floats,
    modulus: Floats,
    host: tuple[float, float] = (-18.8, 1.3),
    nuclear: bool = False,
) -> Sources:
    """host: mean and scatter of the absolute r magnitude of what the reference's PSF fit sees of the host, near the
    event; half its light or less.
    """
    n = len(peak)
    flux = flux_from_magnitude(by_band(peak, epochs)) * shape
    magnr = (rng.normal(*host, n) + modulus)[:, None] + np.array([0.35, -0.3, -0.6])
    distnr = rng.rayleigh(0.3, n) if nuclear else rng.exponential(2.0, n)
    absent = magnr[:, 1] > 22.5  # too faint a host: the nearest source is some other one
    distnr[absent] = rng.uniform(4, 20, int(absent.sum()))
    magnr[absent] = rng.uniform(19, 22.5, (int(absent.sum()), 1))
    return Sources(flux, np.zeros((n, 3)), magnr, distnr, np.zeros(n, bool), np.zeros(n))
