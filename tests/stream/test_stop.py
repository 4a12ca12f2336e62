"""Given outputs that have never answered, when the stream stops, then only what is under way is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from service.config import PipelineSettings
from service.simulate import SimulatedAlert
from service.stream.files.sinks import FileSink
from service.stream.pipeline import Pipeline
from service.stream.runner import StreamRunner
from tests.stream.source import Source

DRAIN_S = 20.0


class AbsentSink(FileSink):
    """Its broker answers only when the gate opens."""

    gate: threading.Event

    def open(self, given_up: Callable[[], bool]) -> None:
        while not given_up() and not self.gate.wait(0.05):
            pass


class Endless(Source):
    """Nothing comes any more, but something could."""

    exhausted = False  # type: ignore[assignment]


def running(pipeline: Pipeline, source: Source) -> tuple[StreamRunner, AbsentSink, threading.Thread]:
    sink = AbsentSink()
    sink.gate = threading.Event()
    runner = StreamRunner(source, pipeline, sink, PipelineSettings())
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    return runner, sink, thread


def test_a_stop_does_not_drain_what_is_not_there(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    runner, _, thread = running(pipeline, Endless([], 1))
    time.sleep(0.2)
    runner.stop(DRAIN_S)
    thread.join(DRAIN_S / 4)
    assert not thread.is_alive()
    assert runner.failure is None
    assert not caplog.records


def test_a_stop_waits_for_alerts_under_way(pipeline: Pipeline, alerts: list[SimulatedAlert]) -> None:
    source = Endless(alerts, 8)
    runner, sink, thread = running(pipeline, source)
    while not runner.accounting.in_flight:
        time.sleep(0.01)
    runner.stop(DRAIN_S)
    thread.join(0.5)
    assert thread.is_alive()
    sink.gate.set()
    thread.join(DRAIN_S)
    assert not thread.is_alive()
    assert source.acknowledged
    assert runner.accounting.in_flight == 0
    assert runner.accounting.closes()


def test_a_stage_that_never_returns_is_left_behind(
    pipeline: Pipeline, alerts: list[SimulatedAlert], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a stage that hangs, when the stream stops, then it ends all the same and names the thread."""
    gate = threading.Event()
    monkeypatch.setattr("service.stream.runner.STUCK_S", 0.2)
    monkeypatch.setattr(Pipeline, "cut", lambda self, batch: gate.wait(60))
    runner, _, thread = running(pipeline, Endless(alerts, 8))
    while not runner.accounting.in_flight:
        time.sleep(0.01)
    runner.stop(0.2)
    thread.join(10)
    assert not thread.is_alive()
    assert runner.stuck == ["prepare"]
    gate.set()
