"""The application over the shipped model, an empty or a filled store, and simulated packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api import create_app
from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.simulate import BALANCED, SimulatedAlert, simulate
from service.store import Store, open_store
from tests.api.examples import MakeClient, stream_through


@pytest.fixture(scope="session")
def models() -> ModelRegistry:
    return ModelRegistry(load_bundle(), threads=1)


@pytest.fixture(scope="session")
def night() -> list[SimulatedAlert]:
    """Simulated alerts, some objects with several of them, in the order of their observation."""
    return list(simulate(150, seed=3, weights=BALANCED))


@pytest.fixture
def store() -> Iterator[Store]:
    store = open_store("sqlite://")
    yield store
    store.close()


@pytest.fixture
def documents(night: list[SimulatedAlert], store: Store, models: ModelRegistry) -> list[dict[str, Any]]:
    """What the stream published for the night; the store is full of it."""
    return stream_through(night, store, models)


@pytest.fixture
def make_client(models: ModelRegistry, store: Store) -> Iterator[MakeClient]:
    """`make_client(api={...}, stream=..., **groups)` starts the application with these settings."""
    started: list[TestClient] = []

    def make(
        stream: Any = None, raise_errors: bool = True, registry: ModelRegistry = models, **groups: Any
    ) -> TestClient:
        app = create_app(Settings(**groups), registry, store, stream)
        client = TestClient(app, raise_server_exceptions=raise_errors)
        client.__enter__()
        started.append(client)
        return client

    yield make
    for client in started:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    return make_client()
