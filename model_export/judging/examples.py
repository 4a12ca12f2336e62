"""What a model said of the objects that it is calibrated on, seen at every number of first detections."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_export.network.predict import ALL, Predictions

EDGES: Final = (1, 2, 3, 5, 8, 12, 20)  # detection-count bins
PREFIXES: Final = (*EDGES, ALL)


@dataclass(frozen=True)
class Examples:
    """What the model said of each object at each prefix: logits (n, C) with the published prior, of P
    stochastic passes (n, P, C); embedding (n, D).
    """

    logits: NDArray[np.float64]
    embedding: NDArray[np.float64]
    labels: NDArray[np.int64]
    n_seen: NDArray[np.int64]
    table: NDArray[np.object_]

    def joined(self, others: Examples) -> Examples:
        """These and the others."""
        return Examples(*(np.concatenate((vars(self)[f.name], vars(others)[f.name])) for f in fields(self)))


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
