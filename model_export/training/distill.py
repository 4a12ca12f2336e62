"""Distillation: the mean prediction of an ensemble of finished runs, as soft labels for the single served network.

Networks from different seeds agree on what the light curves show and differ in what each has overfitted; their mean is
better calibrated than any of them, and one network of the same size can learn it (Hinton, Vinyals & Dean 2015,
arXiv:1503.02531). It gives soft labels to unlabelled objects too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from model_export.data.batches import Batch
from model_export.network.encoder import AlertClassifier
from model_export.training.run import load_run
from service.inference.preprocessing.alert_clr import POINT_FEATURES

UPPER_LIMIT: Final = POINT_FEATURES.index("upper_limit")


class Teachers:
    """The mean prediction of several finished runs; for few detections that of runs specialised on them."""

    def __init__(
        self, runs: Sequence[Path], early: Sequence[Path] = (), early_max: int = 0, device: str = "cpu"
    ) -> None:
        """`early` are used instead of `runs` up to `early_max` detections. Raises FileNotFoundError for a run without
        `model.pt` or `config.json`, ValueError without any `runs`.
        """
        if not runs:
            raise ValueError("teachers of first detections alone can't teach the rest: other teachers are missing")
        self.models: list[AlertClassifier] = [load_run(run)[0].to(device) for run in runs]
        self.early: list[AlertClassifier] = [load_run(run)[0].to(device) for run in early]
        self.early_max = early_max if early else 0

    @torch.no_grad()
    def __call__(self, batch: Batch, shift: Tensor) -> Tensor:
        """Mean probabilities (B, C) under the class frequencies exp(shift) (C,) of the student's own stream."""
        soft = torch.empty(len(batch.points), len(shift), device=shift.device)
        few = detections(batch) <= self.early_max
        for chosen, models in ((few, self.early), (~few, self.models)):
            if chosen.any():
                bias = None if batch.bias is None else batch.bias[chosen]
                view = (batch.points[chosen], batch.context[chosen], bias)
                answers = [functional.softmax(model.head(model.encoder(*view)) + shift, dim=1) for model in models]
                soft[chosen] = torch.stack(answers).mean(dim=0)
        return soft


def detections(batch: Batch) -> Tensor:
    """Number of detections in each view (B,)."""
    seen = batch.points[..., UPPER_LIMIT] == 0  # (B, T)
    if batch.bias is not None:
        seen &= batch.bias[:, 0, 0] == 0  # not padding
    return seen.sum(dim=1)


def classification_loss(logits: Tensor, labels: Tensor, soft: Tensor | None, share: float) -> Tensor:
    """Cross-entropy with the labels and, if there are teachers, with their probabilities `soft` (B, C).

    logits (B, C) include the stream's class frequencies. `share` is the weight of the teachers for labelled objects;
    unlabelled ones (label -1) only have the teachers, or no loss.
    """
    known = labels >= 0
    hard = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="none")  # 0 where unknown
    if soft is None:
        return hard.sum() / known.sum().clamp(min=1)
    following = -(soft * functional.log_softmax(logits, dim=1)).sum(dim=1)
    weight = torch.where(known, share, 1.0)
    return ((1.0 - weight) * hard + weight * following).mean()
