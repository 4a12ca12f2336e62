"""Train networks of one or several surveys: sequences of any length, class-balanced draws, averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model_export.data.batches import PADDING_BIAS, balanced_rows
from model_export.data.tables import Dataset
from model_export.network.encoder import AlertEncoder, EncoderConfig
from model_export.studies.two_surveys.network import Answers, FusionConfig, MultiSurvey, loss
from model_export.training import loop
from service.inference.preprocessing.alert_clr import Tokens
from service.inference.preprocessing.two_survey import TWO_SURVEY_FEATURES, survey_tokens

Rows = NDArray[np.int64]
_CHUNK: Final = 32  # sequences of like length that run together
_PREDICT: Final = 512  # objects embedded at a time


@dataclass(frozen=True)
class TrainingConfig:
    steps: int = 900
    batch_size: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 100
    weight_decay: float = 0.02
    average_decay: float = 0.995  # of the exponential moving average of weights, which is what is judged
    window: int = 48
    max_windows: int = 6
    encoder: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(width=64, layers=2, feed_forward=128, embedding=64, dropout=0.0)
    )

    @property
    def parameters(self) -> dict[str, Any]:
        """The preprocessing parameters in the bundle's manifest."""
        return {"window": self.window, "max_windows": self.max_windows}


class LightCurveBranch(nn.Module):
    """The encoder of alert-clr over the tokens of one survey (or of several in one sequence), windows averaged.

    `visible`: the token columns used, all by default; others are set to zero, and if there are any, the context too.
    """

    shown: Tensor

    def __init__(self, config: EncoderConfig, visible: tuple[str, ...] = TWO_SURVEY_FEATURES) -> None:
        super().__init__()
        self.encoder = AlertEncoder(replace(config, point_features=len(TWO_SURVEY_FEATURES)))
        self.embedding_size = config.embedding
        self.sees_all = set(visible) == set(TWO_SURVEY_FEATURES)
        shown = torch.tensor([name in visible for name in TWO_SURVEY_FEATURES], dtype=torch.float32)
        self.register_buffer("shown", shown, persistent=False)

    def forward(self, points: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """points (B, W, L, F), context (B, C) -> (B, D); bias (B, 1, 1, L), where L is padded, takes W = 1."""
        if not self.sees_all:
            points, context = points * self.shown, context * 0.0
        batch, count, length, features = points.shape
        repeated = context[:, None, :].expand(batch, count, context.shape[-1]).reshape(batch * count, -1)
        flat = points.reshape(batch * count, length, features)
        return self.encoder(flat, repeated, bias).reshape(batch, count, -1).mean(dim=1)


class OneInput(nn.Module):
    """A branch and a linear head: a single survey, or several surveys in one sequence."""

    def __init__(self, branch: nn.Module, classes: int, dropout: float) -> None:
        super().__init__()
        self.branch, self.dropout = branch, nn.Dropout(dropout)
        self.head = nn.Linear(branch.embedding_size, classes)  # type: ignore[arg-type]

    def forward(self, embedding: Tensor) -> Tensor:
        return self.head(self.dropout(embedding))


class Sequences:
    """One survey's tokens of M objects, end to end."""

    def __init__(self, data: Dataset, surveys: tuple[str, ...], parameters: dict[str, Any]) -> None:
        self.tokens: Tokens = survey_tokens(data.points, data.counts, surveys, parameters)
        self.starts = np.cumsum(self.tokens.counts) - self.tokens.counts
        self.window, self.max_windows = int(parameters["window"]), int(parameters["max_windows"])

    @property
    def present(self) -> NDArray[np.bool_]:
        return self.tokens.counts > 0

    def pieces(self, rows: Rows, rng: np.random.Generator | None) -> tuple[Rows, Rows, Rows]:
        """(place in `rows`, first token, length) of the windows to embed: one at random, or all, spread as
        `service.inference.preprocessing.alert_clr.windows` spreads them. An absent object has none.
        """
        counts = self.tokens.counts[rows]
        spare = np.maximum(counts - self.window, 0)
        if rng is not None:
            place = np.flatnonzero(counts)
            offset = rng.integers(0, spare + 1)[place]
        else:
            number = np.minimum(-(-counts // self.window), self.max_windows)
            place = np.repeat(np.arange(len(rows)), number)
            k = np.arange(len(place)) - np.repeat(np.cumsum(number) - number, number)
            offset = np.rint(spare[place] * k / np.maximum(number[place] - 1, 1)).astype(np.int64)
        return place, self.starts[rows][place] + offset, np.minimum(counts, self.window)[place]

    def chunks(self, rows: Rows, rng: np.random.Generator | None) -> Iterator[tuple[Rows, tuple[Tensor, ...]]]:
        """(places in `rows`, the branch's arguments) for windows of like length together; hardly any padding."""
        place, first, length = self.pieces(rows, rng)
        order = np.argsort(length, kind="stable")
        for chosen in np.array_split(order, max(1, round(len(order) / _CHUNK))) if len(order) else ():
            lengths, longest = length[chosen], int(length[chosen].max())
            at = np.arange(longest)[None, :]
            real = at < lengths[:, None]
            points = self.tokens.points[first[chosen][:, None] + np.minimum(at, lengths[:, None] - 1)] * real[..., None]
            arguments: tuple[Tensor, ...] = (
                torch.from_numpy(points.astype(np.float32))[:, None],
                torch.from_numpy(self.tokens.context[rows[place[chosen]]]),
            )
            if not real.all():
                bias = np.where(real, 0.0, PADDING_BIAS).astype(np.float32)
                arguments += (torch.from_numpy(bias)[:, None, None, :],)
            yield place[chosen], arguments

    def embed(self, branch: nn.Module, rows: Rows, rng: np.random.Generator | None = None) -> Tensor:
        """(B, D), the mean over each object's windows; zeros where the survey is absent."""
        size: int = branch.embedding_size  # type: ignore[assignment]
        total, number = torch.zeros(len(rows), size), torch.zeros(len(rows), 1)
        for place, arguments in self.chunks(rows, rng):
            where = torch.from_numpy(place)
            total = total.index_add(0, where, branch(*arguments))
            number = number.index_add(0, where, torch.ones(len(where), 1))
        return total / number.clamp(min=1.0)


def train(
    model: loop.Network,
    step_loss: Callable[[Rows, np.random.Generator], Tensor],
    rows: Rows,
    labels: NDArray[np.int64],
    config: TrainingConfig,
    seed: int,
) -> loop.Network:
    """The averaged model after `config.steps` batches of `rows`, every class drawn equally often.

    `step_loss(rows of the batch, generator)`; labels (M,) of all objects.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=config.weight_decay, betas=(0.9, 0.98))

    def learning_rate(step: int) -> float:
        falling = 0.5 * (1 + np.cos(np.pi * step / config.steps))
        return config.learning_rate * min((step + 1) / config.warm_up, 1.0) * falling

    settings = loop.LoopConfig(config.steps, config.steps, config.average_decay)
    training = loop.Training.start(model, optimizer, learning_rate, settings)
    batches = balanced_rows(rng, rows, labels, config.batch_size)
    for _ in loop.train(training, batches, lambda batch: step_loss(batch, rng)):
        pass  # no judging during training
    return training.average


def train_one_input(
    sequences: Sequences, branch: nn.Module, rows: Rows, labels: NDArray[np.int64], classes: int,
    config: TrainingConfig, dropout: float, seed: int,
) -> OneInput:  # fmt: skip
    """A single survey (or a stacked sequence), on those of `rows` that it saw."""
    targets = torch.tensor(labels)

    model = OneInput(branch, classes, dropout)

    def step_loss(batch: Rows, rng: np.random.Generator) -> Tensor:
        return functional.cross_entropy(model(sequences.embed(branch, batch, rng)), targets[batch])

    return train(model, step_loss, rows[sequences.present[rows]], labels, config, seed)


def train_multisurvey(
    surveys: list[Sequences], branch: nn.Module, rows: Rows, labels: NDArray[np.int64],
    fusion: FusionConfig, config: TrainingConfig, seed: int,
) -> MultiSurvey:  # fmt: skip
    """All surveys together, the sum of the heads' cross-entropies."""
    targets = torch.tensor(labels)
    present = presence(surveys)
    model = MultiSurvey(branch, fusion)

    def step_loss(batch: Rows, rng: np.random.Generator) -> Tensor:
        embeddings = torch.stack([s.embed(branch, batch, rng) for s in surveys], dim=1)
        answers = model.fuse(embeddings, present[batch])
        return loss(
            Answers(answers.own.float(), answers.joint.float(), answers.embedding), present[batch], targets[batch]
        )

    return train(model, step_loss, rows, labels, config, seed)


def presence(surveys: Sequence[Any]) -> Tensor:
    """(M, S): 1 where the survey saw the object; surveys, such as `Sequences`, know their `present`."""
    return torch.from_numpy(np.stack([s.present for s in surveys], axis=1).astype(np.float32))


@torch.no_grad()
def predict_one_input(model: OneInput, sequences: Sequences, rows: Rows) -> tuple[NDArray, NDArray]:
    """Logits (n, classes) and embeddings (n, D); of an absent object those of an embedding of zeros."""
    embedding = _embed_all(model.branch, sequences, rows)
    return model.head(embedding).numpy(), embedding.numpy()


@torch.no_grad()
def predict_multisurvey(model: MultiSurvey, surveys: list[Sequences], rows: Rows, shown: Tensor) -> Answers:
    """Answers for `rows`, of which each survey shows only those with shown (n, S) = 1."""
    return model.fuse(torch.stack([_embed_all(model.branch, s, rows) for s in surveys], dim=1), shown)


def _embed_all(branch: nn.Module, sequences: Sequences, rows: Rows) -> Tensor:
    return torch.cat([sequences.embed(branch, rows[n : n + _PREDICT]) for n in range(0, len(rows), _PREDICT)])
