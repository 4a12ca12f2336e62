"""A clock that jumps makes no counter fall and no lag, rate or age negative."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from threading import Thread

import pytest
from prometheus_client import REGISTRY

from service.config import KafkaSettings, PipelineSettings
from service.output.classification import MICROSECONDS
from service.simulate import SimulatedAlert
from service.stream.batch import Published
from service.stream.files.sinks import FileSink
from service.stream.kafka.assignment import Assignment
from service.stream.kafka.source import KafkaSource
from service.stream.pipeline import Pipeline
from service.stream.runner import StreamRunner
from tests.stream.source import Source

HOUR = 3600.0
JUMPS_S = {"back": -2 * HOUR, "1996": -30 * 365 * 24 * HOUR, "ahead": 2 * HOUR}


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the machine's clock, as every module of the service reads it."""
    real = time.time

    def set_clock(by_s: float) -> None:
        for module in (
            "service.stream.runner",
            "service.stream.kafka.source",
            "service.output.classification",
            "service.output.dead_letter",
        ):
            monkeypatch.setattr(f"{module}.time", lambda: real() + by_s)

    return set_clock


def sums() -> dict[str, float]:
    """Everything that Prometheus expects to grow."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if family.name.startswith("alert_classifier") and sample.name.endswith(("_sum", "_count", "_bucket", "_total"))
    }


@pytest.mark.parametrize("jump_s", JUMPS_S.values(), ids=JUMPS_S)
def test_counters_do_not_fall(
    pipeline: Pipeline, alerts: list[SimulatedAlert], jump: Callable[[float], None], jump_s: float
) -> None:
    """Given a clock that is set while alerts are under way, then no sum falls, and none is published before it came."""
    source, sink = Source(alerts, 8), FileSink()
    taken = []
    runner = StreamRunner(source, pipeline, sink, PipelineSettings(), on_settled=taken.append)
    before = sums()
    jump(jump_s)
    thread = Thread(target=runner.run, daemon=True)
    thread.start()
    thread.join(60)
    assert runner.accounting.total().published == len(alerts)
    after = sums()
    fallen = {name: (value, after[name]) for name, value in before.items() if after[name] < value}
    assert not fallen
    assert 0 <= runner.idle_s < 60
    for batch in taken:
        for item in batch.items:
            assert isinstance(item.outcome, Published)
            document = item.outcome.classification.document
            assert document["published"] >= document["received"] == round(item.message.received * MICROSECONDS)


def test_lag_is_never_negative(jump: Callable[[float], None]) -> None:
    """Given waiting messages, settled ones among them or none, then their age is at least 0 whatever the clock says."""
    silent = socket.create_server(("127.0.0.1", 0))  # a broker that never answers
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    source = KafkaSource(KafkaSettings(bootstrap_servers=address, topics=["alerts"]))
    try:
        source._assigned = {
            ("alerts", 0): Assignment(1, newest_done=time.time() - 1),
            ("alerts", 1): Assignment(1),
        }
        for by_s in JUMPS_S.values():
            jump(by_s)
            for place in source._assigned:
                assert source.lag_seconds({place: 5}) >= 0
            assert source.lag_seconds({("alerts", 1): 5}) < 60, "nothing was settled: counted from the assignment on"
    finally:
        source._assigned = {}
        source.close()
        silent.close()
