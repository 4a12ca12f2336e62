"""Astra-CLR's two stages on total-magnitude light curves: contrastive pre-training, partial top-layer fine-tuning.

Defaults are the published ones; on two cores take fewer steps and smaller batches, or a GPU, which is used when there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from tqdm import tqdm

from model_export.data.tables import CLASSES, DIFFERENCE_TABLES, Dataset, assign_splits, concatenate, load_table
from model_export.studies.astra.network import AstraClassifier, AstraConfig, AstraEncoder, ProjectionHead
from model_export.studies.astra.views import VIEWS, draw_view
from model_export.training.device import best_device, portable_weights
from model_export.training.pretrain import noam, nt_xent
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
    curve = np.repeat(np.arange(len(stars)), stars.counts)
    enough = np.ones(len(stars), dtype=bool)
    for band in (0, 1):
        enough &= np.bincount(curve[stars.points["band"] == band], minlength=len(stars)) >= fewest
    return stars.where(enough)


def pretrain_astra(stars: Dataset, config: AstraPretrainConfig, run: Path) -> AstraEncoder:
    """Three views of each star, generalised NT-Xent, Adam with the Noam schedule; writes `run/encoder.pt`."""
    device = best_device()
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(asdict(config), indent=2))
    train = well_sampled(stars.where((stars.objects["split"] == "train").to_numpy()), config.fewest_points)
    if len(train) < 2:
        raise ValueError(f"{len(train)} stars have {config.fewest_points} points in g and in r; contrast needs two")
    encoder, projection = AstraEncoder(config.encoder).to(device), ProjectionHead(config.encoder).to(device)
    parameters = [*encoder.parameters(), *projection.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    curves = _relative_curves(train)
    for step in tqdm(range(config.steps), desc="astra-clr pre-training", mininterval=5):
        rows = rng.choice(len(train), size=min(config.batch_size, len(train)), replace=False)
        projected = []
        for view in VIEWS:
            arrays = [draw_view(rng, *curves[row], view) for row in rows]
            projected.append(projection(encoder(*_stack(arrays, device))))
        loss = nt_xent(torch.stack(projected), config.temperature)
        for group in optimizer.param_groups:
            group["lr"] = noam(step + 1, config.encoder.width, config.warm_up)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            with (run / "history.jsonl").open("a") as out:
                out.write(json.dumps({"step": step + 1, "loss": round(loss.item(), 4)}) + "\n")
            torch.save(portable_weights(encoder), run / "encoder.pt")
    return encoder


def finetune_astra(stars: Dataset, config: AstraFinetuneConfig, run: Path, start: Path | None) -> AstraClassifier:
    """Partial top-layer fine-tuning of three concatenated windows; writes `run/model.pt` and `run/head.npz`."""
    device = best_device()
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(asdict(config), indent=2))
    mine = (stars.objects["split"] == "train").to_numpy() & (stars.labels >= 0)
    train = well_sampled(stars.where(mine), config.fewest_points)
    model = AstraClassifier(len(CLASSES), config.encoder).to(device)
    if start is not None:
        model.encoder.load_state_dict(torch.load(start, map_location="cpu", weights_only=True))
    model.freeze_lower_layers()
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=config.learning_rate)
    stops = np.cumsum(train.counts)
    arrays = [
        astra_clr(LightCurve(train.points[stop - n : stop]), {}) for stop, n in zip(stops, train.counts, strict=True)
    ]
    for _ in tqdm(range(config.steps), desc="astra-clr fine-tuning", mininterval=5):
        rows = next(_balanced_rows(rng, train.labels, config.batch_size, config.per_class))
        batch = _stack([arrays[row] for row in rows], device)
        batch[0] = batch[0] + config.noise * torch.randn_like(batch[0]) * (1 - batch[3][..., None])
        logits, _ = model.train()(*batch)
        loss = functional.cross_entropy(logits, torch.from_numpy(train.labels[rows]).to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    torch.save(portable_weights(model), run / "model.pt")
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
    """Rows drawn as from a set of at most `per_class` objects of each class."""
    number = np.bincount(labels, minlength=len(CLASSES))
    weight = (np.minimum(number, per_class) / np.maximum(number, 1))[labels]
    while True:
        yield rng.choice(len(labels), size=size, p=weight / weight.sum())


def _relative_curves(stars: Dataset) -> list[tuple[Any, Any, Any]]:
    """(mjd, magnitude minus the inverse-variance weighted mean, band) of each star, in time order."""
    curves = []
    for stop, count in zip(np.cumsum(stars.counts), stars.counts, strict=True):
        points = stars.points[stop - count : stop]
        weight = 1.0 / np.clip(np.nan_to_num(points["magerr"].astype(np.float64), nan=0.1), 0.005, 1.0) ** 2
        magnitude = points["mag"].astype(np.float64)
        curves.append((points["mjd"], magnitude - (magnitude * weight).sum() / weight.sum(), points["band"]))
    return curves


def _stack(arrays: list[dict[str, NDArray[np.float32]]], device: str) -> list[torch.Tensor]:
    return [torch.from_numpy(np.stack([a[name] for a in arrays])).to(device) for name in INPUTS]
