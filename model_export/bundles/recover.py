"""The torch weights of an alert-clr bundle, read back from its graph: for those who have the bundle and not the run.

The exporter keeps the names of all parameters but those of the products, whose weights it stores transposed under names
of its own; these stand in the order in which the network multiplies. The auxiliary heads are not in a graph: they are
fresh here. So is dropout, which leaves no trace: its rate is what the caller says.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from model_export.bundles.graph import Publication
from model_export.network.encoder import AlertClassifier, EncoderConfig
from model_export.training.run import FinetuneConfig
from service.inference.manifest import Manifest

PREFIX: Final = "model."  # of the served network's parameters in the graph
_PRODUCTS: Final = ("query_key_value", "attention_out", "expand", "contract")  # of a block, in order


class RecoveryError(ValueError):
    """A bundle whose graph is not that of an exported alert-clr; the message says what is missing."""


def recover(bundle: Path, dropout: float = 0.1) -> tuple[AlertClassifier, Publication]:
    """The network of a bundle, without the published prior, and how its logits are published.

    Raises RecoveryError for graphs that `export_alert_clr` did not write (quantised ones among them).
    """
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    graph = onnx.load(bundle / "model.onnx").graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {name.removeprefix(PREFIX): value for name, value in stored.items() if name.startswith(PREFIX)}
    products = [stored[n.input[1]].T for n in graph.node if n.op_type == "MatMul" and n.input[1] in stored]
    layers = sum(name.endswith("query_key_value.bias") for name in found)
    names = ["encoder.embed_point.weight"]
    names += [f"encoder.blocks.{layer}.{name}.weight" for layer in range(layers) for name in _PRODUCTS]
    if not layers or len(products) != len(names) + 1 or "encoder.frequencies" not in found:  # + 1: `soften`
        raise RecoveryError(f"{bundle}: the graph is not an alert-clr as `model-export export` writes it")
    found |= zip(names, products, strict=False)

    size = _head_size(graph, stored)
    model = AlertClassifier(_configuration(found, layers, size, dropout))
    found["head.bias"] = found["head.bias"] - np.log(manifest.prior)
    found.pop("encoder.frequencies")
    state = {name: torch.tensor(value, dtype=torch.float32) for name, value in found.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    lost = [name for name in missing if not name.startswith(("fine_head.", "redshift_head."))]
    if lost or unexpected:
        raise RecoveryError(f"{bundle}: the graph lacks {', '.join(lost)} or has too much: {', '.join(unexpected)}")
    return model.eval(), Publication(np.array(manifest.prior), _softening(graph, stored))


def recover_run(bundle: Path, run: Path, dropout: float = 0.1) -> None:
    """Write a run folder (weights, config, calibration) from a bundle, so that every command that takes one works."""
    model, publication = recover(bundle, dropout)
    manifest = json.loads((bundle / "manifest.json").read_text())
    config = FinetuneConfig(encoder=model.config, **manifest["preprocessing"]["parameters"])
    run.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), run / "model.pt")
    (run / "config.json").write_text(json.dumps(asdict(config), indent=2))
    calibration = {name: manifest[name] for name in ("calibration", "out_of_distribution")}
    (run / "calibration.json").write_text(json.dumps({"softening": publication.softening, **calibration}))


def _configuration(found: dict[str, NDArray[Any]], layers: int, head_size: int, dropout: float) -> EncoderConfig:
    frequencies = found["encoder.frequencies"].astype(np.float64)
    width, inputs = found["encoder.embed_point.weight"].shape
    return EncoderConfig(
        point_features=inputs - 2 * len(frequencies),
        context_features=found["encoder.embed_context.weight"].shape[1],
        width=width,
        layers=layers,
        heads=width // head_size,
        feed_forward=found["encoder.blocks.0.expand.bias"].size,
        periods=len(frequencies),
        shortest_period=float(f"{1 / frequencies[0]:.6g}"),  # float32 in the graph
        longest_period=float(f"{1 / frequencies[-1]:.6g}"),
        dropout=dropout,
        embedding=found["encoder.pool.bias"].size,
        classes=found["head.bias"].size,
    )


def _head_size(graph: onnx.GraphProto, stored: dict[str, NDArray[Any]]) -> int:
    """d/H: the last axis of the shape into which queries, keys and values are cut."""
    makers = {output: node for node in graph.node for output in node.output}
    added = next(n.output[0] for n in graph.node if n.op_type == "Add" and _names(n, "query_key_value.bias"))
    cut = next(n for n in graph.node if n.op_type == "Reshape" and n.input[0] == added)
    shape = makers[cut.input[1]]  # of (batch, length, 3 H, d/H), the first two known only when it runs
    return int(stored[shape.input[-1]][-1])


def _softening(graph: onnx.GraphProto, stored: dict[str, NDArray[Any]]) -> float:
    """The constant s of logits * (s + (1 - s) * p(transient)), which is how they leave the graph."""
    makers = {output: node for node in graph.node for output in node.output}
    factors = [makers[name] for name in makers["logits"].input if name in makers]
    scale = next(node for node in factors if node.op_type == "Add")
    return float(next(stored[name] for name in scale.input if name in stored))


def _names(node: onnx.NodeProto, ending: str) -> bool:
    return any(name.endswith(ending) for name in node.input)
