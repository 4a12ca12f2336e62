"""What two surveys saw becomes one language: nights become points, and nobody's tokens depend on the other survey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.preprocessing.alert_clr import POINT_FEATURES, alert_tokens
from service.inference.preprocessing.two_survey import (
    NIGHT_FEATURES,
    TWO_SURVEY_FEATURES,
    survey_tokens,
    two_survey,
    two_survey_batch,
)
from service.photometry import BAND_CODES, POINT, SURVEY_CODES, Kind, LightCurve
from service.photometry.flux import flux_error_from_magnitude, flux_from_magnitude

SCATTER, VISITS, IS_ATLAS = (TWO_SURVEY_FEATURES.index(name) for name in NIGHT_FEATURES)
COLUMN = {name: number for number, name in enumerate(TWO_SURVEY_FEATURES)}


def curve(mjd, band: str, mag, survey: str | None = None, **columns) -> LightCurve:
    """Points in bands given as a string of letters, one for each; c and o are ATLAS's."""
    mag = np.asarray(mag, dtype=float)
    surveys = [survey or ("atlas" if name in "co" else "ztf") for name in band]
    return LightCurve.from_columns(
        mjd,
        [BAND_CODES[name] for name in band],
        mag=mag,
        kind=np.where(np.isnan(mag), Kind.UPPER_LIMIT, Kind.DETECTION),
        survey=[SURVEY_CODES[name] for name in surveys],
        **({"magerr": 0.1, "limit": 20.5, "sign": np.where(np.isnan(mag), 0, 1)} | columns),
    )


@st.composite
def any_curve(draw) -> LightCurve:
    n = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    mag = np.where(rng.random(n) < 0.3, np.nan, rng.uniform(15, 20, n))
    mag[0] = 18.0
    band = "".join(rng.choice(list("grco"), n))
    return curve(60000 + np.sort(rng.uniform(0, 20, n)), band, mag, sign=rng.choice([-1, 0, 1], n))


def test_a_night_of_one_band_becomes_its_weighted_mean_flux() -> None:
    mag, magerr, sign = np.array([18.0, 18.4, 19.5]), np.array([0.05, 0.1, 0.3]), np.array([1, 1, -1])
    tokens = survey_tokens(
        curve([0, 0.01, 0.02], "ooo", mag, magerr=magerr, sign=sign).points, np.array([3]), ("atlas",), {}
    )
    flux, error = flux_from_magnitude(mag, sign), flux_error_from_magnitude(mag, magerr)
    weight = 1 / error**2
    mean = (weight * flux).sum() / weight.sum()
    assert tokens.points.shape == (1, len(TWO_SURVEY_FEATURES))
    (row,) = tokens.points
    assert row[COLUMN["log_snr"]] == pytest.approx(np.log10(mean * np.sqrt(weight.sum())), abs=1e-4)
    assert row[SCATTER] == pytest.approx(0.5 * np.log1p((weight * (flux - mean) ** 2).sum() / 2), rel=1e-4)
    assert row[VISITS] == pytest.approx(np.log(3))
    assert row[IS_ATLAS] == 1
    peak = tokens.context[0, 0] * 2 + 18  # the context holds the peak magnitude, centred and scaled
    assert peak == pytest.approx(23.9 - 2.5 * np.log10(mean), abs=1e-3)


def test_a_limit_beside_a_detection_of_the_same_night_says_nothing() -> None:
    with_limit = curve([0, 0.01, 3.0], "ooo", [18.0, np.nan, 18.5])
    without = curve([0, 3.0], "oo", [18.0, 18.5])
    for one, other in zip(
        *(two_survey(c, {}).values() for c in (with_limit, without)),
        strict=True,
    ):
        assert np.array_equal(one, other)


def test_other_nights_bands_and_surveys_stay_apart() -> None:
    mixed = curve([0, 0.01, 0.02, 0.03, 1.0], "grcog", [18.0] * 5)
    inputs = two_survey(mixed, {})
    assert inputs["ztf_points"].shape == (1, 3, 19)  # g and r of the first night, g of the second
    assert inputs["atlas_points"].shape == (1, 2, 19)
    assert inputs["present"].tolist() == [1, 1]


def test_without_repeats_within_a_night_the_tokens_are_those_of_alert_clr() -> None:
    mjd, mag = np.arange(12) * 1.5, np.where(np.arange(12) % 4 == 3, np.nan, 18.0 + 0.1 * np.arange(12))
    ztf, atlas = (curve(mjd, bands * 6, mag) for bands in ("gr", "co"))
    expected = alert_tokens(ztf.points, np.array([12]), {"reference": False, "limit_counts": False})
    for which, name in ((ztf, "ztf"), (atlas, "atlas")):
        inputs = two_survey(which, {})
        assert np.allclose(inputs[f"{name}_points"][0, :, : len(POINT_FEATURES)], expected.points, atol=1e-6)
        assert np.allclose(inputs[f"{name}_context"], expected.context[0], atol=1e-6)


def test_an_absent_survey_is_one_token_of_zeros_and_changes_nothing_of_the_other() -> None:
    both = curve([0, 1, 2, 3, 4], "grcor", [18.0, 18.1, 18.2, 18.3, 18.4])
    ztf_alone = both.select(both.band < 2)
    whole, alone = two_survey(both, {}), two_survey(ztf_alone, {})
    assert alone["present"].tolist() == [1, 0]
    assert alone["atlas_points"].shape == (1, 1, 19)
    assert not alone["atlas_points"].any()
    assert not alone["atlas_context"].any()
    for name in ("ztf_points", "ztf_context"):
        assert np.array_equal(whole[name], alone[name])


def test_atlas_is_known_by_its_bands_whatever_a_point_says() -> None:
    named, unnamed = (curve([0, 1], "co", [18.0, 18.5], survey) for survey in ("atlas", "ztf"))
    for name, array in two_survey(named, {}).items():
        assert np.array_equal(array, two_survey(unnamed, {})[name])


def test_g_and_r_of_another_survey_are_not_taken_for_ztf() -> None:
    with pytest.raises(ValueError, match="no detection"):
        two_survey(curve([0, 1], "gr", [18.0, 18.5], "lsst"), {})


def test_a_survey_that_saw_limits_alone_is_absent() -> None:
    assert two_survey(curve([0, 1, 2], "gco", [18.0, np.nan, np.nan]), {})["present"].tolist() == [1, 0]


@given(st.lists(any_curve(), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_many_at_once_are_each_alone(curves: list[LightCurve]) -> None:
    for together, light_curve in zip(two_survey_batch(curves, {"window": 4}), curves, strict=True):
        alone = two_survey(light_curve, {"window": 4})
        assert together.keys() == alone.keys()
        for name in alone:
            assert together[name].dtype == np.float32
            assert np.isfinite(together[name]).all()
            assert np.array_equal(together[name], alone[name])


@given(any_curve())
@settings(max_examples=60, deadline=None)
def test_one_sequence_holds_what_both_branches_hold(light_curve: LightCurve) -> None:
    """Detections alone: which limits stand beside a detection differs once the surveys are in one sequence."""
    points = light_curve.points[light_curve.is_detection].astype(POINT)
    counts = np.array([len(points)])
    stacked = survey_tokens(points, counts, ("ztf", "atlas"), {})
    each = [survey_tokens(points, counts, (survey,), {}) for survey in ("ztf", "atlas")]
    assert stacked.counts[0] == sum(tokens.counts[0] for tokens in each)
    for is_atlas, tokens in enumerate(each):
        mine = stacked.points[stacked.points[:, IS_ATLAS] == is_atlas]
        columns = [COLUMN["log_snr"], COLUMN["g"], COLUMN["r"], SCATTER, VISITS]
        assert np.array_equal(mine[:, columns], tokens.points[:, columns])
