"""A light curve becomes an image: what is in it, what is left out, and that nothing strange breaks it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.inference.preprocessing.images import COLOURS, draw_images, light_curve_image, light_curve_images
from service.inference.preprocessing.registry import BATCHED, PREPROCESSINGS
from service.photometry import BAND_CODES, BANDS, SURVEY_CODES, Kind, LightCurve, end_to_end
from service.photometry.table import light_curves, read_points_table

BOTH = {"images": {"ztf_image": {"ztf": "gr"}, "atlas_image": {"atlas": "co"}}}
UNIT = 256 / 1.1  # pixels of the whole range of time or flux


def curve(mjd, band, mag, **columns) -> LightCurve:
    codes = [BAND_CODES[name] for name in band]
    return LightCurve.from_columns(mjd, codes, mag=mag, **({"magerr": np.nan, "sign": 1} | columns))


def colours_in(image: np.ndarray) -> set[str]:
    """Bands whose colour, half transparent over white, is somewhere in the image."""
    pixels = {tuple(pixel) for pixel in image.reshape(3, -1).T.tolist()}
    return {band for band, rgb in COLOURS.items() if tuple(int(127.5 + channel / 2 + 0.5) for channel in rgb) in pixels}


@st.composite
def any_curve(draw: st.DrawFn) -> LightCurve:
    n = draw(st.integers(1, 80))
    mjd = 59000 + draw(hnp.arrays(float, n, elements=st.floats(-1e5, 1e5)))
    mag = draw(hnp.arrays(np.float32, n, elements=st.floats(width=32)))
    mjd[0], mag[0] = -2e5, 18.0  # alone at its time: no other point can take its place
    kind = draw(hnp.arrays(np.int8, n, elements=st.integers(0, 2)))
    band = draw(hnp.arrays(np.int8, n, elements=st.integers(0, len(BANDS) - 1)))
    kind[0], band[0] = Kind.DETECTION, 0
    magerr = draw(hnp.arrays(np.float32, n, elements=st.floats(width=32)))
    survey = draw(hnp.arrays(np.int8, n, elements=st.integers(0, 2)))
    survey[0] = 0
    sign = draw(hnp.arrays(np.int8, n, elements=st.integers(-1, 1)))
    return LightCurve.from_columns(mjd, band, mag=mag, magerr=magerr, sign=sign, kind=kind, survey=survey)


@given(curves=st.lists(any_curve(), min_size=1, max_size=4), size=st.sampled_from([16, 64, 256]))
@settings(max_examples=60, deadline=None)
def test_whatever_a_light_curve_holds_many_at_once_are_the_same_as_one_by_one(curves, size) -> None:
    parameters = {"size": size, "images": {"image": {"ztf": "gr", "atlas": "co"}}}
    together = light_curve_images(curves, parameters)
    for alone, other in zip((light_curve_image(c, parameters) for c in curves), together, strict=True):
        assert alone["image"].shape == (3, size, size)
        assert alone["image"].dtype == np.uint8
        assert np.array_equal(alone["image"], other["image"])
        assert (alone["image"] < 255).any()


def test_the_first_and_faintest_point_stands_at_the_left_and_bottom_margin_and_the_last_and_brightest_opposite() -> (
    None
):
    (image,) = light_curve_image(curve([59000, 59010], "gg", [19.0, 18.0]), {}).values()
    rows, columns = np.nonzero(image.min(axis=0) < 255)
    low, high = 0.05 * UNIT, 1.05 * UNIT
    assert [columns.min(), columns.max()] == pytest.approx([low - 2, high + 2], abs=1)
    assert [rows.min(), rows.max()] == pytest.approx([256 - high - 2, 256 - low + 2], abs=1)
    assert columns[rows.argmin()] > columns[rows.argmax()]  # brighter is higher, and came later


def test_time_and_flux_are_scaled_over_all_bands_of_an_image_together() -> None:
    mjd, band, mag = [59000.0, 59010.0, 59020.0], "grr", [19.0, 18.0, 17.0]
    both = light_curve_image(curve(mjd, band, mag), {})["image"]
    only_red = light_curve_image(curve(mjd[1:], band[1:], mag[1:]), {})["image"]
    assert colours_in(both) == {"g", "r"}
    assert colours_in(only_red) == {"r"}

    def left(image):
        return np.flatnonzero((image[1] < 200).any(axis=0)).min()  # r has no green

    assert left(both) > 100
    assert left(only_red) < 20


def test_a_negative_difference_flux_lies_below_a_positive_one_of_the_same_magnitude() -> None:
    (image,) = light_curve_image(curve([1, 2, 3], "ggg", [18, 18, 19], sign=[-1, 1, 1]), {}).values()
    columns = [round(x * UNIT) for x in (0.05, 0.55)]
    heights = [np.flatnonzero(image[0, :, column] < 200).mean() for column in columns]
    assert heights[0] > 200 > 50 > heights[1]


def test_upper_limits_forced_photometry_and_other_bands_change_nothing() -> None:
    seen = curve([1, 5, 9], "grg", [18, 19, 18.5], magerr=0.1)
    left_out = [
        curve([0, 20], "gr", [np.nan, np.nan], limit=20.0, kind=Kind.UPPER_LIMIT, sign=0),
        curve([0, 20], "gr", [15, 22], kind=Kind.FORCED),
        curve([0, 20], "iz", [15, 22]),
        curve([0, 20], "co", [15, 22], survey=SURVEY_CODES["atlas"]),
        curve([0, 20], "gr", [15, 22], survey=SURVEY_CODES["lsst"]),
        curve([0, 20], "gr", [np.nan, -800.0]),
    ]
    expected = light_curve_image(seen, {})["image"]
    for other in left_out:
        assert np.array_equal(light_curve_image(seen.merge(other), {})["image"], expected)


def test_each_survey_has_its_own_image_and_one_that_saw_nothing_is_black_and_absent() -> None:
    ztf = curve([1, 2, 3], "grg", [18, 19, 18.5])
    atlas = curve([11, 12, 13], "coc", [17, 19, 18.5], survey=SURVEY_CODES["atlas"])
    whole, one = light_curve_images([ztf.merge(atlas), atlas], BOTH)
    assert colours_in(whole["ztf_image"]) == {"g", "r"}
    assert colours_in(whole["atlas_image"]) == {"c", "o"}
    assert whole["present"].tolist() == [1, 1]
    assert one["present"].tolist() == [0, 1]
    assert not one["ztf_image"].any()
    assert np.array_equal(one["atlas_image"], whole["atlas_image"])  # the other survey does not move its scale
    stacked = light_curve_image(ztf.merge(atlas), {"images": {"image": {"ztf": "gr", "atlas": "co"}}})
    assert stacked.keys() == {"image"}
    assert colours_in(stacked["image"]) == {"g", "r", "c", "o"}


def test_nothing_to_draw_is_an_error_that_names_what_is_looked_for() -> None:
    limits = curve([1, 2], "gr", [np.nan, np.nan], limit=20.0, kind=Kind.UPPER_LIMIT, sign=0)
    with pytest.raises(ValueError, match="no detection with a magnitude by ztf in g, r or by atlas in c, o"):
        light_curve_image(limits, BOTH)


def test_error_bars_have_the_scale_of_the_flux() -> None:
    fluxes, errors = np.array([0.0 + 10, 60.0, 110.0]), np.array([np.nan, 25.0, np.nan])  # a range of 100
    mag = 23.9 - 2.5 * np.log10(fluxes)
    bare, barred = (
        light_curve_image(curve([0, 1, 2], "grg", mag, magerr=1.0857362 * e / fluxes), {"marker_size": 0.1})["image"]
        for e in (np.full(3, np.nan), errors)
    )
    column = np.argmax(np.abs(bare.astype(int) - barred).sum(axis=(0, 1)))
    rows = np.flatnonzero(np.abs(bare.astype(int) - barred)[:, :, column].sum(axis=0))
    assert column == pytest.approx(0.55 * UNIT, abs=1)
    assert rows.min() == pytest.approx(256 - 0.80 * UNIT, abs=1.5)
    assert rows.max() == pytest.approx(256 - 0.30 * UNIT, abs=1.5)


def test_one_point_stands_in_the_middle_and_equal_fluxes_lie_on_a_level() -> None:
    (one,) = light_curve_image(curve([59000], "r", [18.0], magerr=0.1), {}).values()
    rows, columns = np.nonzero(one.min(axis=0) < 255)
    assert {rows.min(), rows.max(), columns.min(), columns.max()} <= {126, 127, 128, 129, 130}
    (level,) = light_curve_image(curve([0, 3, 4], "rrg", [18.0, 18.0, 18.0], magerr=0.1), {}).values()
    rows, columns = np.nonzero(level.min(axis=0) < 255)
    assert (rows.min(), rows.max()) == pytest.approx((126, 130), abs=1)
    assert columns.max() - columns.min() > 230


@pytest.mark.parametrize("magerr", [0.0, -1.0, np.nan, np.inf, 1e30])
def test_errors_that_are_none_draw_no_bar_and_huge_ones_a_bar_across_the_image(magerr: float) -> None:
    bare = light_curve_image(curve([0, 1, 2], "ggg", [18, 18.5, 17]), {})["image"]
    drawn = light_curve_image(curve([0, 1, 2], "ggg", [18, 18.5, 17], magerr=[np.nan, magerr, np.nan]), {})["image"]
    column = round(0.55 * UNIT)
    if magerr > 1:
        assert (drawn[0, :, column] < 255).all()
    else:
        assert np.array_equal(drawn, bare)


def test_a_line_of_thousands_of_points_crosses_itself_without_growing_darker() -> None:
    rng = np.random.default_rng(0)
    n = 5000
    dense = curve(rng.uniform(0, 100, n), "g" * n, rng.uniform(17, 19, n))
    image = light_curve_image(dense, {"marker_size": 0.0})["image"]
    assert image[0].min() == 128  # blended once: half of white and of the red in g, which is none


def test_widths_and_size_are_parameters() -> None:
    points = curve([0, 1, 2], "ggg", [18, 18.5, 17])
    thin, thick, bold = (
        int((255 - light_curve_image(points, p)["image"].astype(int)).sum())
        for p in ({}, {"line_width": 4.0}, {"marker_size": 12.0})
    )
    assert thick > 2 * thin
    assert bold > 1.2 * thin
    assert light_curve_image(points, {"size": 64})["image"].shape == (3, 64, 64)


def test_it_is_a_preprocessing_that_bundles_may_name() -> None:
    assert PREPROCESSINGS["light-curve-image/1"] is light_curve_image
    assert BATCHED["light-curve-image/1"] is light_curve_images


@pytest.mark.real_data
def test_real_light_curves_of_all_lengths_can_be_drawn(real_data: Path) -> None:
    table = read_points_table(real_data / "alert_objects_points.parquet")
    curves = [c for _, c in light_curves(table) if (c.is_detection & (c.band < 2)).any()][:400]
    images, present = draw_images(end_to_end(curves), np.array([len(c) for c in curves]), {})
    assert present.all()
    ink = (images["image"].min(axis=1) < 255).mean(axis=(1, 2))
    assert ink.min() > 1e-4
    assert not math.isclose(ink.min(), ink.max())
