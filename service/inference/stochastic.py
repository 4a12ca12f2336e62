"""Noise for stochastic passes, by which a bundle classifies a light curve several times with different results.

Each pass is one randomly drawn network: its dropout masks, or the Gumbel noise of its attention, are drawn once from
the bundle's seed and the number of the pass, and are the same for all light curves. So an answer depends only on the
light curve, not on time, machine or the rest of the batch; and pass 7 of 16 is pass 7 of 32. Fresh noise per light
curve would not average out better, because each light curve is judged on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from service.inference.manifest import Noise, Stochastic


def draw_all(stochastic: Stochastic, shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[np.float32]]:
    """Name of each noise input -> its values (passes, *shape); `shapes` are those of one pass."""
    return {
        noise.input: draw(noise, index, stochastic.seed, stochastic.passes, shapes[noise.input])
        for index, noise in enumerate(stochastic.noise)
    }


def draw(noise: Noise, index: int, seed: int, passes: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Values (passes, *shape) of `noise`, the `index`-th noise input of the bundle.

    `dropout` is 0 with probability `rate`, else 1 / (1 - rate), as in training; `gumbel` is -log(-log(uniform)).
    """
    values = np.empty((passes, *shape), dtype=np.float32)
    for number in range(passes):
        generator = np.random.default_rng([seed, index, number])
        if noise.kind == "gumbel":
            values[number] = -np.log(generator.exponential(size=shape))
        else:
            values[number] = (generator.random(shape) >= noise.rate) / (1.0 - noise.rate)
    return values
