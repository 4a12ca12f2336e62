"""What a GPU needs, run on whatever is here: padded buckets, tensors bound to the device, and no silent CPU."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from pydantic import ValidationError

from service.config import Device
from service.inference.batching import CUDA_WINDOW_S, equal_shapes, fill_up, stack
from service.inference.bundle import Bundle, BundleError, load_bundle
from service.inference.classifier import Classifier
from service.inference.manifest import Padding
from service.inference.session import CUDA, DeviceError, Session
from service.photometry import LightCurve
from tests.inference.tiny_bundle import TinyGraph, WriteBundle

BUCKETS = {"lengths": "lengths", "buckets": [4, 8, 16, 40]}


@pytest.fixture
def padded(write_bundle: WriteBundle) -> Bundle:
    return load_bundle(write_bundle(TinyGraph.drawn().model(padded=True), "padded", padding=BUCKETS))


def test_light_curves_of_near_lengths_share_a_run_and_nothing_else_changes(
    write_bundle: WriteBundle, padded: Bundle, light_curves: list[LightCurve]
) -> None:
    exact = Classifier(load_bundle(write_bundle()), Device.CPU, threads=1)
    ours = Classifier(padded, Device.CPU, threads=2)
    runs = len(equal_shapes(exact.bundle.tensors(light_curves), 256))
    assert len(equal_shapes(padded.tensors(light_curves), 256)) < runs / 2
    for one, other in zip(ours.classify(light_curves), exact.classify(light_curves), strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-6)
        assert (one.conformal_set, one.flags) == (other.conformal_set, other.flags)


def test_points_are_filled_up_to_the_next_bucket_and_the_real_ones_counted() -> None:
    padding = Padding(**BUCKETS)
    for length, expected in ((1, 4), (4, 4), (5, 8), (40, 40), (41, 41)):
        points = np.random.default_rng(length).normal(size=(2, length, 3)).astype(np.float32)
        context = np.ones(5, dtype=np.float32)
        filled = fill_up({"points": points, "context": context}, padding)
        assert filled["points"].shape == (2, expected, 3)
        assert np.array_equal(filled["points"][:, :length], points)
        assert not filled["points"][:, length:].any()
        assert filled["lengths"] == length
        assert filled["context"] is context


@pytest.mark.parametrize("buckets", [[], [0, 8], [8, 8], [16, 8]])
def test_buckets_must_ascend(buckets: list[int]) -> None:
    with pytest.raises(ValidationError):
        Padding(lengths="lengths", buckets=buckets)


def test_a_graph_without_the_input_that_the_manifest_names_is_refused(write_bundle: WriteBundle) -> None:
    exact_graph = load_bundle(write_bundle(padding=BUCKETS))
    with pytest.raises(BundleError, match="makes context, lengths, points"):
        Classifier(exact_graph, Device.CPU)


@pytest.mark.parametrize("which", ["tiny", "padded", "shipped"])
def test_bound_tensors_give_the_same_answer_to_the_last_bit(
    write_bundle: WriteBundle, padded: Bundle, light_curves: list[LightCurve], which: str
) -> None:
    bundle = {"padded": lambda: padded, "shipped": load_bundle, "tiny": lambda: load_bundle(write_bundle())}[which]()
    inputs = bundle.tensors(light_curves)
    plain, bound = (Session(bundle, Device.CPU, inputs[0], bound) for bound in (False, True))
    for batch in equal_shapes(inputs, 8):
        together = stack([inputs[row] for row in batch])
        for one, other in zip(plain.run(together), bound.run(together), strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_tensors_are_bound_on_a_gpu_alone(padded: Bundle, light_curves: list[LightCurve]) -> None:
    session = Session(padded, Device.AUTO, padded.tensors(light_curves[:1])[0])
    assert session._bound == (session.provider == CUDA)


def test_a_window_is_worth_its_wait_on_a_gpu_alone(write_bundle: WriteBundle) -> None:
    tiny = Classifier(load_bundle(write_bundle()), Device.AUTO)
    assert tiny.batch_window_s == (CUDA_WINDOW_S if tiny.provider == CUDA else 0.0)


def test_without_cuda_auto_says_why_it_runs_on_cpu_and_cuda_does_not_start(
    write_bundle: WriteBundle, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = load_bundle(write_bundle())
    with caplog.at_level(logging.INFO, "service.inference.session"):
        tiny = Classifier(bundle, Device.AUTO)
    if tiny.provider == CUDA:
        pytest.skip("CUDA is here")
    (message,) = {r.getMessage() for r in caplog.records if r.name == "service.inference.session"}
    assert message.startswith("running on CPU: ")
    with pytest.raises(DeviceError) as refused:
        Classifier(bundle, Device.CUDA)
    assert str(refused.value) == "model.device is cuda, but " + message.removeprefix("running on CPU: ")
