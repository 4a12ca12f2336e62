"""How the answer of a light curve and the evidence of its context become one: late, and weaker as detections grow.

    log p(class) = s (log p_light_curve - log prior_light_curve) + w (log p_context - log prior_context) + log prior

up to a constant; `s` and `w` are numbers per bin of detections, fitted on objects that neither network nor trees have
learnt from. With context the object is one of an alert stream, and the prior is that of alert objects, not the mixture
that answers without context carry. A class of which fewer than five objects had context gets no evidence from it.

Asteroids are told by their surroundings (there is nothing where they pass) and by being seen in one night alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from model_export.data.bins import EDGES, bin_of
from model_export.data.scores import softmax

ASTEROID: Final = "Asteroid"
SOLAR_SYSTEM: Final = "Solar System"
TRUST: Final = 0.97  # in the trees: the rest is the prior, so that no class is ruled out by them alone
ABSENT: Final = -1e4  # logit of an asteroid without context: a probability of exactly zero
ASTEROID_SPAN: Final = 0.1  # days; an asteroid leaves its place in minutes
ASTEROID_FALL: Final = 12.0  # in log odds, of what has stayed much longer than that
ASTEROID_OFFSET: Final = -1.8  # log odds before context: fewer than half of first detections
ASTEROID_PRIOR: Final = 0.01  # in the manifest, where every class needs one

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fusion:
    """The numbers of the fusion. `light_curve_prior`, `prior` and `trees_prior` (C,), the last 0 for classes without
    evidence; `scale` and `weight` one per bin of detections.
    """

    light_curve_prior: list[float]
    prior: list[float]
    trees_prior: list[float]
    scale: list[float]
    weight: list[float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evidence(trees: Floats, trees_prior: Floats) -> Floats:
    """log p - log prior (n, C) of the trees' probabilities (n, C); 0 for classes that the trees do not know."""
    known = trees_prior > 0
    ratio = trees / np.where(known, trees_prior, 1.0)
    return np.where(known, np.log(TRUST * ratio + (1.0 - TRUST)), 0.0)


def fuse(fusion: Fusion, logits: Floats, trees: Floats, n_detections: NDArray[np.int64]) -> Floats:
    """Logits (n, C) of light curves with context, from those without it."""
    b = bin_of(n_detections)
    return _fuse(
        np.array(fusion.scale)[b],
        np.array(fusion.weight)[b],
        _light_curve_evidence(logits, np.array(fusion.light_curve_prior)),
        evidence(trees, np.array(fusion.trees_prior)),
        np.log(fusion.prior),
    )


def with_asteroid(logits: Floats, asteroid: Floats, span: Floats) -> Floats:
    """Logits (n, C + 1) with the asteroid's last, from its share of the trees (n,) and the span [d] of detections."""
    share = np.clip(asteroid, 0.002, 0.998)
    odds = np.log(share / (1.0 - share)) + ASTEROID_OFFSET - ASTEROID_FALL * (1.0 - np.exp(-span / ASTEROID_SPAN))
    top = logits.max(axis=1)
    whole = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return np.concatenate((logits, (whole + odds)[:, None]), axis=1)


def fit_fusion(
    logits: Floats,
    trees: Floats,
    trees_priors: Floats,
    labels: NDArray[np.int64],
    n_detections: NDArray[np.int64],
    light_curve_prior: Floats,
    prior: Floats,
) -> Fusion:
    """Scale and weight per bin with the lowest log-loss. `trees` (n, C) are of forests that did not learn the objects,
    `trees_priors` (n, C) the frequencies each of them had learnt; the fusion's own are the mean.
    """
    b, own = bin_of(n_detections), _light_curve_evidence(logits, light_curve_prior)
    known = trees_priors > 0
    told = np.where(known, np.log(TRUST * trees / np.where(known, trees_priors, 1.0) + 1.0 - TRUST), 0.0)
    scale, weight, start = [], [], np.array([0.4, 0.8])
    for k in range(len(EDGES)):
        mine = np.abs(b - k) <= 1 if (b == k).sum() < 100 else b == k  # a thin bin leans on its neighbours

        def loss(numbers: Floats, mine: NDArray[np.bool_] = mine) -> float:
            p = softmax(_fuse(np.full(mine.sum(), numbers[0]), np.full(mine.sum(), numbers[1]), own[mine], told[mine],
                              np.log(prior)))  # fmt: skip
            of_truth = p[np.arange(mine.sum()), labels[mine]]
            return float(-np.log(np.maximum(of_truth, 1e-12)).mean() + 0.01 * (numbers[0] - 1.0) ** 2)

        if mine.any():
            start = minimize(loss, start, method="L-BFGS-B", bounds=[(0.1, 1.2), (0.0, 1.0)]).x
        scale.append(round(float(start[0]), 3))
        weight.append(round(float(start[1]), 3))
    weight = [float(x) for x in np.minimum.accumulate(weight)]  # never stronger with more detections
    return Fusion(light_curve_prior.tolist(), prior.tolist(), trees_priors.mean(axis=0).tolist(), scale, weight)


def _light_curve_evidence(logits: Floats, prior: Floats) -> Floats:
    return np.log(np.maximum(softmax(logits), 1e-30)) - np.log(prior)


def _fuse(scale: Floats, weight: Floats, own: Floats, told: Floats, log_prior: Floats) -> Floats:
    fused: Floats = scale[:, None] * own + weight[:, None] * told + log_prior
    return fused
