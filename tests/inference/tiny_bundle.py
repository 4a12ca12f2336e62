"""Tiny bundles: a real graph under a real manifest, small enough to follow in numpy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.config import Device
from service.inference.block_inputs import BlockInputs
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.preprocessing.alert_clr import CONTEXT_FEATURES, POINT_FEATURES, alert_clr
from service.inference.preprocessing.blocks import KEPT_FACTS, KEPT_INPUT
from service.photometry import CONTEXT_INPUT, Kind, LightCurve

WriteBundle = Callable[..., Path]  # the fixture of that name in conftest.py

TAXONOMY = {"SNIa": "Transient", "SNII": "Transient", "AGN": "Stochastic", "RR": "Periodic", "ECL": "Periodic"}
EMBEDDING_SIZE = 6
CONTEXT = ("distnr", "gal_b", "sgscore1")
CONTEXT_WEIGHTS = np.random.default_rng(3).normal(0, 0.5, (len(CONTEXT), len(TAXONOMY))).astype(np.float32)


@dataclass(frozen=True)
class TinyGraph:
    """embedding = tanh([mean over points, context] A); logits = embedding B. `answer` is the same in numpy."""

    a: NDArray[np.float32]
    b: NDArray[np.float32]

    @classmethod
    def drawn(cls, seed: int = 0, n_classes: int = len(TAXONOMY)) -> TinyGraph:
        rng = np.random.default_rng(seed)
        features = len(POINT_FEATURES) + len(CONTEXT_FEATURES)
        return cls(
            rng.normal(0, 0.3, (features, EMBEDDING_SIZE)).astype(np.float32),
            rng.normal(0, 2.0, (EMBEDDING_SIZE, n_classes)).astype(np.float32),
        )

    def answer(self, light_curve: LightCurve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(logits (C,), embedding (D,))."""
        inputs = alert_clr(light_curve, {})
        features = np.concatenate([inputs["points"].mean(axis=(0, 1)), inputs["context"]]).astype(np.float64)
        embedding = np.tanh(features @ self.a)
        return embedding @ self.b, embedding

    def model(
        self,
        *,
        batch: str | int = "batch",
        points_name: str = "points",
        points_type: int = TensorProto.FLOAT,
        n_features: int = len(POINT_FEATURES),
        logits_name: str = "logits",
        padded: bool = False,
        mask_size: int | str | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> bytes:
        """The ONNX model; `padded`: its points may be filled up with zeros, and `lengths` says how many are real;
        `mask_size`: D, for one that takes dropout masks (passes, D) of its embedding and gives logits of each pass;
        `weights` (columns, classes): for one that takes the object's context too, and adds its known values times these
        to the logits. The other keywords make one that breaks the contract.
        """
        mean = [helper.make_node("ReduceMean", ["as_float", "axes"], ["mean"], keepdims=0)]
        if padded:
            mean = [
                helper.make_node("ReduceSum", ["as_float", "length_axis"], ["sum"], keepdims=0),
                helper.make_node("Cast", ["lengths"], ["number"], to=TensorProto.FLOAT),
                helper.make_node("Unsqueeze", ["number", "axes"], ["column"]),
                helper.make_node("Div", ["sum", "column"], ["by_window"]),
                helper.make_node("ReduceMean", ["by_window", "window_axis"], ["mean"], keepdims=0),
            ]
        logits = [helper.make_node("MatMul", ["embedding", "b"], [logits_name])]
        if mask_size is not None:
            logits = [
                helper.make_node("Unsqueeze", ["embedding", "window_axis"], ["each"]),
                helper.make_node("Mul", ["each", "mask"], ["masked"]),
                helper.make_node("MatMul", ["masked", "b"], [logits_name]),
            ]
        if weights is not None:
            logits = [
                helper.make_node("MatMul", ["embedding", "b"], ["of_light_curve"]),
                helper.make_node("IsNaN", [CONTEXT_INPUT], ["is_missing"]),
                helper.make_node("Where", ["is_missing", "zero", CONTEXT_INPUT], ["known"]),
                helper.make_node("MatMul", ["known", "weights"], ["of_context"]),
                helper.make_node("Add", ["of_light_curve", "of_context"], [logits_name]),
            ]
        a = np.resize(self.a, (n_features + len(CONTEXT_FEATURES), EMBEDDING_SIZE))
        nodes = [
            helper.make_node("Cast", [points_name], ["as_float"], to=TensorProto.FLOAT),
            *mean,
            helper.make_node("Concat", ["mean", "context"], ["features"], axis=1),
            helper.make_node("MatMul", ["features", "a"], ["projected"]),
            helper.make_node("Tanh", ["projected"], ["embedding"]),
            *logits,
        ]
        constants = {
            "axes": np.array([1, 2]),
            "window_axis": np.array([1]),
            "length_axis": np.array([2]),
            "a": a,
            "b": self.b,
            "weights": weights,
            "zero": np.array(0.0, np.float32),
        }
        taken = {name for node in nodes for name in node.input}  # ONNX Runtime warns of constants that nobody takes
        graph = helper.make_graph(
            nodes,
            "tiny",
            [
                helper.make_tensor_value_info(points_name, points_type, [batch, "windows", "points", n_features]),
                helper.make_tensor_value_info("context", TensorProto.FLOAT, [batch, len(CONTEXT_FEATURES)]),
                *([helper.make_tensor_value_info("lengths", TensorProto.INT64, [batch])] if padded else []),
                *(
                    []
                    if weights is None
                    else [helper.make_tensor_value_info(CONTEXT_INPUT, TensorProto.FLOAT, [batch, len(weights)])]
                ),
                *(
                    [helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["passes", mask_size])]
                    if mask_size
                    else []
                ),
            ],
            [
                helper.make_tensor_value_info(
                    logits_name, TensorProto.FLOAT, ["batch", *([None] if mask_size else []), None]
                ),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", None]),
            ],
            [numpy_helper.from_array(values, name) for name, values in constants.items() if name in taken],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def manifest_values(graph: bytes, **changes: Any) -> dict[str, Any]:
    """A manifest that fits `TinyGraph`, as JSON values; `changes` replace fields, None removes one."""
    rng = np.random.default_rng(1)
    whitening = rng.normal(size=(EMBEDDING_SIZE - 2, EMBEDDING_SIZE))
    values: dict[str, Any] = {
        "format": 1,
        "name": "tiny",
        "version": "1.0.0",
        "taxonomy": TAXONOMY,
        "prior": [0.4, 0.3, 0.15, 0.1, 0.05],
        "preprocessing": {"id": "alert-clr/1", "parameters": {"window": 40, "max_windows": 3}},
        "outputs": {"logits": "logits", "embedding": "embedding"},
        "minimum_detections": 2,
        "calibration": {
            "edges": [1, 3, 10],
            "temperature": [2.0, 1.5, 0.8],
            "conformal_coverage": 0.9,
            "conformal_thresholds": rng.uniform(0.5, 0.95, (3, len(TAXONOMY))).tolist(),
        },
        "out_of_distribution": {
            "means": rng.uniform(-1, 1, (len(TAXONOMY), EMBEDDING_SIZE)).tolist(),
            "whitening": whitening.tolist(),
            "scale": 3.0,
            "threshold": 1.5,
        },
        "sha256": hashlib.sha256(graph).hexdigest(),
        "data_digest": "0" * 64,
        "opset": 18,
        "created": "2025-01-01T00:00:00Z",
    }
    values |= changes
    return {name: value for name, value in values.items() if value is not None}


def write_files(path: Path, graph: bytes, **changes: Any) -> Path:
    """A bundle in the new folder `path`."""
    path.mkdir()
    (path / "model.onnx").write_bytes(graph)
    (path / "manifest.json").write_text(json.dumps(manifest_values(graph, **changes)))
    (path / "MODEL_CARD.md").write_text("# tiny\nA graph for tests.\n")
    (path / "metrics.json").write_text(json.dumps({"accuracy": 0.5}))
    return path


def write_bundle_with_context(path: Path) -> Path:
    """A bundle that takes CONTEXT: the logits of `TinyGraph`, at a temperature of 1, plus the known values times
    CONTEXT_WEIGHTS.
    """
    calibration = {
        "edges": [1], "temperature": [1.0], "conformal_coverage": 0.9, "conformal_thresholds": [[0.9] * len(TAXONOMY)],
    }  # fmt: skip
    graph = TinyGraph.drawn().model(weights=CONTEXT_WEIGHTS)
    return write_files(path, graph, name="tiny-context", context=list(CONTEXT), calibration=calibration)


def draw_light_curve(rng: np.random.Generator, n_detections: int, n_upper_limits: int = 0) -> LightCurve:
    """Detections and upper limits of both signs in g, r, i at random times of a month."""
    count = n_detections + n_upper_limits
    detected = np.arange(count) < n_detections
    return LightCurve.from_columns(
        59000.0 + rng.uniform(0, 30, count),
        rng.integers(0, 3, count),
        mag=np.where(detected, rng.uniform(16, 20, count), np.nan),
        magerr=np.where(detected, rng.uniform(0.02, 0.2, count), np.nan),
        limit=rng.uniform(19.5, 21, count),
        sign=np.where(detected, rng.choice([-1, 1], count), 0),
        kind=np.where(detected, Kind.DETECTION, Kind.UPPER_LIMIT),
    )


BLOCK_PARAMETERS = {
    "window": 16,
    "many": 50,
    "short_block": 10,
    "cell_days": 64.0,
    "max_blocks": 5,
    "embedding": EMBEDDING_SIZE,
}
_SPREAD_WEIGHTS = np.random.default_rng(4).normal(0, 2.0, (EMBEDDING_SIZE, len(TAXONOMY))).astype(np.float32)


def write_bundle_with_blocks(path: Path, parameters: dict[str, Any] = BLOCK_PARAMETERS, **changes: Any) -> Path:
    """A bundle of alert-clr/2: the embedding of `TinyGraph` and those of finished blocks by their share, and logits
    that the variance and offsets of the latter move.
    """
    tiny = TinyGraph.drawn()
    size = EMBEDDING_SIZE
    columns = [size, size, 1, len(KEPT_FACTS) - 1]
    nodes = [
        helper.make_node("ReduceMean", ["points", "axes"], ["average"], keepdims=0),
        helper.make_node("Concat", ["average", "context"], ["features"], axis=1),
        helper.make_node("MatMul", ["features", "a"], ["projected"]),
        helper.make_node("Tanh", ["projected"], ["own"]),
        helper.make_node("Split", [KEPT_INPUT, "columns"], ["mean", "variance", "share", "facts"], axis=1),
        helper.make_node("Sub", ["mean", "own"], ["apart"]),
        helper.make_node("Mul", ["share", "apart"], ["moved"]),
        helper.make_node("Add", ["own", "moved"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "b"], ["of_mean"]),
        helper.make_node("MatMul", ["variance", "v"], ["of_spread"]),
        helper.make_node("ReduceSum", ["facts", "last_axis"], ["of_facts"], keepdims=1),
        helper.make_node("Add", ["of_mean", "of_spread"], ["of_blocks"]),
        helper.make_node("Mul", ["of_blocks", "of_facts"], ["by_facts"]),
        helper.make_node("Add", ["of_blocks", "by_facts"], ["logits"]),
    ]
    constants = {
        "axes": np.array([1, 2]), "last_axis": np.array([1]), "columns": np.array(columns), "a": tiny.a, "b": tiny.b,
        "v": _SPREAD_WEIGHTS,
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "tiny with blocks",
        [
            helper.make_tensor_value_info("points", TensorProto.FLOAT, ["batch", "w", "points", len(POINT_FEATURES)]),
            helper.make_tensor_value_info("context", TensorProto.FLOAT, ["batch", len(CONTEXT_FEATURES)]),
            helper.make_tensor_value_info(KEPT_INPUT, TensorProto.FLOAT, ["batch", sum(columns)]),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", None]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", None]),
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    preprocessing = {"id": "alert-clr/2", "parameters": parameters}
    return write_files(
        path, model.SerializeToString(), **{"name": "tiny-blocks", "preprocessing": preprocessing} | changes
    )


def forgetful(folder: Path) -> Classifier:
    """A classifier that remembers no block, and so computes every answer from nothing."""
    opened = Classifier(load_bundle(folder), Device.CPU, 1)
    opened._blocks = BlockInputs(opened.bundle, remembered=0)
    return opened
