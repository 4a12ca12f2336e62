"""Whatever the OpenAPI document allows, and much that it does not, is answered as it promises and never with a 500."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from service.api import create_app
from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.store import open_store
from tests.api.examples import stream_through

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

checks = pytest.importorskip("schemathesis.specs.openapi.checks")

# A JSON schema can't say that a packet must be Avro, that a flux needs its unit, or which classes the model has.
LEFT_OUT = [checks.positive_data_acceptance]

# Endless by nature; tests of their own read it.
ENDLESS = "/v1/events"


@pytest.fixture(scope="module")
def api() -> Iterator[Any]:
    models = ModelRegistry(load_bundle(), threads=1)
    store = open_store("sqlite://")
    stream_through(list(simulate(30, seed=1)), store, models)
    app = create_app(Settings(api={"max_body_bytes": 200_000}), models, store)
    yield schemathesis.openapi.from_asgi("/openapi.json", app).exclude(path=ENDLESS)
    store.close()


def fuzz(api: Any, examples: int, subtests: pytest.Subtests) -> None:
    """`examples` drawn requests to each operation, right and wrong ones, checked against what the document says."""
    for result in api.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:

            @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                case.call_and_validate(excluded_checks=LEFT_OUT)

            with subtests.test(operation=operation.label, mode=mode.value), suppress(Unsatisfiable):
                ask()  # unsatisfiable: without parameters nothing can be wrong


def test_every_operation_keeps_its_promises(api: Any, subtests: pytest.Subtests) -> None:
    fuzz(api, 6, subtests)


@pytest.mark.slow
def test_every_operation_keeps_its_promises_for_long(api: Any, subtests: pytest.Subtests) -> None:
    fuzz(api, int(os.environ.get("FUZZ_EXAMPLES", "400")), subtests)
