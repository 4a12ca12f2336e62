"""alert-clr: a transformer over the points of a partial light curve, with late fusion of windows.

As in Astra-CLR (arXiv:2606.31627), one shared encoder embeds the windows of a long light curve, which are fused after
it. Changed for alerts: relative time with log-spaced periods instead of absolute days; tokens with difference flux,
error, sign and upper limits; exact lengths, so no padding and no mask when serving; one context token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_export.data.tables import CLASSES, FINE_LABELS
from model_export.network.stochastic_attention import HierarchicalStochasticAttention
from service.inference.preprocessing.alert_clr import CONTEXT_FEATURES, POINT_FEATURES


@dataclass(frozen=True)
class EncoderConfig:
    point_features: int = len(POINT_FEATURES)
    context_features: int = len(CONTEXT_FEATURES)
    width: int = 96  # d
    layers: int = 3
    heads: int = 4
    feed_forward: int = 384
    periods: int = 16  # of the time encoding, log-spaced
    shortest_period: float = 0.05  # days: pulsation of the fastest stars
    longest_period: float = 2000.0  # days: the length of a survey
    dropout: float = 0.1
    centroids: int = 0  # per head, of hierarchical stochastic attention (stochastic_attention.py); 0: plain attention
    centroid_temperature: float = 1.0
    key_temperature: float = 0.0  # 0: the square root of d/H, which without noise gives the plain scores
    embedding: int = 96  # D
    classes: int = len(CLASSES)
    fine_labels: int = len(FINE_LABELS)


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(d/H) + bias) V, in the plain form that ONNX Runtime fuses best."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:  # each (B, H, T, d/H)
        scores = query @ key.transpose(-1, -2) * (1.0 / math.sqrt(query.shape[-1]))  # (B, H, T, T)
        if bias is not None:
            scores = scores + bias
        return scores.softmax(-1) @ value


class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.attention_out = nn.Linear(config.width, config.width)
        self.norm_feed_forward = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, config.feed_forward)
        self.contract = nn.Linear(config.feed_forward, config.width)
        self.attend: nn.Module = Attention()
        if config.centroids:
            self.attend = HierarchicalStochasticAttention(
                config.heads,
                config.width // config.heads,
                config.centroids,
                config.centroid_temperature,
                config.key_temperature,
            )
        self.dropout_attention = nn.Dropout(config.dropout)
        self.dropout_feed_forward = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:  # x (B, T, d); bias (B, 1, 1, T), -50 on padding
        batch, length, width = x.shape
        size = width // self.heads
        qkv = self.query_key_value(self.norm_attention(x)).reshape(batch, length, 3 * self.heads, size)
        query, key, value = qkv.transpose(1, 2).chunk(3, dim=1)  # each (B, H, T, d/H)
        mixed = self.attend(query, key, value, bias).transpose(1, 2).reshape(batch, length, width)
        x = x + self.dropout_attention(self.attention_out(mixed))
        expanded = functional.relu(self.expand(self.norm_feed_forward(x)))
        return x + self.dropout_feed_forward(self.contract(expanded))


class AlertEncoder(nn.Module):
    """points (B, T, F), context (B, C) -> embedding (B, D) of one window."""

    frequencies: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        periods = torch.logspace(
            math.log10(config.shortest_period), math.log10(config.longest_period), config.periods, dtype=torch.float64
        )
        self.register_buffer("frequencies", (1.0 / periods).float(), persistent=False)
        self.embed_point = nn.Linear(config.point_features + 2 * config.periods, config.width)
        self.embed_context = nn.Linear(config.context_features, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.pool = nn.Linear(3 * config.width, config.embedding)
        self.dropout_points = nn.Dropout(config.dropout)
        self.dropout_pool = nn.Dropout(config.dropout)

    def forward(self, points: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        days = points[..., :1]  # (B, T, 1) since the first detection
        phase = days * self.frequencies
        phase = (phase - torch.floor(phase)) * (2.0 * math.pi)  # (B, T, P) in one turn: sine stays exact in float32
        x = self.embed_point(torch.cat((points[..., 1:], days * 1e-3, torch.sin(phase), torch.cos(phase)), dim=-1))
        token = self.embed_context(context)[:, None, :]  # (B, 1, d): data of the object as a whole
        x = torch.cat((token, self.dropout_points(x)), dim=1)  # (B, 1 + T, d)
        if bias is not None:
            bias = functional.pad(bias, (1, 0))  # the context token is never padding
        x = x.to(self.blocks[0].expand.weight.dtype)  # blocks may be in half precision, times may not
        for block in self.blocks:
            x = block(x, None if bias is None else bias.to(x.dtype))
        x = self.norm(x.to(self.norm.weight.dtype))
        whole, x = x[:, 0], x[:, 1:]
        if bias is None:
            mean, peak = x.mean(dim=1), x.amax(dim=1)
        else:
            real = (bias[:, 0, 0, 1:, None] == 0).to(x.dtype)  # (B, T, 1)
            mean = (x * real).sum(dim=1) / real.sum(dim=1)
            peak = (x - (1.0 - real) * 1e4).amax(dim=1)
        return functional.relu(self.pool(self.dropout_pool(torch.cat((whole, mean, peak), dim=-1))))  # (B, D)


class AlertClassifier(nn.Module):
    """Encoder, mean over windows, linear head. Auxiliary heads (finest label, redshift) are only for training."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = AlertEncoder(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.embedding, config.classes)
        self.fine_head = nn.Linear(config.embedding, config.fine_labels)
        self.redshift_head = nn.Linear(config.embedding, 1)

    def embed(self, points: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """points (B, W, L, F), context (B, C), bias (B, 1, 1, L) of all windows alike -> (B, D)."""
        batch, count, length, features = points.shape
        flat = points.reshape(batch * count, length, features)
        repeated = context[:, None, :].expand(batch, count, context.shape[-1]).reshape(batch * count, -1)
        if bias is not None:
            bias = bias.expand(batch, count, 1, length).reshape(batch * count, 1, 1, length)
        return self.encoder(flat, repeated, bias).reshape(batch, count, -1).mean(dim=1)

    def forward(self, points: Tensor, context: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and embedding (B, D) of light curves in windows of equal length."""
        embedding = self.embed(points, context, bias)
        return self.head(self.dropout(embedding)), embedding
