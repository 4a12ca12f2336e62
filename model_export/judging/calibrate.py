"""Calibration: temperature, conformal sets and an out-of-distribution score.

All are fitted on the validation split at every number of first detections, and stored in the manifest.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from model_export.data.bins import EDGES, bin_of
from model_export.data.prior import published_prior
from model_export.data.scores import IS_TRANSIENT, SUPERCLASS_OF, softmax, weighted_quantile
from model_export.data.simulate import load_simulated
from model_export.data.tables import CLASSES, Dataset, load_difference
from model_export.judging.examples import PREFIXES, examples
from model_export.judging.out_of_distribution import out_of_distribution_of
from model_export.network.predict import Answers, predict
from model_export.training.run import load_run
from service.inference.manifest import Calibration, OutOfDistribution

COVERAGE: Final = 0.9
FEWEST: Final = 9  # objects of a class in a bin; of fewer, no rank covers 90 % of new ones: ceil(0.9 (n + 1)) > n


def soften(logits: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Scale logits (..., C), from a factor of 1 for sure transients to `scale` for sure non-transients.

    The network learnt variable stars and active nuclei from a few hundred real objects, transients from thousands. It
    is too sure of the former, and one temperature per detection count can't be right for both. The top class does not
    change.
    """
    transient = softmax(logits)[..., IS_TRANSIENT].sum(axis=-1, keepdims=True)
    return logits * (transient + (1.0 - transient) * scale)


def fit_softening(found: Answers) -> float:
    """The scale with the lowest negative log-likelihood of alert objects; temperatures are refitted for each scale."""
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


def calibrate(found: Answers) -> Calibration:
    """Temperature and class-conditional conformal thresholds per detection-count bin.

    A class is in the set if 1 - p <= its threshold, the 90 % quantile of 1 - p(true class) over validation objects of
    that class and bin (Vovk 2012). With fewer than 9 such objects it is the quantile over its superclass and bin, with
    equal weight per class; weighted by number, the many SNIa would rule out every TDE.
    """
    which = bin_of(found.n_seen)
    temperatures, thresholds = [], []
    for b in range(len(EDGES)):
        mine = which == b
        logits, labels = found.logits[mine], found.labels[mine]
        temperature = round(fit_temperature(logits, labels), 4)  # rounded as published, so that thresholds fit exactly
        probabilities = published(logits, temperature)
        score = 1.0 - probabilities[np.arange(len(labels)), labels]
        temperatures.append(temperature)
        thresholds.append(
            [math.ceil(t * 1e6) / 1e6 for t in conformal_thresholds(score, labels)]
        )  # round up, to keep the coverage
    return Calibration(
        edges=list(EDGES), temperature=temperatures, conformal_coverage=COVERAGE, conformal_thresholds=thresholds
    )


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature with the lowest negative log-likelihood (Guo et al. 2017, arXiv:1706.04599)."""

    def loss(log_temperature: float) -> float:
        p = published(logits, np.exp(log_temperature))
        return float(-np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x))


def published(logits: NDArray[np.float64], temperature: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """softmax(logits / temperature) (n, C) of logits (n, C); for stochastic passes (n, P, C) the mean over passes.

    `temperature` is one number or one per light curve (n,).
    """
    probabilities = softmax(logits / np.reshape(temperature, (-1, *[1] * (logits.ndim - 1))))
    return probabilities.mean(axis=1) if logits.ndim == 3 else probabilities


def apply(calibration: Calibration, logits: NDArray[np.float64], n_seen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Published probabilities (n, C) of logits (n, C) or (n, P, C) that include the prior."""
    return published(logits, np.array(calibration.temperature)[bin_of(n_seen)])


def conformal_sets(
    calibration: Calibration, probabilities: NDArray[np.float64], n_seen: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Membership (n, C): the classes that can't be ruled out."""
    return 1.0 - probabilities <= np.array(calibration.conformal_thresholds)[bin_of(n_seen)]


def conformal_thresholds(score: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Per class (C,) the 90 % quantile of the `score` 1 - p(true class) (n,); see `calibrate`."""
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
        found.append(weighted_quantile(score[family], 1.0 / number[labels[family]], COVERAGE))
    return np.array(found)


def calibrate_run(data: Path, run: Path, simulated: Path | None = None) -> None:
    """Calibrate the model of a finished run; writes `calibration.json` beside it.

    `simulated` must have another seed than the simulated objects of the training; without them, objects similar to
    those count as out of distribution.
    """
    model, config = load_run(run)
    real = load_difference(data)
    train = real.split("train")
    validation = real.where(real.in_split("validation") & (real.labels >= 0))
    prior = published_prior(train, config.alert_share)

    def ask(some: Dataset, ks: tuple[int, ...]) -> dict[int, Answers]:
        return predict(model, some, config.parameters, ks)

    seen = examples(ask(validation, PREFIXES), prior)
    scale = fit_softening(seen)
    calibration = calibrate(replace(seen, logits=soften(seen.logits, scale)))
    ood = out_of_distribution_of(ask, train, seen, load_simulated(simulated) if simulated else None, config.alert_share)
    stored = {"softening": scale, "calibration": calibration.model_dump(), "out_of_distribution": ood.model_dump()}
    (run / "calibration.json").write_text(json.dumps(stored))


def read_calibration(path: Path) -> tuple[float, Calibration, OutOfDistribution]:
    """The results of `calibrate_run`: softening scale, calibration, out-of-distribution statistics."""
    stored = json.loads(path.read_text())
    return (
        float(stored["softening"]),
        Calibration(**stored["calibration"]),
        OutOfDistribution(**stored["out_of_distribution"]),
    )
