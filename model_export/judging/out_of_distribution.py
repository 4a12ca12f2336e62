"""Out-of-distribution score: the distance of an embedding from the training data, and its threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_export.data.bins import EDGES, bin_of
from model_export.data.scores import weighted_quantile
from model_export.data.tables import CLASSES, Dataset
from model_export.judging.examples import PREFIXES, examples
from model_export.network.predict import ALL, Answers
from service.inference.manifest import OutOfDistribution

PERCENTILE: Final = 99.0
# Together these populations have the weight `alert_share`, as in the published prior, in equal parts.
ALERT_POPULATIONS: Final = ("alert_objects", "simulated")

Ask = Callable[[Dataset, tuple[int, ...]], dict[int, Answers]]


def out_of_distribution_of(
    ask: Ask, train: Dataset, seen: Answers, simulated: Dataset | None, alert_share: float
) -> OutOfDistribution:
    """Statistics of the answers of `ask` for the train split and, if given, simulated objects.

    The network learnt long histories of variable objects mostly from simulated ones, because the real objects of the
    alert tables have short ones. Simulated objects only define "in distribution"; they are not used for scores.
    """
    learnt = [ask(train, (ALL,))[ALL]]
    if simulated is not None:
        answers = ask(simulated, PREFIXES)
        learnt.append(answers[ALL])
        seen = Answers.concatenate([seen, examples(answers, np.ones(len(CLASSES)))])  # logits are not used here
    return out_of_distribution(learnt, seen, alert_share)


def out_of_distribution(learnt: Sequence[Answers], seen: Answers, alert_share: float) -> OutOfDistribution:
    """Class means and shared whitening from `learnt`, populations weighted equally; scale and thresholds from `seen`.

    There is a threshold per detection-count bin, because light curves of one detection are further from the means of
    whole light curves than those of a hundred. In each bin alert objects have the weight `alert_share`, as in the
    published prior; otherwise the thousands of transients would make the few stars out of distribution.
    """
    means, centred, weights = [], [], []
    for label in range(len(CLASSES)):
        parts = [p.embedding[p.labels == label] for p in learnt if (p.labels == label).any()]
        means.append(np.mean([part.mean(axis=0) for part in parts], axis=0))
        for part in parts:
            centred.append(part - means[-1])
            # weighted by the root of the number, else SNIa would dominate the covariance
            weights.append(np.full(len(part), 1.0 / np.sqrt(len(part)) / len(parts)))
    weight = np.concatenate(weights)
    spread = np.concatenate(centred) * np.sqrt(weight / weight.sum())[:, None]
    covariance = spread.T @ spread
    covariance += np.eye(len(covariance)) * 1e-2 * np.trace(covariance) / len(covariance)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))  # (D, D) with precision = W^T W
    distance = squared_distance(seen.embedding, np.array(means), whitening)
    which = bin_of(seen.n_seen)
    scale = float(np.median(distance[(which == len(EDGES) - 1) & (seen.table != "simulated")]))
    thresholds = []
    for b in range(len(EDGES)):
        mine = which == b
        cut = weighted_quantile(distance[mine], _weights(seen.table[mine], alert_share), PERCENTILE / 100)
        thresholds.append(float(f"{cut / scale:.5g}"))
    return OutOfDistribution(means=_rounded(means), whitening=_rounded(whitening), scale=scale, threshold=thresholds)


def squared_distance(
    embedding: NDArray[np.float64], means: NDArray[np.float64], whitening: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared Mahalanobis distance to the nearest class mean (n,)."""
    white, centres = embedding @ whitening.T, means @ whitening.T
    return ((white[:, None, :] - centres[None]) ** 2).sum(axis=2).min(axis=1)


def _weights(table: NDArray[np.object_], alert_share: float) -> NDArray[np.float64]:
    """Weight of each object (n,): `alert_share` in total for the alert populations, the rest for all others."""
    present = [name for name in ALERT_POPULATIONS if (table == name).any()]
    weights = np.full(len(table), (1.0 - alert_share) / max((~np.isin(table, present)).sum(), 1))
    for name in present:
        weights[table == name] = alert_share / len(present) / (table == name).sum()
    return weights


def _rounded(matrix: Sequence[NDArray[np.float64]] | NDArray[np.float64]) -> list[list[float]]:
    return [[float(f"{x:.5g}") for x in row] for row in matrix]
