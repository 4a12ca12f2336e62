"""One object, several surveys: a branch that all surveys share, a head per survey, a head on all of them together.

The architecture is that of arXiv:2507.11711: the same branch (shared weights) embeds what each survey saw; a linear
head per survey classifies its embedding; a joint head, linear or with a hidden layer, classifies the concatenation; the
loss is the sum of the heads' cross-entropies. What is added: any subset of the surveys may be there. A missing survey's
place in the concatenation is taken by a learnt vector, and training hides surveys at random from the joint head, so
that it has met every subset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

SURVEYS: Final = ("ztf", "atlas")
JOINT_HEADS: Final = ("linear", "mlp")


class Branch(Protocol):
    """What all surveys share: any `torch.nn.Module` with an `embedding_size` D that embeds what one survey saw.

    Its arguments have the batch axis in front: the light-curve branch takes points (B, W, L, F) and context (B, C), an
    image branch an image (B, 3, height, width). It returns (B, D), which must not depend on the rest of the batch. For
    an absent survey it gets zeros, which must not fail; the result is not used.
    """

    embedding_size: int

    def __call__(self, *inputs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FusionConfig:
    classes: int
    surveys: int = len(SURVEYS)
    joint: str = "linear"  # or "mlp"
    hidden: int = 128  # of the MLP
    dropout: float = 0.2  # on embeddings, before every head
    survey_dropout: float = 0.3  # of the objects seen by several surveys, the share that shows the joint head only one

    def __post_init__(self) -> None:
        if self.joint not in JOINT_HEADS:
            raise ValueError(f"joint is {self.joint!r}; known are {', '.join(JOINT_HEADS)}")


@dataclass(frozen=True)
class Answers:
    """own (B, S, classes): logits of each survey's head, without meaning where that survey is absent; joint (B,
    classes); embedding (B, S D): the concatenation that the joint head read.
    """

    own: Tensor
    joint: Tensor
    embedding: Tensor


class MultiSurvey(nn.Module):
    """A shared branch, a linear head per survey, and a joint head on the concatenated embeddings."""

    def __init__(self, branch: nn.Module, config: FusionConfig) -> None:
        """`branch` follows the protocol `Branch`."""
        super().__init__()
        self.config, self.branch = config, branch
        size: int = branch.embedding_size  # type: ignore[assignment]
        self.absent = nn.Parameter(torch.zeros(config.surveys, size))
        self.dropout = nn.Dropout(config.dropout)
        self.own_heads = nn.ModuleList(nn.Linear(size, config.classes) for _ in range(config.surveys))
        whole = config.surveys * size
        self.joint_head = (
            nn.Linear(whole, config.classes)
            if config.joint == "linear"
            else nn.Sequential(
                nn.Linear(whole, config.hidden),
                nn.ReLU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.hidden, config.classes),
            )
        )

    def forward(self, inputs: Sequence[Sequence[Tensor]], present: Tensor) -> Answers:
        """inputs: the branch's arguments for each survey; present (B, S): 1 where the survey saw the object."""
        return self.fuse(torch.stack([self.branch(*arguments) for arguments in inputs], dim=1), present)

    def fuse(self, embeddings: Tensor, present: Tensor) -> Answers:
        """embeddings (B, S, D), any finite numbers where the survey is absent; present (B, S)."""
        own = torch.stack([head(self.dropout(embeddings[:, s])) for s, head in enumerate(self.own_heads)], dim=1)
        shown = self.hide(present) if self.training else present
        here = shown[..., None]  # (B, S, 1)
        whole = (embeddings * here + self.absent * (1.0 - here)).flatten(1)  # (B, S D)
        return Answers(own, self.joint_head(self.dropout(whole)), whole)

    def hide(self, present: Tensor) -> Tensor:
        """Survey dropout: of `survey_dropout` of the objects that several surveys saw, one survey at random remains."""
        dice = torch.rand_like(present) * present
        one = functional.one_hot(dice.argmax(dim=1), present.shape[1]).to(present.dtype)
        chosen = (torch.rand(len(present), 1) < self.config.survey_dropout) & (present.sum(dim=1, keepdim=True) > 1)
        return torch.where(chosen, one, present)


def loss(answers: Answers, present: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies of all heads: a survey's over the objects that it saw, the joint one over all.

    present (B, S); labels (B,). A survey without objects in the batch adds nothing.
    """
    batch, surveys, classes = answers.own.shape
    each = functional.cross_entropy(
        answers.own.reshape(-1, classes), labels[:, None].expand(batch, surveys).reshape(-1), reduction="none"
    ).reshape(batch, surveys)
    own = (each * present).sum(dim=0) / present.sum(dim=0).clamp(min=1.0)  # (S,)
    return own.sum() + functional.cross_entropy(answers.joint, labels)


def decide(answers: Answers, present: Tensor, alone: Sequence[str]) -> Tensor:
    """Logits to publish (B, classes): the joint head's, but where only survey s saw the object and alone[s] is "own",
    that survey's own head's.
    """
    logits = answers.joint
    for s, which in enumerate(alone):
        if which == "own":
            only = (present[:, s : s + 1] > 0) & (present.sum(dim=1, keepdim=True) == 1)  # (B, 1)
            logits = torch.where(only, answers.own[:, s], logits)
    return logits
