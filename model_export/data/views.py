"""Views of light curves: the same object as it could have been observed: earlier, noisier, or further away.

All functions work on many light curves end to end (points (N,), counts (B,)), so a mega-batch takes milliseconds. The
network must not recognise the table that a light curve comes from, so signs, upper limits, reference magnitudes and the
apparent magnitude are withheld at random, from objects of every table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_export.data.tables import DETECTION_SNR
from service.inference.preprocessing.alert_clr import OPTIONAL_CONTEXT
from service.photometry import Kind
from service.photometry.flux import MAG_PER_RELATIVE_FLUX

HISTORY_DAYS: Final = 30.0  # the history in a ZTF packet


@dataclass(frozen=True)
class ViewConfig:
    """Probabilities and sizes of the random changes to a light curve in training."""

    prefix: float = 0.55  # cut after the first k detections, k log-uniform
    early: float = (
        0.0  # share of these with k at most `early_max`: most important in an alert stream, and cheap to train on
    )
    early_max: int = 6
    history: float = 0.25  # cut to the 30 days before a detection, as a packet does (always, for long variables)
    dim: float = 0.5  # move away by up to `dim_max` magnitudes: noise stays, the faint end drops below threshold
    dim_max: float = 1.0
    stretch: float = 0.04  # relative sigma of a stretch of time
    point_drop: float = 0.3  # drop up to `point_drop_max` of the points
    point_drop_max: float = 0.3
    night_drop: float = 0.2
    band_drop: float = 0.04
    limits_drop: float = 0.3
    sign_drop: float = 0.2
    magnitude_drop: float = 0.3
    magnitude_jitter: float = 0.3  # mag
    reference_drop: float = 0.4
    reference_jitter: float = 0.2  # mag
    counts_drop: float = 0.3


Ragged = tuple[NDArray[np.void], NDArray[np.int64]]


def owner(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the light curve that each point belongs to (N,)."""
    return np.repeat(np.arange(len(counts)), counts)


def keep(points: NDArray[np.void], counts: NDArray[np.int64], mask: NDArray[np.bool_]) -> Ragged:
    """The points where `mask` holds."""
    return points[mask], np.bincount(owner(counts)[mask], minlength=len(counts))


def detections_before(
    points: NDArray[np.void], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Detections strictly before each point in its own light curve (N,), and detections of each light curve (B,)."""
    detected = (points["kind"] == Kind.DETECTION).astype(np.int64)
    running = np.concatenate(([0], np.cumsum(detected)))
    starts = np.cumsum(counts) - counts
    before = running[:-1] - np.repeat(running[starts], counts)
    return before, running[starts + counts] - running[starts]


def prefix(points: NDArray[np.void], counts: NDArray[np.int64], k: NDArray[np.int64]) -> Ragged:
    """Everything up to and including the k-th detection of each light curve; k (B,) >= 1."""
    before, _ = detections_before(points, counts)
    return keep(points, counts, before < np.repeat(k, counts))


def log_uniform(rng: np.random.Generator, n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Integers k in 1..n (B,) with k + 1 log-uniform: every octave is equally likely, and single detections, which
    teach little, are less than a quarter of all views.
    """
    k = np.floor(2.0 * np.exp(rng.random(len(n)) * np.log((n + 2.0) / 2.0))).astype(np.int64) - 1
    return np.clip(k, 1, np.maximum(n, 1))


def history(
    rng: np.random.Generator, points: NDArray[np.void], counts: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> Ragged:
    """Cut the chosen light curves (B,) to the 30 days that end at a random detection."""
    before, total = detections_before(points, counts)
    last = np.floor(rng.random(len(counts)) * total).astype(np.int64)
    of = owner(counts)
    detected = points["kind"] == Kind.DETECTION
    at = detected & (before == last[of])
    end = np.full(len(counts), np.inf)
    end[of[at]] = points["mjd"][at]
    inside = (points["mjd"] <= end[of]) & (points["mjd"] > end[of] - HISTORY_DAYS)
    return keep(points, counts, inside | ~chosen[of])


def dim(
    rng: np.random.Generator, points: NDArray[np.void], counts: NDArray[np.int64], by: NDArray[np.float64]
) -> Ragged:
    """Make light curves fainter by `by` (B,) magnitudes: noise stays, points below 5 sigma become upper limits.

    Flux f +- s becomes a f +- s with a = 10^(-0.4 by), after gaussian noise of s sqrt(1 - a^2). The brightest detection
    always stays, because an object without any can't be used in training. Returns new points.
    """
    points = points.copy()
    detected = points["kind"] == Kind.DETECTION
    scale = np.repeat(10.0 ** (-0.4 * by), counts)
    error = np.nan_to_num(points["magerr"].astype(np.float64), nan=0.1).clip(0.005, 1.0) / MAG_PER_RELATIVE_FLUX
    noise = rng.standard_normal(len(points)) * error * np.sqrt(1.0 - scale**2)
    flux = scale + noise  # in units of the old flux
    seen = flux > DETECTION_SNR * error
    faintest = np.where(detected, points["mag"], np.inf)
    starts = np.cumsum(counts) - counts
    brightest = detected & (faintest == np.minimum.reduceat(faintest, starts)[owner(counts)])
    flux = np.where(brightest & ~seen, DETECTION_SNR * error, flux)
    seen |= brightest
    moved = detected & (scale < 1)
    new_mag = points["mag"] - 2.5 * np.log10(np.where(seen, flux, 1.0))
    lost = moved & ~seen
    points["limit"][lost] = points["mag"][lost] - 2.5 * np.log10(DETECTION_SNR * error[lost])
    shown = moved & seen
    points["mag"][shown] = new_mag[shown]
    points["magerr"][shown] = (error * MAG_PER_RELATIVE_FLUX / np.where(seen, flux, 1.0))[shown]
    points["mag"][lost] = np.nan
    points["kind"][lost] = Kind.UPPER_LIMIT
    points["sign"][lost] = 0
    return points, counts


def thin(rng: np.random.Generator, points: NDArray[np.void], counts: NDArray[np.int64], config: ViewConfig) -> Ragged:
    """Drop points, nights, bands and upper limits at random; each light curve keeps its brightest detection."""
    size, of = len(counts), owner(counts)
    fraction = rng.random(size) * config.point_drop_max * (rng.random(size) < config.point_drop)
    gone = rng.random(len(points)) < fraction[of]
    night_fraction = rng.random(size) * 0.4 * (rng.random(size) < config.night_drop)
    night = np.floor(points["mjd"]).astype(np.int64)
    # a random number per light curve and night, by a multiplicative hash of both
    dice = ((night * 2654435761 + of * 40503 + int(rng.integers(1 << 30))) % 1000003) / 1000003
    gone |= dice < night_fraction[of]
    band = np.where(rng.random(size) < config.band_drop, rng.integers(0, 2, size), -1)
    gone |= points["band"] == band[of]
    detected = points["kind"] == Kind.DETECTION
    gone |= ~detected & (rng.random(size) < config.limits_drop)[of]
    depth = np.where(detected, points["mag"], np.inf)
    starts = np.cumsum(counts) - counts
    gone &= depth != np.minimum.reduceat(depth, starts)[of]  # inf == inf cannot occur: every curve has a detection
    return keep(points, counts, ~gone)


def augment(
    rng: np.random.Generator,
    points: NDArray[np.void],
    counts: NDArray[np.int64],
    long_variable: NDArray[np.bool_],
    config: ViewConfig,
) -> Ragged:
    """One random view of each light curve; those in `long_variable` (B,), of years, are always cut to a history."""
    size = len(counts)
    points, counts = history(rng, points, counts, rng.random(size) < np.where(long_variable, 0.85, config.history))
    by = rng.random(size) * config.dim_max * (rng.random(size) < config.dim)
    points, counts = dim(rng, points, counts, by)
    _, total = detections_before(points, counts)
    longest = np.where(rng.random(size) < config.early, np.minimum(total, config.early_max), total)
    k = np.where(rng.random(size) < config.prefix, log_uniform(rng, longest), total)
    points, counts = prefix(points, counts, k)
    points, counts = thin(rng, points, counts, config)
    stretch = np.exp(rng.standard_normal(size) * config.stretch)
    start = points["mjd"][np.cumsum(counts) - counts]
    points["mjd"] = np.repeat(start, counts) + (points["mjd"] - np.repeat(start, counts)) * np.repeat(stretch, counts)
    points["sign"] *= np.repeat(rng.random(size) >= config.sign_drop, counts)
    return points, counts


def withhold_context(rng: np.random.Generator, context: NDArray[np.float32], config: ViewConfig) -> None:
    """Jitter and drop the optional context columns (B, C) in place."""
    size = len(context)
    for name, probability in (
        ("peak_magnitude", config.magnitude_drop),
        ("reference", config.reference_drop),
        ("limit_counts", config.counts_drop),
    ):
        if name == "peak_magnitude":
            context[:, 0] += rng.normal(0, config.magnitude_jitter / 2.0, size)
        if name == "reference":
            jitter = rng.normal(0, config.reference_jitter / 3.0, size)
            context[:, 2] += jitter * context[:, 3]
            context[:, 4] += jitter * context[:, 5]
        context[rng.random(size) < probability, OPTIONAL_CONTEXT[name]] = 0.0
