"""The training loop by itself: what a checkpoint holds is all that a training needs to go on."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.training.loop import LoopConfig, Training, train

INPUTS = torch.linspace(-1.0, 1.0, 48).reshape(12, 4)


def start(steps: int = 12, average_decay: float | None = 0.9) -> Training:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    config = LoopConfig(steps, report_every=5, average_decay=average_decay)
    return Training.start(model, optimizer, lambda step: 1 - step / 20, config)


def reports(training: Training, run: Path | None = None, stop: int | None = None) -> list[int]:
    def loss_of(step: int) -> torch.Tensor:
        return (training.model(INPUTS[step]) - step).square().sum()

    seen = []
    for _ in train(training, range(training.step, 12), loss_of):
        seen.append(training.step)
        if run is not None:
            training.save(run)
        if training.step == stop:
            break
    return seen


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("average_decay", [0.9, None])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(average_decay: float | None, tmp_path: Path) -> None:
    whole, stopped, resumed = (start(average_decay=average_decay) for _ in range(3))
    assert reports(whole) == [5, 10, 12]
    assert reports(stopped, tmp_path, stop=5) == [5]
    resumed.resume(tmp_path)
    assert reports(resumed) == [10, 12]
    assert same(whole.model, resumed.model)
    assert same(whole.average, resumed.average)
    assert same(whole.average, whole.model) == (average_decay is None)
    assert not same(whole.model, stopped.model)


def test_a_checkpoint_without_a_schedule_goes_on_at_the_rate_of_its_step(tmp_path: Path) -> None:
    whole, stopped, resumed = start(average_decay=None), start(average_decay=None), start(average_decay=None)
    reports(whole)
    reports(stopped, tmp_path, stop=5)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["schedule"], state["average"]  # as pre-training once wrote them
    torch.save(state, tmp_path / "checkpoint.pt")
    resumed.resume(tmp_path)
    reports(resumed)
    assert same(whole.model, resumed.model)
