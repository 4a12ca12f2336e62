"""Supervised training of alert-clr, from scratch or from a pre-trained encoder; resumable, seeded, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from model_export.data.alert_context import name_digest
from model_export.data.batches import Batch, BatchStream, ReferencePool, sampling_weights
from model_export.data.prior import published_prior, sampled_shares
from model_export.data.scores import alert_scores, softmax, supernova_scores
from model_export.data.tables import Dataset, concatenate
from model_export.network.encoder import AlertClassifier
from model_export.network.predict import Answers, predict
from model_export.training.centroids import taken_on
from model_export.training.distill import Teachers, classification_loss
from model_export.training.loop import LoopConfig, Training, best_device, train
from model_export.training.run import (
    FinetuneConfig,
    append_history,
    begin_run,
    read_note,
    read_weights,
    write_note,
    write_weights,
)


def finetune(
    data: Dataset,
    simulated: Dataset | None,
    config: FinetuneConfig,
    run: Path,
    start: Path | None = None,
    teachers: Sequence[Path] = (),
    early_teachers: Sequence[Path] = (),
) -> AlertClassifier:
    """Train on the train split (and simulated objects); returns the averaged model, also saved in `run/model.pt`.

    `start` is the `encoder.pt` of a pre-training run, or the folder of a finished run to continue with its whole
    network; `teachers` are finished runs whose mean prediction is learnt too, `early_teachers` replace them for first
    detections.

    The loss is the cross-entropy of logits + log(sampled class frequency), so the logits themselves contain no prior
    (balanced softmax, Ren et al. 2020, arXiv:2007.10740). Resumes from `run/checkpoint.pt` if it exists.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    begin_run(run, config)
    if config.seen_before is not None:
        data = data.where(data.first_detection() < config.seen_before)
    asked = bool(teachers or early_teachers)
    device = best_device()
    ensemble = Teachers(teachers, early_teachers, config.early_teacher_max, device) if asked else None
    train_set = training_set(data, simulated, unlabelled=ensemble is not None)
    unlabelled_share = config.unlabelled_share if ensemble else 0.0
    write_note(run, "lineage", _lineage(train_set, start, teachers, early_teachers))
    write_note(run, "learnt", {"alert_objects": _learnt(train_set)})
    weights = sampling_weights(train_set, config.class_power, config.simulated_share, unlabelled_share)
    targets = Targets.of(train_set, sampled_shares(weights, train_set.labels)).to(device)
    real = data.split("train")
    model = _first_weights(start, data, config).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    loop = LoopConfig(config.steps, config.validate_every, config.average_decay)
    training = Training.start(model, optimizer, lambda step: _learning_rate(step, config), loop)
    training.resume(run)
    seed = config.seed + training.step
    stream = BatchStream(
        train_set, weights, ReferencePool(real), config.view, config.parameters, config.batch_size, seed
    )
    validation = data.where(data.in_split("validation") & (data.labels >= 0))
    prior = published_prior(real, config.alert_share)

    def loss_of(batch: Batch) -> torch.Tensor:
        there = batch.to(device)
        soft = ensemble(there, targets.shift) if ensemble else None
        return training_loss(model, there, targets, soft, config)

    for _ in train(training, stream, loss_of):
        figures = validation_figures(predict(training.average, validation, config.parameters), prior)
        append_history(run / "history.jsonl", training.record() | figures)
        write_weights(training.average, run / "model.pt")
        training.save(run)
    return training.average.cpu()


@dataclass(frozen=True)
class Targets:
    """Targets of a training set (M,): class, finest label (-1 unknown), log10 redshift (NaN unknown).

    `shift` (C,) is the log of the sampled class frequencies.
    """

    labels: torch.Tensor
    fine: torch.Tensor
    log_redshift: torch.Tensor
    shift: torch.Tensor

    @classmethod
    def of(cls, train: Dataset, shares: np.ndarray) -> Targets:
        return cls(
            torch.from_numpy(train.labels.copy()),
            torch.from_numpy(train.objects["fine"].to_numpy(copy=True)),
            torch.from_numpy(np.log10(train.objects["redshift"].clip(0.003, 1.0)).to_numpy(dtype=np.float32)),
            torch.from_numpy(np.log(shares)).float(),
        )

    def to(self, device: torch.device | str) -> Targets:
        return Targets(*(getattr(self, f.name).to(device) for f in fields(self)))


def training_loss(
    model: AlertClassifier, batch: Batch, targets: Targets, soft: torch.Tensor | None, config: FinetuneConfig
) -> torch.Tensor:
    """Class loss + auxiliary losses; each auxiliary loss is summed over labelled objects, divided by the batch size."""
    rows = torch.from_numpy(batch.rows).to(targets.labels.device)
    fine, log_redshift = targets.fine[rows], targets.log_redshift[rows]
    embedding = model.dropout(model.encoder(batch.points, batch.context, batch.bias))
    loss = classification_loss(model.head(embedding) + targets.shift, targets.labels[rows], soft, config.teacher_share)
    finest = functional.cross_entropy(model.fine_head(embedding), fine, ignore_index=-1, reduction="sum")
    known = torch.isfinite(log_redshift)
    redshift = known * functional.smooth_l1_loss(
        model.redshift_head(embedding)[:, 0], torch.nan_to_num(log_redshift), beta=0.2, reduction="none"
    )
    return loss + (config.fine_weight * finest + config.redshift_weight * redshift.sum()) / len(rows)


def training_set(data: Dataset, simulated: Dataset | None, unlabelled: bool = False) -> Dataset:
    """Labelled objects of the train split, with `unlabelled` the others too, and the simulated ones."""
    train = data.where(data.in_split("train") & ((data.labels >= 0) | unlabelled))
    return concatenate([train, simulated]) if simulated is not None else train


def validation_figures(predictions: dict[int, Answers], prior: np.ndarray) -> dict[str, float]:
    """The figures to tune on: for supernova types and alert objects, with all, three and one detections."""
    figures: dict[str, float] = {}
    for k, p in predictions.items():  # a data set may have only one of the two populations
        name = "all" if k == 0 else str(k)
        probabilities = softmax(p.logits + np.log(prior))
        enough = p.n_detections >= 5
        transients = (p.table == "transients") & enough
        alerts = (p.table == "alert_objects") & enough
        for kind, mine, score in (("sn", transients, supernova_scores), ("alert", alerts, alert_scores)):
            if mine.any():
                for key, value in score(probabilities[mine], p.labels[mine], prior).items():
                    figures[f"{kind}_{key}@{name}"] = value
    return figures


def _first_weights(start: Path | None, data: Dataset, config: FinetuneConfig) -> AlertClassifier:
    if start is not None and start.is_dir():
        return taken_on(start, config.encoder, data, config.parameters)
    model = AlertClassifier(config.encoder)
    if start is not None:
        model.encoder.load_state_dict(read_weights(start))
    return model


def _lineage(
    train: Dataset, start: Path | None, teachers: Sequence[Path], early_teachers: Sequence[Path]
) -> dict[str, Any]:
    """A run's training material, for the report: objects per table, pre-training steps and teachers' steps."""

    def read(folder: Path, name: str) -> dict[str, Any]:
        return read_note(folder, name) if (folder / f"{name}.json").exists() else {}

    def steps(folder: Path) -> int | None:
        return read(folder, "config").get("steps")

    before: dict[str, Any] = {}
    if start is not None and start.is_dir():
        earlier = read(start, "lineage")
        before = {
            "pretraining_steps": earlier.get("pretraining_steps"),
            "went_on_from": {"name": start.name, "steps": steps(start), "averaged": earlier.get("averaged")},
        }
    elif start is not None:
        before = {"pretraining_steps": steps(start.parent)}
    labelled = train.objects[train.labels >= 0]
    return {
        "labelled": labelled["table"].value_counts().to_dict(),
        "unlabelled": int(np.sum(train.labels < 0)),
        "pretraining_steps": None,
        "went_on_from": None,
        **before,
        "teachers": [{"name": teacher.name, "steps": steps(teacher)} for teacher in teachers],
        "early_teachers": [{"name": teacher.name, "steps": steps(teacher)} for teacher in early_teachers],
    }


def _learnt(train: Dataset) -> list[str]:
    """Digests of the names of alert objects whose labels the run learns: `judge-alerts` leaves them out."""
    mine = (train.objects["table"] == "alert_objects").to_numpy() & (train.labels >= 0)
    return sorted(name_digest(name) for name in train.objects["object_id"][mine])


def _learning_rate(step: int, config: FinetuneConfig) -> float:
    # else a run much shorter than configured would only warm up and cool down
    warm_up = min(config.warm_up, max(config.steps // 10, 1))
    left = (config.steps - step) / max(min(config.decay_steps, config.steps * 4 // 5), 1)
    return min((step + 1) / warm_up, 1.0, max(left, 0.0) ** 0.7)
