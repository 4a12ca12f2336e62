"""The scores, in plain numpy: one definition for validation, evaluation and the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_export.data.tables import CLASSES, SUPERNOVAE, TAXONOMY

SUPERCLASSES: Final = tuple(dict.fromkeys(TAXONOMY.values()))
SUPERCLASS_OF: Final = np.array([SUPERCLASSES.index(parent) for parent in TAXONOMY.values()])
IS_TRANSIENT: Final = np.array([parent == "Transient" for parent in TAXONOMY.values()])
SUPERNOVA_INDEX: Final = np.array([CLASSES.index(name) for name in SUPERNOVAE])

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def softmax(logits: Floats) -> Floats:
    """(..., C) -> (..., C)."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def half_prior_decision(probabilities: Floats, prior: Floats) -> Ints:
    """Class of the largest log p - 0.5 log prior (n,): gives rare classes a chance, and has no parameter to tune."""
    return np.argmax(np.log(np.maximum(probabilities, 1e-12)) - 0.5 * np.log(prior), axis=1)


def superclass_decision(probabilities: Floats) -> Ints:
    """Index into SUPERCLASSES of the largest sum by parent (n,)."""
    summed = np.stack([probabilities[:, k == SUPERCLASS_OF].sum(axis=1) for k in range(len(SUPERCLASSES))], axis=1)
    return np.argmax(summed, axis=1)


def f1_scores(truth: Ints, decided: Ints, classes: Sequence[int] | Ints) -> Floats:
    """F1 of each class (k,); 0 if a class is never found."""
    scores = []
    for label in classes:
        hit = np.sum((truth == label) & (decided == label))
        scores.append(2.0 * hit / max(np.sum(truth == label) + np.sum(decided == label), 1))
    return np.array(scores)


def macro_f1(truth: Ints, decided: Ints, classes: Sequence[int] | Ints | None = None) -> float:
    """Mean F1 over `classes`, by default those that occur in `truth`."""
    return float(f1_scores(truth, decided, classes if classes is not None else np.unique(truth)).mean())


def expected_calibration_error(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """Mean |confidence - accuracy| over equal-width confidence bins, weighted by size (Guo et al. 2017)."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[which == b].sum() - correct[which == b].sum()) for b in range(bins)]
    return float(sum(gaps) / max(len(truth), 1))


def brier(probabilities: Floats, truth: Ints) -> float:
    """Mean squared distance of the probability vector from the truth."""
    return float(np.mean(np.sum((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2, axis=1)))


def supernova_scores(probabilities: Floats, truth: Ints, prior: Floats) -> dict[str, float]:
    """Accuracy by argmax and macro-F1 by half prior of the four supernova types, all 14 classes competing."""
    mine = np.isin(truth, SUPERNOVA_INDEX)
    p, y = probabilities[mine], truth[mine]
    decided = half_prior_decision(p, prior)
    f1 = f1_scores(y, decided, SUPERNOVA_INDEX)
    return {
        "accuracy": float(np.mean(p.argmax(axis=1) == y)),
        "macro_f1": float(f1.mean()),
        **{f"f1_{name}": float(value) for name, value in zip(SUPERNOVAE, f1, strict=True)},
    }


def alert_scores(probabilities: Floats, truth: Ints, prior: Floats) -> dict[str, float]:
    """Superclass accuracy; accuracy and macro-F1 over the classes with at least five objects."""
    labels, number = np.unique(truth, return_counts=True)
    common = labels[number >= 5]
    mine = np.isin(truth, common)
    return {
        "superclass_accuracy": float(np.mean(superclass_decision(probabilities) == SUPERCLASS_OF[truth])),
        "accuracy": float(np.mean(probabilities[mine].argmax(axis=1) == truth[mine])),
        "macro_f1": macro_f1(truth[mine], half_prior_decision(probabilities[mine], prior), common),
    }


def weighted_quantile(values: Floats, weights: Floats, share: float) -> float:
    """The smallest value v such that values <= v have at least `share` of the weight."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(reached, share)), len(values) - 1)])
