"""Weights of a Swin Transformer V2 from a file, in any of the forms in which they are published.

Files are `.safetensors` or what `torch.save` wrote of tensors alone. The classifier of ImageNet is left out. Names of
timm are the target; torchvision, Hugging Face transformers and the authors' own checkpoints are renamed to them.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, Final

import torch
from timm.models import SwinTransformerV2
from timm.models.swin_transformer_v2 import checkpoint_filter_fn
from torch import Tensor

Weights = dict[str, Tensor]

_NAMED: Final = 6  # names listed in an error; the rest is counted
_CLASSIFIER: Final = ("head.", "classifier.")
_BUFFERS: Final = ("relative_position_index", "relative_coords_table", "attn_mask", "k_bias")

# (pattern, replacement), applied in order to every name
_TORCHVISION: Final = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    (r"^features\.(\d+)\.(reduction|norm)\.", lambda m: f"layers.{int(m[1]) // 2}.downsample.{m[2]}."),
    (r"^features\.(\d+)\.(\d+)\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
)
_TRANSFORMERS: Final = (
    (r"^swinv2\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.", ""),
    (r"^layernorm\.", "norm."),
    (r"^layers\.(\d+)\.downsample\.", lambda m: f"layers.{int(m[1]) + 1}.downsample."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.attention\.self\.", ".attn."),
)


class WeightsError(ValueError):
    """A file without the weights of the network; the message names the file and the differences."""


def load_weights(network: SwinTransformerV2, path: Path) -> None:
    """Read `path` into the network. Raises WeightsError naming missing, unknown and misshapen weights."""
    weights = timm_names(_read(path), network)
    wanted = network.state_dict()
    complaints = [
        ("lacks", [name for name in wanted if name not in weights]),
        ("has besides", [name for name in weights if name not in wanted]),
        (
            "has in another shape",
            [
                f"{name} {tuple(weights[name].shape)}, not {tuple(value.shape)}"
                for name, value in wanted.items()
                if name in weights and weights[name].shape != value.shape
            ],
        ),
    ]
    wrong = [f"{what} {_listed(names)}" for what, names in complaints if names]
    if wrong:
        raise WeightsError(
            f"{path} does not hold the weights of this network (see depths, width, heads, window of the config):"
            f" it {'; it '.join(wrong)}"
        )
    network.load_state_dict(weights)


def timm_names(weights: Weights, network: SwinTransformerV2) -> Weights:
    """The same weights under timm's names, without classifier and buffers that are computed."""
    for wrapper in ("model", "state_dict"):  # as training programs wrap them
        inner = weights.get(wrapper)
        if isinstance(inner, dict):
            weights = inner
    weights = {
        name: value
        for name, value in weights.items()
        if not name.startswith(_CLASSIFIER) and not name.endswith(_BUFFERS)
    }
    if any(name.startswith("features.") for name in weights):
        return _split_bias(_renamed(weights, _TORCHVISION))
    if any(".attention.self." in name for name in weights):
        return _join_qkv(_renamed(weights, _TRANSFORMERS))
    converted: Weights = checkpoint_filter_fn(weights, network)
    return converted


def _read(path: Path) -> Weights:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} can't be read as weights: {str(error).partition(chr(10))[0]}") from error
    except Exception as error:  # safetensors' error has no base but Exception
        raise WeightsError(f"{path} can't be read as weights: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds {type(found).__name__}, not weights by their names")
    return found


def _renamed(weights: Weights, rules: Any) -> Weights:
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def _split_bias(weights: Weights) -> Weights:
    """torchvision keeps one bias for query, key and value, of which the key's part is not used."""
    split = {}
    for name, value in weights.items():
        if name.endswith(".attn.qkv.bias"):
            query, _, value_bias = value.chunk(3)
            split[name.replace("qkv.bias", "q_bias")], split[name.replace("qkv.bias", "v_bias")] = query, value_bias
        else:
            split[name] = value
    return split


def _join_qkv(weights: Weights) -> Weights:
    """transformers keeps query, key and value apart."""
    joined = {}
    for name, value in weights.items():
        if name.endswith(".attn.query.weight"):
            stem = name.removesuffix("query.weight")
            parts = [weights.get(f"{stem}{part}.weight") for part in ("query", "key", "value")]
            joined[f"{stem}qkv.weight"] = torch.cat([part for part in parts if part is not None])
        elif name.endswith((".attn.query.bias", ".attn.value.bias")):
            joined[name.replace("query.bias", "q_bias").replace("value.bias", "v_bias")] = value
        elif not name.endswith((".attn.key.weight", ".attn.value.weight")):
            joined[name] = value
    return joined


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
