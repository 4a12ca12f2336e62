"""Run folders, read and written only in this module: config.json, lineage.json, data.json, history.jsonl, weights.

A run is finished once it has config.json, lineage.json and model.pt; pre-training leaves encoder.pt instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from model_export.data.views import ViewConfig
from model_export.network.encoder import AlertClassifier, EncoderConfig
from model_export.training.configuration import build

# What a finished run says of itself, besides its weights.
NOTES: Final = ("config.json", "lineage.json", "data.json", "learnt.json", "calibration.json")


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
    average_decay: float = 0.9995  # of the exponential moving average of weights, which is exported
    class_power: float = 0.5
    simulated_share: float = 0.4
    fine_weight: float = 0.3
    redshift_weight: float = 0.1
    alert_share: float = 0.3  # of alert objects in the published prior
    teacher_share: float = 0.7  # of the loss of a labelled object, where there are teachers
    early_teacher_max: int = 8  # detections, up to which the early teachers are asked instead
    unlabelled_share: float = 0.1  # of the stream, if there are teachers to label them
    seen_before: float | None = None  # mjd: real objects first detected later are kept from training, for `later_years`
    validate_every: int = 1000
    threads: int = 1
    window: int = 128
    max_windows: int = 4
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    view: ViewConfig = field(default_factory=ViewConfig)

    @property
    def parameters(self) -> dict[str, Any]:
        """The preprocessing parameters in the bundle's manifest."""
        return {"window": self.window, "max_windows": self.max_windows}


def load_run(run: Path) -> tuple[AlertClassifier, FinetuneConfig]:
    """The averaged model of a run and its configuration."""
    config = build(FinetuneConfig, read_note(run, "config"), "config.json")
    model = AlertClassifier(config.encoder)
    model.load_state_dict(read_weights(run / "model.pt"))
    return model.eval(), config


def begin_run(run: Path, config: Any) -> None:
    """Make the folder and write the configuration, a dataclass."""
    run.mkdir(parents=True, exist_ok=True)
    write_note(run, "config", asdict(config))


def read_note(run: Path, name: str) -> dict[str, Any]:
    """`config`, `lineage` or `data` of a run; raises FileNotFoundError if it is missing."""
    note: dict[str, Any] = json.loads((run / f"{name}.json").read_text())
    return note


def write_note(run: Path, name: str, note: Mapping[str, Any]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / f"{name}.json").write_text(json.dumps(note, indent=2))


def append_history(path: Path, record: Mapping[str, float]) -> None:
    """One line of JSON, figures rounded to four places."""
    with path.open("a") as out:
        out.write(json.dumps({name: round(value, 4) for name, value in record.items()}) + "\n")


def read_weights(path: Path) -> dict[str, Any]:
    """Weights from torch.save, on the CPU."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def write_weights(module: nn.Module, path: Path) -> None:
    torch.save(portable_weights(module), path)


def portable_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module on the CPU: readable on machines without the device it was trained on."""
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}
