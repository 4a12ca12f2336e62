"""The context in a ZTF packet's projected values."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from service.jit import jit
from service.photometry.context import CONTEXT_BOUNDS, CONTEXT_COLUMNS, NOT_SCORED, POLE, SCORES

# What the packet itself says: all but the galactic latitude, which follows from the position.
PACKET_COLUMNS: Final = CONTEXT_COLUMNS[1:]
assert CONTEXT_COLUMNS[0] == "gal_b"

# (N_CONTEXT, 3) per column: least and greatest value, and one that stands for "none" (NaN: no such value). In place of
# the latitude's, the galactic pole.
RULES: Final = np.array(
    [
        (*POLE, np.nan),
        *((*CONTEXT_BOUNDS[name], NOT_SCORED if name in SCORES else np.nan) for name in PACKET_COLUMNS),
    ]
)


@jit
def fill_context(numbers, first, ra, dec, rules, values):  # type: ignore[no-untyped-def]
    """Fill `values`, float32 (N_CONTEXT,), from `numbers`, in which those of PACKET_COLUMNS begin at `first`; ra, dec
    [deg]. `rules` are RULES, handed in because numba's cache would not notice their change.
    """
    for column in range(1, len(rules)):
        number = numbers[first + column - 1]
        is_known = number >= rules[column, 0] and number <= rules[column, 1] and number != rules[column, 2]
        values[column] = number if is_known else np.nan
    # as service.photometry.context.galactic_latitude
    ra = math.radians(ra - rules[0, 0])
    dec = math.radians(dec)
    pole = math.radians(rules[0, 1])
    sine = math.sin(dec) * math.sin(pole) + math.cos(dec) * math.cos(pole) * math.cos(ra)
    values[0] = abs(math.degrees(math.asin(min(max(sine, -1.0), 1.0))))
