"""Decisions of each strategy from the networks' answers, and their macro-F1 with intervals.

Every strategy is judged on the same test objects. Whether a survey's own head or the joint head answers for objects
that only this survey detected is chosen on the validation split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from imblearn.ensemble import BalancedRandomForestClassifier
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_export.data.scores import softmax
from model_export.studies.two_surveys.network import SURVEYS
from model_export.studies.two_surveys.simulate import CLASSES, TAXONOMY
from model_export.studies.two_surveys.strategies import NETWORKS, CompareConfig, Task, heads_alone, load_joint
from model_export.studies.two_surveys.training import predict_multisurvey, presence

Decisions = NDArray[np.int64]

# strategy -> what it is, in the order of the report
STRATEGIES: Final = {
    "raw-ztf": "Sequence transformer on raw points, ZTF",
    "raw-atlas": "Sequence transformer on raw points, ATLAS",
    "ztf": "ZTF alone",
    "atlas": "ATLAS alone",
    "averaged": "Averaged probabilities",
    "forest": "Balanced random forest on embeddings",
    "refitted": "Logistic regression on embeddings",
    "stacked": "Stacked: both in one sequence",
    "joint-linear": "Joint, linear head",
    "joint-mlp": "Joint, MLP head",
    "joint-refitted": "Joint, logistic regression on its embedding",
}
# strategies of which the first is claimed not to be worse than the second
CLAIMS: Final = (
    ("joint-linear", "averaged"),
    ("averaged", "best single"),
    ("joint-linear", "best single"),
    ("joint-linear", "joint-mlp"),
    ("joint-linear", "stacked"),
    ("joint-linear", "forest"),
    ("joint-refitted", "joint-linear"),
    ("joint-refitted", "refitted"),
    ("ztf", "raw-ztf"),
    ("atlas", "raw-atlas"),
)
REGULARISATION: Final = 0.1  # C of the logistic regressions, not tuned
NOBODY: Final = -1  # the decision of a strategy without an answer: never right


@dataclass(frozen=True)
class Seed:
    """decided: strategy -> class of each test object (n,). dropped: for each survey, decisions where the other one is
    hidden from the joint-linear model. alone: survey -> "own" or "joint", as the validation split chose.
    """

    decided: dict[str, Decisions]
    dropped: dict[str, Decisions]
    alone: dict[str, str]
    alone_scores: dict[str, dict[str, float]]
    core_seconds: dict[str, float]


def judge_seed(out: Path, task: Task, config: CompareConfig, seed: int) -> Seed:
    """Decisions of all strategies of one seed; fits the classifiers on embeddings."""
    answers = {}
    for name in NETWORKS:
        with np.load(out / f"seed-{seed}" / f"{name}.npz") as found:
            answers[name] = {key: found[key] for key in found.files if not key.startswith("state/")}
    test, present = task.rows("test"), task.present
    decided: dict[str, Decisions] = {}
    for name in ("ztf", "atlas", "raw-ztf", "raw-atlas"):
        seen = present[test, SURVEYS.index(name.removeprefix("raw-"))]
        decided[name] = np.where(seen, answers[name]["logits"][test].argmax(axis=1), NOBODY)
    decided["stacked"] = answers["stacked"]["logits"][test].argmax(axis=1)
    weighed = [softmax(answers[s]["logits"][test].astype(float)) * present[test, k : k + 1] for k, s in _surveys()]
    decided["averaged"] = np.sum(weighed, axis=0).argmax(axis=1)  # over the surveys that saw the object
    decided |= _on_embeddings(out, answers, task, config, seed)

    at = np.searchsorted(answers["joint-linear"]["rows"], test)
    scores = {name: heads_alone(answers[name], task) for name in ("joint-linear", "joint-mlp")}
    alone = {name: {s: max(by, key=by.__getitem__) for s, by in found.items()} for name, found in scores.items()}
    for name, which in alone.items():
        decided[name] = answers[name]["logits"][at].argmax(axis=1)
        for k, survey in _surveys():
            only = present[test, k] & (present[test].sum(axis=1) == 1)
            decided[name][only] = _alone(answers[name], at, k, survey, which[survey])[only]
    linear = answers["joint-linear"]
    dropped = {
        survey: np.where(present[test, k], _alone(linear, at, k, survey, alone["joint-linear"][survey]), NOBODY)
        for k, survey in _surveys()
    }
    seconds = {name: float(found["core_seconds"]) for name, found in answers.items()}
    return Seed(decided, dropped, alone["joint-linear"], scores["joint-linear"], seconds)


def compare_strategies(out: Path, task: Task, config: CompareConfig) -> dict[str, Any]:
    """All figures, ready for JSON: macro-F1 in percent per strategy (mean and spread over seeds, 95 % interval), the
    differences that are claimed, what hiding a survey costs, confusion matrices summed over seeds.

    The bootstrap draws test objects and seeds anew, the same for all strategies, so that differences are paired.
    """
    seeds = [judge_seed(out, task, config, seed) for seed in config.seeds]
    test = task.rows("test")
    truth, both = task.labels[test], task.present[test].all(axis=1)
    populations = {"both": both, "all": np.ones(len(test), dtype=np.bool_)}
    figures: dict[str, Any] = {
        "seeds": config.seeds,
        "objects": {s: int((task.split == s).sum()) for s in ("train", "validation", "test")},
        "test_objects": {
            "seen by both": int(both.sum()),
            **{f"by {s.upper()} alone": int((task.present[test, k] & ~both).sum()) for k, s in _surveys()},
        },
        "alone": [seed.alone for seed in seeds],
        "alone_validation": [_rounded(seed.alone_scores) for seed in seeds],
        "core_seconds": {name: round(float(np.mean([s.core_seconds[name] for s in seeds])), 1) for name in NETWORKS},
    }
    for population, mask in populations.items():
        decided = {name: np.stack([seed.decided[name][mask] for seed in seeds]) for name in STRATEGIES}
        samples = resampled(truth[mask], decided, config.resamples)
        points = {name: scores_of(truth[mask], rows) for name, rows in decided.items()}
        best = max(SURVEYS, key=lambda s: points[s].mean())
        named = points | {"best single": points[best]}
        sampled = samples | {"best single": samples[best]}
        figures[population] = {
            "macro_f1": {name: _figure(points[name], samples[name]) for name in STRATEGIES},
            "best_single": best,
            "differences": {f"{a} - {b}": _figure(named[a] - named[b], sampled[a] - sampled[b]) for a, b in CLAIMS},
            "groups": {name: _groups(truth[mask], rows) for name, rows in decided.items()},
        }
    figures["per_class"] = {
        name: [round(100 * float(x), 1) for x in _f1(truth[both], np.stack([s.decided[name][both] for s in seeds]))]
        for name in STRATEGIES
    }
    figures["dropped"] = {}
    for k, survey in _surveys():
        seen = task.present[test, k]
        pair = {
            "hidden": np.stack([seed.dropped[survey][seen] for seed in seeds]),
            "alone": np.stack([seed.decided[survey][seen] for seed in seeds]),
        }
        samples = resampled(truth[seen], pair, config.resamples)
        points = {name: scores_of(truth[seen], rows) for name, rows in pair.items()}
        figures["dropped"][survey] = {
            "joint model shown this survey alone": _figure(points["hidden"], samples["hidden"]),
            "model trained on it alone": _figure(points["alone"], samples["alone"]),
            "difference": _figure(points["hidden"] - points["alone"], samples["hidden"] - samples["alone"]),
        }
    figures["confusion"] = {
        name: _confusion(truth[both], np.stack([s.decided[name][both] for s in seeds])).tolist()
        for name in ("ztf", "averaged", "joint-linear")
    }
    figures["classes"] = TAXONOMY
    return figures


def scores_of(truth: Decisions, decided: Decisions) -> NDArray[np.float64]:
    """Macro-F1 [percent] of each seed's decisions (seeds, n) -> (seeds,), over the classes that occur in `truth`."""
    there = np.bincount(truth, minlength=len(CLASSES)) > 0
    return np.array([100 * _f1(truth, row[None])[there].mean() for row in decided])


def resampled(
    truth: Decisions, decided: dict[str, Decisions], resamples: int, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Mean macro-F1 [percent] over seeds drawn anew, of objects drawn anew: strategy -> (resamples,), paired."""
    rng = np.random.default_rng(seed)
    count = len(next(iter(decided.values())))
    found = {name: np.empty(resamples) for name in decided}
    for number in range(resamples):
        objects, seeds = rng.integers(0, len(truth), len(truth)), rng.integers(0, count, count)
        for name, rows in decided.items():
            scores = scores_of(truth[objects], rows[np.unique(seeds)][:, objects])
            found[name][number] = np.average(scores, weights=np.bincount(seeds)[np.unique(seeds)])
    return found


def _alone(answers: dict[str, NDArray], at: Decisions, k: int, survey: str, which: str) -> Decisions:
    logits = answers["own"][at][:, k] if which == "own" else answers[f"only_{survey}"][at]
    return logits.argmax(axis=1)


def _on_embeddings(
    out: Path, answers: dict[str, Any], task: Task, config: CompareConfig, seed: int
) -> dict[str, Decisions]:
    """A balanced random forest and a logistic regression on the embeddings of both single-survey models side by side,
    zeros where a survey is absent; and a logistic regression on the joint model's embedding. Fitted on the training
    split, kept in `out`.
    """
    path = out / f"seed-{seed}" / "on-embeddings.npz"
    if path.exists():
        with np.load(path) as found:
            return {name: found[name] for name in found.files}
    separate = np.concatenate([answers[s]["embedding"] * task.present[:, [k]] for k, s in _surveys()], axis=1)
    surveys, rows = [task.ztf, task.atlas], np.arange(len(task.labels))
    joint = predict_multisurvey(load_joint(out, config, seed), surveys, rows, presence(surveys)).embedding.numpy()
    forest = BalancedRandomForestClassifier(
        config.trees, sampling_strategy="all", replacement=True, bootstrap=False, random_state=seed, n_jobs=1
    )
    train, test = task.rows("train"), task.rows("test")
    decided = {}
    for name, machine, features in (
        ("forest", forest, separate),
        ("refitted", make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000)), separate),
        ("joint-refitted", make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000)), joint),
    ):
        decided[name] = machine.fit(features[train], task.labels[train]).predict(features[test])
    np.savez(path, **decided)
    return decided


def _surveys() -> list[tuple[int, str]]:
    return list(enumerate(SURVEYS))


def _confusion(truth: Decisions, decided: Decisions) -> NDArray[np.int64]:
    """(C, C + 1) truth by decision, summed over seeds; the last column counts where nothing was said."""
    table = np.zeros((len(CLASSES), len(CLASSES) + 1), dtype=np.int64)
    for row in decided:
        np.add.at(table, (truth, row), 1)  # NOBODY, -1, is the last column
    return table


def _f1(truth: Decisions, decided: Decisions) -> NDArray[np.float64]:
    """F1 per class (C,), mean over seeds."""
    scores = []
    for row in decided:
        table = _confusion(truth, row[None])
        right = np.diag(table)
        scores.append(2 * right / np.maximum(table.sum(axis=1) + table[:, :-1].sum(axis=0), 1))
    return np.mean(scores, axis=0)


def _groups(truth: Decisions, decided: Decisions) -> dict[str, float]:
    """Mean F1 [percent] over the classes of each of the three groups."""
    each, parents = 100 * _f1(truth, decided), np.array(list(TAXONOMY.values()))
    return {str(group): round(float(each[parents == group].mean()), 1) for group in dict.fromkeys(parents)}


def _figure(points: NDArray[np.float64], samples: NDArray[np.float64]) -> dict[str, Any]:
    low, high = np.percentile(samples, [2.5, 97.5])
    return {
        "mean": round(float(points.mean()), 2),
        "seed_spread": round(float(points.std(ddof=1)), 2) if len(points) > 1 else 0.0,
        "interval": [round(float(low), 2), round(float(high), 2)],
        "seeds": [round(float(x), 2) for x in points],
    }


def _rounded(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {survey: {way: round(100 * x, 2) for way, x in by.items()} for survey, by in scores.items()}
