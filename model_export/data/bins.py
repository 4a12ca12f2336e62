"""Bins of the number of detections, in which everything is calibrated and told."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

EDGES: Final = (1, 2, 3, 5, 8, 12, 20)  # the first count of each


def bin_of(n_seen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the detection-count bin (n,)."""
    return np.searchsorted(EDGES, n_seen, side="right") - 1
