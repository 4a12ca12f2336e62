"""Magnitudes and fluxes. Fluxes are in microjansky: an AB magnitude of 23.9 is 1 uJy (Oke & Gunn 1983)."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

AB_ZERO_POINT_UJY: Final = 23.9
MAG_PER_RELATIVE_FLUX: Final = 2.5 / float(np.log(10.0))  # 1.0857: d(mag) = 1.0857 d(flux) / flux

# A forced flux of exactly zero has no magnitude. 1e-9 uJy (46.4 mag), far below any survey's noise, replaces it to keep
# the magnitude finite.
SMALLEST_FLUX_UJY: Final = 1e-9

# An alert is a 5-sigma detection; for a fainter flux a survey would report a 5-sigma upper limit.
DETECTION_SIGMA: Final = 5.0


def flux_from_magnitude(mag: ArrayLike, sign: ArrayLike = 1) -> NDArray[np.float64]:
    """Signed difference flux [uJy] from the AB magnitude of its absolute value; NaN stays NaN."""
    return np.asarray(sign) * 10.0 ** (-0.4 * (np.asarray(mag, dtype=np.float64) - AB_ZERO_POINT_UJY))


def flux_error_from_magnitude(mag: ArrayLike, magerr: ArrayLike) -> NDArray[np.float64]:
    """One-sigma flux error [uJy] of a magnitude and its error, to first order."""
    return flux_from_magnitude(mag) * np.asarray(magerr, dtype=np.float64) / MAG_PER_RELATIVE_FLUX


def magnitude_from_flux(
    flux: ArrayLike, fluxerr: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8]]:
    """(mag, magerr, sign) of signed fluxes and errors [uJy]: the inverse of the two functions above, to rounding."""
    flux = np.asarray(flux, dtype=np.float64)
    size = np.maximum(np.abs(flux), SMALLEST_FLUX_UJY)
    magerr = MAG_PER_RELATIVE_FLUX * np.asarray(fluxerr, dtype=np.float64) / size
    return AB_ZERO_POINT_UJY - 2.5 * np.log10(size), magerr, np.where(flux < 0, -1, 1).astype(np.int8)


def from_flux(
    flux: NDArray[np.float64],
    fluxerr: NDArray[np.float64],
    sign: NDArray[np.int8],
    limit: NDArray[np.float64],
    microjansky: float | NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
    """(magerr, sign, mag, limit) as in an alert stream; `microjansky` is the size of one unit of flux.

    A flux below `DETECTION_SIGMA` is an upper limit. An explicit sign is applied to a flux that was sent without one.
    """
    flux, fluxerr = flux * microjansky, fluxerr * microjansky
    seen = ~np.isnan(flux) & ~(np.abs(flux) < DETECTION_SIGMA * fluxerr)  # an unknown error rules nothing out
    flux = np.where((sign != 0) & (flux > 0), sign * flux, flux)
    mag, magerr, signs = magnitude_from_flux(np.where(seen, flux, 1.0), fluxerr)
    depth, _, _ = magnitude_from_flux(DETECTION_SIGMA * np.where(np.isnan(fluxerr), 1.0, fluxerr), 0.0)
    limit = np.where(np.isnan(limit) & ~np.isnan(fluxerr), depth, limit)
    return np.where(seen, magerr, np.nan), np.where(seen, signs, 0).astype(np.int8), np.where(seen, mag, np.nan), limit
