"""Every way of joining two surveys, trained on the same objects; it can be stopped and resumed.

Each network of each seed leaves one `.npz` with its answers for the judged objects, and is not trained again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model_export.data.scores import macro_f1
from model_export.data.tables import Dataset, data_digest
from model_export.studies.two_surveys.network import SURVEYS, FusionConfig, MultiSurvey
from model_export.studies.two_surveys.simulate import CLASSES, OBJECTS, load_two_surveys, simulate
from model_export.studies.two_surveys.training import (
    LightCurveBranch,
    Sequences,
    TrainingConfig,
    predict_multisurvey,
    predict_one_input,
    presence,
    train_multisurvey,
    train_one_input,
)

# Columns for the baseline: time, flux relative to the brightest, signal-to-noise, band, survey. No upper limits, no
# differences between points, no scatter within the night, and no context.
RAW_FEATURES: Final = ("days", "flux", "log_snr", "g", "r", "is_atlas")

Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class CompareConfig:
    per_class: int = 500  # simulated objects
    simulation_seed: int = 0
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3, 4, 5])
    dropout: float = 0.2  # on embeddings, before a head
    survey_dropout: float = 0.3
    hidden: int = 128  # of the joint MLP
    trees: int = 200  # of the balanced random forest
    resamples: int = 1000  # of the bootstrap
    threads: int = 1
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True)
class Task:
    """The input of all networks: tokens of each survey and of both in one sequence, labels, and rows by split."""

    ztf: Sequences
    atlas: Sequences
    both: Sequences
    labels: NDArray[np.int64]
    split: NDArray[np.object_]

    @classmethod
    def of(cls, data: Dataset, config: TrainingConfig) -> Task:
        parameters = config.parameters
        each = [Sequences(data, (survey,), parameters) for survey in SURVEYS]
        # one sequence of both surveys is longer: its window holds what the two branches' windows hold together
        stacked = Sequences(data, SURVEYS, parameters | {"window": 2 * config.window})
        return cls(*each, stacked, data.labels, data.objects["split"].to_numpy())

    def rows(self, *splits: str) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self.split, splits))

    @property
    def present(self) -> NDArray[np.bool_]:
        """(M, 2)."""
        return np.stack([self.ztf.present, self.atlas.present], axis=1)


def _single(survey: str, visible: tuple[str, ...] | None = None) -> Callable[[Task, CompareConfig, int], Arrays]:
    def run(task: Task, config: CompareConfig, seed: int) -> Arrays:
        sequences: Sequences = getattr(task, survey)
        branch = LightCurveBranch(config.training.encoder, *([visible] if visible else []))
        model = train_one_input(
            sequences, branch, task.rows("train"), task.labels, len(CLASSES), config.training, config.dropout, seed
        )
        rows = np.arange(len(task.labels))  # the forest learns from the embeddings of the training split
        logits, embedding = predict_one_input(model, sequences, rows)
        return {"rows": rows, "logits": logits, "embedding": embedding}

    return run


def _joint(head: str) -> Callable[[Task, CompareConfig, int], Arrays]:
    def run(task: Task, config: CompareConfig, seed: int) -> Arrays:
        fusion = FusionConfig(
            len(CLASSES), joint=head, hidden=config.hidden, dropout=config.dropout, survey_dropout=config.survey_dropout
        )
        surveys = [task.ztf, task.atlas]
        model = train_multisurvey(
            surveys,
            LightCurveBranch(config.training.encoder),
            task.rows("train"),
            task.labels,
            fusion,
            config.training,
            seed,
        )
        rows = task.rows("validation", "test")
        present = presence(surveys)[rows]
        whole = predict_multisurvey(model, surveys, rows, present)
        answers: Arrays = {"rows": rows, "logits": whole.joint.numpy(), "own": whole.own.numpy()}
        for s, survey in enumerate(SURVEYS):  # what the joint head says when this survey alone is shown to it
            shown = torch.zeros_like(present)
            shown[:, s] = present[:, s]
            answers[f"only_{survey}"] = predict_multisurvey(model, surveys, rows, shown).joint.numpy()
        return answers | {f"state/{name}": value.numpy() for name, value in model.state_dict().items()}

    return run


# name -> what trains it and answers
NETWORKS: Final[dict[str, Callable[[Task, CompareConfig, int], Arrays]]] = {
    "ztf": _single("ztf"),
    "atlas": _single("atlas"),
    "joint-linear": _joint("linear"),
    "joint-mlp": _joint("mlp"),
    "stacked": _single("both"),
    "raw-ztf": _single("ztf", RAW_FEATURES),
    "raw-atlas": _single("atlas", RAW_FEATURES),
}


def tables(out: Path, data: Path | None, config: Any) -> Path:
    """The folder of the two tables: `data`, where it holds them, else simulated ones in `out`/tables."""
    if data is not None and (data / OBJECTS).exists():
        return data
    if not (out / "tables" / OBJECTS).exists():
        simulate(out / "tables", data, config.per_class, config.simulation_seed)
    return out / "tables"


def run_networks(out: Path, data: Path | None, config: CompareConfig, say: Callable[[str], None] = print) -> Task:
    """Train what is not there yet; answers lie in `out`/seed-N/NETWORK.npz. Seeds outside, so that every finished seed
    is a whole comparison. Raises ValueError where `out` was begun with another configuration.
    """
    task = Task.of(load_two_surveys(begin(out, data, config)), config.training)
    for seed, name, path in unfinished(out, config.seeds, NETWORKS):
        wall, cpu = time.monotonic(), time.process_time()
        answers = NETWORKS[name](task, config, seed)
        cpu = time.process_time() - cpu
        save(path, core_seconds=cpu, **answers)
        say(f"seed {seed}: {name} in {cpu:.0f} core-seconds ({time.monotonic() - wall:.0f} s)")
    return task


def begin(out: Path, data: Path | None, config: Any, **about: str | None) -> Path:
    """Note in `out` how it is made, and return the folder of its tables. Raises ValueError where that differs."""
    torch.set_num_threads(config.threads)
    out.mkdir(parents=True, exist_ok=True)
    settings = {k: v for k, v in asdict(config).items() if k not in ("seeds", "resamples")} | about
    note = out / "config.json"
    if note.exists() and json.loads(note.read_text()) != settings:
        raise ValueError(f"{out} was begun with another configuration: see {note}, or choose another --out")
    note.write_text(json.dumps(settings, indent=1))
    folder = tables(out, data, config)
    (out / "data.json").write_text(json.dumps({"sha256": data_digest(folder)}) + "\n")
    return folder


def unfinished(out: Path, seeds: Iterable[int], networks: Iterable[str]) -> Iterator[tuple[int, str, Path]]:
    """Each (seed, network) that has no file of answers yet, and where that goes; torch is seeded for it."""
    for seed, name in product(seeds, networks):
        path = out / f"seed-{seed}" / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            torch.manual_seed(seed)
            yield seed, name, path


def save(path: Path, **arrays: Any) -> None:
    """All or nothing: a file that is there is whole."""
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.rename(path)


def load_joint(out: Path, config: CompareConfig, seed: int) -> MultiSurvey:
    """The trained joint-linear model of a seed."""
    model = MultiSurvey(LightCurveBranch(config.training.encoder), FusionConfig(len(CLASSES)))
    with np.load(out / f"seed-{seed}" / "joint-linear.npz") as found:
        names = [name for name in found.files if name.startswith("state/")]
        model.load_state_dict({name.removeprefix("state/"): torch.from_numpy(found[name]) for name in names})
    return model.eval()


def heads_alone(answers: Arrays, task: Task) -> dict[str, dict[str, float]]:
    """For each survey the macro-F1 of its own head and of the joint head shown it alone, on the validation objects that
    it saw. The larger one, the first where equal, answers for objects that only this survey saw.
    """
    rows = answers["rows"]
    scores = {}
    for s, survey in enumerate(SURVEYS):
        mine = (task.split[rows] == "validation") & task.present[rows, s]
        truth = task.labels[rows[mine]]
        scores[survey] = {
            "own": macro_f1(truth, answers["own"][mine, s].argmax(axis=1)),
            "joint": macro_f1(truth, answers[f"only_{survey}"][mine].argmax(axis=1)),
        }
    return scores
