"""What a packet says of an object's surroundings: missing values, galactic latitude, and which packet's word stands."""

import functools
import itertools

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from service.photometry import CONTEXT_COLUMNS, Context
from service.photometry.context import CONTEXT_BOUNDS, context_values, galactic_latitude, newest


@pytest.mark.parametrize("column", CONTEXT_COLUMNS)
def test_values_outside_of_a_columns_bounds_are_missing_and_those_at_the_bounds_are_kept(column):
    low, high = CONTEXT_BOUNDS[column]
    sign = np.nan if column == "gal_b" else low - 1.0  # a latitude may be negative
    given = [-999.0, -99999.0, None, np.nan, np.inf, high + 1.0, sign, low, high]
    values = context_values({column: given}, len(given))
    found = values[:, CONTEXT_COLUMNS.index(column)]
    assert np.isnan(found[:7]).all()
    assert found[7:].tolist() == [np.float32(low), np.float32(high)]
    assert np.isnan(np.delete(values, CONTEXT_COLUMNS.index(column), axis=1)).all()


def test_a_score_of_exactly_one_half_was_never_given():
    values = context_values({"sgscore1": [0.5, 0.501], "sgscore3": [0.499, 0.5], "distnr": [0.5, 0.5]}, 2)
    named = dict(zip(CONTEXT_COLUMNS, values.T.tolist(), strict=True))
    np.testing.assert_array_equal(named["sgscore1"], np.float32([np.nan, 0.501]))
    np.testing.assert_array_equal(named["sgscore3"], np.float32([0.499, np.nan]))
    assert named["distnr"] == [0.5, 0.5]


def test_galactic_latitude_is_that_of_astropy():
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    expected = SkyCoord(ra, dec, unit="deg").galactic.b.deg
    assert np.abs(galactic_latitude(ra, dec) - expected).max() < 1e-4  # degrees


def test_latitude_is_taken_as_given_without_its_sign_else_from_the_position():
    given = Context(context_values({"gal_b": [-21.5], "ra": [10.0], "dec": [40.0]}, 1)[0])
    assert given.known() == {"gal_b": 21.5}
    found = Context(context_values({"ra": [10.0], "dec": [40.0]}, 1)[0]).known()["gal_b"]
    assert found == pytest.approx(abs(SkyCoord(10.0, 40.0, unit="deg").galactic.b.deg), abs=1e-4)
    assert Context(context_values({"ra": [None], "dec": [40.0]}, 1)[0]).known() == {}


def test_an_unknown_name_is_refused_by_its_name():
    with pytest.raises(ValueError, match="context has no sgscore4"):
        Context.of({"sgscore1": 0.9, "sgscore4": 0.1})


@st.composite
def contexts(draw):
    if draw(st.booleans()):
        return None
    numbers = st.sampled_from([None, 0.25, 12.0])
    names = draw(st.dictionaries(st.sampled_from(["sgscore1", "magnr", "gal_b"]), numbers))
    return Context(Context.of(names).values, draw(st.sampled_from([58000.0, 58001.0])), draw(st.sampled_from([0, 7])))


@given(st.lists(contexts(), min_size=1, max_size=3))
def test_neither_order_nor_repetition_of_packets_matters(several):
    stands = functools.reduce(newest, several)
    for order in itertools.permutations(several + several[:1]):
        assert functools.reduce(newest, order) == stands
    if len(several) == 3:
        one, two, three = several
        assert newest(newest(one, two), three) == newest(one, newest(two, three))


def test_the_newest_packet_stands_unless_it_knows_no_neighbour():
    old, new = Context(Context.of({"sgscore1": 0.1}).values, 58000.0, 1), Context.of({"sgscore1": 0.2, "gal_b": 3.0})
    new = Context(new.values, 58001.0, 2)
    assert newest(new, old) == new
    bare = Context(Context.of({"gal_b": 3.0}).values, 58002.0, 3)  # a re-publication without those fields
    assert newest(new, bare) == new
    assert newest(None, bare) == bare
    poorer = Context(Context.of({"sgscore1": 0.2}).values, 58001.0, 2)
    assert newest(poorer, new) == new
