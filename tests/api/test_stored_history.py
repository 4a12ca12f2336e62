"""`stored_history`: a posted packet is answered with what the store knows of its object and its place."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from service.alerts import Decoder
from service.alerts.atlas import encode
from service.config import Settings
from service.inference.registry import ModelRegistry
from service.simulate import SimulatedAlert
from service.store import Increment, Store
from service.stream.batch import Batch, Message
from service.stream.pipeline import Pipeline
from tests.alerts.atlas_tables import exposures


@pytest.mark.parametrize("first", ["alert", "photometry"])
def test_stored_history_joins_by_position_as_the_stream_does(
    client: TestClient, night: list[SimulatedAlert], store: Store, models: ModelRegistry, first: str
) -> None:
    """Given an alert in the store, when photometry of its place is posted under a new name, or the other way round,
    then the answer is what the stream would publish for it, and nothing is stored.
    """
    alert = Decoder().decode(night[0].packet)
    photometry = encode("forced here", alert.ra, alert.dec + 1 / 3600, exposures((alert.mjd + 0.25, "o", 300.0)))
    pipeline = Pipeline(Decoder(), store, models, Settings().quality)
    packets = [night[0].packet, photometry]
    known, posted = packets if first == "alert" else reversed(packets)
    pipeline.run(Batch.of([Message("night", 0, 0, known, received=1e9)]))
    names = [alert.object_id, "forced here"]
    before = store.load(names)
    alone, joint = (
        client.post(f"/v1/classify/alert?stored_history={history}", content=posted).json()
        for history in ("false", "true")
    )
    assert store.load(names) == before
    later = Batch.of([Message("night", 0, 1, posted, received=1e9)])
    pipeline.run(later)
    [(_, outcome)] = later.published()
    clocks = ("received", "published", "broker_timestamp")
    assert {k: v for k, v in joint.items() if k not in clocks} == {
        k: v for k, v in outcome.classification.document.items() if k not in clocks
    }
    assert joint["object_id"] == alert.object_id
    assert joint["n_detections"]["o"] == 1
    assert set(joint["n_detections"]) > set(alone["n_detections"])


def test_photometry_under_the_name_of_another_place_is_refused(client: TestClient, store: Store) -> None:
    here = exposures((60310.2, "o", 300.0))
    store.join([Increment("here", 10.0, 20.0, Decoder().decode(encode("here", 10.0, 20.0, here)).light_curve)])
    response = client.post("/v1/classify/alert?stored_history=true", content=encode("here", 10.0, 21.0, here))
    assert response.status_code == 422
    assert "a name stands for one position" in response.json()["detail"]
