"""What a bundle says of light curves alone, before calibration, at each number of first detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_export.data.alert_context import spans
from model_export.data.tables import Dataset
from model_export.network.predict import ALL, shown
from service.inference.block_inputs import BlockInputs
from service.inference.bundle import Bundle
from service.inference.manifest import Manifest
from service.inference.session import CPU, session_options


@dataclass(frozen=True)
class Shown:
    """Logits (M, C) as published, detections shown (M,) and the days between first and last of them (M,)."""

    logits: NDArray[np.float64]
    embedding: NDArray[np.float64]
    n_seen: NDArray[np.int64]
    span: NDArray[np.float64]


@dataclass(frozen=True)
class LightCurveAnswers:
    """`n_detections` (M,) of each whole light curve, and its answers by detections shown."""

    n_detections: NDArray[np.int64]
    by_shown: dict[int, Shown]

    def at(self, k: int) -> Shown:
        return self.by_shown[k]


def light_curve_answers(bundle: Path, data: Dataset, ks: Sequence[int]) -> LightCurveAnswers:
    """Ask the graph of a bundle without context about the first k detections of each object (ALL: everything)."""
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    graph = onnxruntime.InferenceSession(bundle / "model.onnx", session_options(), providers=[CPU])
    outputs = [manifest.outputs["logits"], manifest.outputs["embedding"]]
    total = data.objects["n_detections"].to_numpy(dtype=np.int64)
    found = {}
    for k in ks:
        seen = shown(data, k)
        answers = [graph.run(outputs, feed) for feed in feeds_of(manifest, graph, seen.points, seen.counts)]
        found[k] = Shown(
            np.array([logits[0] for logits, _ in answers], dtype=np.float64),
            np.array([embedding[0] for _, embedding in answers], dtype=np.float64),
            total if k == ALL else np.minimum(total, k),
            spans(seen),
        )
    return LightCurveAnswers(total, found)


def feeds_of(
    manifest: Manifest, graph: onnxruntime.InferenceSession, points: NDArray[np.void], counts: NDArray[np.int64]
) -> list[dict[str, NDArray[Any]]]:
    """What the graph of a bundle without context is asked for each light curve, one at a time. Where it reads long ones
    in blocks, it is asked for the embeddings of the finished ones first.
    """
    bundle = Bundle(Path(), manifest, graph=b"", card="", metrics={})
    if not bundle.in_blocks:
        return [_alone(inputs) for inputs in bundle.inputs(points, counts, None)]
    embedding = [manifest.outputs["embedding"]]
    blocks = BlockInputs(bundle, remembered=0)
    plan = blocks.plan(points, counts, None)
    blocks.complete(plan, lambda some: np.concatenate([graph.run(embedding, _alone(each))[0] for each in some]))
    return [_alone(inputs) for inputs in plan.newest]


def _alone(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: array[None] for name, array in inputs.items()}
