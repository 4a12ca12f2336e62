"""Given a model or a sink that can't keep up, then the source is paused, what is held has a bound, and nothing is lost:
with a batch window, for which the model holds several batches at once, as without one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.alerts.decode import Decoder
from service.config import PipelineSettings, QualitySettings
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.store import SqliteStore
from service.stream.accounting import Accounting
from service.stream.batch import Batch
from service.stream.files.sinks import FileSink
from service.stream.pipeline import Pipeline
from service.stream.runner import StreamRunner
from tests.stream.source import Source

BATCH, DEPTH, TOGETHER = 4, 2, 32
STANDSTILLS = 2
PATIENCE_S = 60.0  # of the test; the runner's own is far shorter


class Watched(Accounting):
    """Remembers how many alerts were under way at most."""

    peak = 0

    def take(self, batch: Batch) -> None:
        super().take(batch)
        self.peak = max(self.peak, self.in_flight)


class GatedModel(Pipeline):
    """The model answers only while its gate is open."""

    gate: threading.Event
    largest_call = 0

    def classify(self, *batches: Batch) -> None:
        self.largest_call = max(self.largest_call, sum(map(len, batches)))
        assert self.gate.wait(PATIENCE_S)
        super().classify(*batches)


class GatedSink(FileSink):
    """What was sent is acknowledged only while the gate is open."""

    gate: threading.Event

    def acknowledged(self, timeout_s: float) -> list[Batch]:
        return super().acknowledged(timeout_s) if self.gate.wait(timeout_s) else []


def most_held(window_s: float | None) -> int:
    """Three queues, a sink that takes one batch above its depth, one batch being prepared, and what the model has."""
    at_the_model = TOGETHER + BATCH - 1 if window_s else BATCH
    return BATCH * (4 * DEPTH + 2) + at_the_model


@pytest.mark.parametrize("window_s", [None, 0.1], ids=["no window", "100 ms"])
@pytest.mark.parametrize("slow", ["model", "sink"])
def test_standstills_pause_the_source_and_end_without_a_loss(
    decoder: Decoder,
    store: SqliteStore,
    models: ModelRegistry,
    monkeypatch: pytest.MonkeyPatch,
    slow: str,
    window_s: float | None,
) -> None:
    monkeypatch.setattr("service.stream.runner.ENOUGH_TOGETHER", TOGETHER)
    alerts = list(simulate(240, seed=33))
    assert len(alerts) > (STANDSTILLS + 1) * most_held(window_s)
    pipeline, sink = GatedModel(decoder, store, models, QualitySettings()), GatedSink()
    pipeline.gate, sink.gate = threading.Event(), threading.Event()
    gate, other = (pipeline.gate, sink.gate) if slow == "model" else (sink.gate, pipeline.gate)
    other.set()
    source, accounting = Source(alerts, BATCH), Watched()

    to_come = STANDSTILLS

    def stand_still_again() -> None:
        if to_come:
            gate.clear()

    def stands_still() -> bool:
        """Nothing comes in and nothing gets out; a slow disk may look so too, which only makes a standstill short."""
        held = accounting.in_flight
        thread.join(0.2)
        return source.paused and accounting.in_flight == held

    source.on_resume = stand_still_again
    settings = PipelineSettings(max_batch=BATCH, queue_depth=DEPTH, batch_window_s=window_s)
    runner = StreamRunner(source, pipeline, sink, settings, accounting)
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    while to_come:
        eventually(stands_still)
        assert 0 < accounting.in_flight < len(alerts)
        to_come -= 1
        gate.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert runner.failure is None
    assert source.resumes == source.pauses > 0
    assert source.acknowledged == list(range(len(alerts)))
    assert accounting.total().published == len(alerts)
    assert accounting.closes()
    assert accounting.peak <= most_held(window_s)
    assert (pipeline.largest_call > BATCH) == (window_s is not None)


def test_messages_that_hold_many_alerts_keep_to_the_bound(
    decoder: Decoder, store: SqliteStore, models: ModelRegistry
) -> None:
    """Given one poll of messages with ten alerts each, and a model that stands still, then a batch takes as many of
    them as are needed, the queue as many as it has room for, and the rest waits, to be answered in its order.
    """
    many = 10
    alerts = [replace(alert, packet=alert.packet * many) for alert in simulate(60, seed=34)]
    pipeline = GatedModel(decoder, store, models, QualitySettings())
    pipeline.gate = threading.Event()
    source, accounting = Source(alerts, len(alerts)), Watched()
    settings = PipelineSettings(max_batch=2 * many, queue_depth=DEPTH)
    runner = StreamRunner(source, pipeline, FileSink(), settings, accounting)
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    eventually(lambda: source.paused)
    assert 0 < accounting.in_flight <= most_held(None) * 2 * many // BATCH < many * len(alerts)
    pipeline.gate.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert source.acknowledged == [offset for offset in range(len(alerts)) for _ in range(many)]
    assert accounting.total().published == many * len(alerts)
    assert accounting.closes()


def eventually(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
