"""Uncertainty of an answer from the probabilities of its passes, and how well it detects mistakes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def uncertainty(probabilities: Floats) -> dict[str, Floats]:
    """Scores (n,), greater where less sure, of calibrated probabilities (n, P, C) of P passes.

    `maximum`: one minus the greatest mean probability (sampled maximum probability); `entropy` of the mean [nats];
    `variance` over passes, mean over classes; `bald`: the mutual information of class and pass [nats] (Houlsby et al.
    2011, arXiv:1112.5745). The last two need several passes. As in Cadiz-Leyton et al. 2025 (arXiv:2412.10528).
    """
    mean = probabilities.mean(axis=1)
    found = {"maximum": 1.0 - mean.max(axis=1), "entropy": entropy(mean)}
    if probabilities.shape[1] > 1:
        found["variance"] = probabilities.var(axis=1).mean(axis=1)
        found["bald"] = found["entropy"] - entropy(probabilities).mean(axis=1)
    return found


def entropy(probabilities: Floats) -> Floats:
    """In nats, over the last axis."""
    return -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=-1)


def roc_auc(score: Floats, wrong: NDArray[np.bool_]) -> float:
    """Probability that a wrong answer has a greater score than a right one, ties counting half; NaN without both."""
    number = int(wrong.sum())
    if number in (0, len(wrong)):
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[wrong].sum() - number * (number + 1) / 2) / (number * (len(wrong) - number)))


def rejection_curve(score: Floats, wrong: NDArray[np.bool_]) -> Floats:
    """Share of right answers (n,) among the 1, 2, ... n surest; ties in the order of the data."""
    right = ~wrong[np.argsort(score, kind="stable")]
    return np.cumsum(right) / np.arange(1, len(right) + 1)
