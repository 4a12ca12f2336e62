"""Sources that vary at random: active nuclei, young stars, cataclysmic variables."""

from __future__ import annotations

import numpy as np

from service.simulate.shapes import Floats, counts, damped_random_walk, outburst_scales, outbursts
from service.simulate.sources import REFERENCE_FRAMES, Epochs, Sources, colours, reference_times, variable

_BAND_RATIO_AGN = np.array([1.0, 0.85, 0.75])


def active_nucleus(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Damped random walk in magnitudes (Kelly et al. 2009; MacLeod et al. 2010, ApJ 721, 1014): log10 of the damping
    time [days] 2.4 +- 0.4, asymptotic structure function 0.12 to 0.6 mag (the active end of their distribution, since
    calm ones never alert), bluer when brighter.
    """
    damping = 10 ** rng.normal(2.4, 0.4, n)
    scatter = 10 ** rng.uniform(-0.92, -0.22, n) / np.sqrt(2)  # SF_infinity is sqrt(2) sigma
    walk, before = _walks(rng, damping, scatter, epochs)
    mean = colours(counts(rng, n, 15.5, 20.0, 0.5), rng.normal(0.3, 0.2, n), rng.normal(0.15, 0.12, n))
    return variable(
        rng,
        epochs,
        mean,
        walk * _BAND_RATIO_AGN[epochs.band],
        before[:, None, :] * _BAND_RATIO_AGN[None, :, None],
        star=False,
    )


def young_star(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Irregular (45 %: damped random walk, 1 to 30 d, 0.1 to 0.5 mag), dips (35 %: absorption by the disc,
    quasi-periodic in 3 to 12 d, 0.3 to 1.8 mag, dips of unequal depth) or bursting (20 %: accretion bursts of 0.3 to 2
    mag that decay in 2 to 30 d); fractions and scales after Cody et al. 2014 (AJ 147, 82). Redder when fainter, A_r /
    A_g = 0.8.
    """
    kind = rng.choice(3, n, p=[0.45, 0.35, 0.20])[:, None]
    times = np.concatenate([reference_times(rng, epochs), epochs.mjd])
    walk = _walk(rng, 10 ** rng.uniform(0, 1.5, n), 10 ** rng.uniform(-1, -0.3, n), times)
    # Dips: a narrow periodic function whose depth follows its own random walk.
    period, depth = rng.uniform(3, 12, (n, 1)), rng.uniform(0.3, 1.8, (n, 1))
    phase = times[None, :] / period + rng.random((n, 1))
    unevenness = np.exp(0.5 * _walk(rng, 2 * period[:, 0], np.ones(n), times))
    dips = depth * np.exp(-0.5 * (np.sin(np.pi * phase) / 0.45) ** 2) * unevenness + 0.2 * walk
    bursts = 0.3 * walk - _bursts(rng, n, times)
    change = np.select([kind == 0, kind == 1], [walk, dips], bursts)
    ratio = np.array([1.0, 0.8, 0.62])
    mean = colours(counts(rng, n, 13.5, 18.5, 0.3), rng.normal(1.2, 0.3, n), rng.normal(0.7, 0.3, n))
    before, now = change[:, :REFERENCE_FRAMES], change[:, REFERENCE_FRAMES:]
    return variable(rng, epochs, mean, now * ratio[epochs.band], before[:, None, :] * ratio[None, :, None])


def cataclysmic(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Dwarf novae (85 %): outbursts of 2.5 to 6 mag, a day up, a plateau of 2 to 12 d (longer where rarer), down by 1
    mag in 2 d, once in 15 to 200 d (Kukarkin & Parenago's relation of amplitude and interval; Coppejans et al. 2016,
    MNRAS 456, 4441). Others: high and low states of polars and nova-likes, a flickering damped random walk of 0.5 mag.
    Blue, g - r = 0.05, in quiescence at r 18 to 22.
    """
    interval = 10 ** rng.uniform(1.2, 2.3, n)
    amplitude, duration = outburst_scales(rng, interval)
    steady = rng.random(n) < 0.15
    now = -_outbursts(rng, interval, amplitude, duration, epochs.mjd)
    flicker = _walk(rng, rng.uniform(0.05, 30, n), np.where(steady, 0.5, 0.1), epochs.mjd)
    change = np.where(steady[:, None], 0.0, now) + flicker
    quiescence = np.where(steady, counts(rng, n, 16, 19.5, 0.4), counts(rng, n, 18, 22, 0.4))
    mean = colours(quiescence, rng.normal(0.05, 0.15, n), rng.normal(0.05, 0.1, n))
    # Frames in outburst are left out of a reference: it shows quiescence.
    quiet = rng.normal(0, 0.1, (n, 1, REFERENCE_FRAMES)).repeat(3, axis=1)
    return variable(rng, epochs, mean, change, quiet)


def _walks(rng: np.random.Generator, damping: Floats, scatter: Floats, epochs: Epochs) -> tuple[Floats, Floats]:
    """The same damped random walks at the epochs (n, T) and at the reference images' (n, frames)."""
    times = np.concatenate([reference_times(rng, epochs), epochs.mjd])
    walk = _walk(rng, damping, scatter, times)
    return walk[:, REFERENCE_FRAMES:], walk[:, :REFERENCE_FRAMES]


def _walk(rng: np.random.Generator, damping: Floats, scatter: Floats, times: Floats) -> Floats:
    """Damped random walks (n, T): damping [days] (n,), scatter (n,) the long-term sigma."""
    steps = rng.standard_normal((len(times), len(damping)))
    return np.asarray((damped_random_walk(times, damping, steps) * scatter).T)


def _outbursts(
    rng: np.random.Generator, interval: Floats, amplitude: Floats, duration: Floats, times: Floats
) -> Floats:
    """Brightening [mag] (n, T)."""
    n, span = len(interval), float(times[-1] - times[0])
    most = int(span / interval.min()) + 3
    gaps = interval[:, None] * rng.uniform(0.6, 1.4, (n, most))
    starts = times[0] - interval[:, None] * rng.random((n, 1)) + np.cumsum(gaps, axis=1) - gaps[:, :1]
    since = times[None, None, :] - starts[:, :, None]  # (n, outbursts, T)
    return outbursts(since, amplitude[:, None, None], duration[:, None, None])


def _bursts(rng: np.random.Generator, n: int, times: Floats) -> Floats:
    """Brightening [mag] (n, T) by accretion bursts, one in 40 days on average."""
    most = int((times[-1] - times[REFERENCE_FRAMES]) / 40) + 2
    starts = rng.uniform(times[REFERENCE_FRAMES] - 20, times[-1], (n, most, 1))
    decay = 10 ** rng.uniform(0.3, 1.5, (n, most, 1))
    height = rng.uniform(0.3, 2.0, (n, most, 1))
    since = times[None, None, :] - starts
    burst = np.where(since < 0, 0.0, np.exp(-np.clip(since, 0, None) / decay))
    return np.asarray((height * burst).sum(axis=1))
