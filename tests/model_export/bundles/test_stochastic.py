"""Passes under given noise: the same in torch and in ONNX Runtime, calibrated for their mean, served end to end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.bundles.graph import Publication, Served, export_served, parity, write_manifest
from model_export.bundles.stochastic import Members
from model_export.data.scores import softmax
from model_export.data.tables import CLASSES
from model_export.judging.calibrate import fit_temperature, published
from model_export.network.encoder import AlertClassifier
from model_export.network.predict import ALL, predict
from model_export.network.stochastic_passes import HEAD, Method, Passes, predict_passes, together, under
from service.config import Device
from service.inference.bundle import load_bundle, seal_bundle
from service.inference.classifier import Classifier
from service.inference.manifest import Calibration, Stochastic
from service.photometry import LightCurve
from tests.model_export.two_kinds import TINY, two_kinds

WINDOW, PASSES = 24, 5
PARAMETERS = {"window": WINDOW, "max_windows": 2}
PRIOR = np.linspace(1, 3, len(CLASSES)) / np.linspace(1, 3, len(CLASSES)).sum()
METHODS = [
    Method("mc-dropout", 0.2),
    Method("mc-dropout-points", 0.2),
    Method("head-dropout", 0.3),
    Method("hsa"),
    Method("ha-mc", 0.1),
]


def network(method: Method) -> AlertClassifier:
    torch.manual_seed(4)
    return AlertClassifier(replace(TINY, layers=2, centroids=6 if method.name in ("hsa", "ha-mc") else 0)).eval()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_graph_says_what_torch_says_under_the_same_noise(method: Method, rng, tmp_path: Path):
    model = network(method)
    asked = Passes(model, method, WINDOW)
    served = Served(asked, Publication(PRIOR, 0.7))
    export_served(served, tmp_path / "model.onnx", method.draws(model, WINDOW, 3, 0))
    feeds = [
        {
            "points": rng.standard_normal((b, w, n, 16)).astype(np.float32),
            "context": rng.standard_normal((b, 12)).astype(np.float32),
        }
        for b, w, n in ((1, 1, 1), (1, 1, 20), (4, 1, 7), (2, 2, WINDOW))
    ]
    for passes in (2, PASSES):  # other numbers of passes than it was exported with
        noise = method.draws(model, WINDOW, passes, 9)
        assert parity(tmp_path / "model.onnx", served, [feed | noise for feed in feeds]) < 1e-5
        # And each pass is that of the network which has this noise in place of its own.
        points, context = map(torch.from_numpy, feeds[2].values())
        with torch.no_grad():
            logits, embedding = asked.eval()(points, context, *map(torch.from_numpy, noise.values()))
            alone = [under(model, {k: v[t : t + 1] for k, v in noise.items()})(points, context) for t in range(passes)]
        assert torch.allclose(logits, torch.stack([a[0] for a in alone], dim=1), atol=1e-5)
        assert torch.allclose(embedding, torch.stack([a[1] for a in alone]).mean(dim=0), atol=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_predictions_of_passes_are_those_of_the_networks_under_their_noise(method: Method, rng):
    model, data = network(method), two_kinds(rng, 30)
    noise = method.draws(model, WINDOW, PASSES, 1)
    found = predict_passes(model, data, PARAMETERS, (ALL, 3), noise)[3]
    assert found.logits.shape == (30, PASSES, len(CLASSES))
    third = under(model, {path: values[2:3] for path, values in noise.items()})
    expected = predict(third, data, PARAMETERS, (3,))[3]
    np.testing.assert_allclose(found.logits[:, 2], expected.logits, atol=1e-5)
    assert np.ptp(found.logits, axis=1).max() > 1e-3


def test_without_noise_every_pass_is_the_plain_network(rng):
    method, data = Method("mc-dropout", 0.0), two_kinds(rng, 20)
    model = network(method)
    passes = predict_passes(model, data, PARAMETERS, (ALL,), method.draws(model, WINDOW, 2, 0))[ALL]
    plain = predict(model, data, PARAMETERS, (ALL,))[ALL]
    np.testing.assert_allclose(passes.logits, np.stack([plain.logits] * 2, axis=1), atol=1e-6)


def test_a_network_without_that_noise_is_refused():
    with pytest.raises(ValueError, match="needs a network with stochastic attention"):
        Method("hsa").noises(network(Method("mc-dropout")))
    with pytest.raises(ValueError, match="needs a network without stochastic attention"):
        Method("mc-dropout", 0.1).noises(network(Method("hsa")))
    assert [noise.input for noise in Method("head-dropout", 0.1).noises(network(Method("mc-dropout")))] == [HEAD]


def test_calibration_is_of_the_mean_of_the_passes(rng):
    """Five passes that say the same are one; passes that contradict each other get a temperature of their mean."""
    data = two_kinds(rng, 400)
    model = network(Method("mc-dropout"))
    plain = predict(model, data, PARAMETERS, (ALL,))
    same = together([plain] * PASSES)
    one, many = (fit_temperature(found[ALL].logits, data.labels) for found in (plain, same))
    assert one == pytest.approx(many, rel=1e-3)
    noisy = 3.0 * np.eye(len(CLASSES))[data.labels][:, None] + rng.normal(0, 2, (400, PASSES, len(CLASSES)))
    temperature = fit_temperature(noisy, data.labels)
    around = [
        -np.log(softmax(noisy / (temperature * f)).mean(axis=1)[np.arange(400), data.labels]).mean()
        for f in (0.8, 1, 1.25)
    ]
    assert around[1] == min(around)
    np.testing.assert_allclose(published(noisy, temperature), softmax(noisy / temperature).mean(axis=1))


@pytest.mark.parametrize("method", [Method("mc-dropout", 0.2), Method("hsa"), Method("ensemble")], ids=lambda m: m.name)
def test_a_stochastic_bundle_is_served(method: Method, supernovae: list[LightCurve], tmp_path: Path):
    """The service draws the very noise that torch was calibrated with, and publishes mean, variance and BALD."""
    model = network(method)
    if method.name == "ensemble":
        torch.manual_seed(5)
        sampled, noise = Members([model, AlertClassifier(model.config).eval()]), {}
        stochastic = Stochastic(method="ensemble", passes=2)
    else:
        sampled, noise = Passes(model, method, WINDOW), method.draws(model, WINDOW, PASSES, 3)
        stochastic = Stochastic(method=method.name, passes=PASSES, seed=3, noise=method.noises(model))
    served = Served(sampled, Publication(PRIOR))
    export_served(served, tmp_path / "model.onnx", noise)
    write_manifest(
        tmp_path,
        name="tiny",
        version="1",
        description="",
        prior=PRIOR,
        preprocessing=("alert-clr/1", PARAMETERS),
        calibration=Calibration(
            edges=[1], temperature=[1.3], conformal_coverage=0.9, conformal_thresholds=[[0.9] * len(CLASSES)]
        ),
        out_of_distribution=None,
        data_digest="0" * 64,
        minimum_detections=1,
        stochastic=stochastic,
    )
    (tmp_path / "MODEL_CARD.md").write_text("# tiny\n")
    (tmp_path / "metrics.json").write_text("{}")
    seal_bundle(tmp_path)
    bundle = load_bundle(tmp_path)
    predictions = Classifier(bundle, Device.CPU, 1).classify(supernovae)
    for inputs, prediction in zip(bundle.tensors(supernovae), predictions, strict=True):
        with torch.no_grad():
            tensors = (torch.from_numpy(inputs[name])[None] for name in ("points", "context"))
            logits = served(*tensors, *map(torch.from_numpy, noise.values()))[0][0].double().numpy()
        passes = softmax(logits / 1.3)
        np.testing.assert_allclose(prediction.probabilities, passes.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(prediction.variance, passes.var(axis=0), atol=1e-5)
        assert prediction.bald >= 0
    assert max(prediction.bald for prediction in predictions) > 1e-6
