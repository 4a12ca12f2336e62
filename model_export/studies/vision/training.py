"""Train vision branches on the images of one or several surveys, with early stopping by validation.

The recipe is the paper's (arXiv:2507.11711): every class drawn equally often, Adam with a small constant step, the
weights of the best macro-F1 on the validation split. From scratch the step is larger and falls: `decay_steps`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model_export.data.batches import balanced_rows
from model_export.data.scores import macro_f1
from model_export.studies.two_surveys.network import Answers, MultiSurvey, loss
from model_export.studies.two_surveys.training import OneInput, presence
from model_export.studies.vision.images import Pictures
from model_export.studies.vision.network import VisionConfig
from model_export.training import loop
from model_export.training.run import append_history

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class VisionTraining:
    learning_rate: float = 5e-6
    batch_size: int = 64
    steps: int = 100_000  # at most
    warm_up: int = 0  # steps
    decay_steps: int = 0  # the last ones, in which the learning rate falls to zero
    weight_decay: float = 0.0  # of AdamW, which without it is Adam
    validate_every: int = 250  # steps
    patience: int = 10  # validations without a better macro-F1
    embed_batch: int = 64  # images embedded at a time when judging
    vision: VisionConfig = field(default_factory=VisionConfig)


def embed(branch: nn.Module, pictures: Pictures, rows: Rows) -> Tensor:
    """Embeddings (n, D) of the objects in `rows`; zeros for black images."""
    seen = np.flatnonzero(pictures.present[rows])
    size: int = branch.embedding_size  # type: ignore[assignment]
    device = next(branch.parameters()).device
    embedding = torch.zeros(len(rows), size, device=device)
    if len(seen):
        images = torch.from_numpy(pictures.draw(rows[seen])).to(device)
        embedding = embedding.index_add(0, torch.from_numpy(seen).to(device), branch(images))
    return embedding


def answer(model: OneInput | MultiSurvey, surveys: Sequence[Pictures], rows: Rows) -> Answers:
    """The model's answers for `rows`; the single head of a model of one image is both own and joint."""
    embeddings = torch.stack([embed(model.branch, pictures, rows) for pictures in surveys], dim=1)
    if isinstance(model, MultiSurvey):
        return model.fuse(embeddings, presence(surveys)[rows].to(embeddings.device))
    logits = model(embeddings[:, 0])
    return Answers(logits[:, None], logits, embeddings[:, 0])


@torch.no_grad()
def answers(model: OneInput | MultiSurvey, surveys: Sequence[Pictures], rows: Rows, batch: int) -> Answers:
    """`answer` of many objects, some at a time, for numpy to read."""
    model.eval()
    parts = [answer(model, surveys, rows[start : start + batch]) for start in range(0, len(rows), batch)]
    return Answers(*(torch.cat([getattr(part, name).cpu() for part in parts]) for name in Answers.__dataclass_fields__))


def fit(
    model: OneInput | MultiSurvey,
    surveys: Sequence[Pictures],
    labels: NDArray[np.int64],
    train: Rows,
    validation: Rows,
    config: VisionTraining,
    seed: int,
    history: Path | None = None,
) -> float:
    """Train in place; the model is left with its best weights. Returns their macro-F1 on the validation split.

    Objects that none of `surveys` detected are left out. `history`: a file that gets a line of JSON per validation.
    """
    rng = np.random.default_rng(seed)
    seen = np.any([pictures.present for pictures in surveys], axis=0)
    train, validation = train[seen[train]], validation[seen[validation]]
    device = loop.best_device()
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    targets = torch.tensor(labels, device=device)

    def loss_of(batch: Rows) -> Tensor:
        said = answer(model, surveys, batch)
        if isinstance(model, MultiSurvey):
            return loss(said, presence(surveys)[batch].to(device), targets[batch])
        return functional.cross_entropy(said.joint, targets[batch])

    settings = loop.LoopConfig(config.steps, config.validate_every, smoothing=0.05)
    training = loop.Training.start(model, optimizer, lambda step: _schedule(step, config), settings)
    batches = balanced_rows(rng, train, labels, config.batch_size)
    best, best_weights, waited = -1.0, copy.deepcopy(model.state_dict()), 0
    for _ in loop.train(training, batches, loss_of):
        decided = answers(model, surveys, validation, config.embed_batch).joint.argmax(dim=1).numpy()
        score = macro_f1(labels[validation], decided)
        if history is not None:
            append_history(history, training.record() | {"macro_f1": score})
        if score > best:
            best, best_weights, waited = score, copy.deepcopy(model.state_dict()), 0
        else:
            waited += 1
            if waited >= config.patience:
                break
    model.load_state_dict(best_weights)
    model.cpu().eval()
    return best


def _schedule(step: int, config: VisionTraining) -> float:
    left = (config.steps - step) / max(config.decay_steps, 1)
    return min((step + 1) / max(config.warm_up, 1), 1.0, left)
