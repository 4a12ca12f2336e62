"""Figures and tables of the cross-validation on alert objects: what the model card leads with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_export.context.fusion import ASTEROID_PRIOR
from model_export.data.bins import EDGES, bin_of
from model_export.data.scores import (
    SUPERCLASS_OF,
    SUPERCLASSES,
    expected_calibration_error,
    f1_scores,
    half_prior_decision,
    macro_f1,
    softmax,
)
from model_export.data.tables import CLASSES
from model_export.judging.alert_objects import SHOWN, Bench, Judged, examples_with_context
from model_export.judging.calibrate import conformal_thresholds
from model_export.network.predict import ALL

Floats = NDArray[np.float64]
Figures = dict[str, Any]

ENOUGH: Final = 5  # detections of an object in the headline figures
BOOTSTRAPS: Final = 300
SCORES: Final = ("accuracy", "macro_f1", "superclass", "ece")
HISTORIES: Final = ((5, 15), (15, 50), (50, 100_000))
_PARENT: Final = np.append(SUPERCLASS_OF, len(SUPERCLASSES))  # the asteroid's superclass comes last
_ASTEROID: Final = len(CLASSES)


def figures_of(bench: Bench, found: Mapping[str, Sequence[Judged]]) -> Figures:
    """All figures, ready for JSON; [value, low, high] with the 95 % bootstrap interval over objects."""
    labels, total, known = bench.data.labels, bench.answers.n_detections, bench.contexts.known
    fair = bench.fair & (total >= ENOUGH)
    everyone = known & (total >= ENOUGH)
    prior = np.append((1.0 - ASTEROID_PRIOR) * bench.light_curve_prior, ASTEROID_PRIOR)
    figures: Figures = {
        "about": "labelled alert objects with at least five detections whose labels the network did not learn; trees "
        "and fusion of other folds; accuracy by argmax, macro-F1 by log p - 0.5 log prior; [value, low, high]: mean "
        "over repeats and its 95 % bootstrap interval over objects",
        "objects": {"judged": int(fair.sum()), "with context": int(everyone.sum()), "labelled": len(labels)},
        "repeats": {name: len(judged) for name, judged in found.items()},
        "shown": {},
        "trees_alone": {},
    }
    alone = {
        k: _beside(softmax(each.logits / bench.temperature[bin_of(each.n_seen)][:, None]))
        for k, each in ((k, bench.answers.at(k)) for k in SHOWN)
    }
    for k in SHOWN:
        rows = {"light curve alone": _scores([alone[k][fair]], labels[fair], prior)}
        for name, judged in found.items():
            rows[name] = _scores([each.fused[k][fair] for each in judged], labels[fair], prior)
        figures["shown"][_name(k)] = rows
    for name, judged in found.items():
        trees = [_beside(np.maximum(each.trees, 1e-6)) for each in judged]
        figures["trees_alone"][name] = _scores([p[everyone] for p in trees], labels[everyone], prior)
    by_object = found["by object"]
    figures["per_class"] = _per_class(alone[ALL], [each.fused[ALL] for each in by_object], labels, fair, prior)
    figures["histories"] = {
        f"{low}+" if high > 1000 else f"{low}-{high - 1}": {
            "light curve alone": _scores([alone[ALL][mine]], labels[mine], prior),
            "by object": _scores([each.fused[ALL][mine] for each in by_object], labels[mine], prior),
        }
        for low, high in HISTORIES
        if (mine := bench.fair & (total >= low) & (total < high)).sum() >= 10
    }
    figures["solar_system"] = _solar_system(bench, found)
    figures["sets"] = _sets(bench, found)
    figures["fusion"] = {"scale": by_object[0].fusions[0].scale, "weight": by_object[0].fusions[0].weight}
    return figures


def _scores(parts: Sequence[Floats], labels: NDArray[np.int64], prior: Floats) -> Figures:
    """Each score as [value, low, high] over repeats `parts` of probabilities (n, C + 1)."""

    def scores(rows: NDArray[np.int64]) -> Floats:
        truth = labels[rows]
        found = []
        for p in parts:
            mine = p[rows]
            found.append(
                (
                    np.mean(mine.argmax(axis=1) == truth),
                    macro_f1(truth, half_prior_decision(mine, prior)),
                    np.mean(_superclass(mine) == SUPERCLASS_OF[truth]),
                    expected_calibration_error(mine, truth),
                )
            )
        return np.mean(found, axis=0)

    rng = np.random.default_rng(0)
    value = scores(np.arange(len(labels)))
    draws = np.array([scores(rng.integers(0, len(labels), len(labels))) for _ in range(BOOTSTRAPS)])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return {
        "objects": len(labels),
        **{name: [round(float(x), 4) for x in (value[k], low[k], high[k])] for k, name in enumerate(SCORES)},
    }


def _superclass(p: Floats) -> NDArray[np.int64]:
    sums = np.stack([p[:, parent == _PARENT].sum(axis=1) for parent in range(len(SUPERCLASSES) + 1)], axis=1)
    return sums.argmax(axis=1)


def _beside(p: Floats) -> Floats:
    """Probabilities (n, C) with an asteroid's, 0, beside them."""
    return np.concatenate((p / p.sum(axis=1, keepdims=True), np.zeros((len(p), 1))), axis=1)


def _per_class(
    alone: Floats, repeats: Sequence[Floats], labels: NDArray[np.int64], fair: NDArray[np.bool_], prior: Floats
) -> Figures:
    """F1 of each class, everything shown, without and with context."""
    truth, found = labels[fair], {}
    f1 = [
        np.mean([f1_scores(truth, half_prior_decision(p[fair], prior), range(len(CLASSES))) for p in parts], axis=0)
        for parts in ([alone], repeats)
    ]
    for label, name in enumerate(CLASSES):
        if (truth == label).any():
            found[name] = {
                "objects": int((truth == label).sum()),
                "light curve alone": round(float(f1[0][label]), 4),
                "with context": round(float(f1[1][label]), 4),
            }
    return found


def _solar_system(bench: Bench, found: Mapping[str, Sequence[Judged]]) -> Figures:
    """Known asteroids found at one detection, and other objects taken for one, by detections shown."""
    transient = bench.data.labels < int(np.sum(SUPERCLASS_OF == 0))
    told: Figures = {"asteroids": len(bench.asteroids.values)}
    for name in ("by object", "by source", "by schema"):
        judged = found.get(name, ())
        if not judged:
            continue
        told[name] = {"found": _mean([each.asteroids.argmax(axis=1) == _ASTEROID for each in judged])}
        for k in SHOWN:
            taken = [each.fused[k].argmax(axis=1) == _ASTEROID for each in judged]
            told[name][_name(k)] = {
                group: _mean([each[mine & bench.contexts.known] for each in taken])
                for group, mine in (
                    ("all", np.ones(len(transient), dtype=bool)),
                    ("transients", transient),
                    ("others", ~transient),
                )
            }
    return told


def _sets(bench: Bench, found: Mapping[str, Sequence[Judged]]) -> Figures:
    """Conformal sets with context per bin: thresholds of one half of the objects judged on the other, both ways."""
    half = np.random.default_rng(0).permutation(len(bench.data)) % 2
    told: Figures = {}
    for low, (p, labels, rows) in zip(EDGES, examples_with_context(bench, found["by source"][0]), strict=True):
        score, covered, size = 1.0 - p[:, :_ASTEROID], [], []
        for side in (0, 1):
            known, asked = half[rows] != side, half[rows] == side
            if known.sum() < 20 or not asked.any():
                continue
            thresholds = conformal_thresholds(score[known, labels[known]], labels[known])
            inside = score[asked] <= thresholds
            covered.append(inside[np.arange(asked.sum()), labels[asked]])
            size.append(inside.sum(axis=1))
        if covered:
            told[f"{low}+"] = {
                "objects": len(np.concatenate(size)),
                "coverage": round(float(np.concatenate(covered).mean()), 4),
                "set_size": round(float(np.concatenate(size).mean()), 3),
                "ece": round(expected_calibration_error(p, labels), 4),
            }
    return told


def _mean(parts: Sequence[NDArray[np.bool_]]) -> float:
    return round(float(np.mean([each.mean() for each in parts])), 4)


def _name(k: int) -> str:
    return "all" if k == ALL else str(k)


def tables(figures: Figures) -> dict[str, str]:
    """Markdown by title."""
    told = {}
    ways = list(next(iter(figures["shown"].values())))
    for score, title in (
        ("accuracy", "Accuracy"), ("macro_f1", "Macro-F1"), ("superclass", "Superclass accuracy"),
        ("ece", "Expected calibration error"),
    ):  # fmt: skip
        told[f"{title}, by detections shown"] = _table(
            ("", *figures["shown"]), ((way, *(_interval(row[way][score]) for row in figures["shown"].values()))
                                      for way in ways)
        )  # fmt: skip
    told["Context alone, all labelled alert objects with context"] = _table(
        ("trees", "objects", "accuracy", "macro-F1", "superclass accuracy"),
        ((name, row["objects"], *(_interval(row[score]) for score in SCORES[:3]))
         for name, row in figures["trees_alone"].items()),
    )  # fmt: skip
    told["F1 of each class, everything shown, by object"] = _table(
        ("class", "objects", "light curve alone", "with context"),
        ((name, row["objects"], f"{row['light curve alone']:.2f}", f"{row['with context']:.2f}")
         for name, row in figures["per_class"].items()),
    )  # fmt: skip
    told["By length of the history, everything shown, by object"] = _table(
        ("detections", "objects", "accuracy alone", "with context", "superclass alone", "with context"),
        ((name, row["by object"]["objects"], *(_interval(row[way][score]) for score in ("accuracy", "superclass")
                                               for way in ("light curve alone", "by object")))
         for name, row in figures["histories"].items()),
    )  # fmt: skip
    sky = figures["solar_system"]
    told["Taken for asteroids, by detections shown"] = _table(
        ("folds", "known asteroids found at 1", "all others at 1", "transients at 1", "all others at 2", "at 3"),
        ((name, f"{row['found']:.1%}", f"{row['1']['all']:.1%}", f"{row['1']['transients']:.1%}",
          f"{row['2']['all']:.2%}", f"{row['3']['all']:.2%}")
         for name, row in sky.items() if name != "asteroids"),
    )  # fmt: skip
    told["90 % conformal sets with context, other sources"] = _table(
        ("detections", "light curves", "coverage", "mean set size", "ECE"),
        ((name, row["objects"], *(f"{row[key]:.3f}" for key in ("coverage", "set_size", "ece")))
         for name, row in figures["sets"].items()),
    )  # fmt: skip
    return told


def _interval(value: Sequence[float]) -> str:
    return f"{value[0]:.3f} ({value[1]:.3f}-{value[2]:.3f})"


def _table(header: Sequence[str], rows: Any) -> str:
    lines = [header, ["---"] * len(header), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
