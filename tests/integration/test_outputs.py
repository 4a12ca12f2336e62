"""Several topics, each in a form of its own and with what it asked for, through a real Apache Kafka."""

from __future__ import annotations

import json
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from service.config import Delivery, OutputFormat, OutputSettings, Settings
from service.inference.registry import ModelRegistry
from service.output.avro import CLASSIFICATION
from service.output.formats import read
from service.simulate import simulate
from service.store import open_store
from service.stream.interfaces import StreamError
from service.stream.service import StreamService
from tests.integration.schema_registry import schema_registry
from tests.integration.streams import Cluster, Replica, eventually, sending, streaming

pytestmark = pytest.mark.kafka

MODES = pytest.mark.parametrize(
    "delivery",
    [Delivery.EXACTLY_ONCE, pytest.param(Delivery.AT_LEAST_ONCE, marks=pytest.mark.faults)],
    ids=str,
)


def many_outputs(cluster: Cluster) -> list[OutputSettings]:
    return [
        OutputSettings(topic=f"container-{cluster.name}", format="container", superclasses=["Transient"]),
        OutputSettings(topic=f"json-{cluster.name}", format="json", without_flags=["too_few_points"]),
        OutputSettings(topic=f"body-{cluster.name}", format="body", schema_version=1, min_probability=0.5),
        OutputSettings(topic=f"elasticc-{cluster.name}", format="elasticc"),
        OutputSettings(topic=f"confluent-{cluster.name}", format="confluent", surveys=["ztf"]),
    ]


@MODES
def test_each_topic_has_what_it_asked_for_in_its_form(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given five outputs beside the first and a restart between two halves of a night, then each holds each of its
    answers once, in a form that a client of that form reads.
    """
    cluster.make_topic(cluster.alerts)
    outputs = many_outputs(cluster)
    container, jsons, body, elasticc, confluent = (output.topic for output in outputs)
    with schema_registry() as registry:
        settings = cluster.settings(
            store_url,
            delivery=delivery,
            transactional_id=f"replica-{cluster.name}",
            outputs=outputs,
            schema_registry_url=registry.url,
        )
        for seed in (21, 22):
            cluster.send(alert.packet for alert in simulate(80, seed=seed))
            with streaming(settings, models) as (service, _):
                eventually(lambda: service.accounting.total().published == 80)
            assert service.accounting.view()["closes"]
        assert registry.subjects == {f"{confluent}-value": [1]}
        deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry.url}))
        context = SerializationContext(confluent, MessageField.VALUE)
        framed = [deserialize(value, context) for _, value in cluster.read(confluent)]
    everything = {answer["candid"]: answer for answer in cluster.classifications()}
    assert len(everything) == len(cluster.classifications()) == 160

    def those(takes: Any) -> Counter[int]:
        return Counter(candid for candid, answer in everything.items() if takes(answer))

    def superclass(answer: dict[str, Any]) -> str:
        return max(answer["superclass_probabilities"], key=answer["superclass_probabilities"].__getitem__)

    files = [record for _, value in cluster.read(container) for record in fastavro.reader(BytesIO(value))]
    assert Counter(record["candid"] for record in files) == those(lambda answer: superclass(answer) == "Transient")
    texts = [json.loads(value) for _, value in cluster.read(jsons)]
    assert Counter(text["candid"] for text in texts) == those(lambda answer: "too_few_points" not in answer["flags"])
    bodies = [
        fastavro.schemaless_reader(BytesIO(value), fastavro.parse_schema(json.loads(key)), None)
        for key, value in cluster.read(body)
    ]
    assert Counter(record["candid"] for record in bodies) == those(lambda answer: answer["top_probability"] >= 0.5)
    assert all("variance" not in record for record in bodies)
    assert Counter(record["candid"] for record in framed) == those(lambda answer: True)
    assert len(cluster.read(elasticc)) == 160
    assert 0 < len(files) < 160
    assert 0 < len(texts) < 160


def test_a_message_tells_its_schema_in_its_headers(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    cluster.make_topic(cluster.alerts)
    cluster.send(alert.packet for alert in simulate(3, seed=23))
    with streaming(cluster.settings(store_url, output_format="container"), models):
        eventually(lambda: len(cluster.read(cluster.output)) == 3)
    for message in cluster.messages(cluster.output):
        assert dict(message.headers()) == {
            "schema": CLASSIFICATION.newest.label.encode(),
            "schema_fingerprint": CLASSIFICATION.newest.fingerprint.encode(),
            "_format": b"avro",
        }
        assert read(OutputFormat.CONTAINER, None, message.value())["object_id"] == message.key().decode()


def test_two_releases_publish_side_by_side_to_one_consumer(
    cluster: Cluster, models: ModelRegistry, tmp_path: Path
) -> None:
    """Given a replica of the first schema under load, when one of the newest joins it and the first then leaves, as in
    a rolling update, then one consumer reads every answer of both, none missing.
    """
    alerts = list(simulate(400, seed=24))
    cluster.make_topic(cluster.alerts)
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    before, after = cluster.settings(url, output_schema_version=1), cluster.settings(url)
    with streaming(after, models) as (new, _):
        with streaming(before, models) as (old, _):
            eventually(lambda: new.health().partitions and old.health().partitions)
            with sending(cluster, [alert.packet for alert in alerts], rate_per_s=100):
                eventually(lambda: new.accounting.total().published > 50 and old.accounting.total().published > 50)
                old.stop()
        eventually(lambda: len(cluster.published_candids()) == 400)
    schemas = Counter(dict(message.headers())["schema"] for message in cluster.messages(cluster.output))
    assert schemas[b"classification_1"] > 50
    assert schemas[b"classification_4"] > 50
    assert set(cluster.published_candids()) == {alert.candid for alert in alerts}


@pytest.mark.faults
def test_a_kill_leaves_no_topic_behind_the_others(cluster: Cluster, tmp_path: Path, store_url: str) -> None:
    """Given exactly_once with several outputs and a SIGKILL midway, then every topic has every answer once: offsets and
    all topics are in one transaction.
    """
    alerts = list(simulate(1000, seed=25))
    cluster.make_topic(cluster.alerts)
    outputs = [output for output in many_outputs(cluster) if output.format != "confluent"]
    outputs = [
        output.model_copy(update={"superclasses": [], "without_flags": [], "min_probability": 0.0})
        for output in outputs
    ]
    settings = cluster.settings(
        store_url, delivery=Delivery.EXACTLY_ONCE, transactional_id=f"replica-{cluster.name}", outputs=outputs
    )
    replica = Replica(settings, tmp_path / "log").start()
    eventually(lambda: "assigned" in replica.said(), within_s=60)
    with sending(cluster, [alert.packet for alert in alerts], rate_per_s=150):
        eventually(lambda: len(cluster.read(cluster.output, "read_uncommitted")) > 50, within_s=60)
        replica.kill()
        assert len(cluster.published_candids()) < 1000
        replica.start()
    eventually(lambda: len(cluster.published_candids()) == 1000, within_s=90, every_s=0.5)
    assert replica.terminate() == 0, replica.said()
    assert set(cluster.published_candids().values()) == {1}
    for output in outputs:
        keys = Counter(value for _, value in cluster.read(output.topic))
        assert len(keys) == 1000, output.topic
        assert set(keys.values()) == {1}, output.topic


def test_an_output_for_a_class_that_the_model_does_not_have_ends_the_start(models: ModelRegistry) -> None:
    output = {"topic": "kilonovae", "classes": ["KN"]}
    settings = Settings(kafka={"bootstrap_servers": "127.0.0.1:9", "outputs": [output]})
    with pytest.raises(StreamError, match=r"kafka\.outputs\.0\.classes: the model has no KN, but SNIa"):
        StreamService(settings, models, open_store("sqlite://"))
