"""Write a bundle: one ONNX graph, its manifest, card and metrics; and verify that it says what torch says."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_export.data.batches import PADDING_BIAS
from model_export.data.scores import IS_TRANSIENT
from model_export.data.tables import TAXONOMY
from model_export.network.encoder import AlertClassifier
from service.inference.manifest import Calibration, Manifest, OutOfDistribution, Preprocessing, Stochastic

OPSET: Final = 18
PARITY: Final = 1e-5


@dataclass(frozen=True)
class Publication:
    """How logits are published: the prior (C,) they carry, and the softening of `calibrate.soften`."""

    prior: NDArray[np.float64]
    softening: float = 1.0


class _Served(nn.Module):
    """(logits, embedding) as published; `half`: the blocks in float16."""

    is_transient: Tensor

    def __init__(self, model: AlertClassifier, publication: Publication, half: bool = False) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.softening = publication.softening
        self.register_buffer("is_transient", torch.from_numpy(IS_TRANSIENT).float()[:, None])
        if half:
            self.model.encoder.blocks.half()
        with torch.no_grad():
            self.model.head.bias += torch.from_numpy(np.log(publication.prior)).float()

    def forward(self, points: Tensor, context: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        bias = None
        if lengths is not None:  # (B,): how many points of each window are real
            real = torch.arange(points.shape[2], device=points.device) < lengths[:, None]  # (B, L)
            bias = torch.where(real, 0.0, PADDING_BIAS)[:, None, None, :]  # (B, 1, 1, L)
        logits, embedding = self.model(points, context, bias)
        transient = logits.softmax(-1) @ self.is_transient  # (B, 1)
        return logits * (self.softening + (1.0 - self.softening) * transient), embedding


def export_alert_clr(
    model: AlertClassifier, publication: Publication, path: Path, half: bool = False, padded: bool = False
) -> None:
    """One graph: points (batch, windows, length, F), context (batch, C) -> logits, embedding; every axis dynamic.

    For GPUs: `half` has attention and feed-forward in float16, times, pooling and head in float32; `padded` takes a
    third input, `lengths` (batch,), and of each window only so many points.
    """
    served = _Served(model, publication, half)
    batch, count, length = (torch.export.Dim(name, min=1) for name in ("batch", "windows", "length"))
    example = (
        torch.randn(3, 2, 11, model.config.point_features),
        torch.randn(3, model.config.context_features),
    )
    inputs, dynamic = ["points", "context"], ({0: batch, 1: count, 2: length}, {0: batch})
    if padded:
        example, inputs, dynamic = (*example, torch.tensor([11, 4, 7])), [*inputs, "lengths"], (*dynamic, {0: batch})
    export_graph(served, example, path, inputs, dynamic, ["logits", "embedding"])


def export_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    dynamic: tuple[dict[int, Any], ...],
    outputs: list[str],
) -> None:
    """Export by the dynamo exporter into one self-contained file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
    proto = program.model_proto
    proto.graph.ClearField("value_info")  # shapes of one example would be wrong for others
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # the exporter's stack traces name files of this machine
        node.doc_string = ""
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU, as the service makes it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_manifest(
    folder: Path,
    *,
    name: str,
    version: str,
    description: str,
    prior: NDArray[np.float64],
    preprocessing: tuple[str, dict[str, Any]],
    calibration: Calibration,
    out_of_distribution: OutOfDistribution | None,
    data_digest: str,
    minimum_detections: int,
    opset: int = OPSET,
    taxonomy: dict[str, str] = TAXONOMY,
    bands: Sequence[str] = ("g", "r", "i"),
    stochastic: Stochastic | None = None,
) -> Manifest:
    """Write `manifest.json` beside `model.onnx`, with the graph's hash."""
    manifest = Manifest(
        name=name,
        version=version,
        description=description,
        taxonomy=taxonomy,
        prior=[float(x) for x in prior],
        preprocessing=Preprocessing(id=preprocessing[0], parameters=preprocessing[1]),
        outputs={"logits": "logits", "embedding": "embedding"},
        minimum_detections=minimum_detections,
        bands=list(bands),
        stochastic=stochastic,
        calibration=calibration,
        out_of_distribution=out_of_distribution,
        sha256=sha256(folder / "model.onnx"),
        data_digest=data_digest,
        opset=opset,
        created=datetime.now(UTC).replace(microsecond=0).isoformat(),
    )
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(), separators=(",", ":")) + "\n")
    return manifest


def parity(
    path: Path, model: AlertClassifier, publication: Publication, inputs: list[tuple[NDArray[Any], NDArray[Any]]]
) -> float:
    """Largest difference of logits and embeddings between ONNX Runtime and torch over (points, context) inputs.

    Relative where a value exceeds one.
    """
    served, run, worst = _Served(model, publication), session(path), 0.0
    for points, context in inputs:
        answers = run.run(["logits", "embedding"], _feed(run, points, context))
        with torch.no_grad():
            expected = served(torch.from_numpy(points), torch.from_numpy(context))
        for ours, theirs in zip(answers, expected, strict=True):
            size = np.maximum(np.abs(theirs.numpy()), 1.0)  # float32 rounds a logit of 15 by 1e-6 at every step
            worst = max(worst, float((np.abs(ours - theirs.numpy()) / size).max()))
    return worst


def _feed(run: onnxruntime.InferenceSession, points: NDArray[Any], context: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Inputs without any padding; where the graph wants to hear it, it is told."""
    feed = {"points": points, "context": context}
    if any(node.name == "lengths" for node in run.get_inputs()):
        feed["lengths"] = np.full(len(points), points.shape[2])
    return feed


def latency(path: Path, length: int = 50, repeats: int = 400) -> float:
    """Median milliseconds of one light curve of `length` points on one thread."""
    import time

    run = session(path)
    features = {i.name: i.shape[-1] for i in run.get_inputs()}
    rng = np.random.default_rng(0)
    feed = _feed(
        run,
        rng.standard_normal((1, 1, length, features["points"])).astype(np.float32),
        rng.standard_normal((1, features["context"])).astype(np.float32),
    )
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run.run(None, feed)
        times.append(time.perf_counter() - start)
    return float(np.median(times[repeats // 10 :]) * 1e3)
