"""An endless stream of training batches: objects drawn by weight, viewed at random, grouped by length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model_export.data.tables import CLASSES, TAXONOMY, Dataset
from model_export.data.views import ViewConfig, augment, owner, withhold_context
from service.inference.preprocessing.alert_clr import Tokens, alert_tokens

PADDING_BIAS: Final = -50.0  # e^-50 is zero in float32 sums; -1e9 would make subnormals, which are slow
MEGABATCH: Final = 4096  # light curves drawn at once; sorted by length, then cut into batches

# A table's weight within a class. Alert objects are most like those served; forced photometry repeats transients.
TABLE_WEIGHT: Final = {"transients": 1.0, "alert_objects": 3.0, "variables_dr": 1.0, "forced_tde": 0.5}


@dataclass
class Batch:
    """points (B, T, F) zero-padded; bias (B, 1, 1, T) or None when all have length T; context (B, C); rows (B,)."""

    points: torch.Tensor
    bias: torch.Tensor | None
    context: torch.Tensor
    rows: NDArray[np.int64]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        bias = None if self.bias is None else self.bias.to(device)
        return Batch(self.points.to(device), bias, self.context.to(device), self.rows)


def sampling_weights(
    data: Dataset, class_power: float, simulated_share: float, unlabelled_share: float = 0.0
) -> NDArray[np.float64]:
    """Probability of each object (M,): classes by count^class_power, tables by TABLE_WEIGHT, simulated by share.

    `unlabelled_share` of the stream are objects without a label, if there are any.
    """
    weights = np.zeros(len(data))
    simulated = (data.objects["table"] == "simulated").to_numpy()
    table = data.objects["table"].map(TABLE_WEIGHT).fillna(1.0).to_numpy()
    for label in range(len(CLASSES)):
        mine = data.labels == label
        real, made = mine & ~simulated, mine & simulated
        if not mine.any():
            continue
        share = simulated_share if made.any() and real.any() else float(made.any())
        weights[real] = table[real] / max(table[real].sum(), 1e-9) * (1 - share)
        weights[made] = share / max(made.sum(), 1)
        effective = real.sum() + 0.1 * made.sum()
        weights[mine] *= max(effective, 30.0) ** class_power
    weights /= weights.sum()
    unknown = data.labels < 0
    if unlabelled_share and unknown.any():
        weights *= 1 - unlabelled_share
        weights[unknown] = unlabelled_share / unknown.sum()
    return weights


def balanced_rows(
    rng: np.random.Generator, rows: NDArray[np.int64], labels: NDArray[np.int64], size: int
) -> Iterator[NDArray[np.int64]]:
    """Endless batches of `size` of `rows`, every class drawn equally often; labels (M,) of all objects."""
    per_class = 1.0 / np.bincount(labels[rows])[labels[rows]]
    probability = per_class / per_class.sum()
    while True:
        yield rng.choice(rows, size, p=probability)


class ReferencePool:
    """Reference magnitudes (g, r) of real alert objects per superclass, for light curves published without any."""

    def __init__(self, train: Dataset) -> None:
        alerts = train.where((train.objects["table"] == "alert_objects").to_numpy() & (train.labels >= 0))
        points, curve = alerts.points, owner(alerts.counts)
        pair = np.full((len(alerts), 2), np.nan)
        for band in (0, 1):
            usable = (points["band"] == band) & (points["magnr"] > 5) & (points["magnr"] < 26)
            number = np.bincount(curve[usable], minlength=len(alerts))
            total = np.bincount(curve[usable], weights=points["magnr"][usable], minlength=len(alerts))
            pair[:, band] = np.where(number > 0, total / np.maximum(number, 1), np.nan)
        some = np.isfinite(pair).any(axis=1)
        group = np.array([list(TAXONOMY.values())[label] for label in alerts.labels])
        self.pools = {name: pair[some & (group == name)] for name in set(TAXONOMY.values())}

    def lend(
        self,
        rng: np.random.Generator,
        points: NDArray[np.void],
        counts: NDArray[np.int64],
        labels: NDArray[np.int64],
        probability: float,
    ) -> None:
        """Fill `magnr` in place for light curves (B,) that have none, with the given probability."""
        curve = owner(counts)
        has = np.bincount(curve[np.isfinite(points["magnr"])], minlength=len(counts)) > 0
        chosen = ~has & (rng.random(len(counts)) < probability) & (labels >= 0)
        lent = np.full((len(counts), 2), np.nan)
        superclass = np.array([*TAXONOMY.values(), ""])[labels]
        for name, pool in self.pools.items():
            rows = np.flatnonzero(chosen & (superclass == name))
            if len(pool):
                lent[rows] = pool[rng.integers(0, len(pool), len(rows))]
        fill = chosen[curve] & (points["band"] < 2)
        points["magnr"][fill] = lent[curve[fill], points["band"][fill]]


class BatchStream:
    """An endless iterator of Batches, deterministic given the seed."""

    def __init__(
        self,
        data: Dataset,
        weights: NDArray[np.float64],
        references: ReferencePool,
        view: ViewConfig,
        parameters: dict[str, Any],
        batch_size: int,
        seed: int,
    ) -> None:
        self.data, self.weights, self.references = data, weights, references
        self.view, self.parameters, self.batch_size = view, parameters, batch_size
        self.rng = np.random.default_rng(seed)
        self.long_variable = data.objects["table"].isin(["variables_dr", "simulated"]).to_numpy()

    def tokens(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of one random view of each row."""
        points, counts = self.data.take(rows)
        self.references.lend(self.rng, points, counts, self.data.labels[rows], 0.6)
        points, counts = augment(self.rng, points, counts, self.long_variable[rows], self.view)
        tokens = alert_tokens(points, counts, self.parameters)
        withhold_context(self.rng, tokens.context, self.view)
        return tokens

    def __iter__(self) -> Iterator[Batch]:
        while True:
            rows = self.rng.choice(len(self.data), size=MEGABATCH, p=self.weights)
            tokens = self.tokens(rows)
            batches = list(length_batches(tokens, rows, self.batch_size, self.parameters["window"], self.rng))
            for index in self.rng.permutation(len(batches)):
                yield batches[index]


def length_batches(
    tokens: Tokens, rows: NDArray[np.int64], batch_size: int, window: int, rng: np.random.Generator | None = None
) -> Iterator[Batch]:
    """Group light curves of similar length, for little padding; of those longer than `window` a random window."""
    starts = np.cumsum(tokens.counts) - tokens.counts
    order = np.argsort(tokens.counts, kind="stable")
    for chosen in np.array_split(order, max(1, len(order) // batch_size)):
        lengths = np.minimum(tokens.counts[chosen], window)
        spare = tokens.counts[chosen] - lengths
        offset = rng.integers(0, spare + 1) if rng is not None else spare // 2
        longest = int(lengths.max())
        place = np.arange(longest)[None, :]
        real = place < lengths[:, None]
        index = (starts[chosen] + offset)[:, None] + np.minimum(place, lengths[:, None] - 1)
        points = tokens.points[index] * real[..., None]
        bias = None if real.all() else torch.from_numpy(np.where(real, 0.0, PADDING_BIAS).astype(np.float32))
        yield Batch(
            torch.from_numpy(points.astype(np.float32)),
            None if bias is None else bias[:, None, None, :],
            torch.from_numpy(tokens.context[chosen]),
            rows[chosen],
        )
