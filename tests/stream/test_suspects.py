"""Given suspects of the last end, when they are read again, then they go one by one and alone, and a refused one is put
aside; and a stage that stands still is told.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from service.config import PipelineSettings
from service.simulate import SimulatedAlert
from service.stream.batch import Batch, DeadLettered, Published
from service.stream.files.sinks import FileSink
from service.stream.journal import Journal, stretches
from service.stream.pipeline import Pipeline
from service.stream.runner import StreamRunner
from tests.stream.source import Source
from tests.stream.test_journal import die

PATIENCE_S = 60.0


class Watched(Pipeline):
    """Remembers what was decoded while how much was in flight, and stands still while its gate is closed."""

    runner: StreamRunner
    gate: threading.Event

    def decode(self, batch: Batch) -> None:
        self.seen.update({item.message.offset: self.runner.accounting.in_flight for item in batch.items})
        assert self.gate.wait(PATIENCE_S)
        super().decode(batch)


def running(
    pipeline: Pipeline, source: Source, journal: Journal | None, **settings: float
) -> tuple[Watched, list[Batch], threading.Thread]:
    watched = Watched(pipeline._decoder, pipeline._store, pipeline._models, pipeline._quality)
    watched.gate, watched.seen = threading.Event(), Counter()
    settled: list[Batch] = []
    watched.runner = StreamRunner(
        source, watched, FileSink(), PipelineSettings(**settings), on_settled=settled.append, journal=journal
    )

    def run() -> None:
        with suppress(AssertionError):  # kept as `failure`
            watched.runner.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return watched, settled, thread


def test_suspects_go_alone_and_a_refused_one_is_put_aside(
    pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path
) -> None:
    source = Source(alerts, 8)
    messages = [*source._waiting]
    for in_hand in (messages[18:27], messages[22:23], messages[22:23]):
        journal = Journal(tmp_path / "journal")
        journal.begin(1, "decode", stretches(in_hand))
        die(journal)
    journal = Journal(tmp_path / "journal")
    watched, settled, thread = running(pipeline, source, journal)
    watched.gate.set()
    thread.join(PATIENCE_S)
    assert source.acknowledged == list(range(len(alerts)))
    assert [watched.seen[offset] for offset in range(18, 27)] == [1] * 9
    outcomes = {item.message.offset: item.outcome for batch in settled for item in batch.items}
    refused = outcomes.pop(22)
    assert isinstance(refused, DeadLettered)
    assert refused.code == "ends_the_service"
    assert "decode" in refused.message
    assert all(isinstance(outcome, Published) for outcome in outcomes.values())
    assert watched.runner.accounting.closes()
    assert not journal.suspects
    journal.close()
    assert not (tmp_path / "journal").exists()


def test_a_stage_without_progress_is_told_by_its_name(pipeline: Pipeline, alerts: list[SimulatedAlert]) -> None:
    """Given a stage that does not come back, then `trouble` names it; when it does come back, all is well again."""
    watched, _, thread = running(pipeline, Source(alerts, 8), None, standstill_s=0.3)
    deadline = time.monotonic() + PATIENCE_S
    while watched.runner.trouble is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert watched.runner.trouble.startswith("the stage decode has been working on the same batch for")
    watched.gate.set()
    thread.join(PATIENCE_S)
    assert watched.runner.trouble is None
    assert watched.runner.accounting.total().published == len(alerts)


def test_what_a_defect_ends_stays_in_hand(
    pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a stage with a defect that stops the stream, then the next process finds the messages as after a crash."""

    def broken(self: Pipeline, batch: Batch) -> None:
        raise AssertionError("a defect")

    monkeypatch.setattr(Pipeline, "cut", broken)
    journal = Journal(tmp_path / "journal")
    watched, _, thread = running(pipeline, Source(alerts, 8), journal)
    watched.gate.set()
    thread.join(PATIENCE_S)
    assert isinstance(watched.runner.failure, AssertionError)
    journal.close()
    (suspects,) = Journal(tmp_path / "journal").suspects
    assert (suspects.first, suspects.last, suspects.stage) == (0, 7, "cut")


def test_the_standstill_is_a_metric() -> None:
    names = {family.name for family in REGISTRY.collect()}
    assert "alert_classifier_standstill_seconds" in names
