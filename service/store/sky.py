"""Cells of the sky, so that a cone search reads an index and not every object.

The sky is cut into zones of equal height and each zone into cells of about equal width: the simplest equal-area
pixelisation, after the zones of Gray et al. 2006 (MSR-TR-2006-52). An object's position moves by 0.1 arcsec with every
alert, but its cell hardly ever changes, so the index is rarely written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import asin, cos, degrees, floor, isfinite, radians, sin, sqrt
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

ZONE_DEG: Final = 0.25  # with a million objects over the northern sky a cell holds some ten
ZONES: Final = round(180 / ZONE_DEG)
CELLS_PER_ZONE: Final = 1 << 11  # room in the number for the 1440 cells at the equator

# A cone of 10 degrees touches some 5,000 cells; for a larger one a query of the whole sky is faster.
LARGEST_RADIUS_DEG: Final = 10.0

ARCSEC: Final = 1.0 / 3600.0  # in degrees


@dataclass(frozen=True, slots=True)
class Cone:
    """Everything within `radius` of (ra, dec), all in degrees. Raises ValueError naming the invalid field."""

    ra: float
    dec: float
    radius: float

    def __post_init__(self) -> None:
        if not (isfinite(self.ra) and 0 <= self.ra <= 360):
            raise ValueError(f"ra must lie in 0 to 360 degrees, not {self.ra}")
        if not (isfinite(self.dec) and -90 <= self.dec <= 90):
            raise ValueError(f"dec must lie in -90 to 90 degrees, not {self.dec}")
        if not (isfinite(self.radius) and 0 < self.radius <= LARGEST_RADIUS_DEG):
            raise ValueError(f"radius must lie in 0 to {LARGEST_RADIUS_DEG:g} degrees, not {self.radius}")

    def select(self, objects: Sequence[tuple[str, float, float]]) -> list[str]:
        """The ids of the `objects`, (id, ra, dec), that are inside."""
        if not objects:
            return []
        ids, ra, dec = zip(*objects, strict=True)
        return [ids[i] for i in np.flatnonzero(self.holds(ra, dec))]

    def holds(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Which positions (n,) [deg] are inside, by the haversine formula, which is exact for small separations."""
        ra, dec = np.radians(np.asarray(ra, dtype=np.float64)), np.radians(np.asarray(dec, dtype=np.float64))
        here_ra, here_dec = radians(self.ra), radians(self.dec)
        squared_half_chord = (
            np.sin((dec - here_dec) / 2) ** 2 + np.cos(dec) * cos(here_dec) * np.sin((ra - here_ra) / 2) ** 2
        )
        inside: NDArray[np.bool_] = squared_half_chord <= np.sin(radians(self.radius) / 2) ** 2
        return inside

    def cells(self) -> list[int]:
        """The cells that the cone touches, and perhaps some neighbours."""
        reach = 180.0  # half width in right ascension; the full circle if the cone holds a pole
        if abs(self.dec) + self.radius < 90:
            reach = degrees(asin(sin(radians(self.radius)) / cos(radians(self.dec))))
        found: list[int] = []
        for zone in range(_zone(self.dec - self.radius), _zone(self.dec + self.radius) + 1):
            count = _cells_in(zone)
            first, last = floor((self.ra - reach) * count / 360), floor((self.ra + reach) * count / 360)
            columns = range(count) if last - first >= count else {column % count for column in range(first, last + 1)}
            found += [zone * CELLS_PER_ZONE + column for column in sorted(columns)]
        return found


def separation_arcsec(ra: float, dec: float, other_ra: float, other_dec: float) -> float:
    """Angle between two positions [deg] in arcsec, by the haversine formula; NaN if a coordinate is."""
    dec, other_dec = radians(dec), radians(other_dec)
    squared_half_chord = (
        sin((other_dec - dec) / 2) ** 2 + cos(dec) * cos(other_dec) * sin(radians(other_ra - ra) / 2) ** 2
    )
    return degrees(2 * asin(min(sqrt(squared_half_chord), 1.0))) * 3600.0


@dataclass(frozen=True, slots=True)
class NamedPosition:
    """A name with its position [deg]."""

    name: str
    ra: float
    dec: float


class Positions:
    """Named positions ordered by declination, to find the nearest of thousands by checking a few."""

    def __init__(self, positions: Iterable[NamedPosition]) -> None:
        self._sorted = sorted((each for each in positions if isfinite(each.dec)), key=lambda each: each.dec)
        self._dec = [each.dec for each in self._sorted]
        self._by_name = {each.name: each for each in self._sorted}

    def nearest(self, ra: float, dec: float, radius_arcsec: float, or_still: str | None = None) -> str | None:
        """The name of the nearest position within the radius (0: none); at equal distance the first by name.

        `or_still` is a candidate even beyond the radius.
        """
        found = self.within(ra, dec, radius_arcsec)
        still = self._by_name.get(or_still) if or_still is not None else None
        if still is not None:
            found.append((separation_arcsec(ra, dec, still.ra, still.dec), still.name))
        return min(found)[1] if found else None

    def within(self, ra: float, dec: float, radius_arcsec: float) -> list[tuple[float, str]]:
        """(separation [arcsec], name) of those within the radius (0: none), nearest first."""
        if not (radius_arcsec > 0 and isfinite(ra) and isfinite(dec)):
            return []
        reach = radius_arcsec * ARCSEC
        near = self._sorted[bisect_left(self._dec, dec - reach) : bisect_right(self._dec, dec + reach)]
        distances = [(separation_arcsec(ra, dec, each.ra, each.dec), each.name) for each in near]
        return sorted(each for each in distances if each[0] <= radius_arcsec)


def cell_of(ra: float, dec: float) -> int | None:
    """Number of the cell that holds (ra, dec) [deg]; None if a coordinate is not finite."""
    if not (isfinite(ra) and isfinite(dec)):
        return None
    zone = _zone(dec)
    count = _cells_in(zone)
    return zone * CELLS_PER_ZONE + floor(ra * count / 360) % count


def _zone(dec: float) -> int:
    return min(max(floor((dec + 90) / ZONE_DEG), 0), ZONES - 1)


def _cells_in(zone: int) -> int:
    """Number of roughly square cells that fit the parallel through the zone's middle."""
    return max(1, round(360 / ZONE_DEG * cos(radians((zone + 0.5) * ZONE_DEG - 90))))
