"""What context adds to a light curve's answer: only where trees know a class, less with detections, never by force."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.context.fusion import Fusion, evidence, fit_fusion, fuse, with_asteroid
from model_export.context.trees import FEWEST_OBJECTS, columns_of, fit_class_trees
from model_export.data.alert_context import MODEL_CONTEXT
from model_export.data.bins import EDGES
from model_export.data.scores import softmax
from model_export.data.tables import CLASSES

C = len(CLASSES)
EVEN = np.full(C, 1.0 / C)


def fusion(weight: float = 1.0, trees_prior: np.ndarray = EVEN) -> Fusion:
    bins = len(EDGES)
    return Fusion(EVEN.tolist(), EVEN.tolist(), trees_prior.tolist(), [1.0] * bins, [weight] * bins)


def context(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform(0, 30, (count, len(MODEL_CONTEXT))).astype(np.float32)


def test_a_class_of_fewer_than_five_objects_gets_no_evidence(rng, monkeypatch):
    monkeypatch.setattr("model_export.context.trees.TREES", 3)
    labels = np.repeat([0, 3, 8], [40, FEWEST_OBJECTS - 1, FEWEST_OBJECTS])
    trees = fit_class_trees(context(rng, len(labels)), labels)
    assert np.flatnonzero(trees.frequencies).tolist() == [0, 8]
    told = evidence(trees.probabilities(columns_of(context(rng, 20))), trees.frequencies)
    assert (told[:, [k for k in range(C) if k not in (0, 8)]] == 0).all()
    assert (told[:, 0] != 0).any()


def test_what_the_trees_do_not_know_keeps_its_odds_against_the_rest_of_what_they_do_not_know(rng):
    prior = np.where(np.arange(C) < 6, 1 / 6, 0.0)
    logits, trees = rng.standard_normal((7, C)), rng.dirichlet(np.ones(6), 7)
    trees = np.concatenate((trees, np.zeros((7, C - 6))), axis=1)
    fused = fuse(fusion(trees_prior=prior), logits, trees, np.full(7, 4))
    assert np.allclose(np.diff(fused[:, 6:]), np.diff(logits[:, 6:]))
    assert not np.allclose(np.diff(fused[:, :6]), np.diff(logits[:, :6]))


def test_trees_that_only_know_the_frequencies_change_nothing(rng):
    logits = rng.standard_normal((5, C))
    fused = fuse(fusion(), logits, np.tile(EVEN, (5, 1)), np.array([1, 2, 5, 9, 40]))
    assert np.allclose(softmax(fused), softmax(logits))


def test_no_class_is_ruled_out_by_the_trees_alone(rng):
    sure = np.zeros((1, C))
    sure[0, 2] = 1.0
    fused = softmax(fuse(fusion(), np.zeros((1, C)), sure, np.array([1])))
    assert fused[0].argmax() == 2
    assert fused.min() > 1e-4


def test_the_weight_falls_with_detections_and_finds_who_is_right(rng):
    """Light curves that say more with each bin, and trees that say the same throughout."""
    labels = rng.integers(0, C, 3000)
    n = rng.choice(EDGES, 3000)
    truth = np.eye(C)[labels]
    logits = truth * np.log(n + 1.0)[:, None] * 2 + rng.standard_normal((3000, C))
    trees = softmax(truth * 2 + rng.standard_normal((3000, C)))
    found = fit_fusion(logits, trees, np.tile(EVEN, (3000, 1)), labels, n, EVEN, EVEN)
    assert all(np.diff(found.weight) <= 0)
    assert found.weight[0] > 0.3
    p = softmax(fuse(found, logits, trees, n))[np.arange(3000), labels]
    alone = softmax(logits)[np.arange(3000), labels]
    assert np.log(p).mean() > np.log(alone).mean() + 0.05


def test_an_asteroid_is_forgotten_once_the_object_is_seen_on_another_night():
    logits = np.log(np.tile(EVEN, (3, 1)))
    p = softmax(with_asteroid(logits, np.full(3, 0.999), np.array([0.0, 0.02, 1.0])))
    assert p[0, -1] > 0.9
    assert p[0, -1] > p[1, -1] > p[2, -1]
    assert p[2, -1] < 0.01
    assert np.allclose(p[2, :-1] / p[2, :-1].sum(), EVEN)
