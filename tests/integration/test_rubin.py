"""Rubin's stream as its brokers give it: a password without TLS, framed messages without keys, 45 partitions, 10 MB."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy.kafka.broker import Broker, free_port, why_absent
from service import metrics
from service.config import Delivery
from service.inference.registry import ModelRegistry
from service.photometry import SURVEY_CODES
from service.simulate import SimulatedAlert, simulate
from service.simulate.rubin import simulate_rubin
from service.simulate.rubin_packets import SCHEMA_ID, schema_text
from tests.alerts.rubin_packets import an_alert, framed, schema
from tests.integration.postgres import postgres_server_dsn, postgres_url
from tests.integration.streams import Cluster, Replica, eventually, streaming

pytestmark = pytest.mark.kafka
__all__ = ["postgres_server_dsn", "postgres_url"]

USER, PASSWORD = "classifier", "a-password-of-this-test"
LARGE_ID = 1100


class _Registry(BaseHTTPRequestHandler):
    """As Rubin's: below a path, and read-only."""

    def do_GET(self) -> None:
        known = {SCHEMA_ID: schema_text(), LARGE_ID: json.dumps(schema("lsst.v11_0"))}
        number = self.path.removeprefix("/schema-registry/schemas/ids/").partition("?")[0]
        text = known.get(int(number)) if number.isdecimal() else None
        body = {"schema": text} if text else {"error_code": 40403, "message": "Schema not found"}
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/schema-registry/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """(port of a listener that asks for a password, port of one that does not): the survey's brokers and our own."""
    if why := why_absent():
        pytest.skip(f"no Apache Kafka here: {why}")
    port, plain_port = free_port(), free_port()
    broker = Broker(
        tmp_path_factory.mktemp("rubin") / "kafka",
        plain_port,
        format_options=("--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"),
    )
    plain = broker.server_properties()
    broker.extra_properties = {
        "listeners": f"{plain['listeners']},SURVEY://127.0.0.1:{port}",
        "advertised.listeners": f"{plain['advertised.listeners']},SURVEY://127.0.0.1:{port}",
        "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SURVEY:SASL_PLAINTEXT",
        "listener.name.survey.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.survey.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
    }
    with broker:
        yield port, plain_port


@pytest.fixture(scope="module")
def night() -> list[SimulatedAlert]:
    return list(simulate_rubin(50, seed=2))


@pytest.mark.postgres
def test_a_process_per_survey_shares_one_store(
    brokers: tuple[int, int], registry: str, models: ModelRegistry, postgres_url: str, night: list[SimulatedAlert]
) -> None:
    """Given the survey's brokers and our own, then what comes from the one is answered on the other; an object of each
    survey is in the one store; asteroids are filtered, the largest message is read, and all accounts close.
    """
    port, plain_port = brokers
    ours = Cluster(f"127.0.0.1:{plain_port}", uuid.uuid4().hex[:8])
    theirs = f"lsst-alerts-{ours.name}"
    ours.make_topic(theirs, 45, max_message_bytes="10485760")
    ours.make_topic(ours.alerts)
    alerts = list(simulate(20, seed=41))
    large = framed(an_alert() | {"cutoutDifference": bytes(10_400_000)}, schema("lsst.v11_0"), LARGE_ID)
    unknown = night[0].packet[:4] + b"\x01" + night[0].packet[5:]
    ours.send([alert.packet for alert in night] + [large, unknown], theirs)
    ours.send(alert.packet for alert in alerts)

    ztf = ours.settings(postgres_url, output_topic=f"ztf-{ours.name}")
    rubin = ours.settings(
        postgres_url,
        bootstrap_servers=f"127.0.0.1:{port}",
        topics=[theirs],
        group_id=f"{USER}-alerts-{ours.name}",
        schema_registry_url=registry,
        librdkafka={
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
        },
        output_bootstrap_servers=f"127.0.0.1:{plain_port}",
    )
    asteroids = sum(alert.true_class == "SSO" for alert in night)
    with ExitStack() as running:
        (first, store), (second, _) = (running.enter_context(streaming(each, models)) for each in (ztf, rubin))
        eventually(lambda: first.accounting.total().settled == 20, within_s=60)
        eventually(lambda: second.accounting.total().settled == 52, within_s=60)
        assert second.health().ready, second.health()
        total = second.accounting.total()
        assert total.filtered == Counter(solar_system=asteroids)
        assert total.published == 51 - asteroids
        assert total.dead_lettered == Counter(unknown_schema=1)
        names = {alert.object_id for alert in night if alert.true_class != "SSO"}
        stored = store.load(sorted(names))
        assert stored.keys() == names
        assert {*stored[min(names)].light_curve.points["survey"]} == {SURVEY_CODES["lsst"]}
        assert store.load([alerts[0].object_id])
        assert store.statistics().objects == len(names) + 1 + len({alert.object_id for alert in alerts})
    for service in (first, second):
        assert service.accounting.view()["closes"]
    answers = ours.classifications()
    assert Counter(answer["candid"] for answer in answers) == {
        **{alert.candid: 1 for alert in night if alert.true_class != "SSO"},
        an_alert()["diaSource"]["diaSourceId"]: 1,
    }
    assert all("no_model_for_survey" in answer["flags"] for answer in answers)
    (letter,) = ours.refused()
    assert (letter.code, letter.topic, letter.value) == ("unknown_schema", theirs, unknown)


class Night(NamedTuple):
    """A night of both surveys, in topics of their own: the numbers of the alerts that are to be answered."""

    ours: Cluster
    inputs: list[dict[str, Any]]
    asteroids: int
    answered: set[int]
    sent: int


@pytest.fixture
def both(brokers: tuple[int, int], registry: str, night: list[SimulatedAlert]) -> Night:
    """ZTF's containers in one topic of our brokers, Rubin's framed messages in 45 partitions of another."""
    ours = Cluster(f"127.0.0.1:{brokers[1]}", uuid.uuid4().hex[:8])
    theirs = ours.make_topic(f"lsst-alerts-{ours.name}", 45, max_message_bytes="10485760")
    ours.make_topic(ours.alerts)
    alerts = list(simulate(30, seed=42))
    ours.send((alert.packet for alert in night), theirs)
    ours.send(alert.packet for alert in alerts)
    inputs = [
        {"name": "ztf", "survey": "ztf", "topics": [ours.alerts]},
        {
            "name": "rubin",
            "survey": "lsst",
            "topics": [theirs],
            "group_id": f"{USER}-{ours.name}",
            "schema_registry_url": registry,
            "max_batch": 16,
        },
    ]
    kept = [alert for alert in night if alert.true_class != "SSO"]
    answered = {alert.candid for alert in [*kept, *alerts]}
    return Night(ours, inputs, len(night) - len(kept), answered, len(night) + len(alerts))


@pytest.mark.parametrize("delivery", list(Delivery), ids=str)
def test_one_process_reads_both_surveys(both: Night, models: ModelRegistry, store_url: str, delivery: Delivery) -> None:
    """Given a night of both surveys, when one process reads them as two inputs, then each alert is answered once, each
    input's accounts close and say what became of its own alerts, and so do health and metrics.
    """
    settings = both.ours.reading(
        store_url, both.inputs, delivery=delivery, transactional_id=f"replica-{both.ours.name}"
    )
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().settled == both.sent, within_s=60)
        eventually(lambda: service.health().lag_messages == 0)
        health = service.health()
    assert health.ready, health.reasons
    assert [(each.name, len(each.partitions)) for each in health.inputs] == [("ztf", 4), ("rubin", 45)]
    view = service.accounting.view()
    assert view["closes"]
    ztf, rubin = view["inputs"]
    assert (ztf["input"], ztf["consumed"], ztf["published"], ztf["filtered"]) == ("ztf", 30, 30, {})
    assert (rubin["input"], rubin["consumed"], rubin["filtered"]) == ("rubin", 50, {"solar_system": both.asteroids})
    assert both.ours.published_candids() == dict.fromkeys(both.answered, 1)
    by_survey = Counter(answer["survey"] for answer in both.ours.classifications())
    assert by_survey == {"ztf": 30, "lsst": len(both.answered) - 30}
    counted = sum(
        sample.value
        for family in metrics.CONSUMED.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
        and sample.labels["input"] == "rubin"
        and sample.labels["topic"] == both.inputs[1]["topics"][0]
    )
    assert counted == 50


def test_what_one_input_waits_for_does_not_hold_up_the_other(
    both: Night, models: ModelRegistry, store_url: str
) -> None:
    """Given a registry that does not answer, then ZTF's alerts are answered, and readiness names the input that waits;
    when it answers, Rubin's are too, and nothing is lost.
    """
    port = free_port()
    both.inputs[1]["schema_registry_url"] = f"http://127.0.0.1:{port}/schema-registry/"
    settings = both.ours.reading(store_url, both.inputs)
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.view()["inputs"][0]["published"] == 30, within_s=60)
        eventually(lambda: not service.health().ready)
        ztf, rubin = service.health().inputs
        assert ztf.ready
        assert any("schema registry" in reason for reason in rubin.reasons), rubin.reasons
        assert service.health().reasons[0].startswith("rubin: ")
        away = HTTPServer(("127.0.0.1", port), _Registry)
        answering = threading.Thread(target=away.serve_forever)
        answering.start()
        eventually(lambda: service.accounting.total().settled == both.sent, within_s=60)
        eventually(lambda: service.health().ready)
    away.shutdown()
    answering.join()
    away.server_close()
    assert service.accounting.view()["closes"]
    assert both.ours.published_candids() == dict.fromkeys(both.answered, 1)


@pytest.mark.postgres
@pytest.mark.parametrize("delivery", list(Delivery), ids=str)
def test_two_processes_share_both_surveys(both: Night, postgres_url: str, delivery: Delivery, tmp_path: Path) -> None:
    """Given a night of both surveys, when two processes read both inputs with one store and one of them ends on the
    way, then each alert is answered once, the groups have settled every offset, and each process's accounts close.
    """
    settings = [
        both.ours.reading(postgres_url, both.inputs, delivery=delivery, transactional_id=f"{name}-{both.ours.name}")
        for name in ("a", "b")
    ]
    replicas = [Replica(each, tmp_path / f"{number}.log").start() for number, each in enumerate(settings)]
    groups = {both.ours.alerts: None, both.inputs[1]["topics"][0]: both.inputs[1]["group_id"]}
    try:
        eventually(lambda: all(replica.said().count("assigned ") >= 2 for replica in replicas), within_s=60)
        eventually(lambda: set(both.ours.published_candids()) == both.answered, within_s=60)
        assert replicas[0].terminate() == 0
        more = list(simulate(20, seed=43))
        both.ours.send(alert.packet for alert in more)
        wanted = both.answered | {alert.candid for alert in more}
        eventually(lambda: set(both.ours.published_candids()) == wanted, within_s=60)
        assert replicas[1].terminate() == 0
    finally:
        for replica in replicas:
            replica.end()
    assert both.ours.published_candids() == dict.fromkeys(wanted, 1)
    for topic, group in groups.items():
        assert both.ours.committed(topic, group or f"group-{both.ours.name}-ztf") == both.ours.ends(topic)
    said = [re.findall(r"the stream (\w+) has ended: (\d+) consumed, (\d+) published, (\d+) filtered, 0 dead", log)
            for log in (replica.said() for replica in replicas)]  # fmt: skip
    assert all({name for name, *_ in each} == {"ztf", "rubin"} for each in said)
    numbers = {name: [0, 0, 0] for name in ("ztf", "rubin")}
    for name, *counts in (line for each in said for line in each):
        numbers[name] = [sum(pair) for pair in zip(numbers[name], map(int, counts), strict=True)]
    assert numbers == {"ztf": [50, 50, 0], "rubin": [50, 50 - both.asteroids, both.asteroids]}
    assert not any("accounting does not close" in replica.said() for replica in replicas)


@pytest.mark.parametrize("delivery", list(Delivery), ids=str)
def test_both_deliveries_answer_each_alert_once(
    brokers: tuple[int, int],
    registry: str,
    models: ModelRegistry,
    store_url: str,
    night: list[SimulatedAlert],
    delivery: Delivery,
) -> None:
    """Given a night of both surveys in two topics of our own brokers, then one process reads both."""
    ours = Cluster(f"127.0.0.1:{brokers[1]}", uuid.uuid4().hex[:8])
    second = ours.make_topic(f"rubin-{ours.name}", 6, max_message_bytes="10485760")
    ours.make_topic(ours.alerts)
    alerts = list(simulate(30, seed=42))
    ours.send((alert.packet for alert in night), second)
    ours.send(alert.packet for alert in alerts)
    settings = ours.settings(
        store_url, topics=[ours.alerts, second], schema_registry_url=registry, delivery=delivery,
        transactional_id=f"replica-{ours.name}",
    )  # fmt: skip
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().settled == 80, within_s=60)
        total = service.accounting.total()
        assert total.published + total.filtered.total() == 80
    assert service.accounting.view()["closes"]
    wanted = [alert.candid for alert in [*night, *alerts] if alert in alerts or alert.true_class != "SSO"]
    assert ours.published_candids() == dict.fromkeys(wanted, 1)
    by_survey = Counter(answer["survey"] for answer in ours.classifications())
    assert by_survey == {"ztf": 30, "lsst": len(wanted) - 30}
