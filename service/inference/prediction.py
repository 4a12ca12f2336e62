"""What the model says about one light curve."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Flags of a prediction.
NO_DETECTION: Final = "no_detection"  # nothing to classify: the probabilities are the training prior
TOO_FEW_POINTS: Final = "too_few_points"  # fewer detections than the bundle was validated for
UNKNOWN_BAND: Final = "unknown_band"  # points in bands the model does not know were left out
UNKNOWN_SURVEY: Final = "unknown_survey"  # points of surveys that it does not read in that band were left out
# beside no_detection: all detections are of surveys that the model reads nothing of; they need another bundle
NO_MODEL_FOR_SURVEY: Final = "no_model_for_survey"
UNUSABLE_PHOTOMETRY: Final = "unusable_photometry"  # no finite answer came of it: probabilities are the prior
OUT_OF_DISTRIBUTION: Final = "out_of_distribution"  # the score lies above the bundle's threshold

_NOTHING_JUDGED: Final = frozenset((NO_DETECTION, UNUSABLE_PHOTOMETRY))


def names_a_class(flags: Iterable[str]) -> bool:
    """Whether an answer with these flags speaks of its light curve: the prior's most probable class is nobody's."""
    return _NOTHING_JUDGED.isdisjoint(flags)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Calibrated answer of one classifier version for one light curve.

    `probabilities` float32 (C,) sums to one, in the order of `classes` (the bundle's taxonomy);
    `superclass_probabilities` are its sums by parent; `conformal_set` holds every class that can't be ruled out at the
    bundle's coverage, possibly none; `ood_score` grows with the distance from the training data (NaN if the bundle has
    none; above its threshold the flag is set); `embedding` float32 (D,). Counts are per band with any points, over all
    points of the light curve, including those that the model does not use.

    With stochastic passes `probabilities` are their mean, `variance` float32 (C,) that of each class's probability over
    the passes, and `bald` the mutual information of class and pass in nats; without passes None and NaN.

    `blocks`: embeddings of the light curve's finished blocks, to be kept with the object and given back with its next
    light curve; None where there is nothing new to keep.

    Where nothing could be judged (`no_detection`, `unusable_photometry`) the probabilities are the training prior, no
    class is named or ruled out, and the embedding is zero.
    """

    classifier: str
    version: str
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    superclass_probabilities: dict[str, float]
    conformal_set: tuple[str, ...]
    ood_score: float
    n_detections: dict[str, int]
    n_upper_limits: dict[str, int]
    flags: tuple[str, ...]
    embedding: NDArray[np.float32]
    variance: NDArray[np.float32] | None = None
    bald: float = math.nan
    blocks: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def top_class(self) -> str | None:
        """The most probable class; None where nothing could be judged."""
        return self.classes[int(self.probabilities.argmax())] if names_a_class(self.flags) else None

    @property
    def top_probability(self) -> float:
        return float(self.probabilities.max())

    def fields(self) -> dict[str, Any]:
        """The fields of a classification that don't depend on an alert, JSON-able, named as in the output schema.

        `variance` and `mutual_information` (and `bald`, its old name) are None without stochastic passes.
        """
        variance = None if self.variance is None or math.isnan(self.bald) else self.variance.tolist()
        bald = None if variance is None else self.bald
        probabilities = self.probabilities.tolist()
        top = max(range(len(probabilities)), key=probabilities.__getitem__)
        return {
            "classifier": self.classifier,
            "version": self.version,
            "top_class": self.classes[top] if names_a_class(self.flags) else None,
            "top_probability": probabilities[top],
            "probabilities": dict(zip(self.classes, probabilities, strict=True)),
            "superclass_probabilities": self.superclass_probabilities,
            "conformal_set": list(self.conformal_set),
            "ood_score": None if math.isnan(self.ood_score) else float(self.ood_score),
            "variance": None if variance is None else dict(zip(self.classes, variance, strict=True)),
            "mutual_information": bald,
            "bald": bald,
            "n_detections": self.n_detections,
            "n_upper_limits": self.n_upper_limits,
            "flags": list(self.flags),
        }
