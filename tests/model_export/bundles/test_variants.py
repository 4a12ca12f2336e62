"""A variant for GPUs says what the bundle says, whatever a light curve is filled up with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from model_export.bundles.graph import Padded, Publication, Served, export_alert_clr, latency, open_graph, parity
from model_export.bundles.variants import bucket_lengths
from model_export.data.tables import CLASSES
from model_export.network.encoder import AlertClassifier
from service.inference.batching import equal_shapes, fill_up, stack
from service.inference.manifest import Padding
from service.inference.preprocessing.alert_clr import alert_clr_batch
from service.photometry import LightCurve
from tests.model_export.two_kinds import TINY

pytestmark = pytest.mark.torch
OUTPUTS = ["logits", "embedding"]
BUCKETS = [8, 16, 24, 32, 48]


@pytest.fixture
def model():
    torch.manual_seed(3)
    return AlertClassifier(TINY).eval()


@pytest.fixture
def publication() -> Publication:
    return Publication(np.full(len(CLASSES), 1 / len(CLASSES)), softening=0.7)


def both_ways(folder: Path, model, publication: Publication, curves: list[LightCurve], half: bool):
    """Answers (n, C + D) of exact lengths in float32, and of padded ones in batches."""
    export_alert_clr(model, publication, folder / "exact.onnx")
    export_alert_clr(model, publication, folder / "padded.onnx", half=half, padded=True)
    exact, padded = open_graph(folder / "exact.onnx"), open_graph(folder / "padded.onnx")
    inputs = alert_clr_batch(curves, {"window": 48, "max_windows": 3})
    expected = np.array([np.concatenate(exact.run(OUTPUTS, stack([one])), axis=1)[0] for one in inputs])
    found = np.empty_like(expected)
    filled = [fill_up(one, Padding(lengths="lengths", buckets=BUCKETS)) for one in inputs]
    groups = equal_shapes(filled, 256)
    assert len(groups) < len(equal_shapes(inputs, 256))
    for rows in groups:
        found[rows] = np.concatenate(padded.run(OUTPUTS, stack([filled[row] for row in rows])), axis=1)
    return expected, found


def test_a_padded_light_curve_gets_the_answer_of_its_exact_length(model, publication, supernovae, rng, tmp_path: Path):
    long = LightCurve.from_columns(59000 + np.arange(130.0), rng.integers(0, 3, 130), mag=18.0, magerr=0.1, sign=1)
    expected, found = both_ways(tmp_path, model, publication, [*supernovae, long], half=False)
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(expected, axis=0).max() > 1e-2  # they are not all the same


def test_float16_changes_little(model, publication, supernovae, tmp_path: Path):
    expected, found = both_ways(tmp_path, model, publication, supernovae, half=True)
    assert 0 < np.abs(found - expected).max() < 0.02


def test_a_padded_graph_is_checked_and_timed_as_any_other(model, publication, rng, tmp_path: Path):
    export_alert_clr(model, publication, tmp_path / "padded.onnx", padded=True)
    feed = {
        "points": rng.standard_normal((2, 1, 9, 16)).astype(np.float32),
        "context": rng.standard_normal((2, 12)).astype(np.float32),
        "lengths": np.array([9, 4]),
    }
    assert parity(tmp_path / "padded.onnx", Served(Padded(model), publication), [feed]) < 1e-5
    assert 0 < latency(tmp_path / "padded.onnx", 20, repeats=20) < 50


@pytest.mark.parametrize("window", [5, 8, 48, 128, 200])
def test_buckets_bound_what_is_padding(window: int):
    buckets = bucket_lengths(window)
    assert buckets[-1] == window
    assert Padding(lengths="lengths", buckets=buckets).buckets == buckets
    for length in range(17, window + 1):
        bucket = next(bucket for bucket in buckets if bucket >= length)
        assert (bucket - length) / bucket <= 1 / 3
