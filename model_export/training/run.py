"""A run folder: the configuration of a fine-tuning, the weights that came of it, and how they are read again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from model_export.data.views import ViewConfig
from model_export.network.encoder import AlertClassifier, EncoderConfig
from model_export.training.configuration import build


@dataclass(frozen=True)
class FinetuneConfig:
    seed: int = 1
    steps: int = 20_000
    decay_steps: int = (
        5_000  # the last ones, in which the learning rate falls; constant before, so a run can be prolonged
    )
    batch_size: int = 128
    learning_rate: float = 1.2e-3
    warm_up: int = 500
    weight_decay: float = 0.02
    average_decay: float = 0.9995  # of the exponential moving average of weights, which is what ships
    class_power: float = 0.5
    simulated_share: float = 0.4
    fine_weight: float = 0.3
    redshift_weight: float = 0.1
    alert_share: float = 0.3  # of alert objects in the published prior
    teacher_share: float = 0.7  # of the loss of a labelled object, where there are teachers
    early_teacher_max: int = 8  # detections, up to which the early teachers are asked instead
    unlabelled_share: float = 0.1  # of the stream, where there are teachers to say what they are
    seen_before: float | None = None  # mjd: real objects first detected later are kept from training, for `later_years`
    validate_every: int = 1000
    threads: int = 1
    window: int = 128
    max_windows: int = 4
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    view: ViewConfig = field(default_factory=ViewConfig)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the bundle's manifest hands to the preprocessing."""
        return {"window": self.window, "max_windows": self.max_windows}


def load_run(run: Path) -> tuple[AlertClassifier, FinetuneConfig]:
    """The averaged model of a run and its configuration."""
    config = build(FinetuneConfig, json.loads((run / "config.json").read_text()), "config.json")
    model = AlertClassifier(config.encoder)
    model.load_state_dict(torch.load(run / "model.pt", map_location="cpu", weights_only=True))
    return model.eval(), config
