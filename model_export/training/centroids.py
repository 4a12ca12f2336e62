"""Initialise hierarchical stochastic attention from a finished network, with k-means of its keys as centroids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from model_export.data.batches import length_batches
from model_export.data.tables import Dataset
from model_export.network.encoder import AlertClassifier, EncoderConfig
from model_export.training.run import load_run
from service.inference.preprocessing.alert_clr import alert_tokens

CURVES: Final = 512  # light curves whose keys are clustered: some 20,000 keys of each head


def taken_on(run: Path, encoder: EncoderConfig, data: Dataset, parameters: dict[str, Any]) -> AlertClassifier:
    """The network of a finished run, to train on; with stochastic attention if `encoder` has centroids."""
    plain = load_run(run)[0]
    if encoder.centroids and not plain.config.centroids:
        return with_centroids(plain, encoder, data, parameters)
    model = AlertClassifier(encoder)
    model.load_state_dict(plain.state_dict())
    return model


def with_centroids(
    plain: AlertClassifier, encoder: EncoderConfig, data: Dataset, parameters: dict[str, Any], seed: int = 0
) -> AlertClassifier:
    """`plain` with its attention replaced by the stochastic one of `encoder`, keeping all other weights.

    With centroids close to its own keys, the network without noise starts near the plain one; random centroids would
    first destroy what it has learnt.
    """
    model = AlertClassifier(encoder)
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    if unexpected or not missing or not all(name.endswith(".attend.centroids") for name in missing):
        raise ValueError("centroids can only be given to a network with plain attention and the same shape")
    for layer, keys in enumerate(_keys(plain, data, parameters, seed)):
        for head, own in enumerate(keys):
            found = KMeans(encoder.centroids, n_init=1, random_state=seed).fit(own)
            with torch.no_grad():
                centroids = model.get_parameter(f"encoder.blocks.{layer}.attend.centroids")
                centroids[head] = torch.from_numpy(found.cluster_centers_)
    return model


@torch.no_grad()
def _keys(model: AlertClassifier, data: Dataset, parameters: dict[str, Any], seed: int) -> list[list[np.ndarray]]:
    """Keys (n, d/H) of each layer and head, over random light curves of the train split."""
    train = np.flatnonzero(data.in_split("train"))
    rows = np.random.default_rng(seed).choice(train, min(CURVES, len(train)), replace=False)
    tokens = alert_tokens(*data.take(rows), parameters)
    caught: dict[int, Tensor] = {}
    handles = [
        block.attend.register_forward_pre_hook(lambda _, inputs, layer=layer: caught.update({layer: inputs[1]}))
        for layer, block in enumerate(model.encoder.blocks)
    ]
    kept: list[list[Tensor]] = [[] for _ in handles]
    model.eval()
    for batch in length_batches(tokens, rows, 64, parameters["window"]):
        model.encoder(batch.points, batch.context, batch.bias)
        real = torch.ones(batch.points.shape[:2]) if batch.bias is None else (batch.bias[:, 0, 0] == 0)
        real = functional.pad(real.bool(), (1, 0), value=True)  # and the context token
        for layer, keys in caught.items():  # (B, H, 1 + T, d/H)
            kept[layer].append(keys.transpose(1, 2)[real])
    for handle in handles:
        handle.remove()
    return [list(torch.cat(keys).transpose(0, 1).numpy()) for keys in kept]
