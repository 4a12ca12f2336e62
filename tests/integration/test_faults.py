"""Long fault injection: processes, brokers, stores and networks die under load, and no alert is lost.

Each test is a row of the table in docs/faults.md.
"""

from __future__ import annotations

import random
import subprocess
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from service.alerts.decode import Decoder
from service.config import Delivery
from service.inference.registry import ModelRegistry
from service.photometry import LightCurve
from service.simulate import SimulatedAlert, simulate
from service.store import Store, open_store
from tests.integration.poison import poison
from tests.integration.postgres import own_server, postgres_server_dsn, postgres_url
from tests.integration.proxy import Proxy
from tests.integration.streams import Cluster, Replica, eventually, sending, streaming

__all__ = ["postgres_server_dsn", "postgres_url"]

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(900)]

MODES = pytest.mark.parametrize("delivery", list(Delivery), ids=str)
# The design's promise: recovery by itself within this time of the cause's end.
RECOVERY_S = 30.0


def check(cluster: Cluster, alerts: list[SimulatedAlert], delivery: Delivery) -> None:
    """None missing, none invented; in exactly_once none twice."""
    published = cluster.published_candids()
    wanted = {alert.candid for alert in alerts}
    missing, invented = wanted - set(published), set(published) - wanted
    assert not missing, f"{len(missing)} of {len(wanted)} are missing"
    assert not invented
    if delivery is Delivery.EXACTLY_ONCE:
        twice = [candid for candid, count in published.items() if count > 1]
        assert not twice, f"{len(twice)} were published more than once"


def check_light_curves(store: Store, alerts: list[SimulatedAlert]) -> None:
    """Every object's stored light curve is the union of all its alerts, whoever merged them in whatever order."""
    decoder = Decoder()
    known: dict[str, LightCurve] = {}
    for alert in alerts:
        curve = decoder.decode(alert.packet).light_curve
        known[alert.object_id] = known.get(alert.object_id, LightCurve.empty()).merge(curve)
    stored = store.load(list(known))
    wrong = [name for name, curve in known.items() if name not in stored or stored[name].light_curve != curve]
    assert not wrong, f"{len(wrong)} of {len(known)} objects differ, e.g. {wrong[:3]}"


@MODES
def test_twenty_random_kills(cluster: Cluster, tmp_path: Path, store_url: str, delivery: Delivery) -> None:
    """Given SIGKILL at 20 random moments of 5,000 alerts, then none is missing, and in exactly_once none twice."""
    alerts = list(simulate(5000, seed=30))
    moments = random.Random(30)
    cluster.make_topic(cluster.alerts)
    settings = cluster.settings(
        store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}", group_instance_id="the-one"
    )
    replica = Replica(settings, tmp_path / "log")
    with sending(cluster, [alert.packet for alert in alerts], rate_per_s=50):
        for _ in range(20):
            replica.start()
            time.sleep(moments.uniform(1.0, 7.0))
            replica.kill()
        replica.start()
    eventually(lambda: len(cluster.published_candids()) == len(alerts), within_s=120, every_s=1.0)
    assert replica.terminate() == 0, replica.said()
    check(cluster, alerts, delivery)
    with closing(open_store(store_url)) as store:
        check_light_curves(store, alerts)


@MODES
def test_broker_killed_and_restarted(
    killable: tuple[Broker, Cluster], models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given the broker's SIGKILL midway, then the service says that it is not ready, and goes on by itself."""
    broker, cluster = killable
    alerts = list(simulate(3000, seed=31))
    cluster.make_topic(cluster.alerts)
    cluster.send(alert.packet for alert in alerts[:1500])
    settings = cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}")
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().published > 100)
        broker.kill()
        eventually(lambda: not service.health().ready)
        time.sleep(5)
        broker.start()
        cluster.send(alert.packet for alert in alerts[1500:])
        eventually(lambda: service.health().ready, within_s=RECOVERY_S)
        eventually(lambda: len(cluster.published_candids()) == len(alerts), within_s=60, every_s=0.5)
        assert service.accounting.closes()
    check(cluster, alerts, delivery)


@MODES
def test_network_cut_and_healed(models: ModelRegistry, tmp_path: Path, store_url: str, delivery: Delivery) -> None:
    """Given a network that is dead for 12 s, longer than the group waits, then nothing is lost when it is back."""
    with Proxy() as proxy, Broker(tmp_path / "kafka", advertised_port=proxy.port) as broker:
        proxy.target = broker.port
        cluster = Cluster(broker.bootstrap_servers, uuid.uuid4().hex[:8])
        alerts = list(simulate(3000, seed=32))
        cluster.make_topic(cluster.alerts)
        cluster.send(alert.packet for alert in alerts)
        settings = cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}")
        with streaming(settings, models) as (service, _):
            eventually(lambda: service.accounting.total().published > 100)
            proxy.cut()
            time.sleep(12)
            before = service.accounting.total().published
            proxy.heal()
            eventually(lambda: service.accounting.total().published > before, within_s=RECOVERY_S)
            eventually(lambda: len(cluster.published_candids()) == len(alerts), within_s=90, every_s=0.5)
            assert service.accounting.closes()
        check(cluster, alerts, delivery)


def test_disk_full_and_freed(cluster: Cluster, models: ModelRegistry, tmp_path: Path) -> None:
    """Given a store whose disk fills up, then intake stops and the service says why; when there is room, it goes on
    by itself, and nothing was refused or lost.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small file system can't be mounted here (needs root)")
    try:
        alerts = list(simulate(3000, seed=33, objects=6000))
        cluster.make_topic(cluster.alerts)
        cluster.send(alert.packet for alert in alerts)
        with streaming(cluster.settings(f"sqlite:///{disk}/store.db"), models) as (service, _):
            eventually(lambda: any("full" in reason for reason in service.health().reasons), within_s=60)
            assert not service.health().ready
            taken = service.accounting.total().consumed
            assert taken < len(alerts), "it must stop taking alerts that it can't keep"
            time.sleep(3)
            assert not service.accounting.total().dead_lettered
            subprocess.run(["mount", "-o", "remount,size=500m", disk], check=True)
            eventually(lambda: service.health().ready, within_s=RECOVERY_S)
            eventually(lambda: service.accounting.total().published == len(alerts), within_s=60)
            assert service.accounting.closes()
        assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


@pytest.mark.postgres
@MODES
def test_postgres_killed_and_restarted(cluster: Cluster, models: ModelRegistry, delivery: Delivery) -> None:
    """Given the store's SIGKILL midway, then intake stops, the service says why, and goes on when the store is back."""
    with own_server(durable=True) as server:
        alerts = list(simulate(3000, seed=34))
        cluster.make_topic(cluster.alerts)
        cluster.send(alert.packet for alert in alerts)
        settings = cluster.settings(server.dsn, delivery=delivery, transactional_id=f"replica-{cluster.name}")
        with streaming(settings, models) as (service, store):
            eventually(lambda: service.accounting.total().published > 100)
            server.kill()
            eventually(lambda: not service.health().ready)
            time.sleep(3)
            assert not service.accounting.total().dead_lettered
            server.start()
            eventually(lambda: service.health().ready, within_s=RECOVERY_S)
            eventually(lambda: service.accounting.total().published == len(alerts), within_s=90)
            assert service.accounting.closes()
            check_light_curves(store, alerts)
        check(cluster, alerts, delivery)


@pytest.mark.postgres
@MODES
def test_rolling_restart_of_three_replicas(
    cluster: Cluster, tmp_path: Path, postgres_url: str, delivery: Delivery
) -> None:
    """Given three replicas on one PostgreSQL under load, when each is restarted in turn, then nothing is lost, nothing
    doubled in exactly_once, and the light curves are those that one process would have made.
    """
    alerts = list(simulate(6000, seed=35))
    cluster.make_topic(cluster.alerts, 6)
    replicas = [
        Replica(
            cluster.settings(
                postgres_url,
                delivery=delivery,
                transactional_id=f"replica-{cluster.name}-{number}",
                group_instance_id=f"replica-{number}",
            ),
            tmp_path / f"log-{number}",
        ).start()
        for number in range(3)
    ]
    with sending(cluster, [alert.packet for alert in alerts], rate_per_s=120):
        eventually(lambda: len(cluster.published_candids()) > 100, within_s=60)
        for replica in replicas:
            time.sleep(5)
            assert replica.terminate() == 0, replica.said()
            replica.start()
    eventually(lambda: len(cluster.published_candids()) == len(alerts), within_s=120, every_s=1.0)
    for replica in replicas:
        assert replica.terminate() == 0, replica.said()
    check(cluster, alerts, delivery)
    with closing(open_store(postgres_url)) as store:
        check_light_curves(store, alerts)


@MODES
def test_one_percent_poison(cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery) -> None:
    """Given 1 % broken messages in 5,000, then each is a dead letter once, and every other alert classified."""
    alerts = list(simulate(5000, seed=36))
    bad: dict[bytes, set[str]] = {}
    for number in range(7):
        bad.update(poison(alerts[number].packet, number + 1).values())
    places = random.Random(36)
    stream = [alert.packet for alert in alerts]
    for message in bad:
        stream.insert(places.randrange(len(stream)), message)
    cluster.make_topic(cluster.alerts, max_message_bytes="20000000")
    cluster.send(stream)
    settings = cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}")
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().settled == len(stream), within_s=120)
        assert service.accounting.closes()
    letters = {letter.value: letter for letter in cluster.refused()}
    assert len(cluster.refused()) == len(stream) - len(alerts)
    for message, codes in bad.items():
        assert letters[message].code in codes, letters[message].message
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}
