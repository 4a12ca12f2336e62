"""Light curves put together: their points end to end, and in one run those whose arrays have equal shapes.

On CPU that is all: an exact length is cheaper than any padding. A GPU wants many rows at once, so a bundle made for
one says how its graph takes padding, and near lengths are made equal by filling up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.manifest import Padding
from service.photometry import LightCurve, end_to_end

Inputs = Mapping[str, NDArray[Any]]

# Light curves stacked into one run. On CPU stacking saves the fixed cost of a call, some 0.05 ms, until the activations
# no longer fit the cache; a GPU needs many rows to be busy at all.
CPU_BATCH: Final = 8
CUDA_BATCH: Final = 256

# A GPU takes about as long for ten rows as for a hundred: it is worth a few milliseconds to wait for more of them.
CUDA_WINDOW_S: Final = 0.004


def lay_end_to_end(light_curves: Sequence[LightCurve]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """The points of all light curves, one light curve after the other (N,), and how many each has (B,)."""
    points = light_curves[0].points if len(light_curves) == 1 else end_to_end(light_curves)
    return points, np.array([len(light_curve) for light_curve in light_curves], dtype=np.int64)


def fill_up(inputs: Inputs, padding: Padding) -> dict[str, NDArray[Any]]:
    """One light curve's inputs with `points` (W, L, F) filled up to its bucket, and how many of L are real."""
    points = inputs["points"]
    count, length, features = points.shape
    bucket = next((bucket for bucket in padding.buckets if bucket >= length), length)
    filled = np.zeros((count, bucket, features), dtype=points.dtype)
    filled[:, :length] = points
    return {**inputs, "points": filled, padding.lengths: np.array(length)}


def equal_shapes(inputs: Sequence[Inputs], largest: int) -> list[list[int]]:
    """Indices into `inputs`, in groups of equal shapes with `largest` members at most, the most points first.

    Long ones first, so that threads that share the groups finish together.
    """
    by_shape: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, arrays in enumerate(inputs):
        by_shape.setdefault(tuple([array.shape for array in arrays.values()]), []).append(index)
    ordered = sorted(by_shape.items(), key=lambda item: sum(map(_size, item[0])), reverse=True)
    return [group[start : start + largest] for _, group in ordered for start in range(0, len(group), largest)]


def stack(inputs: Sequence[Inputs]) -> dict[str, NDArray[Any]]:
    """Arrays of equal shapes with a batch axis in front."""
    if len(inputs) == 1:
        return {name: array[None] for name, array in inputs[0].items()}
    return {name: np.stack([arrays[name] for arrays in inputs]) for name in inputs[0]}


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
