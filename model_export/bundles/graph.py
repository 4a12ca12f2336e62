"""Write graph and manifest of a bundle, and check that the graph agrees with torch."""

from __future__ import annotations

import copy
import hashlib
import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
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
from model_export.network.block_fusion import BlockClassifier
from model_export.network.encoder import AlertClassifier
from service.inference.bundle import seal_bundle
from service.inference.manifest import Calibration, Manifest, OutOfDistribution, Preprocessing, Stochastic
from service.inference.preprocessing.blocks import KEPT_INPUT
from service.inference.session import CPU, session_options
from service.photometry import CONTEXT_INPUT

OPSET: Final = 18
PARITY: Final = 1e-5

Feed = Mapping[str, NDArray[Any]]  # inputs of a graph by name


@dataclass(frozen=True)
class Publication:
    """How logits are published: the prior (C,) included, and the softening of `calibrate.soften`."""

    prior: NDArray[np.float64]
    softening: float = 1.0


class Served(nn.Module):
    """A network as published: (logits, embedding), the logits softened and with the prior.

    `model` is an AlertClassifier or contains some: as passes, members of an ensemble, or padded. `half`: blocks in
    float16. The given network is not changed.
    """

    is_transient: Tensor

    def __init__(self, model: nn.Module, publication: Publication, half: bool = False) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.softening = publication.softening
        self.register_buffer("is_transient", torch.from_numpy(IS_TRANSIENT).float()[:, None])
        for network in self.networks():
            if half:
                network.encoder.blocks.half()
            with torch.no_grad():
                network.head.bias += torch.from_numpy(np.log(publication.prior)).float()

    def networks(self) -> list[AlertClassifier]:
        return [module for module in self.model.modules() if isinstance(module, AlertClassifier)]

    def forward(self, points: Tensor, context: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = self.model(points, context, *more)  # (B, C), or (B, P, C) of P passes
        transient = logits.softmax(-1) @ self.is_transient  # (B, 1), or (B, P, 1)
        return logits * (self.softening + (1.0 - self.softening) * transient), embedding


class Padded(nn.Module):
    """A network with a last input for the number of real points in each window."""

    def __init__(self, model: AlertClassifier | BlockClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, points: Tensor, context: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        *others, lengths = more
        real = torch.arange(points.shape[2], device=points.device) < lengths[:, None]  # (B, L)
        answer: tuple[Tensor, Tensor] = self.model(
            points, context, *others, torch.where(real, 0.0, PADDING_BIAS)[:, None, None, :]
        )
        return answer


def export_alert_clr(
    model: AlertClassifier | BlockClassifier,
    publication: Publication,
    path: Path,
    half: bool = False,
    padded: bool = False,
) -> None:
    """One graph: points (batch, windows, length, F), context (batch, C) -> logits, embedding; every axis dynamic. That
    of a BlockClassifier has the input `kept` too.

    For GPUs: `half` has attention and feed-forward in float16, but times, pooling and head in float32; `padded` has a
    last input, `lengths` (batch,), the number of points used of each window.
    """
    more: dict[str, NDArray[Any]] = {}
    if isinstance(model, BlockClassifier):
        more[KEPT_INPUT] = np.random.default_rng(0).random((3, model.kept_size), dtype=np.float32)
    if padded:
        more["lengths"] = np.array([11, 4, 7])
    export_served(Served(Padded(model) if padded else model, publication, half), path, more, "batch")


def export_served(served: Served, path: Path, more: Feed | None = None, axis: str = "passes") -> None:
    """One graph of `points`, `context` and `more` inputs; `more` is an example whose first axis is `axis`."""
    axes = {name: torch.export.Dim(name, min=1) for name in ("batch", "windows", "length", axis)}
    config, more = served.networks()[0].config, more or {}
    example = [torch.randn(3, 2, 11, config.point_features), torch.randn(3, config.context_features)]
    example += [torch.from_numpy(values) for values in more.values()]
    dynamic: list[Any] = [{0: axes["batch"], 1: axes["windows"], 2: axes["length"]}, {0: axes["batch"]}]
    if more:  # `*more` counts as one argument
        dynamic.append(tuple({0: axes[axis]} for _ in more))
    export_graph(served, tuple(example), path, ["points", "context", *more], tuple(dynamic), ["logits", "embedding"])


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
        node.ClearField("metadata_props")  # remove the exporter's stack traces, which name local files
        node.doc_string = ""
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on one core, with the service's options."""
    return onnxruntime.InferenceSession(path, session_options(), providers=[CPU])


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
    """Write `manifest.json` beside `model.onnx`, with the graph's hash, and seal what is there of the bundle."""
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
    seal_bundle(folder)
    return manifest


def parity(path: Path, module: nn.Module, feeds: Iterable[Feed]) -> float:
    """Largest difference between ONNX Runtime and torch, over `feeds` and all outputs.

    Relative if a value exceeds one, as float32 rounds a logit of 15 by 1e-6 at every operation.
    """
    run, worst = open_graph(path), 0.0
    names = [node.name for node in run.get_inputs()]
    for feed in feeds:
        with torch.no_grad():
            expected = module(*(torch.from_numpy(feed[name]) for name in names))
        for ours, theirs in zip(run.run(None, dict(feed)), expected, strict=True):
            size = np.maximum(np.abs(theirs.numpy()), 1.0)
            worst = max(worst, float((np.abs(ours - theirs.numpy()) / size).max()))
    return worst


def check_parity(path: Path, module: nn.Module, feeds: Iterable[Feed], tolerance: float = PARITY) -> float:
    """`parity`; raises ValueError if it exceeds the tolerance."""
    worst = parity(path, module, feeds)
    if worst > tolerance:
        raise ValueError(f"ONNX Runtime and torch differ by {worst:.1e}, more than {tolerance:.0e}")
    return worst


def latency(path: Path, length: int = 50, repeats: int = 400) -> float:
    """Median milliseconds of one light curve of `length` points on one thread."""
    run, rng = open_graph(path), np.random.default_rng(0)
    features = {node.name: node.shape[-1] for node in run.get_inputs()}
    feed = {
        "points": rng.standard_normal((1, 1, length, features["points"])).astype(np.float32),
        "context": rng.standard_normal((1, features["context"])).astype(np.float32),
    }
    if KEPT_INPUT in features:  # a block, and finished ones before it
        feed[KEPT_INPUT] = rng.random((1, features[KEPT_INPUT])).astype(np.float32)
    if CONTEXT_INPUT in features:
        feed[CONTEXT_INPUT] = rng.random((1, features[CONTEXT_INPUT])).astype(np.float32)
    if "lengths" in features:  # no padding
        feed["lengths"] = np.array([length])
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run.run(None, feed)
        times.append(time.perf_counter() - start)
    return float(np.median(times[repeats // 10 :]) * 1e3)
