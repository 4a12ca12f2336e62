"""Fit the fusion of blocks on frozen embeddings: what is added to the head's answer for objects of several blocks."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from model_export.data.batches import length_batches
from model_export.data.scores import softmax
from model_export.data.tables import CLASSES, Dataset
from model_export.network.block_fusion import BlockClassifier
from model_export.network.encoder import AlertClassifier
from model_export.training.run import NOTES, read_weights, write_weights
from service.inference.preprocessing.alert_clr import alert_tokens
from service.inference.preprocessing.blocks import cut_into_blocks, kept_input, points_of

BLOCKS: Final = "blocks.json"  # of a run whose long light curves are read in blocks: how they are cut, and the prior
WEIGHTS: Final = "blocks.pt"
PENALTY: Final = 100.0  # on squared weights: the answer stays near the head's where little was learnt
SIMULATED_WEIGHT: Final = 0.15  # of a simulated object in the loss; a real one counts 1

Floats = NDArray[np.float64]


def block_parameters(window: int, embedding: int) -> dict[str, Any]:
    """Of alert-clr/2, as they stand in the manifest."""
    cut = {"window": window, "many": 3 * window, "short_block": window // 2, "cell_days": 512.0, "max_blocks": 24}
    return cut | {"embedding": embedding}


@dataclass(frozen=True)
class Fused:
    """Objects after the frozen encoder: `told` (M, 2 D + 5), what the correction reads; `logits` (M, C) of the head for
    the mean embedding, without prior; `embedding` (M, D); `several` (M,): whether there is more than one block.
    """

    told: Floats
    logits: Floats
    embedding: Floats
    several: NDArray[np.bool_]


@torch.no_grad()
def fused(network: AlertClassifier, data: Dataset, parameters: dict[str, Any]) -> Fused:
    """Embed and fuse the blocks of all objects."""
    found = cut_into_blocks(data.points, data.counts, parameters)
    tokens = alert_tokens(*points_of(data.points, found.bounds), parameters)
    size = network.config.embedding
    embedding = torch.empty(len(found.bounds), size)
    for batch in length_batches(tokens, np.arange(len(found.bounds)), 64, parameters["window"]):
        embedding[batch.rows] = network.encoder(batch.points, batch.context, batch.bias)
    stops = np.cumsum(found.numbers)
    kept = np.stack(
        [
            kept_input(found.facts[stop - n : stop], embedding[stop - n : stop - 1].numpy(), size)
            for stop, n in zip(stops, found.numbers, strict=True)
        ]
    )
    model = BlockClassifier(network).eval()
    mean, variance, share, facts = torch.from_numpy(kept).split((size, size, 1, kept.shape[1] - 2 * size - 1), dim=1)
    whole, told = model.fuse(embedding[stops - 1], mean, variance, share, facts)
    return Fused(told.double().numpy(), network.head(whole).double().numpy(), whole.double().numpy(), found.numbers > 1)


def fit_correction(
    told: Floats, logits: Floats, labels: NDArray[np.int64], weights: Floats, penalty: float = PENALTY
) -> tuple[Floats, Floats]:
    """Weight (C, n) and bias (C,) of a linear layer that, added to `logits` (M, C) with the prior, has the lowest
    penalised log-loss; `told` (M, n), `weights` (M,) of the objects.
    """
    centre, scale = told.mean(axis=0), told.std(axis=0) + 1e-6
    design = np.concatenate(((told - centre) / scale, np.ones((len(told), 1))), axis=1)
    truth = np.eye(logits.shape[1])[labels]

    def loss(flat: Floats) -> tuple[float, Floats]:
        linear = flat.reshape(design.shape[1], -1)
        p = softmax(logits + design @ linear)
        lost = -(weights * np.log(np.maximum(p[np.arange(len(p)), labels], 1e-12))).sum()
        slope = design.T @ (weights[:, None] * (p - truth)) + 2 * penalty * linear
        return float(lost + penalty * (linear**2).sum()), slope.ravel()

    start = np.zeros(design.shape[1] * logits.shape[1])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x.reshape(design.shape[1], -1)
    weight = (best[:-1] / scale[:, None]).T
    return weight, best[-1] - weight @ centre


def object_weights(data: Dataset) -> Floats:
    """Weight of each object (M,) in the loss."""
    return np.where(data.objects["table"].to_numpy() == "simulated", SIMULATED_WEIGHT, 1.0)


def write_fused_run(
    run: Path, out: Path, correction: tuple[Floats, Floats], parameters: dict[str, Any], prior: Floats
) -> None:
    """A run of the network of `run`, whose notes are copied, with the fusion of blocks beside it. `prior` (C,) is the
    one that fusion and calibration were fitted with.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (*NOTES, "model.pt"):
        if (run / name).exists():
            shutil.copyfile(run / name, out / name)
    layer = torch.nn.Linear(correction[0].shape[1], len(CLASSES))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(correction[0]))
        layer.bias.copy_(torch.from_numpy(correction[1]))
    write_weights(layer, out / WEIGHTS)
    (out / BLOCKS).write_text(json.dumps({"parameters": parameters, "prior": prior.tolist()}, indent=2))


def has_blocks(run: Path) -> bool:
    """Whether the run reads long light curves in blocks."""
    return (run / BLOCKS).exists()


def load_blocks(run: Path, network: AlertClassifier) -> tuple[BlockClassifier, dict[str, Any], Floats]:
    """The network of a run with its fusion of blocks, the parameters of alert-clr/2, and the prior (C,) to publish
    with: another one would need another calibration.
    """
    model = BlockClassifier(network)
    model.correction.load_state_dict(read_weights(run / WEIGHTS))
    note = json.loads((run / BLOCKS).read_text())
    return model.eval(), note["parameters"], np.array(note["prior"])
