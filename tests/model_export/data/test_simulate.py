"""A simulated star is what the alert stream would show of it: differences above five sigma, of both signs."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.simulate import (
    PER_CLASS,
    active_nucleus,
    difference_table,
    dwarf_nova,
    folded,
    load_simulated,
    simulate,
    spotted_star,
)
from model_export.data.tables import CLASSES, DETECTION_SNR
from service.photometry import Kind


@pytest.fixture
def pointings(rng):
    mjd = np.sort(rng.uniform(59000, 59400, 400))
    return mjd, rng.integers(0, 2, 400), np.full(400, 20.4)


def test_a_constant_star_is_never_an_alert(rng, pointings):
    mjd, band, depth = pointings
    assert difference_table(rng, "SIM_1", mjd, band, np.full(400, 16.0), depth) is None


def test_an_eclipse_is_a_negative_difference_above_threshold(rng, pointings):
    mjd, band, depth = pointings
    magnitude = 16.0 + 0.8 * ((mjd / 1.7) % 1 < 0.1)
    table = difference_table(rng, "SIM_1", mjd, band, magnitude, depth).to_pandas()
    seen = table[table["mag"].notna()]
    dips = seen[seen["mag"] < 18.0]  # half of the star's light is gone; the rest is a reference taken off its level
    assert 10 < len(dips) < 80
    assert (dips["sign"] == -1).all()
    assert (1.0857362 / seen["magerr"] > DETECTION_SNR).all()
    assert seen["magnr"].mean() == pytest.approx(16.0, abs=0.15)
    limits = table[table["mag"].isna()]
    assert (limits["sign"] == 0).all()
    assert np.allclose(limits["limit"], 20.4)


def test_a_folded_star_repeats_its_template(rng):
    when = np.sort(rng.uniform(0, 100, 300))
    band = rng.integers(0, 2, 300)
    mag = 17 + 0.4 * np.sin(2 * np.pi * when / 0.6) + 0.2 * (band == 0)
    star = folded(rng, when, band, mag, 0.6, 15.0)
    shown = star(np.linspace(0, 10, 4000), np.ones(4000, dtype=int))
    assert shown.mean() == pytest.approx(15.0, abs=0.02)
    assert np.ptp(shown) == pytest.approx(0.8, rel=0.5)
    assert folded(rng, when[:20], band[:20], mag[:20], 0.6, 15.0) is None


def test_a_dwarf_nova_outburst_is_brighter_and_bluer(rng):
    when = np.arange(0, 450, 1.0)
    mag = np.where((when > 200) & (when < 210), 16.0, 20.0)
    star = dwarf_nova(rng, when, mag, 20.0, 59000.0)
    at = np.arange(59000, 59390, 1.0)
    r, g = star(at, np.ones(len(at), dtype=int)), star(at, np.zeros(len(at), dtype=int))
    assert np.nanmin(r) == pytest.approx(15.5, abs=0.3)
    burst = r < 17
    assert np.nanmean((g - r)[burst]) < np.nanmean((g - r)[~burst]) - 0.3


def test_stochastic_stars_vary_about_their_mean(rng):
    at = np.sort(rng.uniform(59000, 60500, 600))
    for make, level in ((active_nucleus, 18.0), (spotted_star, 14.0)):
        shown = np.concatenate([make(rng, level)(at, np.ones(600, dtype=int)) for _ in range(12)])
        assert shown.mean() == pytest.approx(level, abs=0.25)
        assert 0.02 < shown.std() < 0.8


@pytest.mark.real_data
def test_simulated_histories_are_training_objects_of_their_class(real_data: Path, tmp_path: Path):
    simulate(real_data, tmp_path, seed=3, scale=0.006)
    data = load_simulated(tmp_path)
    assert {CLASSES[label] for label in data.labels} == set(PER_CLASS)
    assert set(data.objects["split"]) == {"train"}
    seen = data.points[data.points["kind"] == Kind.DETECTION]
    assert set(np.unique(seen["sign"])) == {-1, 1}
