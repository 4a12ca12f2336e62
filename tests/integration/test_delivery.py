"""No alert lost, none invented: both delivery modes against a real Apache Kafka, with deaths in between."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from service.config import Delivery
from service.inference.registry import ModelRegistry
from service.simulate import SimulatedAlert, simulate
from service.stream.interfaces import StreamError
from service.stream.service import StreamService
from tests.integration.streams import Cluster, Replica, eventually, sending, streaming

pytestmark = pytest.mark.kafka

ALO, EOS = Delivery.AT_LEAST_ONCE, Delivery.EXACTLY_ONCE
MODES = pytest.mark.parametrize("delivery", [ALO, EOS], ids=str)


def mostly(delivery: Delivery) -> pytest.MarkDecorator:
    """Both modes, of which the normal run takes this one alone: together these tests must stay under a minute or so."""
    other = EOS if delivery is ALO else ALO
    return pytest.mark.parametrize("delivery", [delivery, pytest.param(other, marks=pytest.mark.faults)], ids=str)


def filled(cluster: Cluster, alerts: int, seed: int = 1, partitions: int = 4) -> list[SimulatedAlert]:
    sky = list(simulate(alerts, seed=seed))
    cluster.make_topic(cluster.alerts, partitions)
    assert cluster.send(alert.packet for alert in sky) == alerts
    return sky


@MODES
def test_a_restart_goes_on_where_the_last_process_stopped(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given a clean stop after 100 alerts, when 100 more come, then the next process answers those alone."""
    first = filled(cluster, 100)
    second = list(simulate(100, seed=2))
    settings = cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}")
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().published == 100)
    cluster.send(alert.packet for alert in second)
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().published == 100)
    assert service.accounting.total().consumed == 100
    published = cluster.published_candids()
    assert set(published) == {alert.candid for alert in first + second}
    assert set(published.values()) == {1}


@MODES
def test_killed_midway_and_restarted(cluster: Cluster, tmp_path: Path, store_url: str, delivery: Delivery) -> None:
    """Given a SIGKILL while 1,000 alerts come in, when the service is started again, then none is missing, and in
    exactly_once none is there twice.
    """
    alerts = list(simulate(1000, seed=1))
    cluster.make_topic(cluster.alerts)
    settings = cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}")
    replica = Replica(settings, tmp_path / "log").start()
    eventually(lambda: "assigned" in replica.said(), within_s=60)  # a slow start must not eat the time of the sending
    with sending(cluster, [alert.packet for alert in alerts], rate_per_s=150):
        eventually(lambda: len(cluster.read(cluster.output, "read_uncommitted")) > 50, within_s=60)
        replica.kill()
        assert len(cluster.published_candids()) < 1000, "it was too quick to be killed midway"
        replica.start()
    eventually(lambda: len(cluster.published_candids()) == 1000, within_s=90, every_s=0.5)
    assert replica.terminate() == 0, replica.said()
    published = cluster.published_candids()
    assert set(published) == {alert.candid for alert in alerts}
    if delivery is Delivery.EXACTLY_ONCE:
        assert set(published.values()) == {1}


@mostly(ALO)
def test_sigterm_drains(cluster: Cluster, tmp_path: Path, store_url: str, delivery: Delivery) -> None:
    """Given a SIGTERM midway, then what was taken is published before the end, and nothing is ever published twice."""
    alerts = list(simulate(1000, seed=2))
    cluster.make_topic(cluster.alerts)
    settings = cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}")
    replica = Replica(settings, tmp_path / "log").start()
    eventually(lambda: "assigned" in replica.said(), within_s=60)  # a slow start must not eat the time of the sending
    with sending(cluster, [alert.packet for alert in alerts], rate_per_s=150):
        eventually(lambda: len(cluster.read(cluster.output)) > 50, within_s=60)
        assert replica.terminate() == 0, replica.said()
        assert len(cluster.published_candids()) < 1000, "it was too quick to be stopped midway"
        replica.start()
    eventually(lambda: len(cluster.published_candids()) == 1000, within_s=60)
    assert replica.terminate() == 0, replica.said()
    published = cluster.published_candids()
    assert set(published) == {alert.candid for alert in alerts}
    assert set(published.values()) == {1}


@mostly(EOS)
def test_two_replicas_share_and_one_leaves(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given two replicas on one store, when one joins and leaves under load, then no alert is lost or doubled."""
    alerts = filled(cluster, 400)
    both = [
        cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}-{number}")
        for number in range(2)
    ]
    more = list(simulate(800, seed=3))
    with streaming(both[0], models) as (stays, _):
        eventually(lambda: stays.accounting.total().published > 0)
        with streaming(both[1], models) as (leaves, _):
            eventually(lambda: stays.health().ready and leaves.health().ready)
            eventually(lambda: len(stays.health().partitions) == len(leaves.health().partitions) == 2)
            cluster.send((alert.packet for alert in more), rate_per_s=400)
        eventually(lambda: len(stays.health().partitions) == 4)
        eventually(lambda: len(cluster.published_candids()) == 1200, within_s=60, every_s=0.5)
    assert leaves.accounting.total().published > 0
    for service in (stays, leaves):
        assert service.accounting.closes()
        assert service.accounting.in_flight == 0
    published = cluster.published_candids()
    assert set(published) == {alert.candid for alert in alerts + more}
    assert set(published.values()) == {1}


@mostly(ALO)
def test_groups_of_kip_848(cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery) -> None:
    """Given the broker's own rebalance protocol by configuration, then two replicas share the partitions as well."""
    alerts = filled(cluster, 200)
    both = [
        cluster.settings(
            store_url,
            delivery=delivery,
            transactional_id=f"replica-{cluster.name}-{number}",
            librdkafka_consumer={"group.protocol": "consumer"},
        )
        for number in range(2)
    ]
    with streaming(both[0], models) as (stays, _):
        eventually(lambda: stays.health().ready)
        with streaming(both[1], models) as (leaves, _):
            eventually(lambda: len(stays.health().partitions) == len(leaves.health().partitions) == 2)
        eventually(lambda: len(stays.health().partitions) == 4)
        eventually(lambda: len(cluster.published_candids()) == 200)
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}


def test_a_replica_whose_name_is_taken_over_stops(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    """Given two processes with one transactional id, then the older is fenced: it ends with an error that says so,
    and every alert is still there once.
    """
    alerts = filled(cluster, 200)
    settings = cluster.settings(store_url, delivery=Delivery.EXACTLY_ONCE, transactional_id=f"same-{cluster.name}")
    to_come = simulate(6000, seed=4)

    def fenced() -> bool:
        """The older is told at its next transaction: alerts come until it has a partition, and one of them in it."""
        if older.failure is None:
            some = list(islice(to_come, 100))
            cluster.send(alert.packet for alert in some)
            alerts.extend(some)
        return older.failure is not None

    with streaming(settings, models) as (older, _):
        eventually(lambda: older.accounting.total().published == 200)
        with streaming(settings, models) as (newer, _):
            eventually(lambda: newer.health().ready)
            eventually(fenced, within_s=60, every_s=1.0)
            with pytest.raises(StreamError, match="was taken over"):
                older.wait(1)
            assert not older.health().ready
            eventually(lambda: len(cluster.published_candids()) == len(alerts), within_s=60)
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}


def test_a_replica_whose_group_instance_is_taken_over_stops(
    cluster: Cluster, models: ModelRegistry, store_url: str
) -> None:
    """Given two processes with one kafka.group_instance_id, then the older ends with an error that names it."""
    filled(cluster, 50)
    settings = cluster.settings(store_url, group_instance_id="same")
    with streaming(settings, models) as (older, _):
        eventually(lambda: older.health().ready)
        with streaming(settings, models) as (newer, _):
            eventually(lambda: older.failure is not None)
            with pytest.raises(StreamError, match="group_instance_id 'same'"):
                older.wait(1)
            eventually(lambda: newer.health().ready)


def test_without_a_broker_it_waits_and_says_so(models: ModelRegistry, store_url: str) -> None:
    """Given no broker at the address, then the service is not ready, says why, and stops when asked."""
    nowhere = Cluster("127.0.0.1:9", "nowhere")
    with streaming(nowhere.settings(store_url), models) as (service, _):
        eventually(lambda: any("do not answer" in reason for reason in service.health().reasons))
        assert not service.health().ready
        service.stop(drain_s=1)
    assert service.wait(1)


def test_an_address_is_needed(models: ModelRegistry, store_url: str) -> None:
    with pytest.raises(StreamError, match=r"kafka\.bootstrap_servers"):
        StreamService(Cluster("", "none").settings(store_url), models, store=None)  # type: ignore[arg-type]


def test_a_property_that_librdkafka_does_not_know_is_named(models: ModelRegistry, store_url: str) -> None:
    settings = Cluster("127.0.0.1:9", "none").settings(store_url, librdkafka={"no.such.property": "1"})
    with pytest.raises(StreamError, match=r"no\.such\.property"):
        StreamService(settings, models, store=None)  # type: ignore[arg-type]
