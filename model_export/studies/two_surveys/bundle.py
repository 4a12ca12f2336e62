"""Export a trained two-survey model as a bundle: one graph for objects detected by either survey or both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_export.bundles.graph import check_parity, export_graph, write_manifest
from model_export.data.scores import macro_f1, softmax
from model_export.judging.calibrate import COVERAGE, fit_temperature
from model_export.studies.two_surveys.network import SURVEYS, MultiSurvey, decide
from model_export.studies.two_surveys.simulate import CLASSES, TAXONOMY
from model_export.studies.two_surveys.strategies import CompareConfig, Task, heads_alone, load_joint
from service.inference.manifest import Calibration, Manifest
from service.inference.preprocessing.alert_clr import CONTEXT_FEATURES
from service.inference.preprocessing.two_survey import TWO_SURVEY_FEATURES, TWO_SURVEYS

INPUTS: Final = (*(f"{survey}_{part}" for survey in SURVEYS for part in ("points", "context")), "present")
OUTPUTS: Final = ("logits", "embedding", *(f"{survey}_logits" for survey in SURVEYS))
PREPROCESSING: Final = "two-survey/1"


class TwoSurveyGraph(nn.Module):
    """The exported network. `alone`: for each survey the head, "own" or "joint", used for objects that only this survey
    detected.
    """

    def __init__(self, model: MultiSurvey, alone: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.alone = model.eval(), alone

    def forward(
        self, ztf_points: Tensor, ztf_context: Tensor, atlas_points: Tensor, atlas_context: Tensor, present: Tensor
    ) -> tuple[Tensor, ...]:
        """points (B, W, L, F) and context (B, C) of each survey, present (B, 2) -> logits (B, classes), embedding (B,
        2 D), and the logits of each survey's own head, without meaning where it is absent.
        """
        answers = self.model([(ztf_points, ztf_context), (atlas_points, atlas_context)], present)
        own = [answers.own[:, s] for s in range(len(self.alone))]
        return decide(answers, present, self.alone), answers.embedding, *own


def export_two_surveys(served: TwoSurveyGraph, path: Path) -> None:
    """One graph; batch, and each survey's windows and length, are dynamic."""
    batch = torch.export.Dim("batch", min=1)
    example: list[Tensor] = []
    dynamic: list[dict[int, Any]] = []
    for number, survey in enumerate(SURVEYS):
        count, length = (torch.export.Dim(f"{survey}_{axis}", min=1) for axis in ("windows", "length"))
        example += [
            torch.randn(3, 2 + number, 11 + number, len(TWO_SURVEY_FEATURES)),
            torch.randn(3, len(CONTEXT_FEATURES)),
        ]
        dynamic += [{0: batch, 1: count, 2: length}, {0: batch}]
    example.append(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    dynamic.append({0: batch})
    export_graph(served, tuple(example), path, list(INPUTS), tuple(dynamic), list(OUTPUTS))


def example_feeds(seed: int = 0) -> Iterator[dict[str, NDArray[Any]]]:
    """Random inputs of several shapes, with every pattern of presence."""
    rng = np.random.default_rng(seed)
    patterns = np.array([[1, 1], [1, 0], [0, 1]], dtype=np.float32)
    for batch, shapes in (
        (1, ((1, 1), (1, 1))),
        (3, ((1, 40), (1, 7))),
        (6, ((3, 48), (2, 48))),
        (2, ((1, 1), (4, 48))),
    ):
        feed: dict[str, NDArray[Any]] = {}
        for survey, (count, length) in zip(SURVEYS, shapes, strict=True):
            points = rng.standard_normal((batch, count, length, len(TWO_SURVEY_FEATURES)))
            feed[f"{survey}_points"] = points.astype(np.float32)
            feed[f"{survey}_context"] = rng.standard_normal((batch, len(CONTEXT_FEATURES))).astype(np.float32)
        for shift in range(len(patterns)):
            yield feed | {"present": np.roll(patterns, shift, axis=0)[np.arange(batch) % len(patterns)]}


def bundle_two_surveys(out: Path, task: Task, config: CompareConfig, seed: int, bundle: Path, version: str) -> Manifest:
    """The joint-linear model of one seed of a finished comparison as a bundle.

    Raises ValueError if ONNX Runtime and torch differ by more than 1e-5.
    """
    with np.load(out / f"seed-{seed}" / "joint-linear.npz") as found:
        answers = {name: found[name] for name in found.files}
    rows, labels = answers["rows"], task.labels[answers["rows"]]
    present, validation = task.present[rows], task.split[rows] == "validation"
    alone = [max(by, key=by.__getitem__) for by in heads_alone(answers, task).values()]
    served = TwoSurveyGraph(load_joint(out, config, seed), tuple(alone))
    export_two_surveys(served, bundle / "model.onnx")
    worst = check_parity(bundle / "model.onnx", served, example_feeds())

    logits = answers["logits"].copy()
    for s, which in enumerate(alone):
        if which == "own":
            only = present[:, s] & (present.sum(axis=1) == 1)
            logits[only] = answers["own"][only, s]
    calibration = one_bin_calibration(logits[validation].astype(float), labels[validation])
    test = task.split[rows] == "test"
    metrics = figures_on_simulated(labels[test], logits[test]) | {"alone": dict(zip(SURVEYS, alone, strict=True))}
    return write_example(
        bundle,
        metrics | {"parity": worst},
        _card(metrics),
        name="two-survey",
        version=version,
        description="ZTF and ATLAS light curves joined, 21 classes; trained on simulated objects, an example.",
        preprocessing=(PREPROCESSING, config.training.parameters),
        calibration=calibration,
        data_digest=json.loads((out / "data.json").read_text())["sha256"],
        bands=[band for pair in TWO_SURVEYS.values() for band in pair],
    )


def figures_on_simulated(labels: NDArray[np.int64], logits: NDArray[np.floating]) -> dict[str, Any]:
    return {
        "evidence": "simulated objects only: these figures say nothing about the sky",
        "macro_f1_test": round(macro_f1(labels, logits.argmax(axis=1)), 4),
        "objects_test": len(labels),
    }


def write_example(bundle: Path, metrics: dict[str, Any], card: str, **about: Any) -> Manifest:
    """Metrics, card and manifest, `about` as of `write_manifest`, of a bundle for the simulated classes."""
    (bundle / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (bundle / "MODEL_CARD.md").write_text(card)
    prior = np.full(len(CLASSES), 1 / len(CLASSES))
    return write_manifest(
        bundle, prior=prior, out_of_distribution=None, minimum_detections=5, taxonomy=TAXONOMY, **about
    )


def one_bin_calibration(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """One bin: a temperature, and per class the 90 % quantile of 1 - p of its validation objects (Vovk 2012)."""
    temperature = round(fit_temperature(logits, labels), 4)
    score = 1.0 - softmax(logits / temperature)[np.arange(len(labels)), labels]
    thresholds = []
    for label in range(len(CLASSES)):
        mine = np.sort(score[labels == label])
        rank = int(np.ceil((len(mine) + 1) * COVERAGE))
        thresholds.append(float(np.ceil(mine[rank - 1] * 1e6) / 1e6) if 0 < rank <= len(mine) else 1.0)
    return Calibration(
        edges=[1], temperature=[temperature], conformal_coverage=COVERAGE, conformal_thresholds=[thresholds]
    )


def _card(metrics: dict[str, Any]) -> str:
    return f"""# two-survey

Joins ZTF (g, r) and ATLAS (c, o) light curves of one object: a shared transformer branch, a head per survey, a linear
joint head. Any subset of the two surveys is answered. Where one alone saw the object,
{_alone_text(metrics["alone"])}.

**Trained and tested on simulated objects alone.** It shows how a two-survey bundle is made and served; its answers
about real objects mean nothing until it is trained on real ones. Macro-F1 on {metrics["objects_test"]:,} simulated
test objects: {metrics["macro_f1_test"]:.3f}.
"""


def _alone_text(alone: dict[str, str]) -> str:
    heads = {"own": "that survey's own head", "joint": "the joint head"}
    return " and ".join(f"{heads[which]} answers ({survey.upper()})" for survey, which in alone.items())
