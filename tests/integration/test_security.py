"""SASL and TLS: the service against listeners that let nobody in without a password."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker, free_port, why_absent
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = pytest.mark.kafka

USER, PASSWORD = "classifier", "a-password-of-this-test"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """(port, certificate) of a listener with TLS and SASL, PLAIN and SCRAM."""
    if why := why_absent():
        pytest.skip(f"no Apache Kafka here: {why}")
    folder = tmp_path_factory.mktemp("secured")
    store, certificate = folder / "broker.p12", folder / "broker.pem"
    key = ["-keystore", str(store), "-storepass", PASSWORD, "-alias", "broker"]
    subprocess.run(
        ["keytool", "-genkeypair", *key, "-keyalg", "RSA", "-storetype", "PKCS12", "-dname", "CN=broker",
         "-ext", "san=ip:127.0.0.1,dns:localhost", "-validity", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(["keytool", "-exportcert", "-rfc", *key, "-file", str(certificate)], check=True, capture_output=True)
    port, plain_port = free_port(), free_port()
    broker = Broker(
        folder / "kafka", plain_port, format_options=("--add-scram", f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]")
    )
    plain = broker.server_properties()
    jaas = "org.apache.kafka.common.security"
    broker.extra_properties = {
        "listeners": f"{plain['listeners']},SECURE://127.0.0.1:{port}",
        "advertised.listeners": f"{plain['advertised.listeners']},SECURE://127.0.0.1:{port}",
        "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SECURE:SASL_SSL",
        "ssl.keystore.location": str(store),
        "ssl.keystore.password": PASSWORD,
        "ssl.keystore.type": "PKCS12",
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "listener.name.secure.plain.sasl.jaas.config": (
            f'{jaas}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        ),
        "listener.name.secure.scram-sha-256.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;",
    }
    with broker:
        yield port, certificate


def secure_cluster(port: int, certificate: Path, mechanism: str, password: str = PASSWORD) -> Cluster:
    return Cluster(
        f"127.0.0.1:{port}",
        uuid.uuid4().hex[:8],
        options={
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": mechanism,
            "sasl.username": USER,
            "sasl.password": password,
            "ssl.ca.location": str(certificate),
        },
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_password_over_tls(secured: tuple[int, Path], models: ModelRegistry, store_url: str, mechanism: str) -> None:
    """Given the properties of librdkafka in the settings, then every client of the service uses them."""
    cluster = secure_cluster(*secured, mechanism)
    alerts = list(simulate(50, seed=40))
    cluster.make_topic(cluster.alerts)
    cluster.send(alert.packet for alert in alerts)
    with streaming(cluster.settings(store_url), models) as (service, _):
        eventually(lambda: service.accounting.total().published == 50)
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}


def test_a_wrong_password_is_told(secured: tuple[int, Path], models: ModelRegistry, store_url: str) -> None:
    cluster = secure_cluster(*secured, "PLAIN", password="wrong")
    with streaming(cluster.settings(store_url), models) as (service, _):
        eventually(lambda: any("uthentication" in reason for reason in service.health().reasons))
        service.stop(drain_s=1)
