"""Cost of stochastic passes: milliseconds of one core per light curve of 50 points, one run of a graph per method."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_export.bundles.graph import Publication, Served, export_served, open_graph
from model_export.bundles.stochastic import Members
from model_export.data.tables import CLASSES
from model_export.network.encoder import AlertClassifier, EncoderConfig
from model_export.network.stochastic_passes import METHODS, Method, Passes

POINTS: Final = 50
WINDOW: Final = 128
MEMBERS: Final = 5
CENTROIDS: Final = 32
REPEATS: Final = 30
SECONDS_PER_TURN: Final = 0.05


def costs(
    passes: int, config: EncoderConfig | None = None, names: Sequence[str] = METHODS, repeats: int = REPEATS
) -> dict[str, Any]:
    """Milliseconds of the softmax, an ensemble and each named method. Weights are random: they don't affect the time.

    Methods take turns, and the best of many times counts, because other load can only add to it.
    """
    plain = AlertClassifier(config or EncoderConfig()).eval()
    sampled = AlertClassifier(replace(plain.config, centroids=CENTROIDS)).eval()
    publication = Publication(np.full(len(CLASSES), 1.0 / len(CLASSES)))
    rng = np.random.default_rng(0)
    feed = {
        "points": rng.standard_normal((1, 1, POINTS, plain.config.point_features)).astype(np.float32),
        "context": rng.standard_normal((1, plain.config.context_features)).astype(np.float32),
    }
    calls: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"

        def add(name: str, model: nn.Module, noise: Mapping[str, NDArray[Any]] | None = None) -> None:
            export_served(Served(model, publication), path, noise)
            run, asked = open_graph(path), feed | dict(noise or {})
            calls[name] = lambda: run.run(["logits", "embedding"], asked)

        add("softmax", plain)
        add(f"ensemble of {MEMBERS}", Members([AlertClassifier(plain.config).eval() for _ in range(MEMBERS)]))
        for name in names:
            method, model = Method(name, 0.1), sampled if name in ("hsa", "ha-mc") else plain
            add(name, Passes(model, method, WINDOW), method.draws(model, WINDOW, passes, 0))
    best = _best(calls, repeats)
    return {
        "points": POINTS,
        "passes": passes,
        "milliseconds": {name: round(value, 3) for name, value in best.items()},
        "times_the_softmax": {name: round(value / best["softmax"], 2) for name, value in best.items()},
    }


def _best(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    torch.set_num_threads(1)
    number = {name: max(1, int(SECONDS_PER_TURN / _seconds(call, 2))) for name, call in calls.items()}
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            best[name] = min(best[name], 1e3 * _seconds(call, number[name]))
    return best


def _seconds(call: Callable[[], object], number: int) -> float:
    """Seconds of processor time: graphs run on the calling thread, and waiting on a busy machine must not count."""
    start = time.thread_time()
    for _ in range(number):
        call()
    return (time.thread_time() - start) / number
