"""Where training runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def best_device() -> str:
    """A CUDA device where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def portable_weights(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module as it is written: readable where there is no such device."""
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}
