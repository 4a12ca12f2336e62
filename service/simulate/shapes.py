"""Shapes of light curves, which every simulator takes from here: no survey, no noise.

Functions broadcast: a simulator of one source at a time gives numbers, one of many gives columns (n, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Number: TypeAlias = Floats | float

_HUBBLE: Final = 70.0  # km/s/Mpc
_LIGHT: Final = 299_792.458  # km/s


def counts(rng: np.random.Generator, n: int | None, bright: float, faint: float, slope: float = 0.6) -> Floats:
    """n magnitudes (None: one number) from counts that grow as 10^(slope m); 0.6: uniform in Euclidean space."""
    return np.asarray(faint + np.log10(rng.uniform(10 ** (slope * (bright - faint)), 1.0, n)) / slope)


def redshift(modulus: Floats) -> Floats:
    """Redshift at a distance modulus [mag], to second order with q0 = -0.55."""
    distance = 10 ** ((modulus - 25) / 5)  # Mpc
    return np.asarray((-1 + np.sqrt(1 + 3.1 * _HUBBLE * distance / _LIGHT)) / 1.55)


def villar(since: Floats, rise: Number, plateau: Number, slope: Number, fall: Number, tail: float = 0.0) -> Floats:
    """Villar et al. 2019 (ApJ 884, 83, eq. 1), a share `tail` of it a radioactive tail; not normalised. `since` the
    middle of the rise, and rise, plateau, fall [days]; slope [1/day] on the plateau.
    """
    after = np.maximum(since - plateau, 0)
    decline = np.exp(-after / fall)
    if tail:
        decline = (1 - tail) * decline + tail * np.exp(-after / 111.0)  # days, of cobalt 56
    level = 1 - slope * np.minimum(np.maximum(since, 0), plateau)
    return np.asarray(level * decline / (1 + np.exp(np.clip(-since / rise, None, 60))))


def disruption(days: Floats, rise: Number, decay: Number) -> Floats:
    """Gaussian rise to 1 on day 0, then (1 + t / decay)^(-5/3): stars torn by black holes (Rees 1988; van Velzen et al.
    2021, ApJ 908, 4, eqs. 1 to 3).
    """
    return np.where(days < 0, np.exp(-0.5 * (days / rise) ** 2), (1 + np.maximum(days, 0) / decay) ** (-5 / 3))


def damped_random_walk(times: Floats, damping: Number, steps: Floats) -> Floats:
    """Ornstein-Uhlenbeck processes (T, ...) of unit long-term sigma, exact at any spacing of `times` (T,) [days], from
    standard normal `steps` (T, ...) and damping times [days] (...).
    """
    memory = np.exp(-np.diff(times).reshape(-1, *[1] * (steps.ndim - 1)) / damping)
    kick = np.sqrt(1 - memory**2) * steps[1:]
    values = np.empty_like(steps)
    values[0] = steps[0]
    for index in range(1, len(times)):  # a recursion in time
        values[index] = memory[index - 1] * values[index - 1] + kick[index - 1]
    return values


def outburst_scales(rng: np.random.Generator, interval: Number) -> tuple[Floats, Floats]:
    """Amplitude [mag] and duration [days] of a dwarf nova's outbursts: both grow with the interval [days] between them
    (Kukarkin & Parenago's relation; Coppejans et al. 2016, MNRAS 456, 4441).
    """
    size = np.shape(interval)
    amplitude = np.clip(1.5 + 1.7 * np.log10(interval / 5) + rng.normal(0, 0.4, size), 2.0, 6.5)
    return amplitude, np.clip(2 + 3.5 * np.log10(interval / 10) + rng.exponential(1.0, size), 2, 14)


def outbursts(since: Floats, amplitude: Number, duration: Number) -> Floats:
    """Brightening [mag] by outbursts (axis 1) that rise and fall linearly around a plateau; `since` its start."""
    shape = np.minimum(since * amplitude, (duration - since) / 2 + amplitude)
    return np.asarray(np.clip(shape, 0, amplitude).max(axis=1))


def sawtooth(weight: Floats) -> Callable[[Floats], Floats]:
    """Fourier series sum of weight^(k-1) sin(2 pi k phase) / k, k = 1 to 6: a fast brightening and a slow fading that
    sharpen as `weight` (...) goes from 0 (a sine) to 1; magnitudes at phases (..., K), peak to peak 1.
    """
    order = np.arange(1, 7)
    terms = (weight[..., None] ** (order - 1) / order)[..., None, :]

    def raw(phase: Floats) -> Floats:
        return np.asarray((terms * np.sin(2 * np.pi * order * phase[..., None])).sum(axis=-1))

    height = np.ptp(raw(np.linspace(0, 1, 100)), axis=-1)[..., None]
    return lambda phase: -raw(phase) / height


def eclipses(phase: Floats, first: Number, second: Number, cosine: Number, surface: Number, tide: Number) -> Floats:
    """Magnitude change of circular binaries, the first star behind at phase 0: uniform discs that overlap as geometry
    has it, and the ellipsoidal light of close ones (Hilditch 2001, "An Introduction to Close Binary Stars", chapter 5).

    first, second: radii in units of the orbit's; cosine: of the inclination; surface: brightness of the second star's
    surface over the first's; tide: half amplitude [relative flux] of the ellipsoidal light.
    """
    angle = 2 * np.pi * phase
    separation = np.sqrt(1 - (1 - cosine**2) * np.cos(angle) ** 2)
    distance = np.clip(separation, np.abs(first - second) + 1e-9, first + second)
    near = (distance**2 + first**2 - second**2) / (2 * distance)
    far = distance - near
    lens = (  # the common area of two circles
        first**2 * np.arccos(np.clip(near / first, -1, 1))
        + second**2 * np.arccos(np.clip(far / second, -1, 1))
        - distance * np.sqrt(np.maximum(first**2 - near**2, 0))
    )
    covered = np.where(separation <= np.abs(first - second), np.pi * np.minimum(first, second) ** 2, lens)
    covered = np.where(separation >= first + second, 0.0, covered)
    whole = first**2 + surface * second**2
    light = 1 - covered / np.pi * np.where(np.cos(angle) > 0, 1.0, surface) / whole - tide * np.cos(2 * angle)
    return np.asarray(-2.5 * np.log10(np.maximum(light, 1e-3)))
