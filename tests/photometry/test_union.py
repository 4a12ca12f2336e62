"""The compiled union against the same rules written with numpy's sorts."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.photometry import POINT
from service.photometry.union import LONGEST_INSERTION_SORT, TICKS_PER_DAY, union


def by_sorting(points: np.ndarray) -> np.ndarray:
    """Every copy of a measurement in order of preference, of which the first stands."""
    tick = np.rint(points["mjd"] * TICKS_PER_DAY).astype(np.int64)
    what = (points["survey"].astype(np.int64) << 16) | (points["band"].astype(np.int64) << 8) | points["kind"]
    unknown = sum(np.isnan(points[name]).astype(int) for name in ("mag", "magerr", "limit", "magnr"))
    words = points.view("<u4").reshape(-1, 11)
    values = words[:, [0, 1, 4, 5, 6, 7, 8]]
    latest_first = ~points["brought_by"].view("<u8")
    order = np.lexsort((*values.T, unknown, latest_first, what, tick))
    tick, what = tick[order], what[order]
    first = np.concatenate(([True], (tick[1:] != tick[:-1]) | (what[1:] != what[:-1])))[: len(points)]
    kept = points[order][first]
    if len(points):
        kept["candid"] = np.maximum.reduceat(points["candid"][order].view("<u8"), np.flatnonzero(first)).view("<i8")
    return kept


floats = st.one_of(st.sampled_from([float("nan"), 18.5, 20.0]), st.floats(width=32))
rows = st.tuples(
    st.one_of(st.sampled_from([58000.0, 58000.0000001, 58000.0000009, 60000.25]), st.floats(-1e6, 1e6)),
    st.one_of(st.just(0), st.integers(-(2**63), 2**63 - 1)),
    floats, floats, floats, floats,
    st.integers(-128, 127), st.sampled_from([0, 1, 2, -1]), st.sampled_from([0, 1, -1]), st.sampled_from([0, 1, -128]),
    st.one_of(st.sampled_from([0, 1, 2**32]), st.integers(-(2**63), 2**63 - 1)),
)  # fmt: skip


@settings(max_examples=500, deadline=None)  # the first example waits for the compiler
@given(st.lists(rows, max_size=20))
def test_any_points(values):
    points = np.array(values, dtype=POINT)
    assert union(points).tobytes() == by_sorting(points).tobytes()


@settings(deadline=None)
@given(arrays.arrays(np.uint8, st.integers(0, 12).map(lambda count: 44 * count)))
def test_any_bytes_with_finite_epochs(noise):
    points = noise.view(POINT)
    points = points[np.abs(points["mjd"]) < 1e12]
    assert union(points).tobytes() == by_sorting(points).tobytes()


@pytest.mark.parametrize("count", [0, 1, 2, 500, LONGEST_INSERTION_SORT + 1, 20_000])
@pytest.mark.parametrize("order", ["ordered", "reversed", "shuffled"])
def test_points_of_any_number_in_any_order(count, order):
    rng = np.random.default_rng(count)
    points = np.zeros(count, dtype=POINT)
    points["mjd"] = 58000 + np.sort(rng.integers(0, 1 + count // 2, count)) / 8
    points["mag"] = rng.choice([18.5, 19.0, np.nan], count)
    points["band"] = rng.integers(0, 3, count)
    points = {"ordered": points, "reversed": points[::-1], "shuffled": rng.permutation(points)}[order]
    assert union(points).tobytes() == by_sorting(points.copy()).tobytes()


def test_describing_light_curves_does_not_wait_for_the_compiler():
    script = "import sys, service.photometry; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"
