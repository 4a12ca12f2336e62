"""A cone search reads the cells that the cone touches: none that holds an object may be missed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.store.sky import ARCSEC, CELLS_PER_ZONE, Cone, NamedPosition, Positions, cell_of

positions = st.tuples(st.floats(0, 360), st.floats(-90, 90))


@given(positions, st.floats(1e-4, 10), st.floats(0, 360), st.floats(0, 0.999))
@settings(max_examples=300)
def test_every_position_inside_a_cone_lies_in_one_of_its_cells(
    centre: tuple[float, float], radius: float, angle: float, share: float
) -> None:
    cone = Cone(*centre, radius)
    ra, dec = offset(*centre, radius * share, angle)
    assert cone.holds([ra], [dec]).all()
    assert cell_of(ra, dec) in cone.cells()


@given(positions, positions)
def test_separation_is_that_of_the_unit_vectors(one: tuple[float, float], other: tuple[float, float]) -> None:
    angle = np.degrees(
        np.arctan2(np.linalg.norm(np.cross(vector(*one), vector(*other))), vector(*one) @ vector(*other))
    )
    for radius in (0.5 * angle, 2 * angle):
        if 1e-6 < radius <= 10:
            assert Cone(*one, radius).holds([other[0]], [other[1]])[0] == (radius > angle)


def test_cells_of_one_zone_never_run_into_the_next() -> None:
    assert max(cell_of(ra, 0.1) or 0 for ra in (0.0, 180.0, 359.9999, 360.0)) // CELLS_PER_ZONE == 360
    assert cell_of(360.0, 0.1) == cell_of(0.0, 0.1)
    assert cell_of(float("nan"), 0.0) is None


@pytest.mark.parametrize(
    ("field", "values"), [("ra", (-1, 0, 1)), ("dec", (0, 91, 1)), ("radius", (0, 0, 0)), ("radius", (0, 0, 11))]
)
def test_a_cone_that_cannot_be_names_the_field(field: str, values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match=field):
        Cone(*values)


def vector(ra: float, dec: float) -> np.ndarray:
    ra, dec = np.radians(ra), np.radians(dec)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def offset(ra: float, dec: float, distance: float, angle: float) -> tuple[float, float]:
    """The position `distance` degrees away in the direction `angle` east of north."""
    pole, east = vector(ra, dec), vector(ra + 90, 0)
    north = np.cross(pole, east)
    distance, angle = np.radians(distance), np.radians(angle)
    there = np.cos(distance) * pole + np.sin(distance) * (np.cos(angle) * north + np.sin(angle) * east)
    return float(np.degrees(np.arctan2(there[1], there[0])) % 360), float(
        np.degrees(np.arcsin(np.clip(there[2], -1, 1)))
    )


def test_the_nearest_position_is_found_within_the_radius() -> None:
    positions = Positions(
        [NamedPosition("near", 10.0, 20.0 + 1.0 * ARCSEC), NamedPosition("far", 10.0, 20.0 - 3.0 * ARCSEC),
         NamedPosition("b", 50.0, 0.0), NamedPosition("a", 50.0, 0.0), NamedPosition("nowhere", math.nan, math.nan)]
    )  # fmt: skip
    assert positions.nearest(10.0, 20.0, 1.5) == "near"
    assert positions.nearest(10.0, 20.0, 0.5) is None
    assert positions.nearest(10.0, 20.0, 0.5, or_still="far") == "far"  # it has moved out of the radius
    assert positions.nearest(10.0, 20.0, 1.5, or_still="far") == "near"  # until another is nearer
    assert positions.nearest(50.0, 0.0, 1.5) == "a"  # of two at one place the first by name
    assert positions.nearest(50.0, 0.0, 0.0) is None  # a radius of 0 joins nothing
