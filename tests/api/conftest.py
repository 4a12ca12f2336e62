"""The application over the shipped model, an empty or a filled store, and simulated packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.alerts import Decoder
from service.api import create_app
from service.config import Settings
from service.inference.bundle import default_bundle
from service.inference.registry import ModelRegistry
from service.simulate import BALANCED, SimulatedAlert, simulate
from service.store import Store, open_store
from service.stream.message import Batch, Message
from service.stream.pipeline import Pipeline

MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="session")
def models() -> ModelRegistry:
    return ModelRegistry(default_bundle(), threads=1)


@pytest.fixture(scope="session")
def night() -> list[SimulatedAlert]:
    """Simulated alerts, some objects with several of them, in the order of their observation."""
    return list(simulate(150, seed=3, weights=BALANCED))


def stream_through(night: list[SimulatedAlert], store: Store, models: ModelRegistry) -> list[dict[str, Any]]:
    """The messages that the stream publishes for `night`, in order."""
    pipeline = Pipeline(Decoder(), store, models, Settings().quality)
    published = []
    for alert in night:  # one by one, so that each has a time of publication of its own
        batch = Batch.of([Message("night", 0, alert.candid, alert.packet, timestamp=1e9, received=1e9)])
        pipeline.run(batch)
        published += [outcome.document for _, outcome in batch.published()]
    return published


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

    def make(stream: Any = None, raise_errors: bool = True, **groups: Any) -> TestClient:
        app = create_app(Settings(**groups), models, store, stream)
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
