"""A sky is reproducible, ordered in time, and tells its truth."""

import csv
from collections import Counter, defaultdict
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from service.alerts import Decoder
from service.photometry import LightCurve, merge
from service.simulate import BALANCED, STREAM, SimulatedAlert, Sky, simulate, write_packets
from service.simulate.cadence import plan


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = list(simulate(60, seed=7)), list(simulate(60, seed=7))
    assert first == again
    other = list(simulate(60, seed=8))
    assert {a.object_id for a in first}.isdisjoint(a.object_id for a in other)


def test_a_field_that_fell_out_of_memory_comes_back_the_same() -> None:
    wide, narrow = Sky(3, objects=150, nights=6), Sky(3, objects=150, nights=6)
    narrow._cache_fields = 1
    assert [a.packet for a in wide.alerts()] == [a.packet for a in narrow.alerts()]


def test_alerts_come_in_time_order_and_in_the_number_asked_for() -> None:
    alerts = list(simulate(500, seed=2))
    assert len(alerts) == 500
    assert all(a.mjd <= b.mjd for a, b in pairwise(alerts))
    assert alerts[-1].mjd - alerts[0].mjd < 8, "about a night, weather permitting"


def test_packets_of_an_object_merge_to_one_light_curve_in_any_order(alerts: list[SimulatedAlert]) -> None:
    decoder = Decoder()
    of_object: dict[str, list[LightCurve]] = defaultdict(list)
    newest: dict[str, LightCurve] = {}
    for alert in alerts:
        curve = decoder.decode(alert.packet).light_curve
        of_object[alert.object_id].append(curve)
        newest[alert.object_id] = curve
    random = np.random.default_rng(0)
    several = [curves for curves in of_object.values() if len(curves) > 2]
    assert len(several) > 20
    for curves in several:
        whole = merge(curves)
        for _ in range(3):
            assert merge([curves[i] for i in random.permutation(len(curves))]) == whole
    for object_id, curves in of_object.items():
        whole = merge(curves)
        epochs = whole.mjd[whole.is_detection]
        recent = newest[object_id]
        within = epochs >= recent.mjd.max() - 30
        assert within.sum() == recent.n_detections, "the newest packet knows all detections of its 30 days"
        assert len(np.unique(epochs)) == len(epochs), "a detection and its echo are one point"


def test_a_balanced_sky_shows_every_class() -> None:
    sky = Sky(5, objects=700, nights=12, weights=BALANCED, bogus=0, solar_system=0)
    seen = Counter(alert.true_class for alert in sky.alerts())
    assert set(seen) == set(BALANCED)
    assert len(BALANCED) == 14


def test_the_default_sky_is_mostly_variables() -> None:
    seen = Counter(alert.true_class for alert in simulate(4000, seed=9, bogus=0, solar_system=0))
    transient = sum(seen[name] for name in ("SNIa", "SNIbc", "SNII", "SLSN", "TDE"))
    assert 0.005 < transient / seen.total() < 0.2
    assert seen["AGN"] + seen["LPV"] + seen["ECL"] + seen["RR"] > seen.total() / 2
    assert set(STREAM) == set(BALANCED)


def test_weights_choose_the_classes() -> None:
    only = {alert.true_class for alert in simulate(30, seed=1, weights={"RR": 1.0, "CV": 0}, bogus=0, solar_system=0)}
    assert only == {"RR"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": {"QUASAR": 1.0}}, "QUASAR"),
        ({"weights": {"RR": -1.0}}, "RR is -1"),
        ({"weights": {}}, "positive weight"),
        ({"objects": 0}, "objects"),
        ({"bogus": 0.7, "solar_system": 0.4}, "bogus 0.7"),
    ],
)
def test_impossible_skies_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sky(0, **arguments)  # type: ignore[arg-type]


def test_a_sky_too_small_says_so() -> None:
    with pytest.raises(ValueError, match=r"of 5000 alerts"):
        list(simulate(5000, objects=3, nights=2))


def test_packets_are_written_with_their_truth_beside_them(tmp_path: Path) -> None:
    alerts = list(simulate(12, seed=6))
    assert write_packets(alerts, tmp_path / "night") == 12
    with (tmp_path / "night" / "truth.csv").open(newline="") as stream:
        truth = list(csv.DictReader(stream))
    assert [(row["object_id"], int(row["candid"]), row["true_class"]) for row in truth] == [
        (a.object_id, a.candid, a.true_class) for a in alerts
    ]
    for alert in alerts:
        assert (tmp_path / "night" / f"{alert.candid}.avro").read_bytes() == alert.packet


def test_the_cadence_is_that_of_the_public_survey() -> None:
    exposures = plan(np.random.default_rng(0), np.linspace(0, 360, 200, endpoint=False), 61_000, 365)
    assert (np.diff(exposures["tick"]) > 0).all(), "no two exposures at once"
    share = np.bincount(exposures["band"]) / len(exposures)
    assert share[0] > 0.4
    assert share[1] > 0.4
    assert 0.01 < share[2] < 0.1
    medians = [np.median(exposures["limit"][exposures["band"] == band]) for band in range(3)]
    assert np.allclose(medians, [20.4, 20.3, 19.7], atol=0.3)
    gaps = []
    for field in range(200):
        nights = np.unique(exposures["mjd"][exposures["field"] == field].astype(int))
        gaps.append(np.median(np.diff(nights)))
    assert 2 <= np.median(gaps) <= 3
    open_nights = len(np.unique(exposures["mjd"].astype(int)))
    assert 0.6 < open_nights / 365 < 0.95
    observed = np.bincount(exposures["field"], minlength=200)
    assert observed.min() > 50, "every field has a season"
    fraction = exposures["mjd"] % 1
    assert fraction.min() > 0.1
    assert fraction.max() < 0.6


def test_moonlight_costs_depth() -> None:
    exposures = plan(np.random.default_rng(1), np.linspace(0, 360, 100, endpoint=False), 61_000, 200)
    g = exposures[exposures["band"] == 0]
    full, new = np.abs(g["mjd"] - 61_132.1) < 3, np.abs(g["mjd"] - 61_147.5) < 3  # 2026-04-02 and 2026-04-17
    assert np.median(g["limit"][new]) - np.median(g["limit"][full]) > 0.5


@pytest.mark.bench
def test_two_thousand_packets_a_second() -> None:
    import time

    stream = simulate(20_000, seed=3)
    next(stream)
    started = time.process_time()
    count = sum(1 for _ in islice(stream, 10_000))
    assert count / (time.process_time() - started) > 2_000
