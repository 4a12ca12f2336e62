"""Image cutouts: 63 x 63 pixel FITS stamps of a point source on sky noise, gzipped, about 13 KB each.

Noise does not compress, so the size of a packet is real. Compressing a stamp costs more than all the rest of a packet:
a pool is made once and packets draw from it. The images show a source of the right sign; they are not the alert's own.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIZE: Final = 63  # pixels of one arcsecond, as the survey cuts them
_FITS_BLOCK: Final = 2880  # bytes; FITS standard 4.0, section 3.1
_CARD: Final = 80


@dataclass(frozen=True, slots=True)
class Cutouts:
    """The three gzipped stamps of one alert."""

    science: bytes
    template: bytes
    difference: bytes


def make_pool(rng: np.random.Generator, count: int) -> tuple[Cutouts, ...]:
    """`count` sets of stamps, even ones of sources that brightened, odd ones of sources that faded."""
    return tuple(_make(rng, 1 if index % 2 == 0 else -1) for index in range(count))


def fits(image: NDArray[np.float32]) -> bytes:
    """A single-HDU FITS file of a 2-D float image (rows, columns): header and data padded to 2880-byte blocks."""
    rows, columns = image.shape
    cards = [
        f"{'SIMPLE':<8}= {'T':>20}",
        f"{'BITPIX':<8}= {-32:>20}",
        f"{'NAXIS':<8}= {2:>20}",
        f"{'NAXIS1':<8}= {columns:>20}",
        f"{'NAXIS2':<8}= {rows:>20}",
        f"{'BUNIT':<8}= 'DN      '",
        "END",
    ]
    header = "".join(card.ljust(_CARD) for card in cards).encode()
    data = image.astype(">f4").tobytes()
    return _padded(header, b" ") + _padded(data, b"\0")


def _make(rng: np.random.Generator, sign: int) -> Cutouts:
    axis = np.arange(SIZE) - SIZE // 2
    seeing = rng.uniform(0.8, 1.3)  # Gaussian sigma [pixel]: 1.9 to 3.1 arcsec full width at half maximum
    profile = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * seeing**2))
    peak, background = 10 ** rng.uniform(1.8, 3.0), rng.uniform(120, 350)
    noise = rng.normal(0, (12.0, 4.0, 13.0), (SIZE, SIZE, 3)).astype(np.float32)
    quiescent = rng.uniform(0, 1) * peak + (peak if sign < 0 else 0)
    images = (
        background + (quiescent + sign * peak) * profile + noise[..., 0],
        background + quiescent * profile + noise[..., 1],
        sign * peak * profile + noise[..., 2],
    )
    return Cutouts(*(gzip.compress(fits(image.astype(np.float32)), mtime=0) for image in images))


def _padded(data: bytes, fill: bytes) -> bytes:
    return data + fill * (-len(data) % _FITS_BLOCK)
