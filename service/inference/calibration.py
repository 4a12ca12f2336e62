"""From a graph's raw outputs to calibrated ones: probabilities, conformal sets, an out-of-distribution score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.inference.manifest import Manifest, OutOfDistribution


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Calibrated answers of n light curves over C classes and S superclasses.

    probabilities (n, C) sum to one; superclass_probabilities (n, S) are their sums by parent; in_conformal_set (n, C);
    ood_score (n,), NaN if the bundle has no statistics for it; is_out_of_distribution (n,). With stochastic passes also
    variance (n, C) of each class's probability over the passes, and bald (n,), their mutual information in nats.
    """

    probabilities: NDArray[np.float32]
    superclass_probabilities: NDArray[np.float32]
    in_conformal_set: NDArray[np.bool_]
    ood_score: NDArray[np.float64]
    is_out_of_distribution: NDArray[np.bool_]
    variance: NDArray[np.float32] | None = None
    bald: NDArray[np.float64] | None = None


class Calibrator:
    """Applies a manifest's calibration to batches."""

    def __init__(self, manifest: Manifest) -> None:
        calibration = manifest.calibration
        self._first_counts = np.array(calibration.edges)
        both = (calibration, manifest.context_calibration or calibration)  # without and with context
        self._temperature = np.array([each.temperature for each in both], dtype=np.float64)  # (2, bins)
        self._thresholds = np.array([each.conformal_thresholds for each in both], dtype=np.float64)  # (2, bins, C)
        parents = [manifest.superclasses.index(parent) for parent in manifest.taxonomy.values()]
        self._membership = np.eye(len(manifest.superclasses))[parents]  # (C, S), a one per class
        known = manifest.out_of_distribution
        self._distance = _Distance(known, len(calibration.edges)) if known else None

    def judge(
        self,
        logits: NDArray[np.floating],
        embedding: NDArray[np.floating],
        n_detections: NDArray[np.integer],
        has_context: NDArray[np.bool_] | None = None,
    ) -> Judgement:
        """From logits (n, C), or (n, P, C) of P passes, embedding (n, D), number of detections used (n,), and which
        light curves the graph had any context of (n,); none if left out.
        """
        bins = np.maximum(np.searchsorted(self._first_counts, n_detections, side="right") - 1, 0)
        which = np.zeros(len(bins), dtype=np.int64) if has_context is None else has_context.astype(np.int64)
        temperature = self._temperature[which, bins].reshape(-1, *[1] * (logits.ndim - 1))
        probabilities = _softmax(logits.astype(np.float64) / temperature)
        variance = bald = None
        if logits.ndim == 3:
            probabilities, variance, bald = _over_passes(probabilities)
        score = np.full(len(logits), np.nan)
        beyond = np.zeros(len(logits), dtype=np.bool_)
        if self._distance:
            score = self._distance.score(embedding.astype(np.float64))
            beyond = score > self._distance.thresholds[bins]
        return Judgement(
            probabilities=probabilities.astype(np.float32),
            superclass_probabilities=self.superclasses(probabilities),
            # score of class k: 1 - p_k (Sadinle et al. 2019, arXiv:1609.00451), with a threshold per class
            in_conformal_set=1.0 - probabilities <= self._thresholds[which, bins],
            ood_score=score,
            is_out_of_distribution=beyond,
            variance=variance,
            bald=bald,
        )

    def superclasses(self, probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
        """Sums by parent (n, S) of probabilities (n, C)."""
        sums: NDArray[np.float32] = (probabilities @ self._membership).astype(np.float32)
        return sums


class _Distance:
    """Squared Mahalanobis distance to the nearest class mean, in units of its median on the calibration split."""

    def __init__(self, statistics: OutOfDistribution, bins: int) -> None:
        means = np.array(statistics.means, dtype=np.float64)  # (C, D)
        # Centre the means on the origin: |z - m|^2 is expanded below, which loses precision far from it.
        self._origin = means.mean(axis=0)
        self._whitening = np.array(statistics.whitening, dtype=np.float64).T  # (D, k)
        self._means = (means - self._origin) @ self._whitening  # (C, k)
        self._scale = statistics.scale
        self.thresholds = np.broadcast_to(np.array(statistics.thresholds, dtype=np.float64), bins)

    def score(self, embedding: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances (n,) of embeddings (n, D)."""
        z = (embedding - self._origin) @ self._whitening  # (n, k)
        squared = (z**2).sum(axis=1)[:, None] - 2.0 * z @ self._means.T + (self._means**2).sum(axis=1)  # (n, C)
        nearest: NDArray[np.float64] = np.maximum(squared.min(axis=1), 0.0) / self._scale
        return nearest


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def _over_passes(
    probabilities: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """Mean (n, C), variance (n, C) and mutual information (n,) of probabilities (n, P, C).

    The mutual information of class and pass is the entropy of the mean minus the mean entropy: high if passes are each
    sure of a different class (BALD, Houlsby et al. 2011, arXiv:1112.5745).
    """
    mean = probabilities.mean(axis=1)
    bald = _entropy(mean) - _entropy(probabilities).mean(axis=1)
    return mean, probabilities.var(axis=1).astype(np.float32), np.maximum(bald, 0.0)


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """In nats, over the last axis."""
    entropy: NDArray[np.float64] = -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=-1)
    return entropy
