"""The vision branch: a Swin Transformer V2 over images of light curves (arXiv:2507.11711; SwinV2: arXiv:2111.09883).

The network is timm's. It follows the protocol `two_surveys.network.Branch`, so that the images of all surveys share one
branch. Weights come from a local file in the format of timm, torchvision, Hugging Face transformers or the authors of
SwinV2 (see `weights`), or are random; nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from timm.models import SwinTransformerV2
from torch import Tensor, nn

from model_export.studies.vision.weights import load_weights
from service.inference.preprocessing.images import LINE_WIDTH, MARKER_SIZE, SIZE

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class VisionConfig:
    """The network, by default SwinV2-tiny with windows of 8, and the images that it is shown."""

    image: int = SIZE  # pixels
    line_width: float = LINE_WIDTH  # pixels
    marker_size: float = MARKER_SIZE  # pixels
    patch: int = 4  # pixels
    width: int = 96  # d of the first stage; doubled by each that follows
    depths: list[int] = field(default_factory=lambda: [2, 2, 6, 2])  # blocks of each stage
    heads: list[int] = field(default_factory=lambda: [3, 6, 12, 24])
    window: int = 8  # tokens
    drop_path: float = 0.2  # stochastic depth of the last block; linear from 0 at the first
    mean: list[float] = field(default_factory=lambda: list(IMAGENET_MEAN))  # subtracted from red, green, blue, 0 to 1
    std: list[float] = field(default_factory=lambda: list(IMAGENET_STD))

    def parameters(self, images: dict[str, dict[str, str]]) -> dict[str, Any]:
        """Parameters of the preprocessing `light-curve-image/1` for `images`."""
        return {
            "size": self.image,
            "line_width": self.line_width,
            "marker_size": self.marker_size,
            "images": images,
        }


class VisionBranch(nn.Module):
    """image (B, 3, S, S) of bytes -> embedding (B, D); D is the width of the last stage, 768 for SwinV2-tiny."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VisionConfig, weights: Path | None = None) -> None:
        """`weights`: a file of pre-trained ones. Raises WeightsError if they don't fit this network."""
        super().__init__()
        self.swin = SwinTransformerV2(
            img_size=config.image,
            patch_size=config.patch,
            embed_dim=config.width,
            depths=tuple(config.depths),
            num_heads=tuple(config.heads),
            window_size=config.window,
            drop_path_rate=config.drop_path,
            num_classes=0,
        )
        self.embedding_size: int = self.swin.num_features
        self.register_buffer("mean", 255.0 * torch.tensor(config.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(config.std).reshape(1, 3, 1, 1), persistent=False)
        if weights is not None:
            load_weights(self.swin, weights)

    def forward(self, image: Tensor) -> Tensor:
        embedding: Tensor = self.swin((image.to(self.mean.dtype) - self.mean) / self.std)
        return embedding
