"""Alerts through the pipeline's steps, with no Kafka near."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.alerts import container
from service.alerts.decode import Decoder
from service.config import PipelineSettings, QualitySettings, Settings
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.inference.registry import ModelRegistry, Residents
from service.output.avro import decode_classification
from service.photometry import Context, LightCurve
from service.photometry.context import newest
from service.simulate import SimulatedAlert, simulate
from service.store import SqliteStore, StoredClassification, StoreUnavailableError
from service.stream.batch import Batch, DeadLettered, Filtered, Published
from service.stream.pipeline import Pipeline, build_pipeline, isolate
from tests.inference.tiny_bundle import CONTEXT, write_bundle_with_context

BatchOf = Callable[..., Batch]


def answers_of(batch: Batch) -> list[StoredClassification]:
    return [outcome.classification for _, outcome in batch.published()]


def test_alerts_become_classifications(
    pipeline: Pipeline, store: SqliteStore, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    """Given good packets, then each gets one classification: encoded, keyed by its object, and kept in the store."""
    batch = batch_of(*(alert.packet for alert in alerts))
    pipeline.run(batch)
    published = list(batch.published())
    assert len(published) == len(alerts)
    for (item, outcome), alert in zip(published, alerts, strict=True):
        fields = decode_classification(outcome.value)
        assert fields["candid"] == alert.candid
        assert outcome.key.decode() == fields["object_id"] == alert.object_id
        assert fields["mjd"] == pytest.approx(alert.mjd, abs=1e-6)
        assert fields["broker_timestamp"].timestamp() == item.message.timestamp
        assert fields["received"].timestamp() == item.message.received
        assert fields["observed"] < fields["published"]
        assert fields["probabilities"][fields["top_class"]] == max(fields["probabilities"].values())
        assert sum(fields["superclass_probabilities"].values()) == pytest.approx(1, abs=1e-5)
    newest = max(alerts, key=lambda alert: (alert.mjd, alert.candid))
    kept = store.latest(newest.object_id)
    assert kept is not None
    assert kept.candid == newest.candid


def test_an_answer_knows_the_surroundings_that_the_newest_alert_told(
    store: SqliteStore, alerts: list[SimulatedAlert], batch_of: BatchOf, decoder: Decoder, tmp_path: Path
) -> None:
    """Given a bundle that takes context, when an object's alerts come in one batch or another, then each answer is that
    of the context as known then.
    """
    bundle = load_bundle(write_bundle_with_context(tmp_path / "with_context"))
    registry = ModelRegistry(bundle, threads=1)
    pipeline = Pipeline(decoder, store, registry, QualitySettings())
    known: dict[str, tuple[LightCurve, Context | None]] = {}
    told = set()
    for size in (20, 1, len(alerts)):
        now, alerts = alerts[:size], alerts[size:]
        batch = batch_of(*(alert.packet for alert in now))
        pipeline.run(batch)
        for answer, alert in zip(answers_of(batch), now, strict=True):
            decoded = decoder.decode(alert.packet)
            before, context = known.get(alert.object_id, (LightCurve.empty(), None))
            merged = before.merge(decoded.light_curve), newest(context, decoded.context)
            known[alert.object_id] = merged
            assert merged[1] is not None
            assert set(CONTEXT) <= merged[1].known().keys()
            told.add(merged[1].known()["sgscore1"])
            (expected,) = registry.active.classify([merged[0]], [merged[1]])
            assert answer.document["probabilities"] == pytest.approx(expected.fields()["probabilities"], abs=1e-6)
    assert len(told) > 1
    for object_id, stored in store.load(list(known)).items():
        assert stored.context == known[object_id][1]


def test_an_object_is_classified_as_it_was_known_at_each_alert(
    pipeline: Pipeline, alerts: list[SimulatedAlert], batch_of: BatchOf, models: ModelRegistry, decoder: Decoder
) -> None:
    """Given several alerts of one object in one batch, then each answer knows of what came before, not after."""
    counts: dict[str, list[SimulatedAlert]] = {}
    for alert in simulate(400, seed=21):
        counts.setdefault(alert.object_id, []).append(alert)
    several = max(counts.values(), key=len)
    assert len(several) > 2
    batch = batch_of(*(alert.packet for alert in several))
    pipeline.run(batch)
    known, surroundings = LightCurve.empty(), None
    for (_, outcome), alert in zip(batch.published(), several, strict=True):
        decoded = decoder.decode(alert.packet)
        known, surroundings = known.merge(decoded.light_curve), newest(surroundings, decoded.context)
        (alone,) = models.active.classify([known], [surroundings])
        answered = list(outcome.classification.document["probabilities"].values())
        assert answered == pytest.approx(alone.probabilities.tolist(), abs=1e-5)
        assert sum(outcome.classification.document["n_detections"].values()) == known.n_detections


def test_a_redelivered_alert_gets_the_same_answer(
    pipeline: Pipeline, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    first, second = (batch_of(*(alert.packet for alert in alerts)) for _ in range(2))
    pipeline.run(first)
    pipeline.run(second)
    answers = [
        {answer.candid: answer.document["probabilities"] for answer in answers_of(batch)} for batch in (first, second)
    ]
    last = {alert.object_id: alert.candid for alert in alerts}  # earlier ones know more the second time
    for candid in last.values():
        assert answers[1][candid] == pytest.approx(answers[0][candid], abs=1e-5)


def test_one_bad_message_harms_nobody(pipeline: Pipeline, alerts: list[SimulatedAlert], batch_of: BatchOf) -> None:
    good = [alert.packet for alert in alerts[:5]]
    batch = batch_of(good[0], b"rubbish", good[1], good[2][:30_000], b"", *good[3:])
    pipeline.run(batch)
    codes = [item.outcome.code for item in batch.items if isinstance(item.outcome, DeadLettered)]
    assert codes == ["bad_magic", "truncated", "empty"]
    assert len(list(batch.published())) == 4


def test_too_large_a_message_is_not_even_read(
    decoder: Decoder, store: SqliteStore, models: ModelRegistry, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    pipeline = Pipeline(decoder, store, models, QualitySettings(), max_message_bytes=20_000)
    batch, _ = pipeline.take([item.message for item in batch_of(alerts[0].packet).items], 9)
    pipeline.run(batch)
    (item,) = batch.items
    said = f"{len(alerts[0].packet):,} bytes, above pipeline.max_message_bytes (20,000)"
    assert item.outcome == DeadLettered("too_large", said)


def test_a_message_of_several_records_is_taken_apart_unless_it_costs_too_much(
    pipeline: Pipeline, alerts: list[SimulatedAlert], batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given files one behind the other, and blocks without a record, then each record has an outcome; but a message
    of more records than are read, or too large, is one dead letter with all its bytes.
    """
    packets = [alert.packet for alert in alerts[:3]]
    begin = packets[0].index(packets[0][-16:]) + 16
    hollow = packets[0] + b"\0\0" + packets[0][-16:] + packets[0][begin:]  # blocks of 1, 0 and 1 records
    messages = [item.message for item in batch_of(b"".join(packets), hollow, packets[1]).items]
    batch, _ = pipeline.take(messages, 9)
    pipeline.run(batch)
    assert [item.message.record for item in batch.items] == [1, 2, 3, 1, 2, 1]
    assert len(list(batch.published())) == 6

    monkeypatch.setattr(container, "MAX_RECORDS", 2)
    batch, _ = pipeline.take(messages, 9)
    pipeline.run(batch)
    [letter] = batch.dead_letters()
    assert (letter.code, letter.value, letter.record) == ("too_large", b"".join(packets), 1)
    assert len(list(batch.published())) == 3


def test_every_way_into_the_pipeline_keeps_to_the_settings(
    store: SqliteStore, models: ModelRegistry, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    """Given a size limit and a quality action, then the pipeline of serve, replay and demo keeps both."""
    small, *_, large = sorted((alert.packet for alert in alerts), key=len)
    settings = Settings(
        pipeline=PipelineSettings(max_message_bytes=len(small)), quality=QualitySettings(action="drop", min_rb=1.0)
    )
    pipeline = build_pipeline(settings, models, store)
    batch, _ = pipeline.take([item.message for item in batch_of(small, large).items], 9)
    pipeline.run(batch)
    assert [type(item.outcome) for item in batch.items] == [Filtered, DeadLettered]


def test_quality_cuts_flag_or_drop(
    decoder: Decoder, store: SqliteStore, models: ModelRegistry, batch_of: BatchOf
) -> None:
    """Given artefacts and asteroids among the alerts, then `flag` marks them and `drop` keeps them out of the store."""
    sky = list(simulate(150, seed=22, bogus=0.2, solar_system=0.2))
    flagged, dropped = (batch_of(*(alert.packet for alert in sky)) for _ in range(2))
    Pipeline(decoder, store, models, QualitySettings(action="drop")).run(dropped)
    left_out = [item for item in dropped.items if isinstance(item.outcome, Filtered)]
    assert {item.outcome.reason for item in left_out if isinstance(item.outcome, Filtered)} >= {"rb", "solar_system"}
    kept = {item.alert.object_id for item, _ in dropped.published() if item.alert}
    assert store.statistics().objects == len(kept)

    Pipeline(decoder, store, models, QualitySettings(action="flag")).run(flagged)
    low = [answer.document for answer in answers_of(flagged) if "low_quality" in answer.document["flags"]]
    assert len(list(flagged.published())) == 150
    assert len(low) == len(left_out)
    assert any("low_quality:solar_system" in document["flags"] for document in low)


class _Fragile:
    """A classifier that can't bear a certain light curve, for a reason that nobody foresaw."""

    embeds_as = None

    def __init__(self, models: ModelRegistry, victim: int) -> None:
        self._active = models.active
        self._victim = victim

    def classify(
        self,
        light_curves: Sequence[LightCurve],
        contexts: Sequence[Context | None] | None = None,
        kept: Sequence[bytes | None] | None = None,
    ) -> list[Prediction]:
        for curve in light_curves:
            if self._victim in curve.points["candid"]:
                raise ZeroDivisionError("float division by zero")
        return self._active.classify(light_curves, contexts)


def test_an_unforeseen_failure_hits_its_culprit_alone(
    decoder: Decoder, store: SqliteStore, models: ModelRegistry, batch_of: BatchOf
) -> None:
    """Given a model that fails on one light curve of many, then that alert is a dead letter, the others classified."""
    sky = list({alert.object_id: alert for alert in simulate(80, seed=23)}.values())
    fragile = SimpleNamespace(residents=Residents(_Fragile(models, sky[7].candid)))  # type: ignore[arg-type]
    batch = batch_of(*(alert.packet for alert in sky))
    Pipeline(decoder, store, fragile, QualitySettings()).run(batch)
    refused = [(n, i.outcome) for n, i in enumerate(batch.items) if not isinstance(i.outcome, Published)]
    assert refused == [(7, DeadLettered("classification_failed", "ZeroDivisionError: float division by zero"))]


def test_batches_classified_together_get_the_answers_that_each_gets_alone(
    decoder: Decoder, models: ModelRegistry, alerts: list[SimulatedAlert], batch_of: BatchOf, tmp_path: Path
) -> None:
    answers = []
    for together in (False, True):
        store = SqliteStore(tmp_path / f"{together}.db")
        pipeline = Pipeline(decoder, store, models, QualitySettings())
        batches = [batch_of(*(a.packet for a in alerts[:20]), b"broken"), batch_of(*(a.packet for a in alerts[20:]))]
        for batch in batches:
            pipeline.decode(batch)
            pipeline.merge(batch)
        for group in [batches] if together else [[batch] for batch in batches]:
            pipeline.classify(*group)
        answers.append([item.prediction for batch in batches for item in batch.items])
        store.close()
    for alone, other in zip(*answers, strict=True):
        assert (alone is None) == (other is None)
        if alone is not None and other is not None:
            assert abs(alone.probabilities - other.probabilities).max() < 1e-6
            assert alone.n_detections == other.n_detections


def test_shadows_are_kept_and_not_published(
    decoder: Decoder, store: SqliteStore, models: ModelRegistry, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    """Given a shadow of another version, then its answer stands in the history alone."""
    bundle = models.active.bundle
    renamed = bundle.manifest.model_copy(update={"version": "99.0.0"})
    shadow = Classifier(replace(bundle, manifest=renamed), threads=1)
    with_shadow = SimpleNamespace(residents=Residents(models.active, shadows=(shadow,)))
    batch = batch_of(alerts[0].packet)
    Pipeline(decoder, store, with_shadow, QualitySettings()).run(batch)
    ((_, outcome),) = batch.published()
    assert outcome.classification.document["version"] == models.active.version
    latest = store.latest(alerts[0].object_id)
    assert latest is not None
    assert latest.version == models.active.version
    assert {answer.version for answer in store.history(alerts[0].object_id)} == {models.active.version, "99.0.0"}


def test_isolate_lets_what_is_nobodys_fault_through() -> None:
    def away(items: Sequence[int]) -> list[int]:
        raise StoreUnavailableError("disk full")

    with pytest.raises(StoreUnavailableError):
        isolate(away, [1, 2, 3])


def test_isolate_keeps_the_order() -> None:
    def halve(items: Sequence[int]) -> list[int]:
        if any(item % 3 == 0 for item in items):
            raise ValueError("three")
        return [item * 2 for item in items]

    answers = isolate(halve, range(1, 11))
    assert [answer if isinstance(answer, int) else None for answer in answers] == [
        2, 4, None, 8, 10, None, 14, 16, None, 20,
    ]  # fmt: skip
