"""Models are swapped while alerts flow: no gap, no mixture, and a broken bundle changes nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from service.config import Device
from service.inference.bundle import BundleError, load_bundle
from service.inference.registry import ModelRegistry
from service.photometry import LightCurve
from tests.inference.tiny_bundle import TinyGraph, WriteBundle, draw_light_curve


@pytest.fixture
def versions(write_bundle: WriteBundle) -> list[Path]:
    """Three versions whose answers differ."""
    return [write_bundle(TinyGraph.drawn(seed).model(), folder=f"v{seed}", version=f"1.{seed}.0") for seed in (0, 1, 2)]


@pytest.fixture
def registry(versions: list[Path]) -> ModelRegistry:
    return ModelRegistry(load_bundle(versions[0]), Device.CPU, threads=1)


def roles(registry: ModelRegistry) -> list[tuple[str, str]]:
    return [(model.version, role) for model, role in registry.models()]


def test_a_new_version_becomes_active_and_can_be_taken_back(registry: ModelRegistry, versions: list[Path]) -> None:
    light_curve = draw_light_curve(np.random.default_rng(0), 8)
    before = registry.active.classify([light_curve])[0]
    registry.activate(versions[1])
    after = registry.active.classify([light_curve])[0]
    assert (before.version, after.version) == ("1.0.0", "1.1.0")
    assert not np.allclose(before.probabilities, after.probabilities)
    assert roles(registry) == [("1.1.0", "active"), ("1.0.0", "previous")]
    registry.rollback()
    again = registry.active.classify([light_curve])[0]
    assert again.version == "1.0.0"
    np.testing.assert_array_equal(again.probabilities, before.probabilities)
    registry.rollback()  # undoes the first
    assert registry.active.version == "1.1.0"


def test_a_batch_under_way_ends_with_the_model_it_began_with(registry: ModelRegistry, versions: list[Path]) -> None:
    light_curve = draw_light_curve(np.random.default_rng(0), 8)
    began_with = registry.active
    expected = began_with.classify([light_curve])[0]
    for version in versions[1:]:
        registry.activate(version)
    assert roles(registry) == [("1.2.0", "active"), ("1.1.0", "previous")]
    answer = began_with.classify([light_curve])[0]
    assert answer.version == "1.0.0"
    np.testing.assert_array_equal(answer.probabilities, expected.probabilities)


def test_shadows_answer_beside_the_active_model_and_can_be_promoted(
    registry: ModelRegistry, versions: list[Path]
) -> None:
    shadow = registry.add_shadow(versions[1])
    assert registry.add_shadow(versions[1]) is shadow
    registry.add_shadow(versions[2])
    assert roles(registry) == [("1.0.0", "active"), ("1.1.0", "shadow"), ("1.2.0", "shadow")]
    assert registry.activate(versions[1]) is shadow  # already in memory and warm
    assert roles(registry) == [("1.1.0", "active"), ("1.2.0", "shadow"), ("1.0.0", "previous")]


def test_a_resident_model_is_promoted_whatever_became_of_its_folder(
    registry: ModelRegistry, versions: list[Path]
) -> None:
    shadow = registry.add_shadow(versions[1])
    (versions[1] / "model.onnx").unlink()
    assert registry.promote("tiny", "1.1.0") is shadow
    assert roles(registry) == [("1.1.0", "active"), ("1.0.0", "previous")]
    registry.promote("tiny", "1.0.0")
    assert roles(registry) == [("1.0.0", "active"), ("1.1.0", "previous")]


def test_what_cannot_be_done_says_why_and_changes_nothing(
    registry: ModelRegistry, versions: list[Path], write_bundle: WriteBundle
) -> None:
    before = registry.residents
    damaged = write_bundle(folder="damaged", version="9.0.0")
    (damaged / "model.onnx").write_bytes(b"")
    unfit = write_bundle(TinyGraph.drawn().model(logits_name="scores"), folder="unfit", version="9.0.1")
    impostor = write_bundle(TinyGraph.drawn(7).model(), folder="impostor", version="1.0.0")
    for folder, message in [(damaged, "sha256"), (unfit, "has no output"), (impostor, "another tiny 1.0.0")]:
        with pytest.raises(BundleError, match=message):
            registry.activate(folder)
        with pytest.raises(BundleError, match=message):
            registry.add_shadow(folder)
    with pytest.raises(BundleError, match="no model to go back to"):
        registry.rollback()
    with pytest.raises(BundleError, match=r"tiny 1.0.0 is active"):
        registry.add_shadow(versions[0])
    with pytest.raises(BundleError, match=r"tiny 5.5.5 is not resident"):
        registry.promote("tiny", "5.5.5")
    assert registry.residents is before
    registry.activate(versions[0])  # the active one again: nothing to do
    assert registry.residents is before


def test_swapping_under_load_loses_no_answer_and_mixes_none(
    registry: ModelRegistry, versions: list[Path], light_curves: list[LightCurve]
) -> None:
    expected = {}
    for version in versions:
        registry.activate(version)
        expected[registry.active.version] = registry.active.classify(light_curves)
    stop = threading.Event()
    seen: set[str] = set()
    failures: list[str] = []

    def consume() -> None:
        while not stop.is_set():
            predictions = registry.active.classify(light_curves)
            said = {prediction.version for prediction in predictions}
            if len(predictions) != len(light_curves) or len(said) != 1:
                failures.append(f"{len(predictions)} answers of versions {said}")
                continue
            seen.update(said)
            for prediction, reference in zip(predictions, expected[predictions[0].version], strict=True):
                if not np.array_equal(prediction.probabilities, reference.probabilities):
                    failures.append(f"an answer of {prediction.version} is not that model's")

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    for consumer in consumers:
        consumer.start()
    for turn in range(24):
        if turn % 4 == 3:
            registry.rollback()
        else:
            registry.activate(versions[turn % 3])
    stop.set()
    for consumer in consumers:
        consumer.join()
    assert not failures
    assert len(seen) >= 2
