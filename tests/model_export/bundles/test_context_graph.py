"""The graph says what trees and fusion say in numpy, and without context what the light curve alone says."""

from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from sklearn.ensemble import RandomForestClassifier

from model_export.bundles.context_graph import _not_above, add_context
from model_export.bundles.graph import Publication, export_alert_clr, open_graph
from model_export.context.fusion import Fusion, fuse, with_asteroid
from model_export.context.trees import ASTEROID_PLACES, ClassTrees, columns_of, fit_asteroid_trees, fit_class_trees
from model_export.data.alert_context import MODEL_CONTEXT
from model_export.data.bins import EDGES
from model_export.data.tables import CLASSES
from model_export.network.block_fusion import BlockClassifier
from model_export.network.encoder import AlertClassifier
from service.inference.preprocessing.alert_clr import POINT_FEATURES, alert_clr
from service.inference.preprocessing.blocks import KEPT_FACTS, KEPT_INPUT
from service.photometry import CONTEXT_INPUT, LightCurve
from tests.model_export.two_kinds import TINY

C = len(CLASSES)
LIGHT_CURVE = Path(__file__).parents[3] / "service" / "bundles" / "alert-clr-1.2.0" / "model.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, ClassTrees, RandomForestClassifier, Fusion]:
    """A graph with forests on drawn contexts, a fifth of the values missing."""
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(C), np.r_[60, 20, 30, 3, 2, np.full(C - 5, 15)])
    values = draw_contexts(rng, len(labels))
    values[:, 3] += labels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_export.context.trees.TREES", 12)
        patch.setattr("model_export.context.trees.ASTEROID_TREES", 5)
        trees = fit_class_trees(values, labels)
        asteroid = fit_asteroid_trees(draw_contexts(rng, 100) + 1, values)
    bins = len(EDGES)
    prior = rng.dirichlet(np.full(C, 3.0), 2)
    fusion = Fusion(
        prior[0].tolist(), prior[1].tolist(), trees.frequencies.tolist(),
        np.linspace(0.3, 0.9, bins).tolist(), np.linspace(1.0, 0.6, bins).tolist(),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    add_context(LIGHT_CURVE, "logits", trees, asteroid, fusion, path)
    return path, trees, asteroid, fusion


def draw_contexts(rng: np.random.Generator, count: int) -> np.ndarray:
    values = rng.uniform(0, 30, (count, len(MODEL_CONTEXT))).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    return values


def feed(light_curve: LightCurve) -> dict[str, np.ndarray]:
    return {name: array[None] for name, array in alert_clr(light_curve, {"window": 128}).items()}


def test_the_graph_agrees_with_numpy_on_whole_partial_and_little_context(made, supernovae, rng):
    path, trees, asteroid, fusion = made
    alone, whole = open_graph(LIGHT_CURVE), open_graph(path)
    contexts = draw_contexts(rng, len(supernovae))
    contexts[0, 1:] = np.nan
    for curve, context in zip(supernovae, contexts, strict=True):
        (logits,) = alone.run(["logits"], feed(curve))
        detected = curve.points[~np.isnan(curve.points["mag"])]
        n = np.array([len(detected)])
        expected = with_asteroid(
            fuse(fusion, logits.astype(np.float64), trees.probabilities(columns_of(context[None])), n),
            asteroid.predict_proba(context[None, ASTEROID_PLACES])[:, 1],
            np.array([detected["mjd"].max() - detected["mjd"].min()]),
        )
        (found,) = whole.run(["logits"], feed(curve) | {CONTEXT_INPUT: context[None]})
        assert np.abs(found - expected).max() < 2e-5


def test_without_context_it_is_the_light_curve_alone_to_the_last_bit(made, supernovae):
    alone, whole = open_graph(LIGHT_CURVE), open_graph(made[0])
    missing = np.full((1, len(MODEL_CONTEXT)), np.nan, np.float32)
    for curve in supernovae:
        logits, embedding = alone.run(["logits", "embedding"], feed(curve))
        found, same = whole.run(["logits", "embedding"], feed(curve) | {CONTEXT_INPUT: missing})
        assert np.array_equal(found[:, :C], logits)
        assert np.array_equal(same, embedding)
        shares = np.exp(found.astype(np.float64) - found.max())
        assert shares[0, C] == 0.0  # no asteroid


def test_a_value_at_a_threshold_goes_where_scikit_learn_sends_it(rng):
    thresholds = rng.uniform(-1e3, 1e3, 2000)
    at = _not_above(thresholds)
    assert (at <= thresholds).all()
    assert (np.nextafter(at, np.float32(np.inf)).astype(np.float64) > thresholds).all()


def test_no_context_in_a_batch_stays_without_it(made, supernovae, rng):
    whole = open_graph(made[0])
    one = feed(supernovae[0])
    contexts = draw_contexts(rng, 2)
    contexts[1] = np.nan
    both = {name: np.repeat(array, 2, axis=0) for name, array in one.items()} | {CONTEXT_INPUT: contexts}
    (found,) = whole.run(["logits"], both)
    (alone,) = whole.run(["logits"], one | {CONTEXT_INPUT: contexts[1:]})
    assert np.allclose(found[1], alone[0], atol=1e-5)
    assert not np.allclose(found[0, :C], found[1, :C], atol=0.1)


def test_the_graph_names_no_local_file(made):
    for node in onnx.load(made[0]).graph.node:
        assert not node.doc_string
        assert not node.metadata_props


def test_an_object_in_blocks_counts_as_the_whole_that_it_is(made, rng, tmp_path):
    """A long light curve whose newest block is a single detection is no asteroid, and is trusted as a whole."""
    _, trees, asteroid, fusion = made
    torch.manual_seed(0)
    model = BlockClassifier(AlertClassifier(TINY)).eval()
    blocks, path = tmp_path / "blocks.onnx", tmp_path / "with_context.onnx"
    export_alert_clr(model, Publication(np.full(C, 1 / C)), blocks)
    add_context(blocks, "logits", trees, asteroid, fusion, path)
    alone, whole = open_graph(blocks), open_graph(path)
    one = {
        "points": rng.standard_normal((1, 1, 1, 16)).astype(np.float32),
        "context": rng.standard_normal((1, 12)).astype(np.float32),
        KEPT_INPUT: rng.random((1, model.kept_size), dtype=np.float32),
    }
    one["points"][..., POINT_FEATURES.index("upper_limit")] = 0.0
    one["points"][..., POINT_FEATURES.index("days")] = 0.0
    span = 800.0
    one[KEPT_INPUT][0, 2 * TINY.embedding + KEPT_FACTS.index("log_span")] = np.log1p(span)
    context = draw_contexts(rng, 1)
    for kept, n, days in ((one[KEPT_INPUT], EDGES[-1], span), (np.zeros_like(one[KEPT_INPUT]), 1, 0.0)):
        feed_of = one | {KEPT_INPUT: kept}
        (logits,) = alone.run(["logits"], feed_of)
        expected = with_asteroid(
            fuse(fusion, logits.astype(np.float64), trees.probabilities(columns_of(context)), np.array([n])),
            asteroid.predict_proba(context[:, ASTEROID_PLACES])[:, 1],
            np.array([days]),
        )
        (found,) = whole.run(["logits"], feed_of | {CONTEXT_INPUT: context})
        assert np.abs(found - expected).max() < 2e-5
        (found,) = whole.run(["logits"], feed_of | {CONTEXT_INPUT: np.full_like(context, np.nan)})
        assert np.array_equal(found[:, :C], logits)
