"""The stream's steps on real parts: a store in a file, the shipped bundle, simulated packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.alerts.decode import Decoder
from service.config import QualitySettings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.simulate import SimulatedAlert, simulate
from service.store import SqliteStore
from service.stream.batch import Batch, Message
from service.stream.pipeline import Pipeline


@pytest.fixture(scope="session")
def models() -> ModelRegistry:
    return ModelRegistry(load_bundle(), threads=1)


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture(scope="session")
def alerts() -> list[SimulatedAlert]:
    return list(simulate(60, seed=20))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def pipeline(decoder: Decoder, store: SqliteStore, models: ModelRegistry) -> Pipeline:
    return Pipeline(decoder, store, models, QualitySettings())


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    def build(*values: bytes) -> Batch:
        return Batch.of(
            Message("alerts", number % 2, number // 2, value, timestamp=1_700_000_000.5, received=1_700_000_001.0)
            for number, value in enumerate(values)
        )

    return build
