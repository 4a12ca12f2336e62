"""What the model says about one light curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Flags say in the open what would otherwise be a guess.
NO_DETECTION: Final = "no_detection"  # nothing to classify: probabilities are the training prior
TOO_FEW_POINTS: Final = "too_few_points"  # fewer detections than the bundle was validated for
UNKNOWN_BAND: Final = "unknown_band"  # points in bands the model does not know were left out
UNUSABLE_PHOTOMETRY: Final = "unusable_photometry"  # no finite answer came of it: probabilities are the prior
OUT_OF_DISTRIBUTION: Final = "out_of_distribution"  # the score lies above the bundle's threshold


@dataclass(frozen=True, slots=True)
class Prediction:
    """Calibrated answer of one classifier version for one light curve.

    `probabilities` float32 (C,) sums to one, in the order of `classes` (the bundle's taxonomy);
    `superclass_probabilities` are its sums by parent; `conformal_set` holds every class that can't be ruled out at the
    bundle's coverage (none, where all can); `ood_score` grows with the distance from the training data (above the
    bundle's threshold the flag is set; NaN where there is none); `embedding` float32 (D,). Counts are per band that has
    any, of all points of the light curve, whatever the model leaves out.

    Where nothing could be judged (`no_detection`, `unusable_photometry`) the probabilities are the training prior, no
    class is ruled out, and the embedding is zero.
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

    @property
    def top_class(self) -> str:
        return self.classes[int(self.probabilities.argmax())]

    @property
    def top_probability(self) -> float:
        return float(self.probabilities.max())
