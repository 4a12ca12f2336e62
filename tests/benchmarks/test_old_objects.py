"""The benchmarks of old objects and full stores measure what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import ages, many
from benchmarks.aged import NDETHIST, age, earlier_detections, history
from service.alerts import Alert, Decoder
from service.photometry import Kind
from service.simulate import simulate
from service.store import open_store


def test_a_mature_sky_is_as_old_as_the_packets_it_was_drawn_from() -> None:
    drawn = earlier_detections(np.random.default_rng(0), 100_000)
    assert np.median(drawn) == pytest.approx(np.median(NDETHIST), abs=2)
    assert np.percentile(drawn, 90) == pytest.approx(670, rel=0.05)
    assert drawn.max() <= 3776


def test_a_past_is_spread_over_years_and_holds_all_kinds_of_points() -> None:
    past = history(np.random.default_rng(0), 800, 60000.0, 2_400_000_000_000_000_000)
    assert past.n_detections == 800
    assert 1500 < past.mjd[-1] - past.mjd[0] < 2000
    assert past.mjd[-1] <= 60000.0
    assert {int(kind) for kind in past.kind} == {Kind.DETECTION, Kind.UPPER_LIMIT, Kind.FORCED}
    assert {-1, 1} <= set(past.points["sign"].tolist())
    assert past.points["brought_by"].max() < 2_400_000_000_000_000_000


def test_objects_have_their_past_before_their_alerts() -> None:
    alerts = [found for a in simulate(60, seed=1) if isinstance(found := Decoder().decode(a.packet), Alert)]
    store = open_store("sqlite://")
    told = age(store, alerts)
    stored = store.load([alert.object_id for alert in alerts])
    assert told["objects"] == len(stored) == len({alert.object_id for alert in alerts})
    assert told["points_mean"] == pytest.approx(np.mean([len(each.light_curve) for each in stored.values()]))
    for alert in alerts:
        assert stored[alert.object_id].light_curve.mjd[-1] <= alert.mjd
    store.close()


def test_every_step_of_an_alert_is_measured_by_age(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ages, "AGES", (0, 400))
    ages.main(["--objects", "12", "--rounds", "2"])
    young, old = json.loads(capsys.readouterr().out.splitlines()[-1])["ages"]
    assert set(young["ms"]) == set(ages.STEPS)
    assert old["points"] > young["points"] + 800
    assert min(old["ms"]["graph"], young["ms"]["graph"]) > 0


def test_a_full_store_answers_every_query(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, small in (("TURNS", 1), ("FEW", 300), ("DRAINS", 2), ("DRAINED", 64)):
        monkeypatch.setattr(many, name, small)
    many.main(["--objects", "3000"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["objects"] == 3000
    assert all(row["p50_ms"] > 0 for row in told["queries"].values())
