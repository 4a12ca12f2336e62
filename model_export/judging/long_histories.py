"""Blocks against the windows of alert-clr/1, on objects with more tokens than one window holds.

The fusion is judged by cross-validation: each object by a correction that has not learnt it. The encoder is frozen, and
has learnt the transients of the training split; the table tells those that it has not apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_export.data.long_histories import groups_of
from model_export.data.scores import macro_f1, softmax
from model_export.data.tables import Dataset
from model_export.judging.calibrate import soften
from model_export.network.encoder import AlertClassifier
from model_export.network.predict import ALL, predict
from model_export.training.fuse_blocks import fit_correction, fused, object_weights
from service.inference.manifest import Calibration

FOLDS: Final = 5
BOOTSTRAPS: Final = 1000
WAYS: Final = ("windows (1.2.0)", "blocks, the same head", "blocks, fitted fusion")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LongHistories:
    """Published probabilities (M, C) of M objects, by the way their blocks or windows were fused (`WAYS`)."""

    data: Dataset
    probabilities: dict[str, Floats]


def judge_long_histories(
    network: AlertClassifier,
    data: Dataset,
    parameters: tuple[dict[str, Any], dict[str, Any]],
    prior: Floats,
    softening: float,
    calibration: Calibration,
    seed: int = 0,
) -> LongHistories:
    """`parameters` of alert-clr/1 and of alert-clr/2. All are published alike: softened, with one temperature."""

    def published(logits: Floats) -> Floats:
        return softmax(soften(logits + np.log(prior), softening) / calibration.temperature[-1])

    windows = predict(network, data, parameters[0], (ALL,))[ALL].logits
    blocks = fused(network, data, parameters[1])
    weights = object_weights(data)
    group = groups_of(data)
    folds = (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]
    corrected = blocks.logits.copy()
    for fold in range(FOLDS):
        rows, out = np.flatnonzero((folds != fold) & blocks.several), (folds == fold) & blocks.several
        weight, bias = fit_correction(
            blocks.told[rows], blocks.logits[rows] + np.log(prior), data.labels[rows], weights[rows]
        )
        corrected[out] += blocks.told[out] @ weight.T + bias
    answers = (windows, blocks.logits, corrected)
    return LongHistories(data, {way: published(logits) for way, logits in zip(WAYS, answers, strict=True)})


def populations(data: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Objects (M,) that are told apart in the table."""
    table = data.objects["table"].to_numpy().astype(str)
    held_out = data.objects["split"].to_numpy() != "train"
    real = np.isin(table, ("transients", "forced_tde", "variables_dr", "alert_objects_extra", "released"))
    return {
        "all real ones, held out": real & held_out,
        "transients, held out": (table == "transients") & held_out,
        "transients, learnt by the encoder": (table == "transients") & ~held_out,
        "forced photometry of TDEs": table == "forced_tde",
        "young stars (YSO)": table == "variables_dr",
        "alert objects with long histories": table == "alert_objects_extra",
        "data-release stars, held out": table == "released",
        "simulated variables": table == "simulated",
    }


def long_table(judged: LongHistories) -> str:
    """Log-loss, and in brackets its change against windows with the 95 % interval over objects; accuracy; macro-F1."""
    rows = [
        "| objects | number | way | log-loss | change against windows | accuracy | macro-F1 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, mine in populations(judged.data).items():
        labels = judged.data.labels[mine]
        if not len(labels):
            continue
        losses = {way: _losses(p[mine], labels) for way, p in judged.probabilities.items()}
        groups = np.unique(groups_of(judged.data)[mine], return_inverse=True)[1]
        for way, p in judged.probabilities.items():
            decided = p[mine].argmax(axis=1)
            told = [
                f"{losses[way].mean():.3f}",
                _change(losses[way] - losses[WAYS[0]], groups) if way != WAYS[0] else "",
            ]
            told += [f"{np.mean(decided == labels):.3f}", f"{macro_f1(labels, decided):.3f}"]
            rows.append(f"| {name} | {len(labels)} | {way} | {' | '.join(told)} |")
    return "\n".join(rows)


def _losses(p: Floats, labels: NDArray[np.int64]) -> Floats:
    return -np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12))


def _change(difference: Floats, groups: NDArray[np.int64], seed: int = 0) -> str:
    """Mean of a paired difference, with the 95 % bootstrap interval over groups of objects."""
    number = np.bincount(groups)
    total = np.bincount(groups, weights=difference)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(number), (BOOTSTRAPS, len(number)))
    means = total[draws].sum(axis=1) / number[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})"
