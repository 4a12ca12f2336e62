"""Light curves become tokens: one by one or many at once, the same to the last bit, and only what a broker knows."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.inference.batching import lay_end_to_end
from service.inference.preprocessing.alert_clr import (
    CONTEXT_FEATURES,
    POINT_FEATURES,
    alert_clr,
    alert_clr_batch,
    alert_tokens,
    windows,
)
from service.inference.preprocessing.registry import PREPROCESSINGS
from service.photometry import POINT, Kind, LightCurve, end_to_end
from service.photometry.table import light_curves, read_points_table
from tests.inference.preprocessing.reference_tokens import reference_tokens

DAYS = POINT_FEATURES.index("days")
FLUX = POINT_FEATURES.index("flux")
LIMIT = POINT_FEATURES.index("upper_limit")
SIGN = POINT_FEATURES.index("sign")


def curve(mjd, band, mag, **columns) -> LightCurve:
    mag = np.asarray(mag, dtype=float)
    kind = np.where(np.isnan(mag), Kind.UPPER_LIMIT, Kind.DETECTION)
    return LightCurve.from_columns(
        mjd, band, mag=mag, kind=kind, **({"magerr": 0.1, "limit": 20.5, "sign": 1} | columns)
    )


@st.composite
def any_curve(draw: st.DrawFn) -> LightCurve:
    n = draw(st.integers(1, 60))
    mjd = 59000 + draw(hnp.arrays(float, n, elements=st.floats(0, 2000), unique=True))
    mag = draw(hnp.arrays(np.float32, n, elements=st.floats(12, 21, width=32)))
    limit = draw(hnp.arrays(bool, n))
    limit[0] = False
    band = draw(hnp.arrays(np.int8, n, elements=st.integers(0, 4)))
    band[0] = draw(st.integers(0, 2))
    sign = draw(hnp.arrays(np.int8, n, elements=st.integers(-1, 1)))
    magnr = draw(hnp.arrays(np.float32, n, elements=st.sampled_from([np.nan, -999.0, 15.5, 19.25])))
    magerr = draw(hnp.arrays(np.float32, n, elements=st.sampled_from([np.nan, 0.0, 0.03, 0.2])))
    return curve(mjd, band, np.where(limit, np.nan, mag), sign=sign, magnr=magnr, magerr=magerr)


@given(curves=st.lists(any_curve(), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_many_at_once_are_the_same_as_one_by_one_and_always_finite(curves: list[LightCurve]) -> None:
    together = alert_clr_batch(*lay_end_to_end(curves), {})
    for alone, other in zip((alert_clr(c, {}) for c in curves), together, strict=True):
        for name in ("points", "context"):
            assert np.array_equal(alone[name], other[name])
            assert np.isfinite(alone[name]).all()
            assert alone[name].dtype == np.float32


@given(
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=3),
    window=st.integers(1, 130),
    most=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_the_windows_of_a_long_light_curve_hold_the_tokens_of_all_its_points(
    lengths: list[int], window: int, most: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    curves = [
        curve(58000 + np.sort(rng.uniform(0, 900, n)), rng.integers(0, 3, n).tolist(), rng.normal(19, 1, n).tolist())
        for n in lengths
    ]
    parameters = {"window": window, "max_windows": most}
    points, counts = lay_end_to_end(curves)
    whole = alert_tokens(points, counts, parameters)
    stops = np.cumsum(whole.counts)
    for found, stop, count, context in zip(
        alert_clr_batch(points, counts, parameters), stops, whole.counts, whole.context, strict=True
    ):
        np.testing.assert_array_equal(found["points"], windows(whole.points[stop - count : stop], parameters))
        np.testing.assert_array_equal(found["context"], context)


def differences(curves: list[LightCurve]) -> list[float]:
    """Largest differences from the reference, of tokens and context; relative where a value exceeds one."""
    points, counts = end_to_end(curves), np.array([len(c) for c in curves])
    ours, reference = alert_tokens(points, counts, {}), reference_tokens(points, counts, {})
    assert np.array_equal(ours.counts, reference.counts)
    pairs = ((ours.points, reference.points), (ours.context, reference.context))
    return [float((abs(a - b) / np.maximum(abs(b), 1)).max()) for a, b in pairs]


@given(curves=st.lists(any_curve(), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_the_kernel_says_what_plain_numpy_says(curves: list[LightCurve]) -> None:
    assert max(differences(curves)) < 1e-6


@pytest.mark.real_data
@pytest.mark.parametrize("table", ["alert_objects", "forced_tde", "transients", "variables_dr"])
def test_the_kernel_says_what_plain_numpy_says_of_real_light_curves(real_data: Path, table: str) -> None:
    curves = [c for _, c in light_curves(read_points_table(real_data / f"{table}_points.parquet"), table)]
    assert (
        max(differences([c for c in curves if np.isfinite(c.points["mag"][c.is_detection & (c.band < 3)]).any()]))
        < 1e-6
    )


def test_writable_and_strided_points_give_the_same() -> None:
    points = curve([100, 103, 103.5, 107], [1, 1, 0, 1], [np.nan, 19.0, 19.5, 18.0]).points
    spread = np.zeros(2 * len(points), POINT)
    spread[::2] = points
    expected = alert_tokens(points, np.array([4]), {})
    for same in (points.copy(), spread[::2]):
        found = alert_tokens(same, np.array([4], np.int32), {})
        assert np.array_equal(found.points, expected.points)
        assert np.array_equal(found.context, expected.context)
    assert spread.flags.writeable


def test_counts_that_do_not_fit_the_points_are_refused() -> None:
    points = curve([100, 101], [1, 1], [18.0, 18.5]).points
    with pytest.raises(ValueError, match="counts"):
        alert_tokens(points, np.array([3]), {})


@given(light_curve=any_curve(), shift=st.integers(-20000, 20000))
@settings(max_examples=40, deadline=None)
def test_the_date_does_not_matter(light_curve: LightCurve, shift: int) -> None:
    points = light_curve.points.copy()
    points["mjd"] += shift
    moved = LightCurve.from_points(points)
    # epochs keep about 1e-11 days of rounding
    assert np.allclose(alert_clr(light_curve, {})["points"], alert_clr(moved, {})["points"], atol=1e-4)


def test_a_rise_becomes_what_the_columns_say() -> None:
    light_curve = curve([100, 103, 103.5, 107], [1, 1, 0, 1], [np.nan, 19.0, 19.5, 18.0])
    points = alert_clr(light_curve, {})["points"][0]
    assert points.shape == (4, len(POINT_FEATURES))
    assert points[:, DAYS].tolist() == [-3.0, 0.0, 0.5, 4.0]
    assert points[:, LIMIT].tolist() == [1, 0, 0, 0]
    assert points[0, FLUX] == 0
    assert points[3, FLUX] == 1
    assert points[1, FLUX] == pytest.approx(10**-0.4)
    step_r, recency_r = POINT_FEATURES.index("step_r"), POINT_FEATURES.index("recency_r")
    assert points[3, step_r] == pytest.approx(-1.0, abs=1e-5)
    assert points[3, recency_r] == pytest.approx(1 / 5)
    assert points[1, recency_r] == 0  # nothing was seen before


def test_a_fading_difference_is_negative_flux() -> None:
    points = alert_clr(curve([100, 101], [1, 1], [18.0, 18.5], sign=[1, -1]), {})["points"][0]
    assert points[0, FLUX] == 1
    assert points[1, FLUX] == pytest.approx(-(10**-0.2))
    assert points[1, SIGN] == -1


def test_upper_limits_far_from_a_detection_are_counted_and_not_kept() -> None:
    mjd = [90, 92, 94, 96, 100, 101, 105, 106, 107]
    mag = [np.nan, np.nan, np.nan, np.nan, 19.0, np.nan, np.nan, np.nan, 19.2]
    band = [1, 1, 0, 1, 1, 0, 1, 1, 1]
    arrays = alert_clr(curve(mjd, band, mag), {})
    # r at 96 precedes, r at 105 follows and r at 106 precedes a detection in r; nothing was seen in g
    assert arrays["points"][0, :, DAYS].tolist() == [-4.0, 0.0, 5.0, 6.0, 7.0]
    before, after = (CONTEXT_FEATURES.index(f"log_limits_{x}") for x in ("before", "after"))
    assert arrays["context"][before] == pytest.approx(np.log1p(4))
    assert arrays["context"][after] == pytest.approx(np.log1p(3))


def test_forced_photometry_and_unknown_bands_change_nothing() -> None:
    plain = curve([100, 101], [0, 1], [18.0, 18.5])
    more = plain.merge(
        LightCurve.from_columns([99, 100.5], [0, 1], mag=[17.0, 17.0], kind=Kind.FORCED),
        curve([100.2], [3], [15.0]),
    )
    assert np.array_equal(alert_clr(plain, {})["points"], alert_clr(more, {})["points"])


def test_the_reference_is_read_where_there_is_one() -> None:
    arrays = alert_clr(curve([100, 101, 102], [0, 1, 1], [18.0] * 3, magnr=[np.nan, 15.0, 15.6]), {})
    context = dict(zip(CONTEXT_FEATURES, arrays["context"].tolist(), strict=True))
    assert context["reference_g_known"] == 0
    assert context["reference_r_known"] == 1
    assert context["reference_r"] == pytest.approx((15.3 - 18) / 3, abs=1e-6)


@pytest.mark.parametrize(("name", "columns"), [("reference", slice(2, 6)), ("peak_magnitude", slice(0, 2))])
def test_a_manifest_can_switch_context_off(name: str, columns: slice) -> None:
    light_curve = curve([100, 101], [0, 1], [18.0, 18.5], magnr=17.0)
    assert alert_clr(light_curve, {})["context"][columns].any()
    assert not alert_clr(light_curve, {name: False})["context"][columns].any()


@pytest.mark.parametrize(
    "light_curve",
    [LightCurve.empty(), curve([100], [1], [np.nan]), curve([100], [4], [18.0])],
    ids=["empty", "limit alone", "unknown band"],
)
@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_nothing_seen_is_refused(light_curve: LightCurve, preprocessing: str) -> None:
    with pytest.raises(ValueError, match="no detection"):
        PREPROCESSINGS[preprocessing].inputs(*lay_end_to_end([light_curve]), {})


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (128, (1, 128)), (129, (2, 128)), (3000, (4, 128))])
def test_long_light_curves_are_cut_into_windows_without_padding(n: int, shape: tuple[int, int]) -> None:
    points = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    cut = windows(points, {"window": 128, "max_windows": 4})
    assert cut.shape == (*shape, 2)
    assert np.array_equal(cut[0, 0], points[0])
    assert np.array_equal(cut[-1, -1], points[-1])


@pytest.mark.real_data
def test_real_histories_are_fast_alone_and_in_batches(real_data: Path) -> None:
    table = read_points_table(real_data / "alert_objects_points.parquet")
    curves = [c for _, c in light_curves(table, "the table")][:1024]
    arrays = alert_clr_batch(*lay_end_to_end(curves), {})
    assert len(arrays) == 1024
    for way in (lambda: alert_clr_batch(*lay_end_to_end(curves), {}), lambda: [alert_clr(c, {}) for c in curves]):
        start = time.perf_counter()
        way()
        assert (time.perf_counter() - start) / len(curves) < 50e-6 * 2  # twice the budget: other tests run beside


@given(tokens=st.integers(1, 5000), window=st.integers(1, 300), most=st.integers(1, 9))
def test_windows_are_spread_evenly_from_start_to_end(tokens: int, window: int, most: int) -> None:
    points = np.arange(tokens, dtype=np.float32)[:, None]
    cut = windows(points, {"window": window, "max_windows": most})
    if tokens <= window:
        assert np.array_equal(cut, points[None])
        return
    starts = np.rint(np.linspace(0, tokens - window, min(-(-tokens // window), most)))
    assert cut[:, 0, 0].tolist() == starts.tolist()
    assert np.array_equal(cut[-1, :, 0], cut[-1, 0, 0] + np.arange(window))
