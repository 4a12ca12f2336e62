"""Stars that vary in phase: pulsators, eclipsing binaries, spotted rotators and long-period variables.

Each model draws a period, an amplitude per band and a shape, and evaluates the same star at the survey's epochs and at
those of its reference images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from service.simulate.shapes import Floats, counts, eclipses, sawtooth
from service.simulate.sources import Epochs, Sources, colours, reference_times, variable

# Magnitude change (n, K) at phases (n, K), peak to peak 1 where it says so.
Shape: TypeAlias = Callable[[Floats], Floats]

_STAR_COUNTS: Final = 0.3  # slope of the logarithm of star counts per magnitude at these magnitudes


def rr_lyrae(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Sawtooth Fourier series for RRab (0.44 to 0.75 d, peak to peak 0.5 to 1.3 mag in g), near-sine for a quarter, RRc
    (0.25 to 0.4 d, 0.3 to 0.55 mag). A_r / A_g = 0.7, g - r = 0.2 (Sesar et al. 2010, ApJ 708, 717, section 4).
    """
    overtone = rng.random(n) < 0.25
    period = np.where(overtone, rng.normal(0.32, 0.035, n).clip(0.24, 0.42), rng.normal(0.57, 0.065, n).clip(0.42, 0.8))
    amplitude = np.where(overtone, rng.uniform(0.3, 0.55, n), rng.uniform(0.5, 1.3, n))
    weight = np.where(overtone, 0.15, 0.62)
    mean = colours(counts(rng, n, 14.0, 19.5, _STAR_COUNTS), rng.normal(0.2, 0.08, n), rng.normal(0.05, 0.04, n))
    return _in_phase(rng, epochs, mean, period, amplitude, (1.0, 0.7, 0.55), sawtooth(weight))


def cepheid(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Sawtooth Fourier series, 1 to 40 d, peak to peak 0.4 to 1.2 mag in g, A_r / A_g = 0.68; classical and type II
    alike (Klagyivik & Szabados 2009, A&A 504, 959; Soszynski et al. 2015).
    """
    period = 10 ** rng.normal(0.75, 0.35, n).clip(0.0, 1.6)
    mean = colours(counts(rng, n, 13.0, 18.5, _STAR_COUNTS), rng.normal(0.8, 0.2, n), rng.normal(0.3, 0.1, n))
    return _in_phase(
        rng, epochs, mean, period, rng.uniform(0.4, 1.2, n), (1.0, 0.68, 0.52), sawtooth(rng.uniform(0.35, 0.55, n))
    )


def delta_scuti(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Skewed series, 0.04 to 0.2 d, peak to peak 0.1 to 0.7 mag in g: only the high-amplitude ones alert
    (McNamara 2000; Breger 2000). A_r / A_g = 0.72, g - r = 0.15.
    """
    period = 10 ** rng.uniform(np.log10(0.04), np.log10(0.2), n)
    mean = colours(counts(rng, n, 13.0, 17.5, _STAR_COUNTS), rng.normal(0.15, 0.1, n), rng.normal(0.02, 0.05, n))
    amplitude = 10 ** rng.uniform(-1.0, -0.15, n)
    return _in_phase(rng, epochs, mean, period, amplitude, (1.0, 0.72, 0.55), sawtooth(rng.uniform(0.15, 0.45, n)))


def long_period(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Miras (two in five: 150 to 500 d, 2.5 to 7 mag peak to peak in g) and semi-regulars (40 to 300 d, 0.2 to 1.5
    mag): a sine with a steeper rise and cycle-to-cycle scatter. A_r / A_g = 0.8, g - r = 1.5 to 2.5 (Soszynski et al.
    2009; Iwanek et al. 2021 for Mira shapes).
    """
    mira = rng.random(n) < 0.4
    period = np.where(mira, rng.uniform(150, 500, n), 10 ** rng.uniform(1.6, 2.48, n))
    amplitude = np.where(mira, rng.uniform(2.5, 7.0, n), 10 ** rng.uniform(-0.7, 0.18, n))
    mean = colours(counts(rng, n, 12.8, 17.5, _STAR_COUNTS), rng.uniform(1.3, 2.6, n), rng.uniform(0.6, 1.8, n))
    modulation, drift = rng.uniform(0.05, 0.25, (n, 1)), rng.random((n, 1))
    wave = sawtooth(rng.uniform(0.05, 0.3, n))

    def shape(phase: Floats) -> Floats:
        return wave(phase) * (1 + modulation * np.sin(2 * np.pi * (phase / 5.3 + drift)))

    return _in_phase(rng, epochs, mean, period, amplitude, (1.0, 0.8, 0.6), shape)


def eclipsing(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Two stars in circular orbits that cover each other: uniform discs, overlap from geometry, ellipsoidal light 2
    cos(2 phase) for the close ones (Hilditch 2001, "An Introduction to Close Binary Stars", chapter 5). Half of them
    contact (0.25 to 0.6 d), a fifth near contact (0.4 to 2 d), the others detached (0.8 to 20 d).
    """
    kind = rng.choice(3, n, p=[0.5, 0.2, 0.3])
    period = 10 ** rng.uniform(np.array([-0.6, -0.4, -0.1])[kind], np.array([-0.22, 0.3, 1.3])[kind])
    closeness = (period / np.where(kind == 2, 0.8, period)) ** (
        -2 / 3
    )  # Kepler: wider orbits, relatively smaller stars
    first = rng.uniform(np.array([0.36, 0.28, 0.16])[kind], np.array([0.44, 0.36, 0.30])[kind]) * closeness
    second = first * rng.uniform(0.6, 1.0, n)
    # Only orbits seen edge-on enough to eclipse: cos(i) below the sum of the radii.
    cosine = rng.uniform(0, 0.75, n) * (first + second)
    surface = np.where(kind == 0, rng.uniform(0.8, 1.0, n), rng.uniform(0.1, 1.0, n))
    tide = np.array([0.16, 0.08, 0.0])[kind]
    mean = colours(counts(rng, n, 13.0, 18.5, _STAR_COUNTS), rng.normal(0.5, 0.3, n), rng.normal(0.18, 0.12, n))

    def shape(phase: Floats) -> Floats:
        return eclipses(phase, *(x[:, None] for x in (first, second, cosine, surface, tide)))

    return _in_phase(rng, epochs, mean, period, np.ones(n), (1.0, 0.97, 0.95), shape)


def rotator(rng: np.random.Generator, n: int, epochs: Epochs) -> Sources:
    """Spots carried round in 0.4 to 40 d: a sine and its first harmonic, 0.08 to 0.5 mag peak to peak in g, growing and
    fading over some twenty turns. A_r / A_g = 0.85, g - r = 1 (Strassmeier 2009, A&ARv 17, 251; Chen et al. 2020).
    """
    period = 10 ** rng.uniform(-0.4, 1.6, n)
    amplitude = 10 ** rng.uniform(-1.1, -0.3, n)
    mean = colours(counts(rng, n, 13.0, 17.5, _STAR_COUNTS), rng.normal(1.0, 0.2, n), rng.normal(0.45, 0.2, n))
    harmonic, lag, drift = rng.uniform(0, 0.5, (n, 1)), rng.random((n, 1)), rng.random((n, 1))

    def shape(phase: Floats) -> Floats:
        wave = np.sin(2 * np.pi * phase) + harmonic * np.sin(4 * np.pi * (phase + lag))
        return 0.5 * wave * (1 + 0.4 * np.sin(2 * np.pi * (phase / 21 + drift))) / (1 + harmonic / 2)

    return _in_phase(rng, epochs, mean, period, amplitude, (1.0, 0.85, 0.7), shape)


def _in_phase(
    rng: np.random.Generator,
    epochs: Epochs,
    mean: Floats,
    period: Floats,
    amplitude: Floats,
    ratio: tuple[float, float, float],
    shape: Shape,
) -> Sources:
    """mean (n, 3) [mag], period (n,) [days], amplitude (n,) [mag, g], ratio: amplitude in g, r, i over that in g."""
    offset = rng.random((len(mean), 1))

    def change(times: Floats) -> Floats:
        return shape(times[None, :] / period[:, None] + offset) * amplitude[:, None]

    by_band = np.array(ratio)
    reference = change(reference_times(rng, epochs))
    return variable(
        rng, epochs, mean, change(epochs.mjd) * by_band[epochs.band], reference[:, None, :] * by_band[None, :, None]
    )
