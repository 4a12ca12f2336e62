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
from service.stream.runner import Corridor
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


def running(pipeline: Pipeline, source: Source) -> tuple[Corridor, AbsentSink, threading.Thread]:
    sink = AbsentSink()
    sink.gate = threading.Event()
    corridor = Corridor(source, pipeline, sink, PipelineSettings())
    runner = threading.Thread(target=corridor.run, daemon=True)
    runner.start()
    return corridor, sink, runner


def test_a_stop_does_not_drain_what_is_not_there(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    corridor, _, runner = running(pipeline, Endless([], 1))
    time.sleep(0.2)
    corridor.stop(DRAIN_S)
    runner.join(DRAIN_S / 4)
    assert not runner.is_alive()
    assert corridor.failure is None
    assert not caplog.records


def test_a_stop_waits_for_alerts_under_way(pipeline: Pipeline, alerts: list[SimulatedAlert]) -> None:
    source = Endless(alerts, 8)
    corridor, sink, runner = running(pipeline, source)
    while not corridor.accounting.in_flight:
        time.sleep(0.01)
    corridor.stop(DRAIN_S)
    runner.join(0.5)
    assert runner.is_alive()
    sink.gate.set()
    runner.join(DRAIN_S)
    assert not runner.is_alive()
    assert source.acknowledged
    assert corridor.accounting.in_flight == 0
    assert corridor.accounting.closes()
