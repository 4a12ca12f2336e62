"""Logits and embeddings of a dataset for each number of first detections, computed as in serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model_export.data.batches import length_batches
from model_export.data.tables import Dataset
from model_export.data.views import prefix
from model_export.network.encoder import AlertClassifier
from service.inference.preprocessing.alert_clr import alert_tokens, windows

ALL: Final = 0  # all detections


@dataclass(frozen=True)
class Answers:
    """A network's answers for n light curves: logits (n, C), of P stochastic passes (n, P, C); embedding (n, D).

    n_seen is the number of detections shown, n_detections that of the whole object.
    """

    logits: NDArray[np.float64]
    embedding: NDArray[np.float64]
    labels: NDArray[np.int64]
    n_seen: NDArray[np.int64]
    n_detections: NDArray[np.int64]
    table: NDArray[np.object_]

    def where(self, mask: NDArray[np.bool_]) -> Answers:
        return Answers(*(values[mask] for values in vars(self).values()))

    @classmethod
    def concatenate(cls, parts: Sequence[Answers]) -> Answers:
        return cls(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))


def shown(data: Dataset, k: int) -> Dataset:
    """Each object as known at its k-th detection (ALL: everything)."""
    if k == ALL:
        return data
    return Dataset(*prefix(data.points, data.counts, np.full(len(data), k)), data.objects)


@torch.no_grad()
def predict(
    model: AlertClassifier, data: Dataset, parameters: dict[str, Any], ks: Sequence[int] = (ALL, 3, 1)
) -> dict[int, Answers]:
    """Answers, without prior, for the first k detections of each object, for each k (ALL: everything)."""
    model.eval()
    device = next(model.parameters()).device
    found = {}
    total = data.objects["n_detections"].to_numpy(dtype=np.int64)
    for k in ks:
        seen = shown(data, k)
        tokens = alert_tokens(seen.points, seen.counts, parameters)
        embedding = torch.empty(len(data), model.config.embedding, device=device)
        stops = np.cumsum(tokens.counts)
        long = np.flatnonzero(tokens.counts > parameters["window"])
        for batch in length_batches(tokens, np.arange(len(data)), 64, parameters["window"]):
            there = batch.to(device)
            embedding[batch.rows] = model.encoder(there.points, there.context, there.bias)
        for row in long:
            cut = windows(tokens.points[stops[row] - tokens.counts[row] : stops[row]], parameters)
            points, context = torch.from_numpy(cut)[None], torch.from_numpy(tokens.context[row])[None]
            embedding[row] = model.embed(points.to(device), context.to(device))[0]
        found[k] = Answers(
            model.head(model.dropout(embedding)).double().cpu().numpy(),
            embedding.double().cpu().numpy(),
            data.labels,
            total if k == ALL else np.minimum(total, k),
            total,
            data.objects["table"].to_numpy(),
        )
    return found
