"""A bundle is judged by the service's own classifier, and the shipped bundle is that of the committed weights."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.bundles.bundle import verify_bundle
from model_export.bundles.graph import Publication, Served, parity
from model_export.data.tables import CLASSES, Dataset
from model_export.judging.calibrate import read_calibration
from model_export.judging.evaluate import judge
from model_export.network.predict import ALL
from model_export.training.run import load_run
from service.config import Device
from service.inference.bundle import default_bundle_folder, load_bundle
from service.inference.classifier import Classifier
from service.photometry import LightCurve
from tests.model_export.two_kinds import two_kinds

SHIPPED_RUNS = Path(__file__).resolve().parents[3] / "model_export" / "shipped"


@pytest.fixture
def data(rng: np.random.Generator, supernovae: list[LightCurve]) -> Dataset:
    """Rises and declines with upper limits, and all of them laid over one another: longer than a window."""
    curves = [*supernovae, supernovae[0].merge(*supernovae[1:])]
    objects = two_kinds(rng, len(curves)).objects
    objects["n_detections"] = [curve.n_detections for curve in curves]
    return Dataset(np.concatenate([c.points for c in curves]), np.array([len(c) for c in curves]), objects)


def curves_of(data: Dataset) -> list[LightCurve]:
    return [LightCurve(points) for points in np.split(data.points, np.cumsum(data.counts)[:-1])]


@pytest.mark.parametrize("k", [1, 3, ALL])
def test_the_judge_says_exactly_what_the_service_says(k: int, data: Dataset):
    judged = judge(default_bundle_folder(), data, (k,))[k]
    curves = curves_of(data)
    shown = [curve.first_detections(k) if k != ALL else curve for curve in curves]
    served = Classifier(load_bundle(), Device.CPU).classify(shown)
    classes = slice(len(CLASSES))  # the judge leaves asteroids out: without context they are nothing
    np.testing.assert_array_equal(judged.probabilities, [p.probabilities[classes] for p in served])
    assert all(p.probabilities[len(CLASSES) :].sum() == 0.0 for p in served)
    assert [sum(row) for row in judged.sets] == [len(p.conformal_set) for p in served]
    assert judged.flagged.tolist() == ["out_of_distribution" in p.flags for p in served]
    assert judged.n_seen.tolist() == [sum(p.n_detections.values()) for p in served]


def test_context_that_is_switched_off_is_not_read(data: Dataset):
    data.points["magnr"] = 18.0
    folder = default_bundle_folder()
    whole, without = (judge(folder, data, (ALL,), switches)[ALL] for switches in (None, {"reference": False}))
    assert np.abs(whole.probabilities - without.probabilities).max() > 0.01
    data.points["magnr"] = 21.0
    again = judge(folder, data, (ALL,), {"reference": False})[ALL]
    np.testing.assert_array_equal(again.probabilities, without.probabilities)


def test_the_committed_weights_give_the_answers_of_the_shipped_graph(data: Dataset):
    # that of the light curve alone; of 2.1.0, test_context_graph shows that it answers alike without context
    bundle = load_bundle(f"{default_bundle_folder()}-1.2.0")
    run = SHIPPED_RUNS / f"alert-clr-{bundle.manifest.version}"
    model, config = load_run(run)
    assert config.parameters == bundle.manifest.preprocessing.parameters
    softening, calibration, out_of_distribution = read_calibration(run / "calibration.json")
    assert (calibration, out_of_distribution) == (bundle.manifest.calibration, bundle.manifest.out_of_distribution)
    served = Served(model, Publication(np.array(bundle.manifest.prior), softening))
    feeds = [{name: array[None] for name, array in one.items()} for one in bundle.tensors(curves_of(data))]
    assert parity(bundle.folder / "model.onnx", served, feeds) < 1e-5
    assert any("agree to" in line for line in verify_bundle(bundle.folder, run, None))
