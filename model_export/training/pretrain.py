"""Multi-scale contrastive pre-training: Astra-CLR's loss and schedule, and alert-clr trained with them.

The views of one alert light curve are early (a prefix of a few detections), late (all of it) and hard (all of it, but
further away, noisier, thinned). The network must match an object's views among those of other objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model_export.data.batches import Batch, length_batches
from model_export.data.tables import Dataset, concatenate
from model_export.data.views import ViewConfig, augment, withhold_context
from model_export.network.encoder import AlertEncoder, EncoderConfig
from model_export.training.loop import LoopConfig, Training, best_device, train
from model_export.training.run import append_history, begin_run, write_weights
from service.inference.preprocessing.alert_clr import Tokens, alert_tokens


def nt_xent(views: Tensor, temperature: float = 0.1) -> Tensor:
    """Generalised NT-Xent over all ordered pairs of views (Chen et al. 2020, arXiv:2002.05709, for two).

    views (V, B, P): V views of B objects. Every projection is an anchor; each other view of its object is a positive;
    the denominator contains everything except the anchor itself (only the diagonal is masked).
    """
    count, batch, _ = views.shape
    z = functional.normalize(views, dim=-1).flatten(0, 1)  # (V B, P)
    similarity = z @ z.T / temperature  # (V B, V B)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    same_object = torch.eye(batch, dtype=torch.bool, device=z.device).repeat(count, count)
    return -log_share[same_object & ~itself].mean()


def noam(step: int, width: int, warm_up: int = 1000) -> float:
    """Learning rate at step 1, 2, ...: width^-0.5 min(step^-0.5, step warm_up^-1.5) (Vaswani et al. 2017)."""
    return float(width**-0.5 * min(step**-0.5, step * warm_up**-1.5))


# Withhold from most views what identifies an object but not its class, or the task would be trivial.
_SECRETIVE: Final[dict[str, Any]] = {"magnitude_drop": 0.9, "reference_drop": 0.9, "counts_drop": 0.9}
LATE: Final = ViewConfig(prefix=0.0, dim=0.3, dim_max=0.5, **_SECRETIVE)
EARLY: Final = ViewConfig(prefix=1.0, dim=0.0, **_SECRETIVE)
HARD: Final = ViewConfig(
    prefix=0.0, dim=1.0, dim_max=1.2, point_drop=1.0, point_drop_max=0.5, night_drop=0.5, band_drop=0.15, **_SECRETIVE
)


@dataclass(frozen=True)
class PretrainConfig:
    seed: int = 1
    steps: int = 4000
    batch_size: int = 128  # objects; three views of each
    peak_learning_rate: float = 1e-3  # of the Noam shape
    warm_up: int = 500
    temperature: float = 0.1
    projection: int = 64
    fewest_detections: int = 4  # with fewer, early and late can't differ
    window: int = 48
    save_every: int = 250
    threads: int = 1
    encoder: EncoderConfig = field(default_factory=EncoderConfig)


class Pretrainer(nn.Module):
    """The encoder, and a projection head used only for pre-training."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.encoder = AlertEncoder(config.encoder)
        width = config.encoder.embedding
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.projection))

    def forward(self, batch: Batch) -> Tensor:
        projected: Tensor = self.projection(self.encoder(batch.points, batch.context, batch.bias))
        return projected


def pretrain(data: Dataset, simulated: Dataset | None, config: PretrainConfig, run: Path) -> AlertEncoder:
    """Pre-train on the train split, labelled or not, and on simulated objects; labels are not used.

    Writes `run/encoder.pt`; resumes from `run/checkpoint.pt`.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    begin_run(run, config)
    device = best_device()
    model = Pretrainer(config).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    width, warm_up = config.encoder.width, config.warm_up
    scale = config.peak_learning_rate / noam(warm_up, width, warm_up)
    loop = LoopConfig(config.steps, config.save_every, smoothing=0.02)
    training = Training.start(model, optimizer, lambda step: scale * noam(step + 1, width, warm_up), loop)
    training.resume(run)
    objects = pretraining_set(data, simulated, config.fewest_detections)
    batches = triplets(objects, config, np.random.default_rng(config.seed + training.step))

    def loss_of(views: tuple[Batch, ...]) -> Tensor:
        return nt_xent(torch.stack([model(view.to(device)) for view in views]), config.temperature)

    for _ in train(training, batches, loss_of):
        append_history(run / "history.jsonl", training.record())
        write_weights(model.encoder, run / "encoder.pt")
        training.save(run)
    return model.encoder.cpu()


def pretraining_set(data: Dataset, simulated: Dataset | None, fewest_detections: int) -> Dataset:
    """Real objects of the train split, labelled or not, and simulated ones, with enough detections."""
    enough = data.objects["n_detections"].to_numpy() >= fewest_detections
    real = data.where(enough & data.in_split("train"))
    return concatenate([real, simulated]) if simulated is not None else real


def triplets(data: Dataset, config: PretrainConfig, rng: np.random.Generator) -> Iterator[tuple[Batch, Batch, Batch]]:
    """Batches of (late, early, hard) views of the same objects, rows in the same order.

    Objects of similar length share a batch: it is cheap, and length can't distinguish an object from its negatives.
    """
    parameters: dict[str, Any] = {"window": config.window}
    long_variable = data.objects["table"].isin(["variables_dr", "simulated"]).to_numpy()
    while True:
        rows = rng.choice(len(data), size=min(4096, len(data)), replace=False)
        points, counts = data.take(rows)
        # stars of years are first cut to a history, one for all three views
        points, counts = augment(rng, points, counts, long_variable[rows], replace(LATE, history=0.3, dim=0.0))
        drawn = [_tokens(rng, points, counts, view, parameters) for view in (LATE, EARLY, HARD)]
        order = np.argsort(drawn[0].counts, kind="stable")
        groups = np.array_split(order, max(1, len(order) // config.batch_size))
        for group in (groups[g] for g in rng.permutation(len(groups))):
            late, early, hard = (_batch(_take(tokens, group), config.window, rng) for tokens in drawn)
            yield late, early, hard


def _tokens(
    rng: np.random.Generator,
    points: NDArray[np.void],
    counts: NDArray[np.int64],
    view: ViewConfig,
    parameters: dict[str, Any],
) -> Tokens:
    whole = replace(view, history=0.0)
    seen, n_seen = augment(rng, points.copy(), counts, np.zeros(len(counts), dtype=bool), whole)
    tokens = alert_tokens(seen, n_seen, parameters)
    withhold_context(rng, tokens.context, view)
    return tokens


def _take(tokens: Tokens, rows: NDArray[np.int64]) -> Tokens:
    counts = tokens.counts[rows]
    starts = (np.cumsum(tokens.counts) - tokens.counts)[rows]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return Tokens(tokens.points[np.repeat(starts, counts) + within], counts, tokens.context[rows])


def _batch(tokens: Tokens, window: int, rng: np.random.Generator) -> Batch:
    """One padded batch in the order given."""
    (batch,) = length_batches(tokens, np.arange(len(tokens.counts)), len(tokens.counts), window, rng)
    back = torch.from_numpy(np.argsort(batch.rows))
    bias = None if batch.bias is None else batch.bias[back]
    return Batch(batch.points[back], bias, batch.context[back], batch.rows[back.numpy()])
