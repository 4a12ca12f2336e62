"""Noise for stochastic passes: asked the same light curve several times, a bundle gives answers that differ.

A pass is one network drawn at random: its dropout masks, or the Gumbel noise of its attention, are drawn once from the
bundle's seed and the number of the pass, and are the same for all light curves. So an answer depends on the light curve
alone, not on the hour, the machine or its neighbours in a batch; and pass 7 of 16 is pass 7 of 32. Drawn anew for each
light curve the noise would average out no better: light curves are judged one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from service.inference.manifest import Noise, Stochastic


def draw_all(stochastic: Stochastic, shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[np.float32]]:
    """What each noise input of a graph is fed, (passes, *shape) by its name; `shapes` are those of one pass."""
    return {
        noise.input: draw(noise, index, stochastic.seed, stochastic.passes, shapes[noise.input])
        for index, noise in enumerate(stochastic.noise)
    }


def draw(noise: Noise, index: int, seed: int, passes: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """What the graph's input `noise` is fed: (passes, *shape), for the `index`-th noise input of the bundle.

    `dropout` is 0 with probability `rate`, else 1 / (1 - rate), as training has it; `gumbel` is -log(-log(uniform)).
    """
    values = np.empty((passes, *shape), dtype=np.float32)
    for number in range(passes):
        generator = np.random.default_rng([seed, index, number])
        if noise.kind == "gumbel":
            values[number] = -np.log(generator.exponential(size=shape))
        else:
            values[number] = (generator.random(shape) >= noise.rate) / (1.0 - noise.rate)
    return values
