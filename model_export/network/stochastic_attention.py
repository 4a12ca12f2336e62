"""Hierarchical stochastic attention (HSA; Pei, Wang & Szarvas 2022, AAAI 36, arXiv:2112.13776).

Keys attend to a few learnt centroids, queries to keys rebuilt from those centroids, and both choices are sampled with
the Gumbel-softmax trick (Jang, Gu & Poole 2017, arXiv:1611.01144). The network is random in training and in use: its
answers differ from pass to pass, and their spread measures its uncertainty. With dropout kept on as well it is HA-MC
(Cádiz-Leyton et al. 2025, A&A 699, A168, arXiv:2412.10528).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Gumbel(nn.Module):
    """Adds fresh Gumbel(0, 1) noise to scores of any shape, in training and in use."""

    def forward(self, scores: Tensor) -> Tensor:
        return scores - torch.log(torch.empty_like(scores).exponential_())


class HierarchicalStochasticAttention(nn.Module):
    """Sampled attention over centroids, then over keys.

    Keys k become sum_j softmax_j((k . c_j + g) / tau_1) c_j; attention is softmax((Q K'^T + g) / tau_2); g is Gumbel
    noise. The paper shares centroids among heads, which have one projection; here each head has its own.
    """

    def __init__(
        self, heads: int, size: int, centroids: int, centroid_temperature: float, key_temperature: float
    ) -> None:
        super().__init__()
        self.centroids = nn.Parameter(torch.empty(heads, centroids, size).uniform_(-0.5, 0.5))
        self.centroid_temperature = centroid_temperature
        self.key_temperature = key_temperature or math.sqrt(size)
        self.noise_centroids = Gumbel()
        self.noise_keys = Gumbel()

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:  # each (B, H, T, d/H)
        likeness = self.noise_centroids(key @ self.centroids.transpose(-1, -2))  # (B, H, T, c)
        key = (likeness * (1.0 / self.centroid_temperature)).softmax(-1) @ self.centroids
        scores = self.noise_keys(query @ key.transpose(-1, -2)) * (1.0 / self.key_temperature)  # (B, H, T, T)
        if bias is not None:
            scores = scores + bias
        return scores.softmax(-1) @ value
