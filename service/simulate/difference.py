"""Difference photometry: what the survey's cameras and pipeline make of a field's sources."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.photometry.flux import flux_from_magnitude
from service.simulate.sources import Epochs, Sources

THRESHOLD: Final = 5.0  # sigma: the survey sends an alert where the difference stands out so far, of either sign
NOT_COVERED, LIMIT, DETECTION = 0, 1, 2
_GAIN: Final = 6.2  # electrons per DN
_ZERO_POINT: Final = 26.3  # mag of one DN in 30 s
_DN: Final = 10 ** (-0.4 * (_ZERO_POINT - 23.9))  # uJy
_COVERED: Final = 0.97  # the rest falls on chip gaps, edges, or images that failed
_SATURATION: Final = float(flux_from_magnitude(12.2))  # brighter stars are masked
_RESIDUAL: Final = 0.012  # of the reference flux: what imperfect subtraction leaves of a bright star
_CALIBRATION: Final = 0.018  # of the difference flux


# One measurement. flux, sigma [uJy]: signed difference against the reference; forced [uJy]: the same, measured at the
# fixed position; noise: standard normal draws that the packet's many quality fields are derived from.
MEASUREMENT: Final = np.dtype(
    [("flux", "<f4"), ("sigma", "<f4"), ("forced", "<f4"), ("status", "i1"), ("noise", "<f4", (6,))]
)


def observe(rng: np.random.Generator, sources: Sources, epochs: Epochs, limit: NDArray[np.float32]) -> NDArray[np.void]:
    """Measurements (n, T), dtype `MEASUREMENT`, of `sources` at `epochs` whose 5-sigma limiting magnitudes are `limit`
    (T,).

    The variance is that of the sky (from the limit), of the source's and the reference's photons, of the residual of
    an imperfect subtraction (in proportion to the reference) and of the calibration (in proportion to the difference).
    A detection is |flux| >= 5 sigma of the measured flux.
    """
    reference = sources.reference[:, epochs.band]
    true = sources.flux - reference
    sky = flux_from_magnitude(limit) / THRESHOLD
    # Sky noise differs by a few per cent over the camera; never below what the limit says.
    local = 1 + np.abs(rng.normal(0, 0.04, true.shape))
    photons = (sources.flux + reference) * _DN / _GAIN
    sigma = np.sqrt((sky * local) ** 2 + photons + (_RESIDUAL * reference) ** 2 + (_CALIBRATION * true) ** 2)
    noise = rng.standard_normal((2, *true.shape))
    flux = true + noise[0] * sigma
    forced = flux + 0.2 * noise[1] * sigma
    measured = np.empty(true.shape, MEASUREMENT)
    measured["flux"], measured["sigma"], measured["forced"] = flux, sigma, forced
    measured["noise"] = rng.standard_normal((*true.shape, 6), dtype=np.float32)
    detected = np.abs(measured["flux"]) >= THRESHOLD * measured["sigma"]
    measured["status"] = np.where(detected, DETECTION, LIMIT)
    lost = (rng.random(true.shape) > _COVERED) | (np.maximum(sources.flux, reference) > _SATURATION)
    measured["status"][lost] = NOT_COVERED
    return measured
