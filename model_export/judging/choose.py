"""Choose the best of several finished runs by the log-loss on the validation split, the only criterion used.

Macro-F1 on some 700 objects, 16 of them SLSN, fluctuates by more than most changes to the training are worth; the
log-loss of the same objects resolves those changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from model_export.data.prior import published_prior
from model_export.data.scores import softmax
from model_export.data.tables import Dataset
from model_export.judging.evaluate import ENOUGH
from model_export.network.predict import ALL, Answers, predict
from model_export.training.run import load_run

SEEN: Final = (1, 2, 3, 5, 8, 12, 20, ALL)
POPULATIONS: Final = ("transients", "alert_objects")
MEAN: Final = "mean of all"

Losses = dict[str, dict[str, float]]  # population -> detections shown -> mean negative log-likelihood


def validation_losses(data: Dataset, runs: Sequence[Path]) -> dict[str, Losses]:
    """Losses of each run, by folder name, and of the mean of their probabilities if there are several.

    On real validation objects with at least five detections, with the published prior and before calibration.
    """
    train, validation = data.split("train"), data.where(data.in_split("validation") & (data.labels >= 0))
    found: dict[str, Losses] = {}
    together: list[dict[int, np.ndarray]] = []
    for run in runs:
        model, config = load_run(run)
        prior = published_prior(train, config.alert_share)
        answers = predict(model, validation, config.parameters, SEEN)
        together.append({k: softmax(p.logits + np.log(prior)) for k, p in answers.items()})
        found[run.name] = _losses(answers, together[-1])
    if len(runs) > 1:
        found[MEAN] = _losses(answers, {k: np.mean([each[k] for each in together], axis=0) for k in SEEN})
    return found


def _losses(answers: Mapping[int, Answers], probabilities: Mapping[int, np.ndarray]) -> Losses:
    losses: Losses = {}
    for k, known in answers.items():
        of_truth = probabilities[k][np.arange(len(known.labels)), known.labels]
        for population in POPULATIONS:
            mine = (known.table == population) & (known.n_detections >= ENOUGH)
            if mine.any():
                loss = round(float(-np.log(np.maximum(of_truth[mine], 1e-9)).mean()), 4)
                losses.setdefault(population, {})["all" if k == ALL else str(k)] = loss
    return losses


def table(found: Mapping[str, Losses], population: str) -> str:
    """Markdown: a row per run, a column per number of detections."""
    shown = list(next(iter(found.values()))[population])
    rows = [["run", *shown], ["---"] * (len(shown) + 1)]
    rows += [[name, *(f"{losses[population][k]:.3f}" for k in shown)] for name, losses in found.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
