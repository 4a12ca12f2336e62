"""The context of an object: what an alert says of the object's surroundings, besides its light curve.

Catalogue neighbours and the reference image hardly change from one alert of an object to the next, and tell much of
what it is before there is a light curve. The names, units and meanings are those of ZTF's alert schema (Masci et al.
2019, PASP 131, 018003).

The agreement with models: a bundle whose manifest has `context`, a list of names from `CONTEXT_COLUMNS`, has a graph
with the input `CONTEXT_INPUT`, float32 (B, len(list)), in the list's order and with NaN for each missing value. The
graph derives whatever else it wants (colours, differences), so a bundle without `context` is not touched by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.errors import AlertClassifierError

# Not `context`: the graphs of alert-clr/1 have an input of that name already, a summary of the light curve itself.
CONTEXT_INPUT: Final = "packet_context"

_MAGNITUDE: Final = (-5.0, 50.0)
_PS1_RADIUS: Final = 30.0  # arcsec within which ZTF searches PS1
_GAIA_RADIUS: Final = 90.0  # arcsec

# Bounds of each value, ends included: outside, as with -999, ZTF's mark for "none", the value is missing. Columns are
# only ever added, at the end: stores keep the values in this order.
CONTEXT_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "gal_b": (0.0, 90.0),  # absolute galactic latitude [deg]; not in a packet, it follows from the position
    # the nearest source in the reference image: distance [pixel, 1.01 arcsec], magnitude and its error, fit and shape
    "distnr": (0.0, 30.0),
    "magnr": _MAGNITUDE,
    "sigmagnr": (0.0, 10.0),
    "chinr": (0.0, 1e4),
    "sharpnr": (-100.0, 100.0),
    # the nearest known Solar System object: distance [arcsec], magnitude
    "ssdistnr": (0.0, 30.0),
    "ssmagnr": _MAGNITUDE,
    # the three nearest PS1 sources: star/galaxy score (1: star), distance [arcsec], AB magnitudes in g, r, i, z
    **{
        f"{name}{neighbour}": bounds
        for neighbour in (1, 2, 3)
        for name, bounds in (
            ("sgscore", (0.0, 1.0)),
            ("distpsnr", (0.0, _PS1_RADIUS)),
            ("sgmag", _MAGNITUDE),
            ("srmag", _MAGNITUDE),
            ("simag", _MAGNITUDE),
            ("szmag", _MAGNITUDE),
        )
    },
    "nmtchps": (0.0, 1e6),  # PS1 sources within 30 arcsec
    # the nearest Gaia source and the nearest brighter than 14 mag: distance [arcsec], G [mag]
    "neargaia": (0.0, _GAIA_RADIUS),
    "maggaia": _MAGNITUDE,
    "neargaiabright": (0.0, _GAIA_RADIUS),
    "maggaiabright": _MAGNITUDE,
}
CONTEXT_COLUMNS: Final = tuple(CONTEXT_BOUNDS)
N_CONTEXT: Final = len(CONTEXT_COLUMNS)
GAL_B: Final = 0  # the only column that is no neighbour
MISSING: Final = np.full(N_CONTEXT, np.nan, dtype=np.float32)
MISSING.setflags(write=False)
_NO_NEIGHBOUR: Final = MISSING[GAL_B + 1 :].tobytes()

# A star/galaxy score of exactly this means that the source was not scored.
NOT_SCORED: Final = 0.5
SCORES: Final = ("sgscore1", "sgscore2", "sgscore3")

# The north galactic pole, ICRS [deg] (Reid & Brunthaler 2004, ApJ 616, 872, appendix).
POLE: Final = (192.859508, 27.128336)


class ContextError(AlertClassifierError, ValueError):
    """A context that can't be meant: an unknown name, or one too many or too few."""


class Context(NamedTuple):  # made for every alert: a frozen dataclass takes a microsecond longer
    """`values` float32 (N_CONTEXT,) in the order of `CONTEXT_COLUMNS`, NaN where missing; `mjd` [days] and `candid` of
    the alert that said so, 0 if unknown.
    """

    values: NDArray[np.float32]
    mjd: float = 0.0
    candid: int = 0

    @classmethod
    def of(cls, columns: Mapping[str, float | None]) -> Context:
        """From one value per name; those left out are missing. Raises ContextError naming an unknown name."""
        refuse_unknown(columns)
        return cls(context_values({name: np.array([value], np.float64) for name, value in columns.items()}, 1)[0])

    def known(self) -> dict[str, float]:
        """The values that are not missing, by name."""
        values = self.values.tolist()
        return {name: value for name, value in zip(CONTEXT_COLUMNS, values, strict=True) if value == value}

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Context) and self._identity() == other._identity())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[float, int, bytes]:
        return self.mjd, self.candid, self.values.tobytes()


@overload
def newest(one: Context, other: Context) -> Context: ...
@overload
def newest(one: Context | None, other: Context | None) -> Context | None: ...
def newest(one: Context | None, other: Context | None) -> Context | None:
    """The context of the newer alert; of copies of one alert always the same one. Commutative, associative and
    idempotent, so that the order in which alerts arrive does not matter.
    """
    if one is None or other is None:
        return one or other
    first, second = _recency(one), _recency(other)
    if first != second:
        return one if first > second else other
    return one if one == other else max(one, other, key=_knowledge)


def context_values(columns: Mapping[str, ArrayLike], count: int) -> NDArray[np.float32]:
    """float32 (count, N_CONTEXT) from columns (count,) as they stand in packets; a column left out is missing.

    Missing, NaN, are: None and NaN; a value outside of `CONTEXT_BOUNDS`, as -999 is; a star/galaxy score of exactly
    0.5. `gal_b` [deg] may have its sign. Without it, it follows from `ra` and `dec` [deg] where both are given; other
    columns are not read.
    """
    values = np.full((count, N_CONTEXT), np.nan, dtype=np.float32)
    for number, (name, (low, high)) in enumerate(CONTEXT_BOUNDS.items()):
        if name in columns:
            column = np.asarray(columns[name], dtype=np.float64)
        elif name == "gal_b" and "ra" in columns and "dec" in columns:
            ra, dec = (np.asarray(columns[each], dtype=np.float64) for each in ("ra", "dec"))
            column = galactic_latitude(ra, dec)
        else:
            continue
        if name == "gal_b":
            column = np.abs(column)
        is_known = (column >= low) & (column <= high)
        if name in SCORES:
            is_known &= column != NOT_SCORED
        values[is_known, number] = column[is_known]
    return values


def galactic_latitude(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Galactic latitude [deg] of ICRS positions [deg]; NaN where a position is unknown."""
    ra, dec = np.radians(ra - POLE[0]), np.radians(dec)
    pole = np.radians(POLE[1])
    sine = np.sin(dec) * np.sin(pole) + np.cos(dec) * np.cos(pole) * np.cos(ra)
    latitude: NDArray[np.float64] = np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0)))
    return latitude


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise ContextError if one of `names` is not in `CONTEXT_COLUMNS`."""
    unknown = sorted(set(names) - CONTEXT_BOUNDS.keys())
    if unknown:
        raise ContextError(f"context has no {', '.join(unknown)}; it has {', '.join(CONTEXT_COLUMNS)}")


def _recency(context: Context) -> tuple[bool, float, int]:
    """By epoch and candid, but an alert that knows of no neighbour (some re-publications leave them out) is older than
    any that does.
    """
    return not context.values.tobytes().endswith(_NO_NEIGHBOUR), context.mjd, context.candid


def _knowledge(context: Context) -> tuple[int, bytes]:
    """Of two copies of one alert the one that knows more stands, and of equals always the same one."""
    values = context.values
    return int(np.count_nonzero(values == values)), values.tobytes()
