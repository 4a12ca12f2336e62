"""alert-clr/2: long light curves in blocks, each a light curve of its own, so that finished ones need no new embedding.

A light curve of up to `window` tokens is one block. A longer one is cut along a fixed grid of cells of `cell_days`;
a cell that alone makes more than `window` tokens is halved, and its halves again, in a light curve of more than `many`
tokens until they make no more than `short_block`. So where a block begins and ends depends on the points of its own
cell, and on which of these three kinds the light curve is of: a new, late or corrected point changes the block that it
falls into, and all of them only twice in an object's life. Cells without a detection that has a magnitude make no
block; of the others the newest `max_blocks` are read. (Transients have few blocks, and are known best by long ones;
variable stars have many, and are known as well by short ones, whose newest costs half as much.)

The tokens of a block are told from its own first and brightest detection, as those of a young object are. Blocks are
fused by the mean of their embeddings, weighted by detections times flux at the peak: the outburst of a transient counts
for more than what its place showed in the years around it. `kept` tells the graph of all blocks but the newest:

mean (D) and variance (D) of their embeddings, so weighted; their share of all weight; and of all blocks: log of their
number, mean and standard deviation of magnitudes of their peaks below the brightest, log1p of the days from first to
last detection, and log of the effective number of blocks (square of summed weights over the sum of squares). All are 0
for one block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.preprocessing.alert_clr import alert_tokens
from service.inference.preprocessing.block_kernel import cut, measured, summarise
from service.photometry import LightCurve, end_to_end

KEPT_INPUT: Final = "kept"
KEPT_FACTS: Final = ("share", "log_blocks", "offset_mean", "offset_spread", "log_span", "log_effective_blocks")
DIGEST_BYTES: Final = 16
_CUT: Final = {"window": 128, "many": 384, "short_block": 64, "max_blocks": 24}  # in tokens; and what stands for none


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of B light curves, end to end and in order of time: `bounds` (K, 2), where each begins and ends among all
    points; `facts` (K, 4): detections, magnitude of the brightest, mjd of the first and last; `numbers` (B,) of each.
    """

    bounds: NDArray[np.int64]
    facts: NDArray[np.float64]
    numbers: NDArray[np.int64]


def cut_into_blocks(points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]) -> Blocks:
    """The blocks of light curves end to end, `points` (N,) of dtype POINT, `counts` (B,) points of each.

    Raises ValueError where the parameters are none that a light curve can be cut by.
    """
    window, many, short, most = (int(parameters.get(name, given)) for name, given in _CUT.items())
    cell_days = float(parameters.get("cell_days", 512.0))
    if min(window, many, short, most) < 1 or not 0.0 < cell_days < np.inf:
        raise ValueError("window, many, short_block, max_blocks and cell_days must be positive")
    points = _read_only(points)
    counts = np.asarray(counts, dtype=np.int64)
    room = int(np.minimum(np.maximum(counts, 1), most).sum())  # every block but that of an empty one has a point
    bounds, facts = np.empty((room, 2), dtype=np.int64), np.empty((room, 4), dtype=np.float64)
    numbers = np.empty(len(counts), dtype=np.int64)
    found = cut(points, counts, window, many, short, cell_days, most, bounds, facts, numbers)
    return Blocks(bounds[:found], facts[:found], numbers)


def points_of(points: NDArray[np.void], bounds: NDArray[np.int64]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """The points of the blocks at `bounds` (k, 2) end to end, and how many each has (k,)."""
    return end_to_end([LightCurve(points[begin:end]) for begin, end in bounds.tolist()]), bounds[:, 1] - bounds[:, 0]


def digests_of(points: NDArray[np.void], bounds: NDArray[np.int64]) -> list[bytes]:
    """A digest of what the model reads of each block at `bounds` (k, 2): not which packets brought its points, nor
    forced photometry.
    """
    points = _read_only(points)
    words = np.empty((int(np.diff(bounds).sum()), 7), dtype=np.uint32)
    stops = np.empty(len(bounds), dtype=np.int64)
    measured(points.view(np.uint32).reshape(len(points), -1), points, bounds, words, stops)
    raw = words.data.cast("B")
    ends = (stops * words.itemsize * words.shape[1]).tolist()
    return [hashlib.blake2b(raw[begin:end], digest_size=DIGEST_BYTES).digest() for begin, end in pairwise([0, *ends])]


def _read_only(points: NDArray[np.void]) -> NDArray[np.void]:
    """What the kernels are compiled for."""
    points = np.ascontiguousarray(points).view()
    points.setflags(write=False)
    return points


def kept_input(facts: NDArray[np.float64], embeddings: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """`kept` (2 D + 6,) of a light curve with `facts` (k, 4) of its blocks, and embeddings (k - 1, D) of all but the
    newest; `size` is D.
    """
    kept = np.zeros(2 * size + len(KEPT_FACTS), dtype=np.float32)
    if len(facts) > 1:
        summarise(facts, embeddings, kept)
    return kept


def one_block(
    points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]
) -> list[dict[str, NDArray[np.float32]]]:
    """Inputs of an alert-clr/2 graph, `points` (1, L, 16), `context` (12,) and `kept`, for light curves of one block.

    Raises ValueError for a longer one: its blocks are embedded one by one first (`service.inference.block_inputs`).
    """
    if cut_into_blocks(points, counts, parameters).numbers.max(initial=1) > 1:
        raise ValueError("a light curve of several blocks has no inputs before all but the newest are embedded")
    return block_inputs(points, counts, parameters)


def block_inputs(
    points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]
) -> list[dict[str, NDArray[np.float32]]]:
    """The same for blocks end to end, each as if there were no other."""
    tokens = alert_tokens(points, counts, parameters)
    stops = np.cumsum(tokens.counts).tolist()
    nothing = np.zeros(2 * int(parameters.get("embedding", 96)) + len(KEPT_FACTS), dtype=np.float32)
    return [
        {"points": tokens.points[None, stop - count : stop], "context": context, KEPT_INPUT: nothing}
        for stop, count, context in zip(stops, tokens.counts.tolist(), tokens.context, strict=True)
    ]
