"""The one training loop: loss, gradient, optimizer, learning rate and the moving average of weights, step by step."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from model_export.training.run import read_weights

Drawn = TypeVar("Drawn")
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class LoopConfig:
    steps: int
    report_every: int  # steps; the last step always reports
    average_decay: float | None = None  # of the exponential moving average of weights; None keeps no average
    largest_gradient: float = 1.0  # norm to which gradients are clipped
    smoothing: float = 0.01  # weight of the newest loss in the reported one


@dataclass
class Training(Generic[Network]):
    """The state of a training: weights, their average, optimizer, learning rate, step."""

    model: Network
    optimizer: Optimizer
    schedule: LambdaLR
    average: Network  # the model itself if no average is kept
    config: LoopConfig
    step: int = 0
    loss: float = 0.0  # smoothed
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def start(
        cls, model: Network, optimizer: Optimizer, learning_rate: Callable[[int], float], config: LoopConfig
    ) -> Training[Network]:
        """`learning_rate(step)`, from step 0 on, multiplies that of the optimizer."""
        average = model if config.average_decay is None else copy.deepcopy(model).eval()
        return cls(model, optimizer, LambdaLR(optimizer, learning_rate), average, config)

    def record(self) -> dict[str, float]:
        """A line of the history: step, minutes since the process began, smoothed loss."""
        return {"step": self.step, "minutes": (time.monotonic() - self.began) / 60, "loss": self.loss}

    def save(self, run: Path) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimizer", "schedule")}
        torch.save({"step": self.step, **parts}, run / "checkpoint.pt")

    def resume(self, run: Path) -> None:
        """Load the run's checkpoint, if it has one."""
        if not (run / "checkpoint.pt").exists():
            return
        state = read_weights(run / "checkpoint.pt")
        self.step = int(state["step"])
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state.get("average", state["model"]))
        self.optimizer.load_state_dict(state["optimizer"])
        if "schedule" in state:
            self.schedule.load_state_dict(state["schedule"])
        else:  # old pre-training checkpoints lack it: the learning rate follows from the step
            self.schedule.last_epoch = self.step - 1
            self.schedule.step()


def train(
    training: Training[Network], batches: Iterable[Drawn], loss_of: Callable[[Drawn], Tensor]
) -> Iterator[Training[Network]]:
    """Train to the last step; yields every `report_every` steps and after the last, to judge, save or break.

    A batch is only drawn after the previous step, so batches and loss may share one random generator.
    """
    config = training.config
    left = range(training.step, config.steps)
    for step, batch in tqdm(zip(left, batches, strict=False), total=len(left), mininterval=10, leave=False):
        training.model.train()
        train_step(training, loss_of(batch))
        if (step + 1) % config.report_every == 0 or step + 1 == config.steps:
            yield training


def train_step(training: Training[Network], loss: Tensor) -> None:
    config = training.config
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(training.model.parameters(), config.largest_gradient)
    training.optimizer.step()
    training.schedule.step()
    training.step += 1
    if config.average_decay is not None:
        decay = min(
            config.average_decay, training.step / (training.step + 9)
        )  # average over few steps at first, to forget the start
        follow(training.average, training.model, decay)
    training.loss += config.smoothing * (loss.item() - training.loss) if training.loss else loss.item()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards those of the model by 1 - decay."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def best_device() -> str:
    """CUDA if available."""
    return "cuda" if torch.cuda.is_available() else "cpu"
