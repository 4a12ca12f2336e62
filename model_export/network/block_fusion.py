"""Late fusion of blocks: a long light curve's embedding from its newest block and what is kept of the others."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from model_export.network.encoder import AlertClassifier
from service.inference.preprocessing.blocks import KEPT_FACTS

_FACTS: Final = len(KEPT_FACTS) - 1  # all but the share


class BlockClassifier(nn.Module):
    """alert-clr with blocks (alert-clr/2): points (B, 1, L, F) and context (B, C) of each newest block, and `kept`
    (B, 2 D + 6) of the others (see `service.inference.preprocessing.blocks`).

    The head is that of the network, for the mean embedding; to it is added what a linear layer tells of the mean, the
    standard deviation of the embeddings over the blocks, and the offsets between blocks. With one block nothing is
    added, and the answer is the network's, bit for bit.
    """

    def __init__(self, network: AlertClassifier) -> None:
        super().__init__()
        self.network = network
        self.size = network.config.embedding
        self.kept_size = 2 * self.size + len(KEPT_FACTS)
        self.correction = nn.Linear(2 * self.size + _FACTS, network.config.classes)

    def forward(
        self, points: Tensor, context: Tensor, kept: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and embedding (B, D)."""
        own = self.network.embed(points, context, bias)
        mean, variance, share, facts = kept.split((self.size, self.size, 1, _FACTS), dim=1)
        embedding, told = self.fuse(own, mean, variance, share, facts)
        logits = self.network.head(self.network.dropout(embedding))
        return logits + torch.where(share > 0, self.correction(told), 0.0), embedding

    @staticmethod
    def fuse(own: Tensor, mean: Tensor, variance: Tensor, share: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Mean embedding (B, D) of all blocks, and what the correction reads (B, 2 D + 5)."""
        apart = mean - own
        spread = share * variance + share * (1.0 - share) * apart * apart  # the variance of both parts together
        embedding = own + share * apart
        return embedding, torch.cat((embedding, spread.sqrt(), facts), dim=1)
