"""Astra-CLR, as published: a transformer over a star's magnitudes, three windows fused after it.

Sources: arXiv:2606.31627 and its authors' public code, which is followed where the two differ. Each point becomes a
vector, four post-norm layers mix the points of one window, a masked mean is the embedding. N is the number of points of
a window (700 = 300 g, 350 r, 50 i), d = 512.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

# Added to the attention scores of padding. e^-50 vanishes in float32, and unlike -1e9 it makes no subnormal numbers.
PADDING_BIAS: Final = -50.0
NORM_EPSILON: Final = 1e-6  # Keras' choice in the published code; torch's default is 1e-5
WINDOWS: Final = 3


@dataclass(frozen=True)
class AstraConfig:
    width: int = 512  # d
    layers: int = 4
    heads: int = 8
    feed_forward: int = 2048
    band_hidden: int = 32
    projection: int = 256  # of the head that pre-training alone uses
    dropout: float = 0.1
    head_dropout: float = 0.2


def time_encoding(times: Tensor, width: int) -> Tensor:
    """Sinusoids of time in days (B, N, 1) -> (B, N, d): rate 10000^(-2 floor(k/2) / d), sine and cosine interleaved."""
    pair = torch.arange(width, device=times.device) // 2
    rate = torch.exp(pair.to(times.dtype) * (-2.0 * math.log(10000.0) / width))  # (d,)
    angle = times * rate  # (B, N, d)
    even = torch.arange(width, device=times.device) % 2 == 0
    return torch.where(even, torch.sin(angle), torch.cos(angle))


class AstraLayer(nn.Module):
    """Post-norm: attention, add, norm; feed-forward, add, norm (Vaswani et al. 2017)."""

    def __init__(self, config: AstraConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm_attention = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.expand = nn.Linear(config.width, config.feed_forward)
        self.contract = nn.Linear(config.feed_forward, config.width)
        self.norm_feed_forward = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:  # x (B, N, d); bias (B, 1, 1, N)
        query, key, value = self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias  # (B, H, N, N)
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)  # (B, N, d)
        x = self.norm_attention(x + self.dropout(self.out(mixed)))
        return self.norm_feed_forward(x + self.dropout(self.contract(functional.relu(self.expand(x)))))

    def _split(self, x: Tensor) -> Tensor:  # (B, N, d) -> (B, H, N, d/H)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class AstraEncoder(nn.Module):
    """12,627,520 parameters. All inputs are (B, N, 1) but the mask (B, N), 1 on padding; the output is (B, d)."""

    def __init__(self, config: AstraConfig | None = None) -> None:
        super().__init__()
        config = config or AstraConfig()
        self.config = config
        self.embed_magnitude = nn.Linear(1, config.width)
        self.embed_band = nn.Sequential(
            nn.Linear(1, config.band_hidden), nn.ReLU(), nn.Linear(config.band_hidden, config.width)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(AstraLayer(config) for _ in range(config.layers))

    def forward(self, magnitude: Tensor, times: Tensor, band_info: Tensor, mask: Tensor) -> Tensor:
        x = self.embed_magnitude(magnitude)  # (B, N, d)
        x = x + time_encoding(times, self.config.width) + self.embed_band(band_info)
        x = self.dropout(x)
        bias = PADDING_BIAS * mask[:, None, None, :]  # (B, 1, 1, N)
        for layer in self.layers:
            x = layer(x, bias)
        real = (1.0 - mask)[:, :, None]  # (B, N, 1)
        return (x * real).sum(dim=1) / real.sum(dim=1).clamp(min=1.0)  # (B, d); an empty window is zero


class ProjectionHead(nn.Sequential):
    """393,984 parameters; embedding (B, d) -> (B, 256), for the contrastive loss alone."""

    def __init__(self, config: AstraConfig | None = None) -> None:
        config = config or AstraConfig()
        super().__init__(nn.Linear(config.width, config.width), nn.ReLU(), nn.Linear(config.width, config.projection))


class AstraClassifier(nn.Module):
    """Late fusion: three windows through one encoder, concatenated (fine-tuning, 3 d) or averaged (probe, d), a head.

    Inputs have a windows axis: (B, 3, N, 1), mask (B, 3, N).
    """

    def __init__(self, classes: int, config: AstraConfig | None = None, fusion: str = "concatenate") -> None:
        super().__init__()
        if fusion not in ("concatenate", "average"):
            raise ValueError(f"fusion {fusion!r} is neither concatenate nor average")
        config = config or AstraConfig()
        self.encoder = AstraEncoder(config)
        self.fusion = fusion
        self.dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(config.width * (WINDOWS if fusion == "concatenate" else 1), classes)

    def embed(self, magnitude: Tensor, times: Tensor, band_info: Tensor, mask: Tensor) -> Tensor:
        flat = [x.flatten(0, 1) for x in (magnitude, times, band_info, mask)]  # (3 B, N, ...)
        windows = self.encoder(*flat).unflatten(0, (-1, WINDOWS))  # (B, 3, d)
        return windows.flatten(1) if self.fusion == "concatenate" else windows.mean(dim=1)

    def forward(self, magnitude: Tensor, times: Tensor, band_info: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and the fused embedding."""
        embedding = self.embed(magnitude, times, band_info, mask)
        return self.head(self.dropout(embedding)), embedding

    def freeze_lower_layers(self, frozen: int = 2) -> None:
        """Partial fine-tuning: layers 1 and 2 stay, layers 3 and 4, the point embedding and the head learn."""
        for number, layer in enumerate(self.encoder.layers):
            layer.requires_grad_(number >= frozen)
