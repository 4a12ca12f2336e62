"""A bundle is served only when every file is there, is the one that was meant, and fits the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from service.config import Device
from service.inference.bundle import BundleError, load_bundle
from service.inference.classifier import Classifier
from service.inference.session import CPU, CUDA, DeviceError
from tests.inference.tiny_bundle import EMBEDDING_SIZE, TAXONOMY, TinyGraph, WriteBundle, manifest_values


def test_a_whole_bundle_is_read(write_bundle: WriteBundle) -> None:
    bundle = load_bundle(write_bundle(version="2.1.0+night"))
    assert bundle.label == "tiny 2.1.0+night"
    assert bundle.manifest.classes == tuple(TAXONOMY)
    assert bundle.manifest.superclasses == ("Transient", "Stochastic", "Periodic")
    assert bundle.card.startswith("# tiny")
    assert bundle.metrics == {"accuracy": 0.5}


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "MODEL_CARD.md", "metrics.json"])
def test_a_missing_file_is_named(write_bundle: WriteBundle, name: str) -> None:
    folder = write_bundle()
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{folder} has no readable {name}"):
        load_bundle(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere is not a folder"):
        load_bundle(tmp_path / "nowhere")


def test_one_changed_byte_of_the_model_is_noticed_before_it_is_loaded(write_bundle: WriteBundle) -> None:
    folder = write_bundle()
    graph = bytearray((folder / "model.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (folder / "model.onnx").write_bytes(graph)
    with pytest.raises(BundleError, match=r"sha256 .* but its manifest says"):
        load_bundle(folder)


@pytest.mark.parametrize(("name", "content"), [("manifest.json", b"{,}"), ("metrics.json", b"[1]")])
def test_a_file_that_is_not_what_it_should_be_is_named(write_bundle: WriteBundle, name: str, content: bytes) -> None:
    folder = write_bundle()
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        load_bundle(folder)


_CALIBRATION = manifest_values(b"")["calibration"]
_STATISTICS = manifest_values(b"")["out_of_distribution"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("taxonomy", None, "taxonomy: Field required"),
        ("format", 2, "format: Input should be 1"),
        ("name", "Has Space", "name: String should match"),
        ("sha256", "abc", "sha256: String should match"),
        ("taxonomy", {"SNIa": "Transient"}, "at least two classes"),
        ("prior", [0.5, 0.5], "prior must hold 5 frequencies"),
        ("bands", ["g", "infrared"], "bands holds infrared; known bands are g, r"),
        ("bands", [], "bands: List should have at least 1 item"),
        ("outputs", {"logits": "logits"}, "outputs must name the graph's embedding"),
        ("minimum_detections", 0, "minimum_detections: Input should be greater than or equal to 1"),
        ("calibration", _CALIBRATION | {"temperature": [1.0, 0.0, 1.0]}, "calibration: .*temperature must be positive"),
        ("calibration", _CALIBRATION | {"edges": [1, 10, 3]}, "edges must ascend from 1"),
        ("calibration", _CALIBRATION | {"temperature": [1.0]}, "one entry per bin"),
        ("calibration", _CALIBRATION | {"conformal_thresholds": [[0.5]] * 3}, "conformal_thresholds must have 5"),
        ("out_of_distribution", _STATISTICS | {"scale": 0}, "out_of_distribution.scale: Input should be greater"),
        ("out_of_distribution", _STATISTICS | {"means": [[0.0] * EMBEDDING_SIZE] * 6}, "means must have 1 to 5 rows"),
        ("context_calibration", _CALIBRATION, "context names no column"),
        ("out_of_distribution", _STATISTICS | {"whitening": [[1.0]]}, "means and whitening must have D columns"),
        ("preprocessing", {"id": "tea-leaves/1"}, "preprocessing.id 'tea-leaves/1' is unknown; known are alert-clr/1"),
        ("surprise", 1, "surprise: there is no field of this name"),
    ],
)
def test_a_wrong_field_of_the_manifest_is_named(
    write_bundle: WriteBundle, field: str, value: Any, message: str
) -> None:
    folder = write_bundle(**{field: value})
    with pytest.raises(BundleError, match=message) as raised:
        load_bundle(folder)
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("graph", "changes", "message"),
    [
        ({"points_name": "tokens"}, {}, "takes the inputs context, tokens, but preprocessing alert-clr/1 makes"),
        ({"points_type": TensorProto.DOUBLE}, {}, r"takes input points as tensor\(double\), .* makes float32"),
        ({"n_features": 7}, {}, r"takes input points of shape \(batch, windows, points, 7\)"),
        ({"batch": 1}, {}, "has a fixed batch of 1 in input"),
        ({"logits_name": "scores"}, {}, "has no output logits .* it has scores, embedding"),
        ({}, {"outputs": {"logits": "logits", "embedding": "features"}}, "has no output features"),
        ({}, {"outputs": {"logits": "embedding", "embedding": "logits"}}, r"taxonomy asks for \(2, 5\)"),
        (
            {},
            {
                "out_of_distribution": _STATISTICS
                | {"means": [[0.0] * 3] * 5, "whitening": [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]}
            },
            "embeddings of 6 values, out_of_distribution.means has 3",
        ),
        ({}, {"preprocessing": {"id": "alert-clr/1", "parameters": {"window": "long"}}}, "preprocessing.parameters"),
    ],
)
def test_a_graph_that_does_not_fit_the_manifest_is_refused(
    write_bundle: WriteBundle, graph: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    bundle = load_bundle(write_bundle(TinyGraph.drawn().model(**graph), **changes))
    with pytest.raises(BundleError, match=message) as raised:
        Classifier(bundle, Device.CPU)
    assert str(bundle.folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_graph_of_another_taxonomy_is_refused(write_bundle: WriteBundle) -> None:
    bundle = load_bundle(write_bundle(TinyGraph.drawn(n_classes=4).model()))
    with pytest.raises(BundleError, match=r"logits of shape \(2, 4\) for two light curves"):
        Classifier(bundle, Device.CPU)


def test_a_graph_that_answers_with_nan_is_refused(write_bundle: WriteBundle) -> None:
    graph = TinyGraph.drawn()
    graph.b[0, 0] = float("nan")
    with pytest.raises(BundleError, match="not finite"):
        Classifier(load_bundle(write_bundle(graph.model())), Device.CPU)


def test_bytes_that_are_no_graph_are_refused(write_bundle: WriteBundle) -> None:
    with pytest.raises(BundleError, match="is not a graph that can be run"):
        Classifier(load_bundle(write_bundle(b"not a graph")), Device.CPU)


def test_the_manifest_survives_a_round_trip(write_bundle: WriteBundle) -> None:
    folder = write_bundle()
    manifest = load_bundle(folder).manifest
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json")))
    assert load_bundle(folder).manifest == manifest


def test_the_provider_is_the_one_asked_for(write_bundle: WriteBundle) -> None:
    bundle = load_bundle(write_bundle())
    assert Classifier(bundle, Device.CPU).provider == CPU
    assert Classifier(bundle, Device.AUTO).provider in (CPU, CUDA)


def test_cuda_is_never_replaced_without_a_word(write_bundle: WriteBundle) -> None:
    bundle = load_bundle(write_bundle())
    if Classifier(bundle, Device.AUTO).provider == CUDA:
        assert Classifier(bundle, Device.CUDA).provider == CUDA
    else:
        with pytest.raises(DeviceError, match=r"model\.device is cuda, but"):
            Classifier(bundle, Device.CUDA)
