"""Given a batch window, then batches that arrive close together are classified together, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from service.alerts.decode import Decoder
from service.config import PipelineSettings, QualitySettings
from service.inference.registry import ModelRegistry
from service.simulate import SimulatedAlert, simulate
from service.store import SqliteStore
from service.stream.batch import Batch
from service.stream.files.sinks import FileSink
from service.stream.pipeline import Pipeline
from service.stream.runner import ENOUGH_TOGETHER, StreamRunner
from tests.stream.source import Source


class Counting(Pipeline):
    """Remembers how many alerts each call of the model had."""

    def classify(self, *batches: Batch) -> None:
        self.calls = [*getattr(self, "calls", []), sum(map(len, batches))]
        super().classify(*batches)


def run(
    alerts: Sequence[SimulatedAlert],
    decoder: Decoder,
    store: SqliteStore,
    models: ModelRegistry,
    window_s: float | None,
) -> tuple[Source, Counting, StreamRunner]:
    source = Source(alerts, size=4)
    pipeline = Counting(decoder, store, models, QualitySettings())
    runner = StreamRunner(source, pipeline, FileSink(), PipelineSettings(batch_window_s=window_s))
    runner.run()
    return source, pipeline, runner


@pytest.mark.parametrize("window_s", [None, 0.1], ids=["no window on a CPU", "100 ms"])
def test_order_and_accounts_hold_with_and_without_a_window(
    alerts: list[SimulatedAlert], decoder: Decoder, store: SqliteStore, models: ModelRegistry, window_s: float | None
) -> None:
    source, pipeline, runner = run(alerts, decoder, store, models, window_s)
    assert source.acknowledged == list(range(len(alerts)))
    assert runner.accounting.total().published == len(alerts)
    assert runner.accounting.closes()
    assert sum(pipeline.calls) == len(alerts)
    if window_s is None:
        assert pipeline.calls == [4] * (len(alerts) // 4)
    else:
        assert len(pipeline.calls) < len(alerts) // 8


def test_a_window_is_closed_when_enough_alerts_have_come(
    decoder: Decoder, store: SqliteStore, models: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ENOUGH_TOGETHER > 256
    monkeypatch.setattr("service.stream.runner.ENOUGH_TOGETHER", 8)
    _, pipeline, _ = run(list(simulate(48, seed=3)), decoder, store, models, window_s=0.1)
    assert max(pipeline.calls) == 8
