"""Given a bundle that asks for passes, when light curves are classified, then answers say how far the passes agree."""

from __future__ import annotations

import numpy as np
import pytest

from service.config import Device
from service.inference.bundle import BundleError, load_bundle
from service.inference.classifier import Classifier
from service.inference.manifest import Noise, Stochastic
from service.inference.stochastic import draw
from service.photometry import LightCurve
from tests.inference.tiny_bundle import EMBEDDING_SIZE, TinyGraph, WriteBundle, draw_light_curve

PASSES = 12
STOCHASTIC = {
    "method": "head-dropout",
    "passes": PASSES,
    "seed": 5,
    "noise": [{"input": "mask", "kind": "dropout", "rate": 0.4}],
}


def stochastic(
    write_bundle: WriteBundle, folder: str = "stochastic", threads: int = 1, **changes: object
) -> Classifier:
    graph = TinyGraph.drawn().model(mask_size=EMBEDDING_SIZE)
    path = write_bundle(graph, folder, stochastic=STOCHASTIC | changes, minimum_detections=1)
    return Classifier(load_bundle(path), Device.CPU, threads)


def by_hand(light_curve: LightCurve, classifier: Classifier, passes: int = PASSES) -> np.ndarray:
    """Probabilities (passes, C) in plain numpy."""
    graph, settings = TinyGraph.drawn(), classifier.bundle.manifest.stochastic
    assert settings is not None
    masks = draw(settings.noise[0], 0, settings.seed, passes, [EMBEDDING_SIZE])
    _, embedding = graph.answer(light_curve)
    n = light_curve.n_detections
    temperature = classifier.bundle.manifest.calibration.temperature[0 if n < 3 else 1 if n < 10 else 2]
    raised = np.exp((embedding * masks) @ graph.b / temperature)
    probabilities: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return probabilities


def test_the_answer_is_the_mean_of_the_passes_with_their_variance_and_mutual_information(
    write_bundle: WriteBundle,
) -> None:
    classifier = stochastic(write_bundle)
    light_curves = [draw_light_curve(np.random.default_rng(n), n) for n in (1, 4, 9, 20)]
    for light_curve, prediction in zip(light_curves, classifier.classify(light_curves), strict=True):
        p = by_hand(light_curve, classifier)
        mean = p.mean(axis=0)
        np.testing.assert_allclose(prediction.probabilities, mean, atol=1e-5)
        assert prediction.variance is not None
        np.testing.assert_allclose(prediction.variance, p.var(axis=0), atol=1e-6)
        # Mutual information the other way round: the mean divergence of the passes from their mean.
        assert prediction.bald == pytest.approx((p * np.log(p / mean)).sum(axis=1).mean(), abs=1e-5)
        fields = prediction.fields()
        assert fields["bald"] == prediction.bald > 0
        assert list(fields["variance"]) == list(prediction.classes)
        assert sum(fields["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_neighbours_threads_and_time_change_no_answer(
    write_bundle: WriteBundle, light_curves: list[LightCurve]
) -> None:
    """The passes are the same for everyone, so a light curve has one answer."""
    classifier = stochastic(write_bundle, threads=3)
    alone = [stochastic(write_bundle, "again").classify([each])[0] for each in light_curves[:1]]
    alone += [classifier.classify([each])[0] for each in light_curves[1:]]
    for together, single in zip(classifier.classify(light_curves), alone, strict=True):
        np.testing.assert_allclose(together.probabilities, single.probabilities, atol=1e-6)
        assert together.bald == pytest.approx(single.bald, abs=1e-6)


def test_another_seed_draws_other_passes_and_more_passes_keep_the_first(write_bundle: WriteBundle) -> None:
    light_curve = draw_light_curve(np.random.default_rng(2), 9)
    first = stochastic(write_bundle).classify([light_curve])[0]
    other = stochastic(write_bundle, "other", seed=6).classify([light_curve])[0]
    assert not np.allclose(first.probabilities, other.probabilities, atol=1e-4)
    noise = Noise(input="mask", kind="dropout", rate=0.4)
    assert np.array_equal(draw(noise, 0, 5, 20, [3, 2])[:PASSES], draw(noise, 0, 5, PASSES, [3, 2]))
    assert not np.array_equal(draw(noise, 0, 5, 20, [3, 2]), draw(noise, 1, 5, 20, [3, 2]))


def test_dropout_keeps_the_mean_and_gumbel_noise_is_gumbel() -> None:
    masks = draw(Noise(input="x", kind="dropout", rate=0.2), 0, 0, 50, [2000])
    assert set(np.unique(masks)) == {np.float32(0.0), np.float32(1.25)}
    assert masks.mean() == pytest.approx(1.0, abs=0.01)
    noise = draw(Noise(input="x", kind="gumbel"), 0, 0, 50, [2000]).astype(np.float64)
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert noise.var() == pytest.approx(np.pi**2 / 6, rel=0.03)


def test_a_light_curve_that_nothing_can_be_said_of_has_no_variance(write_bundle: WriteBundle) -> None:
    limits = draw_light_curve(np.random.default_rng(1), 0, 3)
    prediction, other = stochastic(write_bundle).classify([limits, draw_light_curve(np.random.default_rng(1), 5)])
    assert prediction.flags[0] == "no_detection"
    assert {prediction.fields()[name] for name in ("variance", "mutual_information", "bald")} == {None}
    assert other.bald > 0


def test_a_bundle_that_asks_for_nothing_says_nothing(write_bundle: WriteBundle) -> None:
    (prediction,) = Classifier(load_bundle(write_bundle()), Device.CPU, 1).classify(
        [draw_light_curve(np.random.default_rng(1), 5)]
    )
    assert prediction.variance is None
    assert {prediction.fields()[name] for name in ("variance", "mutual_information", "bald")} == {None}


@pytest.mark.parametrize(
    ("mask_size", "changes", "complaint"),
    [
        (EMBEDDING_SIZE, {"noise": []}, r"takes the inputs context, mask, points, but"),
        (
            EMBEDDING_SIZE,
            {"noise": [{"input": "nosie", "kind": "gumbel"}]},
            r"takes no input nosie \(manifest.stochastic",
        ),
        ("D", {}, r"takes noise mask as tensor\(float\) \(passes, D\), not as float32 with every axis but the first"),
        (
            None,
            {"noise": []},
            r"gives logits of shape \(2, 5\) for two light curves; the passes and the taxonomy ask for",
        ),
    ],
)
def test_a_graph_that_does_not_take_the_manifests_noise_is_refused(
    write_bundle: WriteBundle, mask_size: int | str | None, changes: dict[str, object], complaint: str
) -> None:
    graph = TinyGraph.drawn().model(mask_size=mask_size)
    with pytest.raises(BundleError, match=complaint):
        Classifier(load_bundle(write_bundle(graph, stochastic=STOCHASTIC | changes)), Device.CPU, 1)


def test_one_pass_is_refused() -> None:
    with pytest.raises(ValueError, match="passes"):
        Stochastic(method="mc-dropout", passes=1)
