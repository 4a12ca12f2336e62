"""The picture in a FITS file of a few kilobytes, within bounds: what alert packets carry, and no more of the format.

FITS standard 4.0 (Pence et al. 2010, A&A 524, A42): header blocks of 2880 bytes with cards of 80, big-endian data.
Neither tables nor compressed images are read.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.errors import AlertClassifierError

BLOCK: Final = 2880
CARD: Final = 80
# A stamp of ZTF has 16 kB unpacked, one of Rubin with variance, mask and point spread function below 1 MB.
MOST_UNPACKED: Final = 4_000_000
LARGEST_SIDE: Final = 512  # pixels; ZTF's stamps have 63, Rubin's 30 to some 200
_MOST_HDUS: Final = 8
_MOST_HEADER: Final = 20 * BLOCK

_TYPES: Final = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


class FitsError(AlertClassifierError, ValueError):
    """Not a picture that can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """`pixels` float32 (height, width), NaN where blank, the first row at the bottom. `north`, `east`: unit vectors
    (x, y) on the picture and `scale` [arcsec a pixel], None where the file does not say.
    """

    pixels: NDArray[np.float32]
    north: tuple[float, float] | None = None
    east: tuple[float, float] | None = None
    scale: float | None = None


def read_picture(data: bytes) -> Picture:
    """The first two-dimensional image of a FITS file, gzipped or not. Raises FitsError."""
    if data[:2] == b"\x1f\x8b":
        data = _unzipped(data)
    position = 0
    for _ in range(_MOST_HDUS):
        header, position = _header(data, position)
        axes = [_integer(header, f"NAXIS{axis}") for axis in range(1, _integer(header, "NAXIS") + 1)]
        size = abs(_integer(header, "BITPIX")) // 8 * math.prod(axes) if axes else 0
        if len(axes) == 2 and header.get("XTENSION", "IMAGE") == "IMAGE":
            return _picture(data, position, header, axes[0], axes[1])
        position += -(-size // BLOCK) * BLOCK
    raise FitsError(f"none of its first {_MOST_HDUS} parts is a picture")


def _unzipped(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, MOST_UNPACKED + 1)
    except zlib.error as error:
        raise FitsError(f"its compression is damaged: {error}") from error
    if len(unpacked) > MOST_UNPACKED:
        raise FitsError(f"it unpacks to more than {MOST_UNPACKED:,} bytes")
    return unpacked


def _header(data: bytes, start: int) -> tuple[dict[str, str], int]:
    """Keywords and their values as text, and where the data begin."""
    if data[start : start + 6] not in (b"SIMPLE", b"XTENSI"):
        raise FitsError(f"there is no FITS header at byte {start}")
    header: dict[str, str] = {}
    for position in range(start, min(len(data), start + _MOST_HEADER), CARD):
        card = data[position : position + CARD].decode("ascii", "replace")
        name = card[:8].strip()
        if name == "END":
            return header, start + -(-(position + CARD - start) // BLOCK) * BLOCK
        if card[8:10] == "= ":
            header.setdefault(name, card[10:].split("/")[0].strip().strip("'").strip())
    raise FitsError("its header has no end")


def _picture(data: bytes, position: int, header: dict[str, str], width: int, height: int) -> Picture:
    kind = _TYPES.get(_integer(header, "BITPIX"))
    if kind is None:
        raise FitsError(f"BITPIX is {header['BITPIX']:.20}")
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise FitsError(f"it has {width} x {height} pixels; up to {LARGEST_SIDE} x {LARGEST_SIDE} are read")
    dtype = np.dtype(kind)
    if len(data) < position + dtype.itemsize * width * height:
        raise FitsError("it ends within the picture")
    stored = np.frombuffer(data, dtype, width * height, position).reshape(height, width)
    pixels = stored.astype(np.float64) * _number(header, "BSCALE", 1.0) + _number(header, "BZERO", 0.0)
    if dtype.kind != "f" and "BLANK" in header:
        pixels[stored == _integer(header, "BLANK")] = math.nan
    with np.errstate(over="ignore"):
        narrow = pixels.astype(np.float32)
    narrow[~np.isfinite(narrow)] = math.nan
    return Picture(narrow, *_directions(header))


def _directions(header: dict[str, str]) -> tuple[tuple[float, float] | None, tuple[float, float] | None, float | None]:
    """North, east and scale by the matrix of a celestial WCS (Greisen & Calabretta 2002, A&A 395, 1061)."""
    if not header.get("CTYPE1", "").startswith("RA--"):
        return None, None, None
    if "CD1_1" in header:
        matrix = [[_number(header, f"CD{i}_{j}", 0.0) for j in (1, 2)] for i in (1, 2)]
    else:
        steps = [_number(header, f"CDELT{i}", 0.0) for i in (1, 2)]
        matrix = [[steps[i - 1] * _number(header, f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
    (a, b), (c, d) = matrix
    determinant = a * d - b * c
    if not math.isfinite(determinant) or determinant == 0:
        return None, None, None
    return (
        _unit(-b / determinant, a / determinant),
        _unit(d / determinant, -c / determinant),
        3600 * math.sqrt(abs(determinant)),
    )


def _unit(x: float, y: float) -> tuple[float, float] | None:
    length = math.hypot(x, y)
    return (x / length, y / length) if 0 < length < math.inf else None


def _integer(header: dict[str, str], name: str) -> int:
    text = header.get(name, "")
    if not text.lstrip("+-").isdecimal() or len(text) > 12:
        raise FitsError(f"{name} is {text[:20] or 'missing'}")
    return int(text)


def _number(header: dict[str, str], name: str, default: float) -> float:
    try:
        return float(header[name].replace("D", "E")) if name in header else default
    except ValueError as error:
        raise FitsError(f"{name} is {header[name]:.20}") from error
