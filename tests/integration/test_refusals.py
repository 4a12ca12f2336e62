"""Outputs that refuse: found at the start where their settings tell, else one reason stands; nothing is repeated."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from deploy.kafka.broker import Broker, why_absent
from service.config import Delivery, Settings
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.stream.service import StreamService
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = pytest.mark.kafka

MODES = pytest.mark.parametrize("delivery", list(Delivery), ids=str)


def in_mode(cluster: Cluster, store_url: str, delivery: Delivery, **changes: Any) -> Settings:
    return cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}", **changes)


@contextmanager
def readiness(service: StreamService) -> Iterator[list[tuple[bool, str]]]:
    """What readiness said while the block ran, each answer once where it stood."""
    said: list[tuple[bool, str]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            health = service.health()
            answer = health.ready, "; ".join(health.reasons)
            if not said or said[-1] != answer:
                said.append(answer)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield said
    ended.set()
    thread.join()


@MODES
def test_a_compacted_dead_letter_topic_takes_letters_without_a_key(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given messages without a key, then their dead letters bear the place as theirs, and compaction refuses none."""
    alerts = list(simulate(5, seed=50))
    cluster.make_topic(cluster.alerts, 1)
    cluster.make_topic(cluster.dead_letters, 1, cleanup_policy="compact")
    cluster.send([b"not an alert", *(alert.packet for alert in alerts)])
    with streaming(in_mode(cluster, store_url, delivery), models) as (service, _):
        eventually(lambda: service.accounting.total().settled == 6)
        assert service.health().ready
    ((key, _),) = cluster.read(cluster.dead_letters)
    assert key == f"{cluster.alerts}/0/0".encode()
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}


@pytest.mark.parametrize("which", ["output", "dead_letters"])
@MODES
def test_a_limit_that_nothing_fits_into_is_found_at_the_start(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery, which: str
) -> None:
    topic = cluster.make_topic(getattr(cluster, which), 1, max_message_bytes="2000")
    cluster.make_topic(cluster.alerts, 1)
    with streaming(in_mode(cluster, store_url, delivery), models) as (service, _):
        eventually(lambda: any(f"{topic} takes too little" in reason for reason in service.health().reasons))
        cluster.change_topic(topic, max_message_bytes="1000000")
        eventually(lambda: service.health().ready)


def test_an_output_that_access_control_forbids_is_found_at_the_start(
    tmp_path: Path, models: ModelRegistry, store_url: str
) -> None:
    """Given brokers that forbid writing dead letters, then the service publishes nothing until they allow it."""
    if why := why_absent():
        pytest.skip(f"no Apache Kafka here: {why}")
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    properties = {"authorizer.class.name": authorizer, "allow.everyone.if.no.acl.found": "true"}
    with Broker(tmp_path / "kafka", properties=properties) as broker:
        cluster = Cluster(broker.bootstrap_servers, "acl")
        for topic in (cluster.alerts, cluster.output, cluster.dead_letters):
            cluster.make_topic(topic, 1)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        everybody = (ResourceType.TOPIC, cluster.dead_letters, ResourcePatternType.LITERAL, "User:*", "*")
        rules = [
            AclBinding(*everybody, AclOperation.DESCRIBE, AclPermissionType.ALLOW),
            AclBinding(*everybody, AclOperation.WRITE, AclPermissionType.DENY),
        ]
        for done in admin.create_acls(rules).values():
            done.result(10)
        cluster.send([b"not an alert", *(alert.packet for alert in simulate(3, seed=54))])
        with streaming(cluster.settings(store_url), models) as (service, _):
            eventually(lambda: any("access control does not allow it" in reason for reason in service.health().reasons))
            assert cluster.classifications() == []
            anything = AclBindingFilter(*everybody, AclOperation.ANY, AclPermissionType.ANY)
            for forgotten in admin.delete_acls([anything]).values():
                assert len(forgotten.result(10)) == 2
            eventually(lambda: service.accounting.total().settled == 4)
            assert service.health().ready


@pytest.mark.faults  # most of a minute each: librdkafka backs off between its tries
@MODES
def test_good_answers_are_not_repeated_while_dead_letters_are_refused(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a dead-letter topic that refuses for a reason that its settings don't tell, then readiness says so all the
    time, restarts publish no answer twice, and everything goes on when the topic takes messages again.
    """
    for module in ("sink", "transactional_sink"):
        monkeypatch.setattr(f"service.stream.kafka.{module}.why_refused", lambda settings: None)
    alerts = list(simulate(40, seed=51))
    cluster.make_topic(cluster.alerts, 1)
    cluster.make_topic(cluster.dead_letters, 1, max_message_bytes="100")
    settings = in_mode(cluster, store_url, delivery)
    settings.pipeline = settings.pipeline.model_copy(update={"max_batch": 8})
    cluster.send([*(alert.packet for alert in alerts[:20]), b"not an alert", *(alert.packet for alert in alerts[20:])])
    for _ in range(3):
        with streaming(settings, models) as (service, _):
            eventually(lambda: any(f"{cluster.dead_letters} takes no messages" in r for r in service.health().reasons))
            with readiness(service) as said:
                time.sleep(3)
            service.stop(drain_s=0)
        assert not any(ready for ready, _ in said)
        assert {reason for _, reason in said if cluster.dead_letters not in reason} == set()
    assert len(cluster.published_candids("read_uncommitted")) <= 20 or delivery is Delivery.EXACTLY_ONCE
    cluster.change_topic(cluster.dead_letters, max_message_bytes="1000000")
    with streaming(settings, models) as (service, _):
        eventually(lambda: len(cluster.published_candids()) == 40)
        eventually(lambda: service.health().ready)
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}
    assert len(cluster.refused()) == 1


@MODES
def test_a_deleted_output_topic_is_made_again(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given an output topic that is deleted, then the service is not ready until it has made it again, without being
    ready now and then, and says why.
    """
    alerts = [alert.packet for alert in simulate(10, seed=52)]
    cluster.make_topic(cluster.alerts, 1)
    with streaming(in_mode(cluster, store_url, delivery), models) as (service, _):
        cluster.send(alerts[:5])
        eventually(lambda: service.accounting.total().published == 5)
        cluster.delete_topic(cluster.output)
        with readiness(service) as said:
            cluster.send(alerts[5:])
            eventually(lambda: service.accounting.total().published == 10, within_s=60)
            eventually(lambda: service.health().ready)
    assert [ready for ready, _ in said].count(True) <= 2, said
    assert any(f"{cluster.output} is gone" in reason or "acknowledged nothing" in reason for _, reason in said), said
    assert len(cluster.classifications()) == 5


@MODES
def test_an_output_topic_with_fewer_partitions_is_noticed_within_seconds(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    alerts = [alert.packet for alert in simulate(20, seed=53)]
    cluster.make_topic(cluster.alerts, 1)
    cluster.make_topic(cluster.output, 8)
    with streaming(in_mode(cluster, store_url, delivery), models) as (service, _):
        cluster.send(alerts[:10])
        eventually(lambda: service.accounting.total().published == 10)
        cluster.make_topic_again(cluster.output, 1)
        cluster.send(alerts[10:])
        eventually(lambda: service.accounting.total().published == 20, within_s=45)
    assert len(cluster.classifications()) == 10
