"""Ways of joining two surveys' images, trained on the same objects and judged on the same test split.

Objects, split and judging are those of `compare_surveys`. It can be stopped and resumed: each trained network leaves
one `.npz` and is not trained again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_export.data.scores import softmax
from model_export.studies.two_surveys.judge import NOBODY, resampled, scores_of
from model_export.studies.two_surveys.network import SURVEYS, FusionConfig, MultiSurvey
from model_export.studies.two_surveys.simulate import CLASSES, load_two_surveys
from model_export.studies.two_surveys.strategies import begin, save, unfinished
from model_export.studies.two_surveys.training import OneInput
from model_export.studies.vision.images import Pictures
from model_export.studies.vision.network import VisionBranch
from model_export.studies.vision.training import VisionTraining, answers, fit

# input of a bundle -> what its image shows
IMAGES: Final = {f"{survey}_image": {survey: bands} for survey, bands in zip(SURVEYS, ("gr", "co"), strict=True)}
# network -> surveys of each of its images
NETWORKS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "ztf": (("ztf",),),
    "atlas": (("atlas",),),
    "stacked": (("ztf", "atlas"),),
    "joint-linear": (("ztf",), ("atlas",)),
}
# strategy -> what it is, in the order of the table, and macro-F1 [percent] in the paper, on real light curves
STRATEGIES: Final = {
    "ztf": ("ZTF alone", 64.9),
    "atlas": ("ATLAS alone", 54.0),
    "averaged": ("Averaged probabilities", 68.9),
    "stacked": ("Stacked: all bands in one image", 59.0),
    "joint-linear": ("Joint, linear head", 69.9),
}
PAIRS: Final = (("joint-linear", "averaged"), ("joint-linear", "stacked"), ("averaged", "ztf"), ("joint-linear", "ztf"))


@dataclass(frozen=True)
class VisionCompare:
    per_class: int = 500  # simulated objects
    simulation_seed: int = 0
    seeds: list[int] = field(default_factory=lambda: [1])
    dropout: float = 0.2  # on embeddings, before a head
    survey_dropout: float = 0.3
    resamples: int = 1000  # of the bootstrap
    threads: int = 1
    training: VisionTraining = field(default_factory=VisionTraining)


@dataclass(frozen=True)
class Task:
    """pictures: surveys in one image -> the images of all objects; labels (M,), split (M,)."""

    pictures: dict[tuple[str, ...], Pictures]
    labels: NDArray[np.int64]
    split: NDArray[np.object_]

    @classmethod
    def read(cls, folder: Path, config: VisionCompare) -> Task:
        data, bands = load_two_surveys(folder), {s: b for shown in IMAGES.values() for s, b in shown.items()}
        parameters = config.training.vision.parameters({})
        wanted = dict.fromkeys(image for network in NETWORKS.values() for image in network)
        return cls(
            {image: Pictures(data, {s: bands[s] for s in image}, parameters) for image in wanted},
            data.labels,
            data.objects["split"].to_numpy(),
        )

    def rows(self, *splits: str) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self.split, splits))


def build(name: str, config: VisionCompare, weights: Path | None) -> OneInput | MultiSurvey:
    """A network of `NETWORKS`, from scratch or with a pre-trained branch."""
    branch = VisionBranch(config.training.vision, weights)
    if len(NETWORKS[name]) == 1:
        return OneInput(branch, len(CLASSES), config.dropout)
    return MultiSurvey(branch, FusionConfig(len(CLASSES), dropout=config.dropout, survey_dropout=config.survey_dropout))


def run_networks(
    out: Path, data: Path | None, config: VisionCompare, weights: Path | None, say: Callable[[str], None] = print
) -> Task:
    """Train the networks still missing; weights and answers are in `out`/seed-N/NETWORK.npz.

    Raises ValueError if `out` was made with another configuration.
    """
    task = Task.read(begin(out, data, config, weights=weights.name if weights else None), config)
    for seed, name, path in unfinished(out, config.seeds, NETWORKS):
        surveys, cpu = [task.pictures[image] for image in NETWORKS[name]], time.process_time()
        model, history = build(name, config, weights), path.with_suffix(".jsonl")
        history.unlink(missing_ok=True)
        train, validation = task.rows("train"), task.rows("validation")
        best = fit(model, surveys, task.labels, train, validation, config.training, seed, history)
        rows = task.rows("validation", "test")
        said = answers(model, surveys, rows, config.training.embed_batch)
        state = {f"state/{key}": value.numpy() for key, value in model.state_dict().items()}
        cpu = time.process_time() - cpu
        save(path, rows=rows, logits=said.joint.numpy(), validation=best, core_seconds=cpu, **state)
        say(f"seed {seed}: {name} in {cpu:.0f} core-seconds, {100 * best:.1f} % macro-F1 on the validation split")
    return task


def compare_images(out: Path, task: Task, config: VisionCompare) -> dict[str, Any]:
    """Macro-F1 in percent of each strategy on the test objects that both surveys saw and on all, with 95 % intervals
    of a bootstrap over objects and seeds; differences are paired.
    """
    test = task.rows("test")
    present = {s: task.pictures[(s,)].present[test] for s in SURVEYS}
    decided: dict[str, list[NDArray[np.int64]]] = {name: [] for name in STRATEGIES}
    training: dict[str, dict[str, list[float]]] = {
        name: {"core_seconds": [], "validation_macro_f1": []} for name in NETWORKS
    }
    for seed in config.seeds:
        said, weighed = {}, []
        for name in NETWORKS:
            with np.load(out / f"seed-{seed}" / f"{name}.npz") as found:
                said[name] = found["logits"][np.searchsorted(found["rows"], test)].astype(np.float64)
                training[name]["core_seconds"].append(round(float(found["core_seconds"]), 1))
                training[name]["validation_macro_f1"].append(round(100 * float(found["validation"]), 2))
        for survey in SURVEYS:
            decided[survey].append(np.where(present[survey], said[survey].argmax(axis=1), NOBODY))
            weighed.append(softmax(said[survey]) * present[survey][:, None])
        decided["averaged"].append(np.sum(weighed, axis=0).argmax(axis=1))
        for name in ("stacked", "joint-linear"):
            decided[name].append(said[name].argmax(axis=1))
    both = np.all(list(present.values()), axis=0)
    figures: dict[str, Any] = {
        "evidence": "simulated objects only: these figures say nothing about the sky",
        "config": asdict(config),
        "data_digest": json.loads((out / "data.json").read_text())["sha256"],
        "weights": json.loads((out / "config.json").read_text())["weights"],
        "objects": {split: int((task.split == split).sum()) for split in ("train", "validation", "test")},
        "test_objects_seen_by_both": int(both.sum()),
        "training": training,
    }
    for population, mask in {"both": both, "all": np.ones(len(test), dtype=np.bool_)}.items():
        truth = task.labels[test][mask]
        rows = {name: np.stack(each)[:, mask] for name, each in decided.items()}
        points, samples = {n: scores_of(truth, d) for n, d in rows.items()}, resampled(truth, rows, config.resamples)
        figures[population] = {
            "macro_f1": {name: _figure(points[name], samples[name]) for name in STRATEGIES},
            "differences": {f"{a} - {b}": _figure(points[a] - points[b], samples[a] - samples[b]) for a, b in PAIRS},
        }
    return figures


def table(figures: dict[str, Any]) -> str:
    """The comparison in Markdown."""
    lines = ["| strategy | seen by both | all objects | paper, real data |", "|---|---|---|---|"]
    for name, (what, published) in STRATEGIES.items():
        mine = [_shown(figures[population]["macro_f1"][name]) for population in ("both", "all")]
        lines.append(f"| {what} | {' | '.join(mine)} | {published} |")
    lines += ["", "| difference | seen by both | all objects |", "|---|---|---|"]
    for name in figures["both"]["differences"]:
        mine = [_shown(figures[population]["differences"][name], "+.1f") for population in ("both", "all")]
        lines.append(f"| {name} | {' | '.join(mine)} |")
    return "\n".join(lines)


def _figure(points: NDArray[np.float64], samples: NDArray[np.float64]) -> dict[str, Any]:
    low, high = np.percentile(samples, [2.5, 97.5])
    return {
        "mean": round(float(points.mean()), 2),
        "interval": [round(float(low), 2), round(float(high), 2)],
        "seeds": [round(float(x), 2) for x in points],
    }


def _shown(figure: dict[str, Any], form: str = ".1f") -> str:
    low, high = figure["interval"]
    return f"{figure['mean']:{form}} [{low:{form}}, {high:{form}}]"
