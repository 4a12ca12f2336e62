"""Rubin's alerts through the pipeline's steps: what is left out, what is flagged, and that no class is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.alerts import Decoder, SchemaFolder
from service.config import QualitySettings, RubinQualitySettings
from service.inference.registry import ModelRegistry
from service.output.avro import decode_classification
from service.photometry import SURVEY_CODES
from service.simulate import simulate
from service.store import SqliteStore
from service.stream.batch import Batch, Filtered, Published
from service.stream.pipeline import Pipeline
from tests.alerts.rubin_packets import a_forced_source, a_source, an_alert, framed, schema

BatchOf = Callable[..., Batch]
Run = Callable[..., dict[str, Any]]

ASTEROID = {"diaObjectId": 0, "ssObjectId": 21163633118754629}


@pytest.fixture
def run(tmp_path: Path, store: SqliteStore, models: ModelRegistry, batch_of: BatchOf) -> Run:
    """The outcome of each packet, by the object's number: a message's flags, or the reason why it was left out."""
    (tmp_path / "1101.avsc").write_bytes(orjson.dumps(schema()))
    decoder = Decoder(SchemaFolder(tmp_path))

    def run(*records: dict[str, Any], **cuts: Any) -> dict[str, Any]:
        batch = batch_of(*(framed(record, schema()) for record in records))
        Pipeline(decoder, store, models, QualitySettings(lsst=RubinQualitySettings(**cuts))).run(batch)
        outcomes = {}
        for item in batch.items:
            assert item.alert is not None
            if isinstance(item.outcome, Filtered):
                outcomes[item.alert.object_id] = item.outcome.reason
            else:
                assert isinstance(item.outcome, Published)
                outcomes[item.alert.object_id] = decode_classification(item.outcome.value)["flags"]
        return outcomes

    return run


def cuts_of(flags: list[str]) -> set[str]:
    return {flag.removeprefix("low_quality:") for flag in flags if flag.startswith("low_quality:")}


def test_an_object_that_no_model_reads_is_stored_and_named_no_class(run: Run, store: SqliteStore) -> None:
    name = str(an_alert()["diaSource"]["diaObjectId"])
    outcomes = run(an_alert())
    assert {"no_model_for_survey", "no_detection"} <= set(outcomes[name])
    kept = store.latest(name)
    assert kept is not None
    assert kept.top_class is None
    assert kept.document["n_detections"] == {"r": 2}
    assert store.class_mix(0) == {}
    assert {*store.load([name])[name].light_curve.points["survey"]} == {SURVEY_CODES["lsst"]}


def test_the_solar_system_is_left_out_before_anything_is_stored(run: Run, store: SqliteStore) -> None:
    record = an_alert(**ASTEROID) | {"prvDiaSources": None, "prvDiaForcedSources": None}
    assert run(record) == {"sso21163633118754629": "solar_system"}
    assert store.statistics().objects == 0
    assert cuts_of(run(record, solar_system="flag")["sso21163633118754629"]) == {"solar_system"}
    assert list(store.load(["sso21163633118754629"])) == ["sso21163633118754629"]
    assert run(record, solar_system="flag", action="drop") == {"sso21163633118754629": "solar_system"}


def test_what_an_asteroid_passes_by_is_flagged_and_kept(run: Run, store: SqliteStore) -> None:
    """Given an alert with the numbers of both, then it is the fixed object's, and says that another was there."""
    both = an_alert(ssObjectId=21163633118754629)
    both["ssSource"] = {"ssObjectId": 21163633118754629, "designation": None, "ephRate": 1.0, "ephOffset": 0.5}
    name = str(both["diaSource"]["diaObjectId"])
    assert cuts_of(run(both)[name]) == {"solar_system"}
    assert list(store.load([name])) == [name]
    assert run(both, action="drop") == {name: "solar_system"}


@pytest.mark.parametrize(
    ("values", "failed"),
    [
        ({}, set()),
        ({"reliability": 0.49}, {"reliability"}),
        ({"reliability": None}, set()),
        ({"isDipole": True, "glint_trail": True}, {"isDipole", "glint_trail"}),
        ({"psfFlux_flag": True}, {"psfFlux_flag"}),
        ({"pixelFlags_bad": True, "reliability": 0.1}, {"pixelFlags_bad", "reliability"}),
        ({"pixelFlags_streakCenter": True, "isDipole": None}, {"pixelFlags_streakCenter"}),
        ({"centroid_flag": True}, set()),  # read, and no cut unless the settings say so
    ],
)
def test_its_own_cuts_flag_or_drop(run: Run, values: dict[str, Any], failed: set[str]) -> None:
    name = str(an_alert()["diaSource"]["diaObjectId"])
    assert cuts_of(run(an_alert(**values))[name]) == failed
    dropped = run(an_alert(**values), action="drop")[name]
    assert dropped in failed if failed else isinstance(dropped, list)
    loose = run(an_alert(**values), action="drop", min_reliability=None, flags=[])
    assert isinstance(loose[name], list)
    assert cuts_of(run(an_alert(**values), flags=["centroid_flag"], min_reliability=None)[name]) == (
        {"centroid_flag"} if values.get("centroid_flag") else set()
    )


def test_the_cuts_of_one_survey_leave_the_other_s_alone(
    run: Run, store: SqliteStore, models: ModelRegistry, batch_of: BatchOf
) -> None:
    """Given the strictest cuts of Rubin's, then ZTF's alerts are judged as ever; and the other way round."""
    sky = [alert.packet for alert in simulate(40, seed=22, bogus=0.2, solar_system=0.2)]
    strict = RubinQualitySettings(action="drop", min_reliability=1.0)
    documents = []
    for cuts in (QualitySettings(), QualitySettings(lsst=strict)):
        batch = batch_of(*sky)
        pipeline = Pipeline(Decoder(), store, models, cuts)
        pipeline.decode(batch)
        pipeline.cut(batch)
        documents.append([(item.failed_cuts, item.outcome) for item in batch.items])
    assert documents[0] == documents[1]
    assert any(failed for failed, _ in documents[0])
    name = str(a_source()["diaObjectId"])
    assert cuts_of(run(an_alert(reliability=0.52))[name]) == set()  # ZTF's min_rb of 0.55 is no business of Rubin's


def test_a_year_that_comes_again_is_not_written_again(run: Run, store: SqliteStore) -> None:
    """Given an object with a year of history, when its next alert brings all of it again, then only the rows with its
    newest points and with its answer are written; and the light curve is that of all packets.
    """

    def alert_of(night: int) -> dict[str, Any]:
        sources = [
            a_source(diaSourceId=170_000_000_000_000_000 + n, midpointMjdTai=60_700.25 + n, psfFlux=1000.0 + n)
            for n in range(night + 1)
        ]
        forced = [a_forced_source(midpointMjdTai=60_700.25 + n, psfFlux=900.0 + n) for n in range(night)]
        trigger = sources.pop()
        return an_alert(**trigger) | {"prvDiaSources": sources, "prvDiaForcedSources": forced}

    name = str(an_alert()["diaSource"]["diaObjectId"])
    run(alert_of(360))
    before = store.load([name])[name]
    assert len(before.closed) > 3
    written = store._writer.total_changes
    run(alert_of(361))
    # the object's newest points, its latest answer, that in the history, and two counts
    assert store._writer.total_changes - written <= 5
    known = store.load([name])[name]
    assert known.closed == before.closed
    assert len(known.light_curve) == 362 + 361
    run(alert_of(100))  # one that comes late
    assert store.load([name])[name].light_curve.is_identical(known.light_curve)


def test_each_survey_s_answer_names_the_other_s_object(
    tmp_path: Path, store: SqliteStore, models: ModelRegistry, batch_of: BatchOf
) -> None:
    """Given a source that both surveys see, then the message about the one names the other from the moment that it is
    known; a later alert of the first names the second too; where nobody looks, the field is null.
    """
    (tmp_path / "1101.avsc").write_bytes(orjson.dumps(schema()))
    decoder = Decoder(SchemaFolder(tmp_path))
    first = next(iter(simulate(1, seed=5))).packet
    here = decoder.decode(first)
    beside = an_alert(ra=here.ra, dec=here.dec + 0.5 / 3600)
    rubin = framed(beside, schema())

    def told(*packets: bytes, look: bool = True) -> list[Any]:
        batch = batch_of(*packets)
        Pipeline(decoder, store, models, QualitySettings(), counterparts=look).run(batch)
        return [decode_classification(outcome.value)["counterparts"] for _, outcome in batch.published()]

    assert told(first) == [[]]
    ((of_rubin,),) = told(rubin)
    assert (of_rubin["object_id"], of_rubin["survey"]) == (here.object_id, "ztf")
    assert of_rubin["separation_arcsec"] == pytest.approx(0.5, abs=1e-3)
    again, other = told(first, rubin)
    assert [each["object_id"] for each in again] == [str(beside["diaSource"]["diaObjectId"])]
    assert [each["object_id"] for each in other] == [here.object_id]
    assert told(first, look=False) == [None]
