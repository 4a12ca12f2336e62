"""Fuse a published-interface Astra-CLR encoder with three windows and a head into one graph, and make it a bundle.

The encoder takes `input`, `times`, `band_info` (B, 700, 1) and `mask` (B, 700) and gives (B, 512). The head is an .npz
with `weight` (C, 1536) for concatenated or (C, 512) for averaged windows, `bias` (C,), `classes` (C,) and optionally
`superclasses` (C,), `mean` and `scale` of the standardised embedding a logistic probe was fitted on, `prior` (C,).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from model_export.bundles.graph import write_manifest
from model_export.studies.astra.network import WINDOWS
from service.inference.manifest import Calibration, Manifest
from service.inference.preprocessing.alert_clr import ASTRA_LENGTHS

LENGTH: Final = sum(ASTRA_LENGTHS)
_SHAPES: Final[dict[str, list[int]]] = {
    "input": [LENGTH, 1], "times": [LENGTH, 1], "band_info": [LENGTH, 1], "mask": [LENGTH],
}  # fmt: skip


@dataclass(frozen=True)
class Head:
    """A linear head: logits = weight @ embedding + bias."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    classes: tuple[str, ...]
    superclasses: tuple[str, ...]
    prior: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> Head:
        """Raises ValueError that names the missing or misshapen array."""
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in ("weight", "bias", "classes") if name not in arrays]
            if missing:
                raise ValueError(f"{path.name} has no array {', '.join(missing)}; it has {', '.join(arrays.files)}")
            weight, bias = arrays["weight"].astype(np.float64), arrays["bias"].astype(np.float64)
            classes = tuple(str(name) for name in arrays["classes"])
            parents = tuple(str(name) for name in arrays["superclasses"]) if "superclasses" in arrays else classes
            prior = arrays["prior"] if "prior" in arrays else np.full(len(classes), 1 / len(classes))
            if "scale" in arrays:  # standardisation folds into the linear map
                weight = weight / arrays["scale"]
                bias = bias - weight @ arrays["mean"]
        if weight.shape[0] != len(classes) or bias.shape != (len(classes),):
            raise ValueError(f"{path.name}: weight {weight.shape} and bias {bias.shape} for {len(classes)} classes")
        return cls(weight.astype(np.float32), bias.astype(np.float32), classes, parents, prior / prior.sum())


def fuse(encoder: onnx.ModelProto, head: Head) -> onnx.ModelProto:
    """One graph over (B, 3, 700, 1) windows: flatten, encode, concatenate or average, head."""
    names = [i.name for i in encoder.graph.input]
    missing = [name for name in _SHAPES if name not in names]
    if missing:
        raise ValueError(f"the encoder has no input {', '.join(missing)}; it has {', '.join(names)}")
    if len(encoder.graph.output) != 1:
        raise ValueError(f"the encoder has {len(encoder.graph.output)} outputs, not one embedding")
    output = encoder.graph.output[0]
    width = output.type.tensor_type.shape.dim[-1].dim_value
    if head.weight.shape[1] not in (width, WINDOWS * width):
        raise ValueError(f"the head takes {head.weight.shape[1]} numbers, the encoder gives {width} per window")
    encoder = compose.add_prefix(encoder, "encoder/")
    merged = compose.merge_models(
        _flatten(encoder), encoder, io_map=[(f"flat/{name}", f"encoder/{name}") for name in _SHAPES]
    )
    end = _head(head, width, encoder)
    fused = compose.merge_models(merged, end, io_map=[(f"encoder/{output.name}", "windows")])
    onnx.checker.check_model(fused)
    return fused


def import_astra(encoder_path: Path, head_path: Path, out: Path, version: str) -> Manifest:
    """Write a bundle that is marked as uncalibrated: temperature 1, conformal sets of all classes."""
    head = Head.read(head_path)
    encoder = onnx.load(encoder_path)
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(fuse(encoder, head).SerializeToString())
    digest = hashlib.sha256(encoder_path.read_bytes() + head_path.read_bytes()).hexdigest()
    (out / "MODEL_CARD.md").write_text(
        f"# astra-clr {version}\n\nAn imported Astra-CLR encoder (arXiv:2606.31627), a linear head over three windows: "
        f"{', '.join(head.classes)}.\n\nMade for total magnitudes with at least 200 points in g and in r. Not "
        "calibrated here: the temperature is 1 and conformal sets hold every class.\n"
    )
    (out / "metrics.json").write_text("{}\n")
    return write_manifest(
        out,
        name="astra-clr",
        version=version,
        description="Imported Astra-CLR encoder, three windows, linear head.",
        prior=head.prior,
        preprocessing=("astra-clr/1", {}),
        calibration=Calibration(
            edges=[1], temperature=[1.0], conformal_coverage=0.9, conformal_thresholds=[[1.0] * len(head.classes)]
        ),
        out_of_distribution=None,
        data_digest=digest,
        minimum_detections=200,
        opset=encoder.opset_import[0].version,
        taxonomy=dict(zip(head.classes, head.superclasses, strict=True)),
    )


def _flatten(encoder: onnx.ModelProto) -> onnx.ModelProto:
    """(B, 3, ...) -> (3 B, ...) for every input."""
    nodes, inputs, outputs, constants = [], [], [], []
    for name, shape in _SHAPES.items():
        constants.append(numpy_helper.from_array(np.array([-1, *shape], dtype=np.int64), f"shape/{name}"))
        nodes.append(helper.make_node("Reshape", [name, f"shape/{name}"], [f"flat/{name}"]))
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WINDOWS, *shape]))
        outputs.append(helper.make_tensor_value_info(f"flat/{name}", TensorProto.FLOAT, ["windows", *shape]))
    return _model(helper.make_graph(nodes, "windows", inputs, outputs, constants), encoder)


def _head(head: Head, width: int, encoder: onnx.ModelProto) -> onnx.ModelProto:
    """(3 B, d) -> logits (B, C) and the fused embedding (B, 3 d) or (B, d)."""
    concatenated = head.weight.shape[1] != width
    constants: list[Any] = [
        numpy_helper.from_array(head.weight.T.copy(), "head/weight"),
        numpy_helper.from_array(head.bias, "head/bias"),
    ]
    if concatenated:
        constants.append(numpy_helper.from_array(np.array([-1, WINDOWS * width], dtype=np.int64), "head/shape"))
        nodes = [helper.make_node("Reshape", ["windows", "head/shape"], ["embedding"])]
    else:  # the mean over windows as a product with a constant, which is the same in every opset
        constants.append(numpy_helper.from_array(np.array([-1, WINDOWS, width], dtype=np.int64), "head/shape"))
        constants.append(numpy_helper.from_array(np.full((1, WINDOWS), 1 / WINDOWS, np.float32), "head/mean"))
        constants.append(numpy_helper.from_array(np.array([-1, width], dtype=np.int64), "head/flat"))
        nodes = [
            helper.make_node("Reshape", ["windows", "head/shape"], ["head/windows"]),
            helper.make_node("MatMul", ["head/mean", "head/windows"], ["head/averaged"]),
            helper.make_node("Reshape", ["head/averaged", "head/flat"], ["embedding"]),
        ]
    nodes.append(helper.make_node("Gemm", ["embedding", "head/weight", "head/bias"], ["logits"]))
    size = head.weight.shape[1]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["windows", width])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(head.classes)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", size]),
        ],
        constants,
    )
    return _model(graph, encoder)


def _model(graph: onnx.GraphProto, encoder: onnx.ModelProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=encoder.opset_import, ir_version=encoder.ir_version)
