"""Magnitudes and fluxes. Fluxes are in microjansky: an AB magnitude of 23.9 is 1 uJy (Oke & Gunn 1983)."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

AB_ZERO_POINT_UJY: Final = 23.9
MAG_PER_RELATIVE_FLUX: Final = 2.5 / float(np.log(10.0))  # 1.0857: d(mag) = 1.0857 d(flux) / flux

# A forced flux of exactly zero has no magnitude. 1e-9 uJy (46.4 mag) is far below any survey's noise, so it stands
# for zero and keeps the magnitude finite.
SMALLEST_FLUX_UJY: Final = 1e-9


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
