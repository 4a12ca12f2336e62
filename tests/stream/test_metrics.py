"""What Prometheus sees of a replayed night."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep

import pytest
from prometheus_client import REGISTRY

from service import metrics
from service.alerts.atlas import encode
from service.simulate import SimulatedAlert
from service.store import SqliteStore, StoredClassification
from service.stream.batch import Batch
from service.stream.files.replay import replay_archive
from service.stream.files.sinks import FileSink
from service.stream.pipeline import Pipeline
from tests.alerts.atlas_tables import exposures


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"alert_classifier_{name}", labels) or 0.0


def test_every_count_and_clock_moves(pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path) -> None:
    """Given a folder of alerts and one broken file, then counters, histograms and gauges tell exactly that."""
    for number, packet in enumerate([*(alert.packet for alert in alerts), b"broken"]):
        (tmp_path / f"{number:03d}.avro").write_bytes(packet)
    stages = {stage: value("stage_seconds_count", stage=stage) for stage in metrics.STAGES}
    batches, observed = value("batch_alerts_sum"), value("observation_to_publication_seconds_count", input="")
    classes = sum(sample.value for metric in metrics.CLASSIFIED.collect() for sample in metric.samples
                  if sample.name.endswith("_total"))  # fmt: skip
    under_way = value("in_flight_alerts", input="")  # other tests give up with alerts under way
    replay_archive([tmp_path], pipeline, FileSink())

    place = {"input": "", "topic": str(tmp_path), "partition": "0"}
    assert value("consumed_total", **place) == len(alerts) + 1
    assert value("published_total", **place) == len(alerts)
    assert value("dead_lettered_total", **place, reason="bad_magic") == 1
    assert value("in_flight_alerts", input="") == under_way
    assert value("accounting_gap", input="") == 0
    assert value("batch_alerts_sum") - batches == len(alerts) + 1
    assert value("observation_to_publication_seconds_count", input="") - observed == len(alerts)
    after = sum(sample.value for metric in metrics.CLASSIFIED.collect() for sample in metric.samples
                if sample.name.endswith("_total"))  # fmt: skip
    assert after - classes == pytest.approx(len(alerts))
    for stage, before in stages.items():
        assert value("stage_seconds_count", stage=stage) > before, stage


def test_an_answer_that_names_no_class_is_counted_as_none(
    pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path
) -> None:
    """Given photometry of ATLAS alone, which the shipped model does not read, then no class is told of it."""
    (tmp_path / "alone.avro").write_bytes(encode("alone", 10.0, 80.0, exposures((60000.5, "o", 300.0))))
    (tmp_path / "alert.avro").write_bytes(alerts[0].packet)
    before = value("classified_total", top_class="none")
    replay_archive([tmp_path], pipeline, FileSink())
    assert value("classified_total", top_class="none") == before + 1


def test_a_slow_write_of_the_store_shows_in_its_stage(
    pipeline: Pipeline,
    store: SqliteStore,
    alerts: list[SimulatedAlert],
    batch_of: Callable[..., Batch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = store.record

    def slowly(classifications: Sequence[StoredClassification]) -> None:
        sleep(0.1)
        write(classifications)

    monkeypatch.setattr(store, "record", slowly)
    before = {stage: value("stage_seconds_sum", stage=stage) for stage in metrics.STAGES}
    pipeline.run(batch_of(alerts[0].packet))
    spent = {stage: value("stage_seconds_sum", stage=stage) - before[stage] for stage in metrics.STAGES}
    assert spent["record"] > 0.1
    assert spent["encode"] < 0.1
