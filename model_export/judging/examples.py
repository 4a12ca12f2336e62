"""Answers for the calibration objects at every number of first detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_export.data.bins import EDGES
from model_export.network.predict import ALL, Answers

PREFIXES: Final = (*EDGES, ALL)


def examples(answers: Mapping[int, Answers], prior: NDArray[np.float64]) -> Answers:
    """Labelled answers of all prefixes, with prior; for k only objects with at least k detections."""
    parts = [each.where((each.labels >= 0) & ((k == ALL) | (each.n_detections > k))) for k, each in answers.items()]
    whole = Answers.concatenate(parts)
    return replace(whole, logits=whole.logits + np.log(prior))
