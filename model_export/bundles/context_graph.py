"""One graph of a finished bundle's graph and the context beside it.

The light curve's nodes stay as they are, so that without context the answer is theirs, bit for bit. Forests become
ONNX's own tree operators, whose sums ONNX Runtime makes in microseconds; the arithmetic around them is exported from
torch with the forests' answers as inputs, which the forests then fill.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import compose, helper
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn

from model_export.bundles.graph import OPSET, export_graph
from model_export.context.fusion import (
    ABSENT,
    ASTEROID_FALL,
    ASTEROID_OFFSET,
    ASTEROID_SPAN,
    TRUST,
    Fusion,
)
from model_export.context.trees import ASTEROID_PLACES, COLOUR_PLACES, ClassTrees
from model_export.data.alert_context import MODEL_CONTEXT
from model_export.data.bins import EDGES
from model_export.data.tables import CLASSES
from service.inference.preprocessing.alert_clr import POINT_FEATURES
from service.inference.preprocessing.blocks import KEPT_FACTS, KEPT_INPUT
from service.photometry import CONTEXT_INPUT

TREES_OPSET: Final = 3  # of the domain ai.onnx.ml
_PREFIX: Final = "context_"  # of the names in the fusion's part of the graph
_DAYS: Final = POINT_FEATURES.index("days")
_LIMIT: Final = POINT_FEATURES.index("upper_limit")
_SHARE, _LOG_SPAN = (KEPT_FACTS.index(name) - len(KEPT_FACTS) for name in ("share", "log_span"))  # in `kept`


class ContextFusion(nn.Module):
    """`fusion.fuse` and `fusion.with_asteroid` in torch, for the graph.

    points (B, W, L, F), packet_context (B, K), light_curve_logits (B, C), class_trees (B, C), asteroid_trees (B, 1) ->
    logits (B, C + 1), and what the two forests are asked: columns (B, K + 5) and asteroid columns (B, A). Where the
    light curve is read in blocks, `points` are those of the newest, and `kept` tells of the others.
    """

    light_curve_prior: Tensor
    prior: Tensor
    trees_prior: Tensor
    scale: Tensor
    weight: Tensor
    edges: Tensor

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        for name in ("light_curve_prior", "prior", "trees_prior", "scale", "weight"):
            self.register_buffer(name, torch.tensor(getattr(fusion, name), dtype=torch.float32))
        self.register_buffer("edges", torch.tensor(EDGES, dtype=torch.float32))
        self.register_buffer("first", torch.tensor(COLOUR_PLACES[0]))
        self.register_buffer("second", torch.tensor(COLOUR_PLACES[1]))
        self.register_buffer("places", torch.tensor(ASTEROID_PLACES))

    def forward(
        self, points: Tensor, packet_context: Tensor, light_curve_logits: Tensor, class_trees: Tensor,
        asteroid_trees: Tensor, kept: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        colours = packet_context[:, self.first] - packet_context[:, self.second]
        columns = torch.cat((packet_context, colours), dim=1)
        detected = (points[..., _LIMIT] < 0.5).flatten(1)  # (B, W L)
        span = torch.where(detected, points[..., _DAYS].flatten(1), 0.0).amax(1)
        number = detected.float().sum(1, keepdim=True)  # windows overlap, but all of that is in the last bin
        if kept is not None:
            older = kept[:, _SHARE] > 0  # a light curve of several blocks: all of that is in the last bin too
            span = torch.where(older, torch.expm1(kept[:, _LOG_SPAN]), span)
            number = number + float(EDGES[-1]) * older[:, None]
        b = (number >= self.edges).long().sum(1) - 1
        known = self.trees_prior > 0
        ratio = class_trees / torch.where(known, self.trees_prior, 1.0)
        told = torch.where(known, torch.log(TRUST * ratio + (1.0 - TRUST)), 0.0)
        own = light_curve_logits.log_softmax(1) - torch.log(self.light_curve_prior)
        fused = self.scale[b][:, None] * own + self.weight[b][:, None] * told + torch.log(self.prior)
        share = asteroid_trees.clamp(0.002, 0.998)
        fall = ASTEROID_FALL * (1.0 - torch.exp(-span[:, None] / ASTEROID_SPAN))
        odds = torch.log(share / (1.0 - share)) + ASTEROID_OFFSET - fall
        fused = torch.cat((fused, fused.logsumexp(1, keepdim=True) + odds), dim=1)
        alone = torch.cat((light_curve_logits, torch.full_like(odds, ABSENT)), dim=1)
        given = (packet_context == packet_context).any(1, keepdim=True)  # not NaN
        return torch.where(given, fused, alone), columns, packet_context[:, self.places]


def add_context(
    graph: Path, logits: str, trees: ClassTrees, asteroid: RandomForestClassifier, fusion: Fusion, path: Path
) -> None:
    """Write the graph of a bundle with the input `packet_context` (B, K) and a logit more; `logits` is its output."""
    module, light_curve = ContextFusion(fusion), onnx.load(graph)
    batch, windows, length = (torch.export.Dim(name, min=1) for name in ("batch", "windows", "length"))
    example: tuple[Tensor, ...] = (
        torch.rand(3, 2, 11, len(POINT_FEATURES)), torch.rand(3, len(MODEL_CONTEXT)), torch.randn(3, len(CLASSES)),
        torch.rand(3, len(CLASSES)), torch.rand(3, 1),
    )  # fmt: skip
    names = ["points", CONTEXT_INPUT, "light_curve_logits", "class_trees", "asteroid_trees"]
    for each in light_curve.graph.input:
        if each.name == KEPT_INPUT:
            names.append(KEPT_INPUT)
            example = (*example, torch.rand(3, each.type.tensor_type.shape.dim[1].dim_value))
    dynamic: tuple[Any, ...] = ({0: batch, 1: windows, 2: length}, *({0: batch} for _ in names[1:]))
    export_graph(module, example, path, names, dynamic, ["logits", "columns", "asteroid_columns"])
    part = onnx.load(path)
    _grow(part, "columns", "class_trees", _regressor(trees.forest, trees.forest.classes_, len(CLASSES)))
    _grow(part, "asteroid_columns", "asteroid_trees", _regressor(asteroid, np.array([-1, 0]), 1))
    whole = _behind(light_curve, part, logits)
    onnx.checker.check_model(whole)
    path.write_bytes(whole.SerializeToString())


def _behind(light_curve: onnx.ModelProto, part: onnx.ModelProto, logits: str) -> onnx.ModelProto:
    """Both graphs as one, with `points` (and `kept`) shared and the light curve's logits replaced by the fused ones."""
    light_curve, part = copy.deepcopy(light_curve), compose.add_prefix(part, _PREFIX)
    renamed = {
        f"{_PREFIX}points": "points", f"{_PREFIX}{CONTEXT_INPUT}": CONTEXT_INPUT, f"{_PREFIX}{KEPT_INPUT}": KEPT_INPUT,
        f"{_PREFIX}light_curve_logits": "light_curve_logits", f"{_PREFIX}logits": logits,
    }  # fmt: skip
    for node in light_curve.graph.node:
        _rename(node, {logits: "light_curve_logits"})
    for node in part.graph.node:
        _rename(node, renamed)
    nodes = [*light_curve.graph.node, *part.graph.node]
    packet = next(each for each in part.graph.input if each.name == f"{_PREFIX}{CONTEXT_INPUT}")
    packet.name = CONTEXT_INPUT
    packet.type.tensor_type.shape.dim[0].dim_param = light_curve.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    (answer,) = (each for each in part.graph.output if each.name == f"{_PREFIX}logits")
    answer.name = logits
    answer.type.tensor_type.shape.dim[0].dim_param = packet.type.tensor_type.shape.dim[0].dim_param
    outputs = [answer if each.name == logits else each for each in light_curve.graph.output]
    graph = helper.make_graph(
        nodes,
        "alert-clr with context",
        [*light_curve.graph.input, packet],
        outputs,
        [*light_curve.graph.initializer, *part.graph.initializer],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREES_OPSET)]
    functions = [*light_curve.functions, *part.functions]
    return helper.make_model(graph, opset_imports=opsets, ir_version=light_curve.ir_version, functions=functions)


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    for places in (node.input, node.output):
        for k, name in enumerate(places):
            places[k] = names.get(name, name)


def _grow(model: onnx.ModelProto, asked: str, answer: str, trees: dict[str, Any]) -> None:
    """Replace the input `answer` by a forest that reads `asked`, no longer an output; nodes stay in an order that runs:
    the forest goes after what makes its columns.
    """
    graph = model.graph
    nodes = list(graph.node)
    made = next(k for k, node in enumerate(nodes) if asked in node.output)
    forest = helper.make_node("TreeEnsembleRegressor", [asked], [answer], domain="ai.onnx.ml", name=answer, **trees)
    after = _what_needs({answer}, nodes)
    before = [node for k, node in enumerate(nodes) if k not in after]
    if made in after:
        raise ValueError(f"{asked} itself needs {answer}")
    del graph.node[:]
    graph.node.extend([*before, forest, *(nodes[k] for k in sorted(after))])
    for kept, gone in ((graph.input, answer), (graph.output, asked)):
        left = [each for each in kept if each.name != gone]
        del kept[:]
        kept.extend(left)
    if not any(each.domain == "ai.onnx.ml" for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", TREES_OPSET))


def _what_needs(names: set[str], nodes: list[onnx.NodeProto]) -> set[int]:
    """Places of the nodes that need any of the values, directly or not; the nodes are in an order that runs."""
    needed, found = set(names), set()
    for k, node in enumerate(nodes):
        if needed & set(node.input):
            found.add(k)
            needed |= set(node.output)
    return found


def _regressor(forest: RandomForestClassifier, targets: NDArray[np.int64], number: int) -> dict[str, Any]:
    """Attributes of a TreeEnsembleRegressor with `number` targets that gives the forest's mean class shares; class k of
    the forest is target `targets[k]`, -1: none.

    A comparison of float32 with scikit-learn's float64 threshold is one with the largest float32 not above it.
    """
    nodes: dict[str, list[Any]] = {
        name: []
        for name in (
            "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes", "nodes_truenodeids",
            "nodes_falsenodeids", "nodes_missing_value_tracks_true", "target_treeids", "target_nodeids", "target_ids",
            "target_weights",
        )
    }  # fmt: skip
    for number_of_tree, estimator in enumerate(forest.estimators_):
        tree = estimator.tree_
        leaf = tree.children_left < 0
        count = tree.node_count
        nodes["nodes_treeids"] += [number_of_tree] * count
        nodes["nodes_nodeids"] += range(count)
        nodes["nodes_featureids"] += np.where(leaf, 0, tree.feature).tolist()
        nodes["nodes_values"] += np.where(leaf, 0.0, _not_above(tree.threshold)).tolist()
        nodes["nodes_modes"] += np.where(leaf, "LEAF", "BRANCH_LEQ").tolist()
        nodes["nodes_truenodeids"] += np.where(leaf, 0, tree.children_left).tolist()
        nodes["nodes_falsenodeids"] += np.where(leaf, 0, tree.children_right).tolist()
        left = ~leaf & tree.missing_go_to_left.astype(bool)
        nodes["nodes_missing_value_tracks_true"] += left.astype(int).tolist()
        shares = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
        for node in np.flatnonzero(leaf):
            for k in np.flatnonzero((shares[node] > 0) & (targets >= 0)):
                nodes["target_treeids"].append(number_of_tree)
                nodes["target_nodeids"].append(int(node))
                nodes["target_ids"].append(int(targets[k]))
                nodes["target_weights"].append(float(shares[node, k]) / len(forest.estimators_))
    return {**nodes, "n_targets": number, "aggregate_function": "SUM", "post_transform": "NONE"}


def _not_above(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
