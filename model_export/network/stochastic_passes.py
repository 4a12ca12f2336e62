"""Stochastic passes with given noise: Monte Carlo dropout, stochastic attention, and both.

Training draws noise in `nn.Dropout` and `stochastic_attention.Gumbel`; for stochastic passes the noise is an input
instead. The module path names it in torch, in the ONNX graph and in the manifest. One mask per pass, shared by all
points of a light curve (`mc-dropout`), is one draw of the weights, as Gal & Ghahramani (2016, arXiv:1512.05287) argue
for sequences; one mask per point (`mc-dropout-points`) is as in training.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from model_export.data.tables import Dataset
from model_export.network.encoder import AlertClassifier
from model_export.network.predict import Answers, predict
from model_export.network.stochastic_attention import Gumbel
from service.inference.manifest import Noise
from service.inference.stochastic import draw

HEAD: Final = "dropout"  # before the linear head: the last layer that dropout reaches
METHODS: Final = ("mc-dropout", "mc-dropout-points", "head-dropout", "hsa", "ha-mc")


@dataclass(frozen=True)
class Method:
    """The kind of noise: `name` is one of METHODS, `rate` the dropout rate."""

    name: str
    rate: float = 0.0

    def noises(self, model: AlertClassifier) -> list[Noise]:
        """The network's noise inputs, in the order of its modules. Raises ValueError if it has none of this kind."""
        stochastic = self.name in ("hsa", "ha-mc")
        if stochastic != bool(model.config.centroids):
            raise ValueError(f"{self.name} needs a network with{'' if stochastic else 'out'} stochastic attention")
        drops = {"hsa": (), "head-dropout": (HEAD,)}.get(self.name)  # dropouts that stay on; None: all
        found = []
        for path, module in model.named_modules():
            if isinstance(module, Gumbel):
                found.append(Noise(input=path, kind="gumbel"))
            elif isinstance(module, nn.Dropout) and (drops is None or path in drops):
                found.append(Noise(input=path, kind="dropout", rate=self.rate))
        return found

    def shape(self, model: AlertClassifier, path: str, window: int) -> tuple[int, ...]:
        """Shape of the noise of one pass at a module, for light curves in windows of up to `window` points."""
        config, tokens = model.config, window + 1  # and the context token
        by_name = {
            "noise_centroids": (config.heads, tokens, config.centroids),
            "noise_keys": (config.heads, tokens, tokens),
            "dropout_pool": (3 * config.width,),
            HEAD: (config.embedding,),
        }
        each = tokens if self.name == "mc-dropout-points" else 1
        return by_name.get(path.rpartition(".")[2], (each, config.width))

    def draws(self, model: AlertClassifier, window: int, passes: int, seed: int) -> dict[str, NDArray[np.float32]]:
        """All noise (passes, ...) by module path, drawn as in the service."""
        return {
            noise.input: draw(noise, index, seed, passes, self.shape(model, noise.input, window))
            for index, noise in enumerate(self.noises(model))
        }


class GivenMask(nn.Module):
    """Replaces a dropout: x (B, d) or (B, T, d) times a mask of at least as many points."""

    given: Tensor

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.register_buffer("given", given, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.given[:, : x.shape[1]] if self.given.ndim == 3 and self.given.shape[1] > 1 else self.given)


class GivenNoise(nn.Module):
    """Replaces Gumbel noise: scores (B, H, T, m) plus noise for at least as many points."""

    given: Tensor

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.register_buffer("given", given, persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        return scores + self.given[:, :, : scores.shape[2], : scores.shape[3]]


def under(model: AlertClassifier, noise: Mapping[str, NDArray[np.float32]]) -> AlertClassifier:
    """A copy with `noise` (1 or B, ...), by module path, instead of drawn noise; other modules have none."""
    given = copy.deepcopy(model).eval()
    for path, values in noise.items():
        parent, _, name = path.rpartition(".")
        kind = GivenNoise if isinstance(model.get_submodule(path), Gumbel) else GivenMask
        setattr(given.get_submodule(parent), name, kind(torch.from_numpy(values)))
    return given


def predict_passes(
    model: AlertClassifier,
    data: Dataset,
    parameters: dict[str, Any],
    ks: tuple[int, ...],
    noise: Mapping[str, NDArray[np.float32]],
) -> dict[int, Answers]:
    """As `predict`, with logits (n, P, C) of every pass under `noise` (P, ...), and the mean of their embeddings."""
    if noise.keys() == {HEAD}:  # the encoder runs once
        found = predict(model, data, parameters, ks)
        weight, bias = (parameter.detach().double().numpy() for parameter in (model.head.weight, model.head.bias))
        masked = {k: p.embedding[:, None] * noise[HEAD] for k, p in found.items()}
        return {k: replace(p, logits=masked[k] @ weight.T + bias) for k, p in found.items()}
    passes = len(next(iter(noise.values())))
    asked = [under(model, {path: values[t : t + 1] for path, values in noise.items()}) for t in range(passes)]
    return together([predict(each, data, parameters, ks) for each in asked])


def together(answers: list[dict[int, Answers]]) -> dict[int, Answers]:
    """Answers of P passes, or of the P members of an ensemble, as one: logits (n, P, C), mean embedding."""
    return {
        k: replace(
            first,
            logits=np.stack([answer[k].logits for answer in answers], axis=1),
            embedding=np.mean([answer[k].embedding for answer in answers], axis=0),
        )
        for k, first in answers[0].items()
    }


class Passes(nn.Module):
    """points (B, W, L, F), context (B, C) and noise (P, ...) of each module -> logits (B, P, C), embedding (B, D)."""

    def __init__(self, model: AlertClassifier, method: Method, window: int) -> None:
        super().__init__()
        self.paths = [noise.input for noise in method.noises(model)]
        self.model = under(model, method.draws(model, window, 1, 0))

    def forward(self, points: Tensor, context: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        passes, batch, count = noise[0].shape[0], points.shape[0], points.shape[1]
        given = dict(zip(self.paths, noise, strict=True))
        head = given.pop(HEAD, None)
        buffers = {f"{HEAD}.given": torch.ones(1)}  # the head runs below
        if given:  # passes in front, then light curves, then windows
            points = points[None].expand(passes, *points.shape).flatten(0, 1)  # (P B, W, L, F)
            context = context[None].expand(passes, *context.shape).flatten(0, 1)
            for path, values in given.items():
                each = values[:, None].expand(passes, batch * count, *values.shape[1:]).flatten(0, 1)  # (P B W, ...)
                buffers[f"{path}.given"] = each
        embedding = functional_call(self.model, buffers, (points, context))[1]
        embedding = embedding.unflatten(0, (-1, batch)).transpose(0, 1)  # (B, P or 1, D)
        masked = embedding if head is None else embedding * head
        return self.model.head(masked), embedding.mean(dim=1)
