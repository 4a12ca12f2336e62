"""Alerts through a real Apache Kafka: in, classified, out, nothing lost."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import fastavro
import pytest

from service.inference.bundle import BundleError, default_bundle_folder, load_bundle, seal_bundle
from service.inference.registry import ModelRegistry
from service.output.avro import decode_classification
from service.simulate import simulate
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = pytest.mark.kafka


def test_every_simulated_alert_is_classified_once(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    """Given 300 alerts in a topic, when the service has read it, then each has one classification, keyed by object."""
    alerts = list(simulate(300, seed=5))
    cluster.make_topic(cluster.alerts)
    cluster.send(alert.packet for alert in alerts)
    with streaming(cluster.settings(store_url), models) as (service, store):
        eventually(lambda: service.accounting.total().published == 300)
        assert service.health().ready, service.health()
        latest = store.latest(alerts[-1].object_id)
    assert service.accounting.view()["closes"]
    assert service.accounting.in_flight == 0
    messages = cluster.read(cluster.output)
    answers = [decode_classification(value) for _, value in messages]
    assert sorted(answer["candid"] for answer in answers) == sorted(alert.candid for alert in alerts)
    assert all(key.decode() == answer["object_id"] for (key, _), answer in zip(messages, answers, strict=True))
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["broker_timestamp"] <= answer["received"] <= answer["published"]
    assert latest is not None
    assert latest.object_id == alerts[-1].object_id


def test_every_record_of_a_message_is_answered(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    """Given messages of three alerts each, one of them unreadable, then each alert has an answer or is a dead letter
    under a place of its own, the books close and the next start reads nothing again.
    """
    alerts = list(simulate(30, seed=6))
    readers = [fastavro.reader(io.BytesIO(alert.packet)) for alert in alerts]
    records: list[Any] = [next(reader) for reader in readers]
    records[1]["candidate"]["fid"] = 7
    messages = []
    for start in range(0, 30, 3):
        message = io.BytesIO()
        fastavro.writer(message, readers[0].writer_schema, records[start : start + 3], codec="snappy")
        messages.append(message.getvalue())
    cluster.make_topic(cluster.alerts)
    cluster.send(iter(messages))
    for _ in range(2):
        with streaming(cluster.settings(store_url), models) as (service, _):
            eventually(lambda: len(cluster.read(cluster.output)) == 29 and service.health().ready)
            assert service.accounting.view()["closes"]
    answers = [decode_classification(value)["candid"] for _, value in cluster.read(cluster.output)]
    assert sorted(answers) == sorted(alert.candid for alert in alerts if alert is not alerts[1])
    (letter,) = cluster.refused()
    assert letter.code == "unknown_band"
    assert letter.place == f"{cluster.alerts}/{letter.partition}/{letter.offset}#2"


def test_a_new_model_takes_over_without_a_gap(cluster: Cluster, tmp_path: Path, store_url: str) -> None:
    """Given a running stream, when a broken bundle is offered it is refused and the old model goes on; when a good one
    is, every later answer is its own, and no alert is lost or doubled.
    """
    alerts = list(simulate(600, seed=12))
    cluster.make_topic(cluster.alerts)
    models = ModelRegistry(load_bundle(), threads=1)
    old = models.active.version
    new = bundle_copy(tmp_path / "new", "99.0.0")
    broken = bundle_copy(tmp_path / "broken", "100.0.0")
    (broken / "model.onnx").write_bytes(b"no graph")
    with streaming(cluster.settings(store_url), models) as (service, _):
        cluster.send(alert.packet for alert in alerts[:300])
        eventually(lambda: service.accounting.total().published > 0)
        with pytest.raises(BundleError, match="sha256"):
            models.activate(broken)
        models.activate(new)
        cluster.send(alert.packet for alert in alerts[300:])
        eventually(lambda: service.accounting.total().published == 600)
    answers = {answer["candid"]: answer["version"] for answer in cluster.classifications()}
    assert len(answers) == len(cluster.classifications()) == 600
    assert {answers[alert.candid] for alert in alerts[300:]} == {"99.0.0"}
    assert set(answers.values()) == {old, "99.0.0"}


def bundle_copy(folder: Path, version: str) -> Path:
    """The shipped bundle under another version."""
    shutil.copytree(default_bundle_folder(), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": version}))
    seal_bundle(folder)
    return folder


@pytest.mark.real_data
def test_real_packets_and_broken_ones(cluster: Cluster, models: ModelRegistry, store_url: str, real_data: Path) -> None:
    """Every real packet is classified or, if broken, a dead letter with its bytes and reason."""
    with (real_data / "alerts" / "index.csv").open() as index:
        rows = list(csv.DictReader(index))
    packets = {row["file"]: (real_data / "alerts" / row["file"]).read_bytes() for row in rows}
    cluster.make_topic(cluster.alerts)
    cluster.send(packets.values())
    with streaming(cluster.settings(store_url), models) as (service, _):
        eventually(lambda: service.accounting.total().settled == len(rows))
    good = [row for row in rows if row["valid"].lower() in ("true", "1", "yes")]
    answers = cluster.published_candids()
    assert answers.total() == len(good)
    assert set(answers) == {int(row["candid"]) for row in good}
    letters = cluster.refused()
    assert len(letters) == len(rows) - len(good)
    assert {letter.value for letter in letters} == {packets[row["file"]] for row in rows if row not in good}
    assert all(letter.code and letter.message and letter.topic == cluster.alerts for letter in letters)
