"""Batching of light curves: their points laid end to end, and inputs of equal shape stacked into one run.

On CPU exact lengths are cheaper than any padding. A GPU needs many rows at once, so a bundle for GPUs describes how its
graph takes padding, and similar lengths are padded to the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.manifest import Padding
from service.photometry import Context, LightCurve, end_to_end
from service.photometry.context import MISSING

Inputs = Mapping[str, NDArray[Any]]

# Light curves per run. On CPU stacking saves the fixed cost of a call, some 0.05 ms, until the activations outgrow the
# cache; a GPU is idle without many rows.
CPU_BATCH: Final = 16
CUDA_BATCH: Final = 256

# Tokens per run on CPU: light curves of 32 are cheaper sixteen at a time, those of 64 eight, but those of 4 x 128 are a
# fifth dearer by eight than one by one.
CPU_TOKENS: Final = 512

# A GPU takes about as long for a hundred rows as for ten, so waiting a few milliseconds for more pays off.
CUDA_WINDOW_S: Final = 0.004


def lay_end_to_end(light_curves: Sequence[LightCurve]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """The points of all light curves end to end (N,), and the number of points of each (B,)."""
    points = light_curves[0].points if len(light_curves) == 1 else end_to_end(light_curves)
    return points, np.array([len(light_curve) for light_curve in light_curves], dtype=np.int64)


def contexts_of(contexts: Sequence[Context | None] | None, count: int) -> NDArray[np.float32]:
    """The values of all contexts (count, N_CONTEXT); NaN where there is none."""
    if contexts is None:
        contexts = [None] * count
    return np.array([MISSING if context is None else context.values for context in contexts]).reshape(
        count, len(MISSING)
    )


def fill_up(inputs: Inputs, padding: Padding) -> dict[str, NDArray[Any]]:
    """One light curve's inputs with `points` (W, L, F) padded to its bucket, and how many of L are real."""
    points = inputs["points"]
    count, length, features = points.shape
    bucket = next((bucket for bucket in padding.buckets if bucket >= length), length)
    filled = np.zeros((count, bucket, features), dtype=points.dtype)
    filled[:, :length] = points
    return {**inputs, "points": filled, padding.lengths: np.array(length)}


def equal_shapes(inputs: Sequence[Inputs], largest: int, most_tokens: int | None = None) -> list[list[int]]:
    """Indices into `inputs`, in groups of equal shape with at most `largest` members and, unless a single one has more,
    `most_tokens` tokens.

    Groups with the most points come first, so that the threads that share them finish at about the same time.
    """
    by_shape: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, arrays in enumerate(inputs):
        by_shape.setdefault(tuple([array.shape for array in arrays.values()]), []).append(index)
    ordered = sorted(by_shape.items(), key=lambda item: sum(map(_size, item[0])), reverse=True)
    groups = []
    for _, group in ordered:
        size = largest
        if most_tokens is not None:
            size = max(1, min(largest, most_tokens // max(1, _tokens(inputs[group[0]]))))
        groups += [group[start : start + size] for start in range(0, len(group), size)]
    return groups


def stack(inputs: Sequence[Inputs]) -> dict[str, NDArray[Any]]:
    """Arrays of equal shape stacked along a new batch axis in front."""
    if len(inputs) == 1:
        return {name: array[None] for name, array in inputs[0].items()}
    return {name: np.stack([arrays[name] for arrays in inputs]) for name in inputs[0]}


def _tokens(inputs: Inputs) -> int:
    """Tokens of a light curve: of `points`, or `..._points` of each survey; 0 for images."""
    return sum(_size(array.shape[:-1]) for name, array in inputs.items() if name.endswith("points"))


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
