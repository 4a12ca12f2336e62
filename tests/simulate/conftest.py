"""A simulated night, made once for the tests that look at it from different sides."""

import io
from typing import Any

import fastavro
import pytest

from service.simulate import SimulatedAlert, Sky

Record = dict[str, Any]


@pytest.fixture(scope="session")
def alerts() -> list[SimulatedAlert]:
    """All alerts of 120 objects in a fortnight: several per object, strays among them."""
    return list(Sky(11, objects=120, nights=14, bogus=0.05, solar_system=0.05).alerts())


@pytest.fixture(scope="session")
def records(alerts: list[SimulatedAlert]) -> list[Record]:
    """What fastavro reads in each of them."""
    return [read(alert.packet) for alert in alerts]


def read(packet: bytes) -> Record:
    (record,) = fastavro.reader(io.BytesIO(packet))
    assert isinstance(record, dict)
    return record
