"""The prior of the published probabilities, and the class frequencies of training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_export.data.tables import CLASSES, Dataset


def published_prior(train: Dataset, alert_share: float) -> NDArray[np.float64]:
    """Class frequencies (C,) of the union of the real training objects, alert objects weighing `alert_share` of it.

    Two populations are served: transients typed by follow-up programmes, without variable stars, and all objects with
    packets, three quarters of them variable stars. With a prior from the first every first detection would be a SNIa;
    with one from the second clear supernovae would be doubted. The mixture is a compromise; the relative frequencies of
    the transients are nearly the same in both.
    """
    real = train.objects["table"].isin(["transients", "alert_objects"]).to_numpy() & (train.labels >= 0)
    alerts = (train.objects["table"] == "alert_objects").to_numpy()
    prior = np.zeros(len(CLASSES))
    for mask, share in ((real & ~alerts, 1 - alert_share), (real & alerts, alert_share)):
        counts = np.bincount(train.labels[mask], minlength=len(CLASSES)) + 0.5  # every class is possible
        prior += share * counts / counts.sum()
    return prior / prior.sum()


def sampled_shares(weights: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Class frequencies (C,) of the training stream."""
    known = labels >= 0
    shares = np.bincount(labels[known], weights=weights[known], minlength=len(CLASSES))
    return np.maximum(shares / shares.sum(), 1e-6)
