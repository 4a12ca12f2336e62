"""The bundle that is shipped with the service keeps the promises that every bundle makes."""

from __future__ import annotations

import numpy as np
import pytest

from service.config import Device
from service.inference.bundle import Bundle, load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import NO_DETECTION, TOO_FEW_POINTS, Prediction
from service.photometry import LightCurve
from tests.inference.tiny_bundle import draw_light_curve

TOLERANCE = 1e-6  # of probabilities: float32 sums in another order


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="module")
def classifier(bundle: Bundle) -> Classifier:
    return Classifier(bundle, Device.CPU, threads=1)


@pytest.fixture(scope="module")
def sky() -> list[LightCurve]:
    """Light curves of every length up to several windows, many of equal shape."""
    rng = np.random.default_rng(11)
    counts = rng.permutation([*range(1, 40), *[5] * 20, *[12] * 11, 70, 127, 128, 129, 200, 300, 600])
    return [draw_light_curve(rng, int(count), int(rng.integers(0, 15))) for count in counts]


@pytest.fixture(scope="module")
def alone(classifier: Classifier, sky: list[LightCurve]) -> list[Prediction]:
    return [classifier.classify([light_curve])[0] for light_curve in sky]


def difference(a: list[Prediction], b: list[Prediction]) -> float:
    return max(float(abs(p.probabilities - q.probabilities).max()) for p, q in zip(a, b, strict=True))


def test_it_is_small_and_tells_what_it_is(bundle: Bundle) -> None:
    assert len(bundle.graph) < 8_000_000
    assert len(bundle.manifest.classes) == 15
    assert bundle.manifest.superclasses == ("Transient", "Stochastic", "Periodic", "Solar System")
    assert len(bundle.card) > 200
    assert bundle.metrics


def test_probabilities_are_probabilities(alone: list[Prediction], bundle: Bundle) -> None:
    for prediction in alone:
        assert prediction.classes == bundle.manifest.classes
        assert prediction.probabilities.sum() == pytest.approx(1.0, abs=TOLERANCE)
        assert (prediction.probabilities >= 0).all()
        assert sum(prediction.superclass_probabilities.values()) == pytest.approx(1.0, abs=TOLERANCE)
        assert set(prediction.conformal_set) <= set(prediction.classes)
        assert prediction.ood_score >= 0
        assert NO_DETECTION not in prediction.flags
        too_few = sum(prediction.n_detections.values()) < bundle.manifest.minimum_detections
        assert (TOO_FEW_POINTS in prediction.flags) == too_few


def test_company_does_not_change_an_answer(
    classifier: Classifier, sky: list[LightCurve], alone: list[Prediction]
) -> None:
    assert difference(classifier.classify(sky), alone) < TOLERANCE
    backwards = classifier.classify(sky[::-1])[::-1]
    assert difference(backwards, alone) < TOLERANCE


def test_threads_do_not_change_an_answer(bundle: Bundle, sky: list[LightCurve], alone: list[Prediction]) -> None:
    threaded = Classifier(bundle, Device.CPU, threads=4)
    for _ in range(3):
        assert difference(threaded.classify(sky), alone) < TOLERANCE


def test_different_light_curves_get_different_answers(alone: list[Prediction]) -> None:
    assert len({prediction.top_class for prediction in alone}) > 2
    assert len({prediction.probabilities.tobytes() for prediction in alone}) == len(alone)
