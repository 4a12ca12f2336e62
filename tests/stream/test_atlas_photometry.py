"""Photometry by position through the steps of the stream, beside alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from service.alerts import Decoder
from service.alerts.atlas import encode
from service.config import QualitySettings
from service.output.avro import decode_classification
from service.simulate import SimulatedAlert
from service.store import SqliteStore
from service.store.interface import StoreUnavailableError
from service.stream.batch import Batch, DeadLettered, Filtered, Published
from service.stream.pipeline import Pipeline
from tests.alerts.atlas_tables import exposures

BatchOf = Callable[..., Batch]


def photometry_of(alert: SimulatedAlert, *epochs: float, name: str = "", flux: float = 200.0) -> bytes:
    known = Decoder().decode(alert.packet)
    rows = [(known.mjd + epoch, "o", flux) for epoch in epochs]
    return encode(name, known.ra, known.dec, exposures(*rows))


def answers(batch: Batch) -> list[dict]:
    return [decode_classification(outcome.value) for _, outcome in batch.published()]


def test_photometry_is_answered_as_an_alert_of_the_object_that_it_joins(
    pipeline: Pipeline, store: SqliteStore, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    alert = alerts[0]
    message = photometry_of(alert, -1.0, 0.25, flux=300.0)
    batch = batch_of(message, alert.packet)  # in one batch, whatever their order
    pipeline.run(batch)
    joint, alone = answers(batch)
    assert joint["object_id"] == alone["object_id"] == alert.object_id
    assert (joint["survey"], alone["survey"]) == ("atlas", "ztf")
    assert joint["n_detections"] == alone["n_detections"] | {"o": 2}
    assert "unknown_band" in joint["flags"]  # the shipped model knows g, r, i
    assert joint["mjd"] == pytest.approx(alone["mjd"] + 0.25)
    assert joint["candid"] != alone["candid"]
    assert [key.decode() for key in (o.key for _, o in batch.published())] == [alert.object_id] * 2
    latest = store.latest(alert.object_id)
    assert latest is not None
    assert latest.candid == joint["candid"]


def test_photometry_of_the_past_is_the_latest_word_too(
    pipeline: Pipeline, store: SqliteStore, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    """Given an alert that was classified, when older photometry comes, then the answer to all that is known is the
    latest; and newer photometry before older, whatever that says.
    """
    alert = alerts[0]
    pipeline.run(batch_of(alert.packet))
    for epoch in (-9.0, -5.0, -3.0):
        batch = batch_of(photometry_of(alert, epoch, flux=300.0))
        pipeline.run(batch)
        (answer,) = answers(batch)
        latest = store.latest(alert.object_id)
        assert latest is not None
        assert latest.candid == answer["candid"]
        assert latest.mjd == Decoder().decode(alert.packet).mjd
    assert latest.document["n_detections"]["o"] == 3


def test_an_object_of_one_survey_gets_an_answer(
    pipeline: Pipeline, store: SqliteStore, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    batch = batch_of(photometry_of(alerts[0], 0.0, 1.0))
    pipeline.run(batch)
    (answer,) = answers(batch)
    assert answer["object_id"].startswith("ATLAS_J")
    assert answer["n_detections"] == {"o": 2}
    assert {"no_detection", "unknown_band"} <= set(answer["flags"])
    [(_, outcome)] = batch.published()
    kept = store.latest(answer["object_id"])
    assert kept is not None
    assert kept.top_class is kept.document["top_class"] is outcome.classification.document["top_class"] is None
    assert answer["top_class"] == max(
        answer["probabilities"], key=answer["probabilities"].get
    )  # a string, by its schema
    assert answer["probabilities"] == pytest.approx(kept.document["probabilities"])
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    alone = batch_of(alerts[1].packet)
    pipeline.run(alone)
    assert answers(alone)[0]["survey"] == "ztf"

    pipeline.run(batch_of(alerts[0].packet))  # the object comes: both surveys are its own
    assert store.load([alerts[0].object_id])[alerts[0].object_id].light_curve.points["survey"].max() == 2
    assert store.latest(answer["object_id"]) is None


def test_what_can_not_be_used_ends_its_own_way_alone(
    pipeline: Pipeline, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    good = photometry_of(alerts[0], 0.0, name="here")
    elsewhere = photometry_of(alerts[1], 0.0, name="here")
    cloudy = encode("cloudy", 10.0, 20.0, exposures((60000.0, "o", 1.0), sky=[15.0]))
    nowhere = encode("nowhere", 400.0, 20.0, exposures((60000.0, "o", 1.0)))
    batch = batch_of(good, cloudy, nowhere, alerts[0].packet, b"", good)
    pipeline.run(batch)
    kinds = [type(item.outcome) for item in batch.items]
    assert kinds == [Published, Filtered, DeadLettered, Published, DeadLettered, Published]
    assert batch.items[1].outcome == Filtered("no_usable_photometry")
    assert batch.items[2].outcome.code == "bad_value"
    assert "ra is 400" in batch.items[2].outcome.message
    later = batch_of(elsewhere, good)
    pipeline.run(later)
    refused, fine = (item.outcome for item in later.items)
    assert refused.code == "merge_failed"
    assert "a name stands for one position" in refused.message
    assert isinstance(fine, Published)


def test_redelivered_photometry_says_the_same_again(
    pipeline: Pipeline, store: SqliteStore, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    messages = [photometry_of(alerts[0], 0.0), alerts[0].packet, photometry_of(alerts[2], 0.0)]
    pipeline.run(batch_of(*messages))
    pipeline.run(first := batch_of(*messages))
    before = store.statistics()
    pipeline.run(second := batch_of(*messages))
    identity = lambda each: (each["object_id"], each["candid"], each["version"])  # noqa: E731
    assert Counter(map(identity, answers(first))) == Counter(map(identity, answers(second)))
    now = store.statistics()
    assert (now.objects, now.sources, now.classifications) == (before.objects, before.sources, before.classifications)


def test_a_join_that_must_wait_is_made_again_whole(
    decoder: Decoder, store: SqliteStore, models: object, alerts: list[SimulatedAlert], batch_of: BatchOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pipeline = Pipeline(decoder, store, models, QualitySettings())
    batch = batch_of(alerts[0].packet, photometry_of(alerts[0], 0.5))
    pipeline.decode(batch)
    pipeline.cut(batch)
    with monkeypatch.context() as away:
        away.setattr(SqliteStore, "join", lambda *_: (_ for _ in ()).throw(StoreUnavailableError("away")))
        with pytest.raises(StoreUnavailableError):
            pipeline.merge(batch)
    pipeline.merge(batch)
    assert batch.items[1].subject.object_id == alerts[0].object_id
    assert batch.items[1].alert.object_id != alerts[0].object_id  # what came stays as it came
    assert len(batch.items[1].light_curve) == len(batch.items[0].light_curve) + 1
