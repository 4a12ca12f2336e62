"""Make the published numbers mean what they say: temperature, conformal sets and an out-of-distribution score.

All of it is fitted on the validation split, seen at every number of first detections, and stored in the manifest.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from model_export.data import CLASSES, load_difference
from model_export.predict import ALL, Predictions, predict
from model_export.prior import published_prior
from model_export.scores import IS_TRANSIENT, SUPERCLASS_OF, softmax
from service.inference.manifest import Calibration, OutOfDistribution

EDGES: Final = (1, 2, 3, 5, 8, 12, 20)  # detection-count bins
PREFIXES: Final = (*EDGES, ALL)
COVERAGE: Final = 0.9
FEWEST: Final = 9  # objects of a class in a bin; of fewer, no rank covers 90 % of new ones: ceil(0.9 (n + 1)) > n
OOD_PERCENTILE: Final = 99.0


@dataclass(frozen=True)
class Examples:
    """What the model said of each validation object at each prefix: logits (n, C) with the published prior, of P
    stochastic passes (n, P, C); embedding (n, D).
    """

    logits: NDArray[np.float64]
    embedding: NDArray[np.float64]
    labels: NDArray[np.int64]
    n_seen: NDArray[np.int64]
    table: NDArray[np.object_]


def examples(predictions: dict[int, Predictions], prior: NDArray[np.float64]) -> Examples:
    """Stack the prefixes; an object with fewer than k detections is not repeated for k."""
    parts = []
    for k, p in predictions.items():
        new = (p.n_detections > k) & (p.labels >= 0) if k != ALL else p.labels >= 0
        parts.append((p.logits[new] + np.log(prior), p.embedding[new], p.labels[new], p.n_seen[new], p.table[new]))
    return Examples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def bin_of(n_seen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the detection-count bin (n,)."""
    return np.searchsorted(EDGES, n_seen, side="right") - 1


def soften(logits: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Logits (..., C) times 1 where the object is surely a transient, times `scale` where it surely is not.

    Variable stars and active nuclei were learnt from a few hundred real objects, transients from thousands: the
    network is too sure of the former, and no temperature per detection count could be right for both. The top class
    stays the top class.
    """
    transient = softmax(logits)[..., IS_TRANSIENT].sum(axis=-1, keepdims=True)
    return logits * (transient + (1.0 - transient) * scale)


def fit_softening(found: Examples) -> float:
    """The scale of least negative log-likelihood of the alert objects, temperatures refitted on everything for each."""
    which, alerts = bin_of(found.n_seen), found.table == "alert_objects"
    if not alerts.any():
        return 1.0

    def loss(scale: float) -> float:
        softened, total = soften(found.logits, scale), 0.0
        for b in np.unique(which[alerts]):
            mine = which == b
            temperature = fit_temperature(softened[mine], found.labels[mine])
            p = published(softened[mine & alerts], temperature)
            total -= float(np.log(np.maximum(p[np.arange(len(p)), found.labels[mine & alerts]], 1e-12)).sum())
        return total

    return float(minimize_scalar(loss, bounds=(0.3, 1.0), method="bounded", options={"xatol": 0.01}).x)


def calibrate(found: Examples) -> Calibration:
    """Temperature and class-conditional conformal thresholds per detection-count bin.

    A class belongs to the set where 1 - p <= threshold, its threshold being the 90 % quantile of 1 - p(true class) over
    validation objects of that class and bin (Vovk 2012). With fewer than 9 such objects it is the quantile of its
    superclass and bin, in which every class weighs the same: by number, the many SNIa would rule out every TDE.
    """
    which = bin_of(found.n_seen)
    temperatures, thresholds = [], []
    for b in range(len(EDGES)):
        mine = which == b
        logits, labels = found.logits[mine], found.labels[mine]
        temperature = round(fit_temperature(logits, labels), 4)  # as published, or thresholds miss by a hair
        probabilities = published(logits, temperature)
        score = 1.0 - probabilities[np.arange(len(labels)), labels]
        temperatures.append(temperature)
        thresholds.append([math.ceil(t * 1e6) / 1e6 for t in _thresholds(score, labels)])  # up: down loses coverage
    return Calibration(
        edges=list(EDGES), temperature=temperatures, conformal_coverage=COVERAGE, conformal_thresholds=thresholds
    )


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017, arXiv:1706.04599)."""

    def loss(log_temperature: float) -> float:
        p = published(logits, np.exp(log_temperature))
        return float(-np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x))


def published(logits: NDArray[np.float64], temperature: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """softmax(logits / temperature) (n, C) of logits (n, C); of stochastic passes (n, P, C) the mean over passes.

    `temperature` is one number or one per light curve (n,).
    """
    probabilities = softmax(logits / np.reshape(temperature, (-1, *[1] * (logits.ndim - 1))))
    return probabilities.mean(axis=1) if logits.ndim == 3 else probabilities


def apply(calibration: Calibration, logits: NDArray[np.float64], n_seen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Published probabilities (n, C) of logits (n, C) or (n, P, C) that carry the prior."""
    return published(logits, np.array(calibration.temperature)[bin_of(n_seen)])


def conformal_sets(
    calibration: Calibration, probabilities: NDArray[np.float64], n_seen: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Membership (n, C): every class that can't be ruled out."""
    return 1.0 - probabilities <= np.array(calibration.conformal_thresholds)[bin_of(n_seen)]


def out_of_distribution(train: Predictions, found: Examples, alert_share: float) -> OutOfDistribution:
    """Class means and shared whitening of training embeddings; scale and thresholds from the validation split.

    A threshold per detection-count bin: one detection lies further from the means of whole light curves than a hundred.
    In each, alert objects weigh `alert_share` as in the published prior, or the thousands of transients would declare
    the few stars odd.
    """
    known = train.labels >= 0
    embedding, labels = train.embedding[known], train.labels[known]
    means = np.stack([embedding[labels == c].mean(axis=0) for c in range(len(CLASSES))])
    number = np.bincount(labels, minlength=len(CLASSES))
    weight = (1.0 / np.sqrt(number))[labels]  # else the covariance would be that of SNIa alone
    centred = (embedding - means[labels]) * np.sqrt(weight / weight.sum())[:, None]
    covariance = centred.T @ centred
    covariance += np.eye(len(covariance)) * 1e-2 * np.trace(covariance) / len(covariance)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))  # (D, D) with precision = W^T W
    distance = squared_distance(found.embedding, means, whitening)
    which, alerts = bin_of(found.n_seen), found.table == "alert_objects"
    scale = float(np.median(distance[which == len(EDGES) - 1]))
    thresholds = []
    for b in range(len(EDGES)):
        mine = which == b
        weight = np.where(
            alerts, alert_share / max((mine & alerts).sum(), 1), (1 - alert_share) / (mine & ~alerts).sum()
        )
        thresholds.append(float(f"{_quantile(distance[mine], weight[mine], OOD_PERCENTILE / 100) / scale:.5g}"))
    return OutOfDistribution(means=_rounded(means), whitening=_rounded(whitening), scale=scale, threshold=thresholds)


def squared_distance(
    embedding: NDArray[np.float64], means: NDArray[np.float64], whitening: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared Mahalanobis distance to the nearest class mean (n,)."""
    white, centres = embedding @ whitening.T, means @ whitening.T
    return ((white[:, None, :] - centres[None]) ** 2).sum(axis=2).min(axis=1)


def _thresholds(score: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    number = np.bincount(labels, minlength=len(CLASSES))
    found = []
    for label in range(len(CLASSES)):
        mine = labels == label
        if mine.sum() >= FEWEST:
            rank = int(np.ceil((mine.sum() + 1) * COVERAGE))  # covers at least 90 % of new objects
            found.append(float(np.sort(score[mine])[rank - 1]))
            continue
        family = SUPERCLASS_OF[labels] == SUPERCLASS_OF[label]
        if not family.any():
            family = np.ones(len(labels), dtype=bool)
        found.append(_quantile(score[family], 1.0 / number[labels[family]], COVERAGE))
    return np.array(found)


def _quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """The smallest value that at least `share` of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(reached, share)), len(values) - 1)])


def _rounded(matrix: NDArray[np.float64]) -> list[list[float]]:
    return [[float(f"{x:.5g}") for x in row] for row in matrix]


def calibrate_run(data: Path, run: Path) -> None:
    """Calibrate the model of a finished run; writes `calibration.json` beside it."""
    from model_export.bundle import load_run

    model, config = load_run(run)
    real = load_difference(data)
    split = real.objects["split"].to_numpy()
    train = real.where(split == "train")
    validation = real.where((split == "validation") & (real.labels >= 0))
    prior = published_prior(train, config.alert_share)
    found = predict(model, validation, config.parameters, PREFIXES)
    seen = examples(found, prior)
    scale = fit_softening(seen)
    calibration = calibrate(replace(seen, logits=soften(seen.logits, scale)))
    ood = out_of_distribution(predict(model, train, config.parameters, (ALL,))[ALL], seen, config.alert_share)
    stored = {"softening": scale, "calibration": calibration.model_dump(), "out_of_distribution": ood.model_dump()}
    (run / "calibration.json").write_text(json.dumps(stored))


def read_calibration(path: Path) -> tuple[float, Calibration, OutOfDistribution]:
    """What `calibrate_run` wrote: softening scale, calibration, out-of-distribution statistics."""
    stored = json.loads(path.read_text())
    return (
        float(stored["softening"]),
        Calibration(**stored["calibration"]),
        OutOfDistribution(**stored["out_of_distribution"]),
    )
