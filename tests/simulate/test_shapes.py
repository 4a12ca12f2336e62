"""Each class looks like itself: what an astronomer would check first."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from service.simulate.difference import DETECTION, observe
from service.simulate.periodic import rr_lyrae
from service.simulate.population import MODELS
from service.simulate.shapes import eclipses
from service.simulate.sources import Epochs, Sources

TRANSIENTS = ("SNIa", "SNIbc", "SNII", "SLSN", "TDE")
VARIABLES = tuple(name for name in MODELS if name not in TRANSIENTS)
START = 61_000.0


def daily(days: float = 400.0, band: int = 1, step: float = 1.0) -> Epochs:
    mjd = START + np.arange(0, days, step)
    return Epochs(mjd, np.full(len(mjd), band, np.int8))


def many(name: str, n: int = 60, epochs: Epochs | None = None, seed: int = 0) -> Sources:
    return MODELS[name](np.random.default_rng(seed), n, epochs or daily())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_its_shapes_and_physical_values(name: str) -> None:
    sources = many(name, 7)
    assert sources.flux.shape == (7, 400)
    assert sources.reference.shape == sources.magnr.shape == (7, 3)
    assert np.isfinite(sources.flux).all()
    assert (sources.flux >= 0).all()
    assert (sources.magnr > 5).all()
    assert (sources.magnr < 24).all()


@pytest.mark.parametrize("name", TRANSIENTS)
def test_a_transient_rises_once_and_fades(name: str) -> None:
    sources = many(name, 80)
    assert (sources.reference == 0).all()
    top = sources.flux.argmax(axis=1)
    inside = (top > 80) & (top < 250)
    assert inside.sum() > 10
    for flux, peak in zip(sources.flux[inside], top[inside], strict=True):
        rise, decline = np.diff(flux[: peak + 1]), np.diff(flux[peak:])
        assert (rise >= -1e-9).all()
        if name != "SNIa":  # which has a second maximum
            assert (decline <= 1e-9).all()
        assert flux[min(peak + 120, 399)] < 0.6 * flux[peak]
        assert flux[peak - 80] < 0.5 * flux[peak]


@pytest.mark.parametrize("name", TRANSIENTS)
def test_a_transient_is_almost_never_fainter_than_its_reference(name: str) -> None:
    _, sign = detected_signs(name)
    assert len(sign) > 100
    assert (sign > 0).mean() > 0.999


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_shows_both_signs(name: str) -> None:
    objects, sign = detected_signs(name)
    assert len(np.unique(objects)) > 20
    assert 0.15 < (sign > 0).mean() < 0.95


def test_type_ia_fade_as_phillips_found() -> None:
    """Delta m15(B) of a normal one is 1.1 mag; g is a little redder. Stretch and time dilation spread it."""
    sources = many("SNIa", 200, daily(band=0, step=0.25))
    top = sources.flux.argmax(axis=1)
    inside = (top > 200) & (top < 1200)
    rows = np.flatnonzero(inside)
    fading = -2.5 * np.log10(sources.flux[rows, top[rows] + 60] / sources.flux[rows, top[rows]])
    assert 0.75 < np.median(fading) < 1.2


def test_type_ia_redden_after_maximum_and_peak_again_in_i() -> None:
    blue, red, infrared = (many("SNIa", 50, daily(band=band)) for band in range(3))
    top = red.flux.argmax(axis=1)
    rows = np.flatnonzero((top > 60) & (top < 300))
    colour_then = (blue.flux / red.flux)[rows, top[rows]]
    colour_later = (blue.flux / red.flux)[rows, top[rows] + 25]
    assert np.median(colour_later / colour_then) < 0.6
    humps = [np.diff(infrared.flux[row, top[row] + 5 : top[row] + 40]).max() > 0 for row in rows]
    assert np.mean(humps) > 0.7


def test_type_iip_stand_on_a_plateau() -> None:
    def days_above_half(name: str) -> NDArray[np.intp]:
        flux = many(name, 150).flux
        top = flux.argmax(axis=1)
        kept = flux[(top > 30) & (top < 250)]
        return np.asarray((kept > 0.5 * kept.max(axis=1, keepdims=True)).sum(axis=1))

    assert np.median(days_above_half("SNII")) > 1.7 * np.median(days_above_half("SNIa"))
    assert np.median(days_above_half("SLSN")) > 1.4 * np.median(days_above_half("SNIbc"))


def test_tidal_disruptions_fall_as_the_five_thirds_power() -> None:
    flux = many("TDE", 40, daily(3000, step=5)).flux
    top = flux.argmax(axis=1)
    kept = np.flatnonzero((top > 20) & (top < 200))
    slopes = [np.log(flux[row, top[row] + 390] / flux[row, top[row] + 300]) / np.log(390 / 300) for row in kept]
    assert np.allclose(slopes, -5 / 3, atol=0.25)


def test_rr_lyrae_fold_at_their_period() -> None:
    """The period is not told; the string of folded magnitudes is shortest at the true one, which lies in the range."""
    epochs = daily(30, step=0.0517)
    flux = rr_lyrae(np.random.default_rng(1), 5, epochs).flux
    frequencies = np.arange(1.1, 5.0, 0.003)  # per day; over 30 days a step moves no phase by more than 0.09
    for curve in flux:
        mag = -2.5 * np.log10(curve)
        strings = [np.abs(np.diff(mag[np.argsort(epochs.mjd * f % 1)])).sum() for f in frequencies]
        best = int(np.argmin(strings))
        # On a smooth fold the string runs down and up about once; anywhere else it zigzags through the whole amplitude.
        assert strings[best] < 0.25 * np.median(strings)
        assert 0.22 < 1 / frequencies[best] < 0.85


def test_rr_lyrae_brighten_faster_than_they_fade() -> None:
    flux = rr_lyrae(np.random.default_rng(2), 40, daily(10, step=0.005)).flux
    brightening = (np.diff(flux, axis=1) > 0).mean(axis=1)
    assert np.median(brightening) < 0.35
    amplitude = 2.5 * np.log10(flux.max(axis=1) / flux.min(axis=1))
    assert amplitude.min() > 0.15
    assert amplitude.max() < 1.1  # in r


def test_eclipses_follow_geometry() -> None:
    phase = np.linspace(0, 1, 1001)[None, :]
    value = np.array
    equal = eclipses(phase, value([0.2]), value([0.2]), value([0.0]), value([1.0]), value([0.0]))[0]
    assert equal[0] == pytest.approx(-2.5 * np.log10(0.5), abs=1e-6), "one of two equal stars is hidden"
    assert equal[500] == pytest.approx(equal[0])
    assert abs(equal[250]) < 1e-12, "nothing is hidden at quadrature"
    assert (eclipses(phase[0], 0.2, 0.2, 0.0, 1.0, 0.0) == equal).all(), "one source alone is as one of many"
    dark = eclipses(phase, value([0.2]), value([0.1]), value([0.0]), value([0.0]), value([0.0]))[0]
    assert dark.max() == pytest.approx(-2.5 * np.log10(1 - 0.25), abs=1e-6), "a dark disc of a quarter of the area"
    assert dark[500] == 0, "hiding a dark star changes nothing"
    tilted = eclipses(phase, value([0.2]), value([0.2]), value([0.41]), value([1.0]), value([0.0]))[0]
    assert (tilted == 0).all(), "no eclipse where the discs never meet"


def test_active_nuclei_wander_as_a_damped_walk() -> None:
    """The structure function rises with the lag and levels off."""
    mag = -2.5 * np.log10(many("AGN", 300, daily(1500, step=5)).flux)

    def structure(lag: int) -> float:
        return float(np.sqrt(np.mean((mag[:, lag:] - mag[:, :-lag]) ** 2)))

    assert structure(2) < 0.6 * structure(20) < structure(20) < structure(200) < 0.7
    assert structure(290) < 1.2 * structure(200)


def test_dwarf_novae_are_quiet_most_of_the_time() -> None:
    sources = many("CV", 150)
    rise = 2.5 * np.log10(sources.flux / sources.reference[:, 1:2])
    erupting = (rise > 1.5).mean(axis=1)
    assert 0.01 < np.median(erupting) < 0.4
    assert np.percentile(rise.max(axis=1), 80) > 3


def test_miras_swing_by_magnitudes_and_delta_scuti_in_hours() -> None:
    swing = 2.5 * np.log10(np.ptp(many("LPV", 200).flux, axis=1) / many("LPV", 200).flux.min(axis=1))
    assert np.percentile(swing, 90) > 2
    quick = many("DSCT", 50, daily(0.25, step=0.005)).flux
    assert np.median(quick.max(axis=1) / quick.min(axis=1)) > 1.1, "a quarter of a day is enough to see it"


def test_measured_noise_is_as_large_as_stated() -> None:
    epochs = daily(300)
    constant = Sources(
        np.full((200, 300), 50.0), np.full((200, 3), 50.0), np.full((200, 3), 19.7), np.zeros(200),
        np.ones(200, bool), np.zeros(200),
    )  # fmt: skip
    measured = observe(np.random.default_rng(0), constant, epochs, np.full(300, 20.5, np.float32))
    pull = measured["flux"] / measured["sigma"]
    assert np.std(pull) == pytest.approx(1, abs=0.01)
    assert (measured["status"] == DETECTION).mean() < 1e-4, "what does not vary does not alert"


def detected_signs(name: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """(object, sign) of all detections of 150 objects of a class in a year of g and r every other day."""
    epochs = daily(365, step=2)
    epochs.band[::2] = 0
    model: Callable[..., Sources] = MODELS[name]
    rng = np.random.default_rng(4)
    measured = observe(rng, model(rng, 150, epochs), epochs, np.full(len(epochs.mjd), 20.5, np.float32))
    rows, columns = np.nonzero(measured["status"] == DETECTION)
    return rows, np.sign(measured["flux"][rows, columns])
