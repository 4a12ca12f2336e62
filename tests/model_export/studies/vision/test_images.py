"""The fast rasteriser draws what matplotlib draws, on real light curves and on random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from model_export.data.tables import load_difference
from model_export.studies.vision.images import (
    LARGEST_MEAN,
    LARGEST_SHARE,
    Difference,
    Pictures,
    compare,
    reference_image,
)
from service.inference.preprocessing.images import light_curve_image
from service.photometry import SURVEY_CODES, Kind, LightCurve

STYLES = (
    {},
    {"size": 128, "line_width": 1.2, "marker_size": 2.6},
    {"size": 64, "line_width": 1.0, "marker_size": 2.0},
    {"size": 256, "line_width": 3.0, "marker_size": 7.5},
)


SEEN_BY = ({"ztf"}, {"atlas"}, {"ztf", "atlas"})  # of the three objects of `two_survey_curves`


def difference(light_curve: LightCurve, parameters: dict) -> Difference:
    return compare(light_curve_image(light_curve, parameters)["image"], reference_image(light_curve, parameters))


def random_curve(rng: np.random.Generator, n: int) -> LightCurve:
    """Smooth or jagged, of either sign, some errors unknown or far too large."""
    mjd = rng.uniform(0, 200, n)
    shape = 18 + np.abs(mjd - 80) / 40 if rng.random() < 0.5 else rng.uniform(16, 20, n)
    return LightCurve.from_columns(
        mjd,
        rng.integers(0, 3, n),
        mag=shape + rng.normal(0, 0.05, n),
        magerr=rng.choice([np.nan, 0.02, 0.1, 0.3, 30.0], n, p=[0.1, 0.4, 0.3, 0.19, 0.01]),
        sign=rng.choice([-1, 1, 1, 1], n) if rng.random() < 0.3 else 1,
    )


@pytest.mark.parametrize("parameters", STYLES, ids=["default", "128", "64", "bold"])
def test_random_light_curves_look_as_matplotlib_draws_them(parameters: dict) -> None:
    rng = np.random.default_rng(3)
    curves = [random_curve(rng, n) for n in (2, 3, 8, 20, 50, 100, 200, 600)]
    found = [difference(curve, parameters) for curve in curves]
    assert all(f.is_small for f in found), found


@pytest.mark.real_data
def test_real_light_curves_look_as_matplotlib_draws_them(real_data: Path) -> None:
    data = load_difference(real_data)
    ends = np.cumsum(data.counts)
    rng, found = np.random.default_rng(5), []
    for row in rng.choice(len(data), 120, replace=False):
        curve = LightCurve.from_points(data.points[ends[row] - data.counts[row] : ends[row]])
        try:
            found.append(difference(curve, {}))
        except ValueError:  # seen in i alone
            continue
    assert len(found) > 100
    assert max(f.mean for f in found) <= LARGEST_MEAN
    assert max(f.share for f in found) <= LARGEST_SHARE
    assert np.mean([f.mean for f in found]) <= LARGEST_MEAN / 5


def test_the_tolerance_tells_another_style_and_another_light_curve_apart() -> None:
    rng = np.random.default_rng(4)
    mag = rng.uniform(18, 19, 40)
    curve = LightCurve.from_columns(np.arange(40.0), rng.integers(0, 2, 40), mag=mag, magerr=0.02, sign=1)
    reference = reference_image(curve, {})
    assert compare(light_curve_image(curve, {})["image"], reference).is_small
    for other in (
        light_curve_image(curve, {"line_width": 2.5})["image"],
        light_curve_image(curve, {"marker_size": 8.0})["image"],
        light_curve_image(curve.select(np.arange(40) % 20 != 7), {})["image"],
        light_curve_image(curve, {})["image"][::-1],
    ):
        assert not compare(other, reference).is_small


def test_pictures_of_a_data_set_are_those_that_are_served(two_survey_curves) -> None:
    data, curves = two_survey_curves
    parameters = {"size": 32}
    for surveys in ({"ztf": "gr"}, {"atlas": "co"}, {"ztf": "gr", "atlas": "co"}):
        pictures = Pictures(data, surveys, parameters)
        rows = np.array([2, 0, 1, 2])
        drawn = pictures.draw(rows)
        for image, row in zip(drawn, rows, strict=True):
            if pictures.present[row]:
                served = light_curve_image(curves[row], parameters | {"images": {"image": surveys}})
                assert np.array_equal(image, served["image"])
            else:
                assert not image.any()
        assert pictures.present.tolist() == [bool(set(surveys) & mine) for mine in SEEN_BY]


@pytest.fixture
def two_survey_curves():
    """Three objects, `SEEN_BY`."""
    import pandas as pd

    from model_export.data.tables import Dataset

    ztf = LightCurve.from_columns([1.0, 2.0, 3.0], [0, 1, 0], mag=[18, 19, 18.5], magerr=0.1, sign=1)
    atlas = LightCurve.from_columns(
        [1.5, 2.5, 4.0, 5.0], [6, 7, 6, 7], mag=[18, 19, 18.5, np.nan], magerr=0.1, sign=1,
        survey=SURVEY_CODES["atlas"], kind=[Kind.DETECTION] * 3 + [Kind.UPPER_LIMIT],
    )  # fmt: skip
    curves = [ztf, atlas, ztf.merge(atlas)]
    objects = pd.DataFrame({"object_id": ["a", "b", "c"], "label": [0, 1, 2]})
    points = np.concatenate([curve.points for curve in curves])
    return Dataset(points, np.array([len(curve) for curve in curves]), objects), curves
