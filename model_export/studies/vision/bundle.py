"""Export a trained vision model as a bundle: one graph from uint8 images to logits and embedding."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_export.bundles.graph import check_parity, export_graph
from model_export.studies.two_surveys.bundle import figures_on_simulated, one_bin_calibration, write_example
from model_export.studies.two_surveys.network import MultiSurvey
from model_export.studies.vision.compare import IMAGES, Task, VisionCompare, build
from model_export.studies.vision.network import VisionConfig
from service.inference.manifest import Calibration, Manifest

OUTPUTS: Final = ("logits", "embedding")
# SwinV2-tiny sums over thousands of products in twelve blocks: float32 leaves 1e-6, and 1e-4 moves no probability.
PARITY: Final = 1e-4


class VisionGraph(nn.Module):
    """images (B, 3, S, S) of bytes, one per survey, and present (B, surveys) -> logits (B, classes), embedding
    (B, surveys D).
    """

    def __init__(self, model: MultiSurvey) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, ztf_image: Tensor, atlas_image: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        answers = self.model([(ztf_image,), (atlas_image,)], present)
        return answers.joint, answers.embedding


def export_vision(model: MultiSurvey, vision: VisionConfig, path: Path) -> None:
    """One graph; the batch is dynamic, the size of the images is not."""
    batch = torch.export.Dim("batch", min=1)
    example = _example(np.random.default_rng(0), 3, vision)
    export_graph(
        VisionGraph(model),
        tuple(torch.from_numpy(array) for array in example.values()),
        path,
        list(example),
        tuple({0: batch} for _ in example),
        list(OUTPUTS),
    )


def example_feeds(vision: VisionConfig, batches: Sequence[int] = (1, 2, 5)) -> Iterator[dict[str, NDArray[Any]]]:
    """Random images, with every pattern of presence."""
    rng = np.random.default_rng(1)
    return (_example(rng, batch, vision) for batch in batches)


def bundle_vision(out: Path, task: Task, config: VisionCompare, seed: int, bundle: Path, version: str) -> Manifest:
    """The joint model of one seed of a finished comparison as a bundle, calibrated on its validation split.

    Raises ValueError if ONNX Runtime and torch differ by more than `PARITY`.
    """
    with np.load(out / f"seed-{seed}" / "joint-linear.npz") as found:
        kept = {name: found[name] for name in found.files}
    model = build("joint-linear", config, None)
    assert isinstance(model, MultiSurvey)
    model.load_state_dict({k.removeprefix("state/"): torch.from_numpy(v) for k, v in kept.items() if "state/" in k})
    labels, split = task.labels[kept["rows"]], task.split[kept["rows"]]
    validation, test = split == "validation", split == "test"
    calibration = one_bin_calibration(kept["logits"][validation].astype(float), labels[validation])
    figures = figures_on_simulated(labels[test], kept["logits"][test])
    digest = json.loads((out / "data.json").read_text())["sha256"]
    return publish(model, config.training.vision, calibration, figures, bundle, version, digest)


def publish(
    model: MultiSurvey,
    vision: VisionConfig,
    calibration: Calibration,
    figures: dict[str, Any],
    bundle: Path,
    version: str,
    data_digest: str,
) -> Manifest:
    """Graph, manifest, metrics and card. Raises ValueError where ONNX Runtime and torch disagree."""
    export_vision(model, vision, bundle / "model.onnx")
    worst = check_parity(bundle / "model.onnx", VisionGraph(model), example_feeds(vision), PARITY)
    return write_example(
        bundle,
        figures | {"parity": worst},
        _card(figures),
        name="two-survey-vision",
        version=version,
        description="Images of ZTF and ATLAS light curves, joined, 21 classes; trained on simulated objects.",
        preprocessing=("light-curve-image/1", vision.parameters(IMAGES)),
        calibration=calibration,
        data_digest=data_digest,
        bands=[band for shown in IMAGES.values() for bands in shown.values() for band in bands],
    )


def _example(rng: np.random.Generator, batch: int, vision: VisionConfig) -> dict[str, NDArray[Any]]:
    size = vision.image
    arrays: dict[str, NDArray[Any]] = {
        name: rng.integers(0, 256, (batch, 3, size, size), dtype=np.uint8) for name in IMAGES
    }
    patterns = np.array([[1, 1], [1, 0], [0, 1]], dtype=np.float32)
    present = patterns[np.arange(batch) % len(patterns)]
    for number, name in enumerate(IMAGES):
        arrays[name][present[:, number] == 0] = 0
    return arrays | {"present": present}


def _card(figures: dict[str, Any]) -> str:
    return f"""# two-survey-vision

A Swin Transformer V2 looks at one image of what ZTF saw (g, r) and one of what ATLAS saw (c, o); a linear head reads
both embeddings (arXiv:2507.11711). Where one survey saw nothing, a learnt vector stands in its place.

**Trained and tested on simulated objects alone.** It shows how a vision bundle is made and served; its answers about
real objects mean nothing until it is trained on real ones. Macro-F1 on {figures["objects_test"]:,} simulated test
objects: {figures["macro_f1_test"]:.3f}.
"""
