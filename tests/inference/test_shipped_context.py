"""The shipped bundle's second half: surroundings that tell early what a light curve can't, and nothing without them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from service.config import Device
from service.inference.bundle import default_bundle_folder, load_bundle
from service.inference.classifier import Classifier
from service.photometry import CONTEXT_COLUMNS, Context, LightCurve
from tests.inference.tiny_bundle import draw_light_curve

# What surrounds a variable star of the Galaxy, and an asteroid far from any source.
STAR = Context.of(
    {
        "sgscore1": 0.99, "distpsnr1": 0.15, "sgmag1": 17.9, "srmag1": 16.1, "simag1": 14.6, "szmag1": 13.9,
        "neargaia": 0.1, "maggaia": 15.6, "distnr": 0.2, "magnr": 16.2, "sigmagnr": 0.02, "chinr": 0.8, "sharpnr": 0.01,
        "gal_b": 2.0, "nmtchps": 40,
    }
)  # fmt: skip
EMPTY_SKY = Context.of(
    {
        "sgscore1": 0.02,
        "distpsnr1": 14.0,
        "neargaia": 35.0,
        "maggaia": 19.5,
        "distnr": 9.0,
        "magnr": 22.7,
        "gal_b": 40.0,
    }
)


@pytest.fixture(scope="module")
def today() -> Classifier:
    return Classifier(load_bundle(), Device.CPU, threads=1)


@pytest.fixture(scope="module")
def before() -> Classifier:
    folder = default_bundle_folder()
    return Classifier(load_bundle(folder.parent / f"{folder.name}-1.2.0"), Device.CPU, threads=1)


@pytest.fixture(scope="module")
def sky() -> list[LightCurve]:
    rng = np.random.default_rng(5)
    return [draw_light_curve(rng, int(n), int(rng.integers(0, 9))) for n in (*range(1, 25), 60, 127, 128, 300)]


def single(mjd: float = 60000.0) -> LightCurve:
    return LightCurve.from_columns([mjd], 1, mag=18.0, magerr=0.05, limit=20.5, sign=1)


def test_it_takes_the_context_of_a_packet_but_no_known_asteroids(today: Classifier) -> None:
    taken = today.bundle.manifest.context
    assert set(taken) == set(CONTEXT_COLUMNS) - {"ssdistnr", "ssmagnr"}


def test_without_context_it_answers_as_1_2_0_to_rounding(
    today: Classifier, before: Classifier, sky: list[LightCurve]
) -> None:
    """But for what has more than 128 tokens, which it reads in blocks. Rounding, because another graph is another
    order of sums.
    """
    nothing = Context.of({})
    short = [light_curve for light_curve in sky if len(light_curve) <= 128]
    assert len(short) > 20
    for answers in (today.classify(short), today.classify(short, [nothing] * len(short))):
        for ours, theirs in zip(answers, before.classify(short), strict=True):
            assert ours.classes[:-1] == theirs.classes
            np.testing.assert_allclose(ours.probabilities[:-1], theirs.probabilities, rtol=1e-5, atol=1e-7)
            assert ours.probabilities[-1] == 0.0
            assert ours.conformal_set == theirs.conformal_set
            assert ours.flags == theirs.flags
            assert ours.ood_score == pytest.approx(theirs.ood_score, rel=1e-4)
            np.testing.assert_allclose(ours.embedding, theirs.embedding, rtol=1e-4, atol=1e-5)


def test_a_red_star_in_the_plane_is_told_at_its_first_detection(today: Classifier, before: Classifier) -> None:
    (alone,), (told,) = before.classify([single()]), today.classify([single()], [STAR])
    assert alone.superclass_probabilities["Periodic"] < 0.5
    assert told.superclass_probabilities["Periodic"] > 0.8
    assert told.top_class == "LPV"


def test_a_first_detection_far_from_everything_may_be_an_asteroid_until_it_is_seen_again(today: Classifier) -> None:
    (first,) = today.classify([single()], [EMPTY_SKY])
    assert first.top_class == "Asteroid"
    assert first.superclass_probabilities["Solar System"] == pytest.approx(float(first.probabilities[-1]))
    again = LightCurve.from_columns([60000.0, 60003.0], 1, mag=[18.0, 17.8], magerr=0.05, limit=20.5, sign=1)
    (second,) = today.classify([again], [EMPTY_SKY])
    assert second.top_class != "Asteroid"
    assert second.probabilities[-1] < 0.05


def test_a_part_of_the_context_is_an_answer_too(today: Classifier, sky: list[LightCurve]) -> None:
    for name in today.bundle.manifest.context:
        value = STAR.known().get(name, 1.0)
        for answer in today.classify(sky[:3], [Context.of({name: value})] * 3):
            assert answer.probabilities.sum() == pytest.approx(1.0, abs=1e-6)
            assert answer.probabilities[:-1].min() > 0


def test_context_costs_a_fraction_of_the_light_curve(today: Classifier, before: Classifier) -> None:
    """One light curve of 50 points, old and new by turns: the least of many, as the machine has other things to do."""
    curve = [draw_light_curve(np.random.default_rng(3), 50, 0)]
    least = {today: np.inf, before: np.inf}
    for _ in range(150):
        for classifier in least:
            contexts = [STAR] if classifier is today else None
            start = time.perf_counter()
            classifier.classify(curve, contexts)
            least[classifier] = min(least[classifier], time.perf_counter() - start)
    assert least[today] < 1.5 * least[before]
