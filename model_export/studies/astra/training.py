"""Astra-CLR's two stages on total-magnitude light curves: contrastive pre-training, partial top-layer fine-tuning.

Defaults are the published ones; on two cores use fewer steps and smaller batches. A GPU is used if available.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model_export.data.tables import CLASSES, DIFFERENCE_TABLES, Dataset, assign_splits, concatenate, load_table
from model_export.studies.astra.network import AstraClassifier, AstraConfig, AstraEncoder, ProjectionHead
from model_export.studies.astra.views import VIEWS, draw_view
from model_export.training import loop
from model_export.training.pretrain import noam, nt_xent
from model_export.training.run import append_history, begin_run, read_weights, write_weights
from service.inference.preprocessing.alert_clr import astra_clr
from service.photometry import LightCurve

INPUTS = ("input", "times", "band_info", "mask")


@dataclass(frozen=True)
class AstraPretrainConfig:
    seed: int = 1
    steps: int = 20_000
    batch_size: int = 624
    warm_up: int = 1000
    temperature: float = 0.1
    fewest_points: int = 200  # in g and in r, as published; a smaller survey takes fewer
    save_every: int = 100
    encoder: AstraConfig = field(default_factory=AstraConfig)


@dataclass(frozen=True)
class AstraFinetuneConfig:
    seed: int = 1
    steps: int = 5000
    batch_size: int = 128
    learning_rate: float = 1e-5
    noise: float = 0.02  # mag
    per_class: int = 4000
    fewest_points: int = 200
    save_every: int = 100
    encoder: AstraConfig = field(default_factory=AstraConfig)


def load_stars(folder: Path) -> Dataset:
    """Total-magnitude light curves of the folder's tables, with their split."""
    parts = []
    for name in (*DIFFERENCE_TABLES, "pretrain_field_stars"):
        if (folder / f"{name}_points.parquet").exists():
            data = load_table(folder / f"{name}_points.parquet", folder / f"{name}_objects.parquet")
            parts.append(data.where(data.objects["mag_kind"].isin(["total", "corrected"]).to_numpy()))
    stars = concatenate(parts)
    stars.objects["split"] = assign_splits(stars.objects.fillna({"label": -1}))
    return stars


def well_sampled(stars: Dataset, fewest: int) -> Dataset:
    """Stars with at least `fewest` points in g and in r."""
    enough = np.ones(len(stars), dtype=bool)
    for band in (0, 1):
        enough &= np.bincount(stars.owner[stars.points["band"] == band], minlength=len(stars)) >= fewest
    return stars.where(enough)


def pretrain_astra(stars: Dataset, config: AstraPretrainConfig, run: Path) -> AstraEncoder:
    """Three views of each star, generalised NT-Xent, Adam with the Noam schedule; writes `run/encoder.pt`."""
    device = loop.best_device()
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    begin_run(run, config)
    train = well_sampled(stars.split("train"), config.fewest_points)
    if len(train) < 2:
        raise ValueError(f"{len(train)} stars have {config.fewest_points} points in g and in r; contrast needs two")
    encoder, projection = AstraEncoder(config.encoder).to(device), ProjectionHead(config.encoder).to(device)
    both = nn.ModuleList([encoder, projection])
    optimizer = torch.optim.Adam(both.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    curves = _relative_curves(train)

    def draws() -> Iterator[NDArray[np.int64]]:
        while True:
            yield rng.choice(len(train), size=min(config.batch_size, len(train)), replace=False)

    def loss_of(rows: NDArray[np.int64]) -> Tensor:
        seen = ([draw_view(rng, *curves[row], view) for row in rows] for view in VIEWS)
        return nt_xent(torch.stack([projection(encoder(*_stack(s, device))) for s in seen]), config.temperature)

    settings = loop.LoopConfig(config.steps, config.save_every, smoothing=1.0)
    width, warm_up = config.encoder.width, config.warm_up
    training = loop.Training.start(both, optimizer, lambda step: noam(step + 1, width, warm_up), settings)
    for _ in loop.train(training, draws(), loss_of):
        append_history(run / "history.jsonl", training.record())
        write_weights(encoder, run / "encoder.pt")
    return encoder


def finetune_astra(stars: Dataset, config: AstraFinetuneConfig, run: Path, start: Path | None) -> AstraClassifier:
    """Partial top-layer fine-tuning of three concatenated windows; writes `run/model.pt` and `run/head.npz`."""
    device = loop.best_device()
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    begin_run(run, config)
    train = well_sampled(stars.where(stars.in_split("train") & (stars.labels >= 0)), config.fewest_points)
    model = AstraClassifier(len(CLASSES), config.encoder).to(device)
    if start is not None:
        model.encoder.load_state_dict(read_weights(start))
    model.freeze_lower_layers()
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=config.learning_rate)
    arrays = [astra_clr(LightCurve(own), {}) for own in np.split(train.points, train.starts[1:])]

    def loss_of(rows: NDArray[np.int64]) -> Tensor:
        batch = _stack([arrays[row] for row in rows], device)
        batch[0] = batch[0] + config.noise * torch.randn_like(batch[0]) * (1 - batch[3][..., None])
        logits, _ = model(*batch)
        return functional.cross_entropy(logits, torch.from_numpy(train.labels[rows]).to(device))

    draws = _balanced_rows(rng, train.labels, config.batch_size, config.per_class)
    settings = loop.LoopConfig(
        config.steps, config.steps, largest_gradient=math.inf
    )  # the published recipe never clips
    for _ in loop.train(loop.Training.start(model, optimizer, lambda _: 1.0, settings), draws, loss_of):
        write_weights(model, run / "model.pt")
    np.savez(
        run / "head.npz",
        weight=model.head.weight.detach().cpu().numpy(),
        bias=model.head.bias.detach().cpu().numpy(),
        classes=np.array(CLASSES),
    )
    return model


def _balanced_rows(
    rng: np.random.Generator, labels: NDArray[np.int64], size: int, per_class: int
) -> Iterator[NDArray[np.int64]]:
    """Rows drawn from at most `per_class` objects of each class."""
    number = np.bincount(labels, minlength=len(CLASSES))
    weight = (np.minimum(number, per_class) / np.maximum(number, 1))[labels]
    while True:
        yield rng.choice(len(labels), size=size, p=weight / weight.sum())


def _relative_curves(stars: Dataset) -> list[tuple[Any, Any, Any]]:
    """(mjd, magnitude minus the inverse-variance weighted mean, band) of each star, in time order."""
    curves = []
    for points in np.split(stars.points, stars.starts[1:]):
        weight = 1.0 / np.clip(np.nan_to_num(points["magerr"].astype(np.float64), nan=0.1), 0.005, 1.0) ** 2
        magnitude = points["mag"].astype(np.float64)
        curves.append((points["mjd"], magnitude - (magnitude * weight).sum() / weight.sum(), points["band"]))
    return curves


def _stack(arrays: list[dict[str, NDArray[np.float32]]], device: str) -> list[torch.Tensor]:
    return [torch.from_numpy(np.stack([a[name] for a in arrays])).to(device) for name in INPUTS]
