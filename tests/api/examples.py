"""Light curves, keys and nights that the tests of this room share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from service.alerts import Decoder
from service.config import Settings
from service.inference.registry import ModelRegistry
from service.simulate import SimulatedAlert
from service.store import Store
from service.stream.batch import Batch, Message
from service.stream.pipeline import Pipeline

MakeClient = Callable[..., TestClient]

POINTS: list[dict[str, Any]] = [
    {"mjd": 60310.2, "band": "r", "diffmaglim": 20.4},
    {"mjd": 60313.3, "band": "r", "mag": 19.8, "magerr": 0.12, "sign": 1},
    {"mjd": 60316.2, "band": "g", "mag": 19.1, "magerr": 0.07, "sign": 1},
    {"mjd": 60317.2, "band": "i", "mag": 19.0, "magerr": 0.07, "sign": -1},
    {"mjd": 60319.3, "band": "r", "mag": 18.7, "magerr": 0.05, "sign": 1},
]
COLUMNS = {name: [point.get(name) for point in POINTS] for name in ("mjd", "band", "mag", "magerr", "diffmaglim")} | {
    "sign": [point.get("sign", 0) for point in POINTS]
}

READ, WRITE = "read-key-of-a-test", "write-key-of-a-test"
KEYS = [f"{scope}:{hashlib.sha256(key.encode()).hexdigest()}" for scope, key in (("read", READ), ("write", WRITE))]


def stream_through(night: list[SimulatedAlert], store: Store, models: ModelRegistry) -> list[dict[str, Any]]:
    """The messages that the stream publishes for `night`, in order."""
    pipeline = Pipeline(Decoder(), store, models, Settings().quality)
    published = []
    for alert in night:  # one by one, so that each has a time of publication of its own
        batch = Batch.of([Message("night", 0, alert.candid, alert.packet, timestamp=1e9, received=1e9)])
        pipeline.run(batch)
        published += [outcome.classification.document for _, outcome in batch.published()]
    return published
