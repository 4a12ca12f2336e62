"""A real Apache Kafka for the tests marked `kafka`: started here, or given by KAFKA_BOOTSTRAP_SERVERS."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker, why_absent
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from tests.integration.streams import Cluster


@pytest.fixture(scope="session")
def local_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of our own, which a test may kill and start again."""
    if why := why_absent():
        pytest.skip(f"no Apache Kafka here: {why}")
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def bootstrap_servers(request: pytest.FixtureRequest) -> str:
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        return given
    broker: Broker = request.getfixturevalue("local_broker")
    return broker.bootstrap_servers


@pytest.fixture
def cluster(bootstrap_servers: str) -> Cluster:
    """The cluster under names that no other test uses."""
    return Cluster(bootstrap_servers, uuid.uuid4().hex[:8])


@pytest.fixture
def killable(local_broker: Broker) -> Iterator[tuple[Broker, Cluster]]:
    """The broker of our own and its cluster; it runs again afterwards."""
    yield local_broker, Cluster(local_broker.bootstrap_servers, uuid.uuid4().hex[:8])
    local_broker.start()


@pytest.fixture(scope="session")
def models() -> ModelRegistry:
    return ModelRegistry(load_bundle(), threads=1)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"
