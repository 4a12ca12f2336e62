"""The simulation is physical: one spectrum behind all filters, and each survey sees what its depth allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch", reason="model_export needs the extra 'train'")
pytestmark = pytest.mark.torch

from model_export.data.simulate import Cadence
from model_export.data.tables import SPLITS
from model_export.studies.two_surveys.simulate import (
    ATLAS,
    CLASSES,
    OBJECTS,
    POINTS,
    SPAN,
    TAXONOMY,
    ZTF,
    Visits,
    atlas_visits,
    draw_object,
    load_two_surveys,
    moonlight,
    observe,
    simulate,
    ztf_visits,
)
from model_export.studies.two_surveys.sources import SOURCES
from model_export.studies.two_surveys.spectra import R_WAVELENGTH, WAVELENGTHS, Sky, black_body
from service.photometry import BAND_CODES, SURVEY_CODES, Kind
from service.photometry.flux import MAG_PER_RELATIVE_FLUX, flux_from_magnitude

EPOCHS = np.concatenate((np.linspace(57000, 57200, 15), np.arange(59000, 59000 + SPAN, 0.5)))
SKY = Sky(EPOCHS, 59000.0, 59000.0 + SPAN)


def visits(n: int, depth: float, bands: int = 2, start: float = 59000.0) -> Visits:
    return Visits(start + np.arange(n) * 0.5, np.arange(n) % bands, np.full(n, depth))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_surveys")
    simulate(folder, None, per_class=12, seed=3)
    return folder


def test_there_are_twenty_one_classes_in_three_groups() -> None:
    assert len(CLASSES) == 21
    assert pd.Series(TAXONOMY).value_counts().to_dict() == {"Transient": 7, "Stochastic": 5, "Periodic": 9}


@pytest.mark.parametrize("survey", [ZTF, ATLAS], ids=lambda survey: survey.name)
def test_a_band_flux_is_the_photon_weighted_mean_of_the_spectrum(survey) -> None:
    for weights, (low, high) in zip(survey.weights, survey.bands.values(), strict=True):
        assert weights.sum() == pytest.approx(1.0)  # a flat spectrum has the same magnitude in every band
        fine = np.linspace(low, high, 20_001)
        for slope in (-2.0, 1.0, 3.0):
            analytic = np.trapezoid(fine**slope / fine, fine) / np.trapezoid(1 / fine, fine)
            assert weights @ WAVELENGTHS**slope == pytest.approx(analytic, rel=0.01)


def test_black_bodies_have_the_colours_of_their_temperature() -> None:
    """Wien's side and Rayleigh-Jeans' side of Planck's law in frequency."""
    hot, cold = (black_body(WAVELENGTHS, np.array(kelvin)) for kelvin in (1e7, 3000.0))
    assert hot[0] / hot[-1] == pytest.approx((WAVELENGTHS[-1] / WAVELENGTHS[0]) ** 2, rel=0.01)
    assert np.all(np.diff(cold) > 0)


@pytest.mark.parametrize("label", CLASSES)
def test_every_source_has_one_light_curve_that_its_seed_decides(label: str) -> None:
    _, model = SOURCES[label]
    for seed in range(5):
        flux = model(np.random.default_rng(seed), SKY)
        assert flux.shape == (len(EPOCHS), len(WAVELENGTHS))
        assert np.isfinite(flux).all()
        assert (flux >= 0).all()
        assert np.array_equal(flux, model(np.random.default_rng(seed), SKY))
        assert np.ptp(flux[15:]) > 0


@pytest.mark.parametrize("label", CLASSES)
def test_colours_of_all_four_bands_follow_from_one_spectrum(label: str) -> None:
    """c is made of what g and r are made of, nearly evenly; o continues from r as far as a smooth spectrum may."""
    flux = SOURCES[label][1](np.random.default_rng(1), SKY)[15:]
    bright = flux[flux[:, 8] > 0.1 * flux[:, 8].max()]
    g, r = np.log(bright @ ZTF.weights.T).T
    c, o = np.log(bright @ ATLAS.weights.T).T
    assert np.all(np.abs(c - 0.55 * g - 0.45 * r) < 0.02 + 0.1 * np.abs(g - r))
    assert np.all(np.abs(o - r) < 0.05 + 0.4 * np.abs(g - r))


def test_without_noise_both_surveys_measure_the_spectrum_of_the_same_moment() -> None:
    flux = SOURCES["TDE"][1](np.random.default_rng(2), SKY)
    brightest = flux[:, 8].argmax()
    spectrum = np.repeat(flux[brightest : brightest + 1], 20, axis=0)
    nothing = np.zeros((15, len(WAVELENGTHS)))
    for survey in (ZTF, ATLAS):
        quiet = replace(survey, subtraction=0.0, calibration=0.0)
        seen = observe(np.random.default_rng(0), quiet, visits(20, 29.0), spectrum, nothing)
        for band, weights in zip(survey.bands, survey.weights, strict=True):
            expected = 23.9 - 2.5 * np.log10(weights @ flux[brightest])
            assert seen["mag"][seen["band"] == band] == pytest.approx(expected, abs=0.005)


def test_a_source_fainter_than_its_reference_is_negative_and_one_alike_is_not_seen() -> None:
    spectrum = np.full((40, len(WAVELENGTHS)), flux_from_magnitude(16.0))
    rng = np.random.default_rng(0)
    fainter = observe(rng, ZTF, visits(40, 20.5), 0.5 * spectrum, spectrum)
    assert set(fainter["sign"][np.isfinite(fainter["mag"])]) == {-1}
    assert np.isfinite(fainter["mag"]).mean() > 0.9
    assert np.nanmedian(fainter["mag"]) == pytest.approx(16.0 + 2.5 * np.log10(2), abs=0.05)
    assert not np.isfinite(observe(rng, ZTF, visits(40, 20.5), spectrum, spectrum)["mag"]).any()


@pytest.mark.parametrize(("magnitude", "ztf", "atlas"), [(18.0, 1.0, 1.0), (20.1, 0.5, 0.0), (21.5, 0.0, 0.0)])
def test_what_is_fainter_than_five_sigma_is_an_upper_limit(magnitude: float, ztf: float, atlas: float) -> None:
    """At its depth a survey detects half of the visits; a magnitude below, none; well above, all."""
    spectrum = np.full((400, len(WAVELENGTHS)), flux_from_magnitude(magnitude))
    nothing = np.zeros((15, len(WAVELENGTHS)))
    for survey, depth, share in ((ZTF, 20.1, ztf), (ATLAS, 19.0, atlas)):
        seen = observe(np.random.default_rng(1), survey, visits(400, depth), spectrum, nothing)
        assert np.isfinite(seen["mag"]).mean() == pytest.approx(share, abs=0.1)
        assert np.array_equal(np.isnan(seen["mag"]), seen["sign"] == 0)


def test_atlas_looks_two_to_four_times_every_second_night_and_at_c_in_the_dark() -> None:
    rng = np.random.default_rng(5)
    seasons = [atlas_visits(rng, 59000.0 + 300 * k) for k in range(20)]
    for season in seasons:
        nights, number = np.unique(np.floor(season.mjd), return_counts=True)
        assert set(number) <= {2, 3, 4}
        assert np.all(np.diff(nights) % 2 == 0)
        assert np.all(np.diff(season.mjd) > 0)
    mjd, band, depth = (np.concatenate([getattr(s, name) for s in seasons]) for name in ("mjd", "band", "depth"))
    assert moonlight(mjd[band == 0]).max() < 0.36  # cyan needs a dark sky
    assert moonlight(mjd[band == 1]).max() > 0.95
    bright, dark = (depth[(band == 1) & chosen].mean() for chosen in (moonlight(mjd) > 0.9, moonlight(mjd) < 0.3))
    assert bright < dark - 0.4
    assert np.median(depth[band == 0]) == pytest.approx(19.5, abs=0.2)


def test_ztf_looks_where_the_cadence_says() -> None:
    mjd = np.sort(np.random.default_rng(0).uniform(58000, 58300, 400))
    cadence = Cadence([(mjd, np.arange(400) % 2, np.full(400, 20.7))])
    seen = ztf_visits(np.random.default_rng(1), cadence, 59000.0)
    assert np.ptp(seen.mjd) <= SPAN
    assert np.all(seen.depth == 20.5)  # a difference image is shallower
    plain = ztf_visits(np.random.default_rng(1), None, 59000.0)
    assert set(plain.band) == {0, 1}
    assert len(plain.mjd) > 60


def test_a_faint_transient_is_seen_by_the_deeper_survey_alone(tables: Path) -> None:
    data = load_two_surveys(tables)
    curve = np.repeat(np.arange(len(data)), data.counts)
    detected = data.points["kind"] == Kind.DETECTION
    seen = {
        name: np.bincount(curve[detected & (data.points["survey"] == SURVEY_CODES[name])], minlength=len(data)) > 0
        for name in ("ztf", "atlas")
    }
    assert (seen["ztf"] & ~seen["atlas"]).sum() > 5
    assert (seen["atlas"] & ~seen["ztf"]).sum() > 2  # too far south for ZTF
    assert (seen["atlas"] & seen["ztf"]).mean() > 0.6


def test_every_point_of_the_tables_keeps_the_rules(tables: Path) -> None:
    data = load_two_surveys(tables)
    assert len(data) == 12 * 21
    assert set(data.objects["split"]) == set(SPLITS)
    assert (data.objects["n_detections"] >= 5).all()
    points, detected = data.points, data.points["kind"] == Kind.DETECTION
    assert np.all(points["magerr"][detected] < MAG_PER_RELATIVE_FLUX / 5 + 1e-6)  # five sigma
    assert np.all(np.isnan(points["mag"][~detected]))
    assert set(zip(points["survey"].tolist(), points["band"].tolist(), strict=True)) == {
        (SURVEY_CODES[survey.name], BAND_CODES[band]) for survey in (ZTF, ATLAS) for band in survey.bands
    }
    explosions = np.repeat(data.objects["name"].isin([c for c, p in TAXONOMY.items() if p == "Transient"]), data.counts)
    assert (points["sign"][detected & explosions.to_numpy()] > 0).mean() > 0.99  # nothing was there before


def test_the_same_seed_gives_the_same_tables(tables: Path, tmp_path: Path) -> None:
    simulate(tmp_path, None, per_class=12, seed=3)
    assert pq.read_table(tmp_path / POINTS).equals(pq.read_table(tables / POINTS))


def test_an_object_that_hardly_anyone_saw_is_left_out() -> None:
    few = {"ztf": Visits(np.array([59001.0, 59002.0]), np.array([0, 1]), np.array([20.5, 20.5]))}
    assert draw_object(np.random.default_rng(0), "RRLab", few, 59000.0) is None


def test_real_tables_load_by_the_same_columns(tmp_path: Path) -> None:
    points = {
        "object_id": ["a", "a", "b", "c"], "mjd": [59000.0, 59001.0, 59002.0, 59003.0], "band": ["g", "o", "c", "r"],
        "mag": [18.0, 18.5, 19.0, None], "magerr": [0.1, 0.1, 0.2, None], "survey": ["ztf", "atlas", "atlas", "ztf"],
    }  # fmt: skip
    pd.DataFrame({"object_id": ["a", "b", "c"], "label": ["SNIa", "unheard of", "QSO"]}).to_parquet(tmp_path / OBJECTS)
    pq.write_table(pa.table(points), tmp_path / POINTS)
    data = load_two_surveys(tmp_path)
    assert data.objects["object_id"].tolist() == ["a"]  # b's class is not known, c was not detected
    assert data.points["survey"].tolist() == [SURVEY_CODES["ztf"], SURVEY_CODES["atlas"]]
    del points["survey"]
    pq.write_table(pa.table(points), tmp_path / POINTS)
    with pytest.raises(ValueError, match="no column survey"):
        load_two_surveys(tmp_path)


def test_effective_wavelengths_are_the_published_ones() -> None:
    """Effective wavelengths, against the published ones of g, r (SVO) and c, o (Tonry et al. 2018), to 3 %."""
    published = {"g": 4746, "r": 6366, "c": 5330, "o": 6790}
    for survey in (ZTF, ATLAS):
        for band, weights in zip(survey.bands, survey.weights, strict=True):
            assert weights @ WAVELENGTHS == pytest.approx(published[band], rel=0.03)
    assert WAVELENGTHS[0] < R_WAVELENGTH < WAVELENGTHS[-1]
