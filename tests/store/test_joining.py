"""Photometry that comes for a position joins the nearest object, whichever of the two comes first."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.config import StoreSettings
from service.photometry import BAND_CODES, SURVEY_CODES, LightCurve, merge
from service.store import JOIN_RADIUS_ARCSEC, Cone, Increment, SqliteStore, Store, open_store
from service.store.encoding import encode_light_curve
from service.store.migrations import migrations
from service.store.sky import cell_of, separation_arcsec
from service.store.sqlite import store as engine
from tests.store.test_contract import classification, increment

ARCSEC = 1 / 3600
ATLAS = SURVEY_CODES["atlas"]


def ztf(object_id: str, *epochs: float, east: float = 0.0, north: float = 0.0, **columns: float) -> Increment:
    """An alert `east` and `north` [arcsec] of the place where all of this happens."""
    return moved(increment(object_id, *epochs, **columns), east, north)


def atlas(source: str, *epochs: float, east: float = 0.0, north: float = 0.0, mag: float = 18.0) -> Increment:
    curve = LightCurve.from_columns(
        epochs, BAND_CODES["o"], mag=mag, magerr=0.1, limit=19.5, sign=1, survey=ATLAS
    )  # fmt: skip
    return moved(Increment(source, 10.0, 20.0, curve), east, north)


def moved(given: Increment, east: float, north: float) -> Increment:
    dec = 20.0 + north * ARCSEC
    return replace(given, ra=10.0 + east * ARCSEC / np.cos(np.radians(dec)), dec=dec)


def light_curve(store: Store, name: str) -> LightCurve:
    return store.load([name])[name].light_curve


def test_photometry_joins_the_object_at_its_position(store: Store) -> None:
    alert, photometry = ztf("ZTF1", 1.0, 2.0), atlas("here", 1.0, 3.0, east=1.0)
    store.merge([alert])
    (joined,) = store.join([photometry])
    assert joined.object_id == "ZTF1"
    assert joined.light_curve == merge([alert.light_curve, photometry.light_curve]) == light_curve(store, "ZTF1")
    assert (joined.ra, joined.last_mjd) == (alert.ra, 2.0)  # an object is where, and when, its own alerts were
    assert store.joined("ZTF1") == ["here"]


def test_a_preview_is_what_would_come_of_it_and_stores_nothing(store: Store) -> None:
    """Given alerts and photometry that come in any order around one place, then each is foreseen as it comes."""
    dice = random.Random(8)
    objects, sources = [f"ZTF{number}" for number in range(12)], [f"here{number}" for number in range(8)]
    adopted = 0
    for step in range(60):
        where = {"east": dice.uniform(-2.5, 2.5), "north": dice.uniform(-2.5, 2.5)}
        before = store.load(objects + sources)
        if step % 3:
            photometry = atlas(dice.choice(sources), float(step), **where)
            foreseen = store.preview(photometry, by_position=True)
            assert store.load(objects + sources) == before
            assert [foreseen] == store.join([photometry])
        else:
            alert = ztf(dice.choice(objects), float(step), **where)
            foreseen = store.preview(alert)
            assert store.load(objects + sources) == before
            assert [foreseen] == store.merge([alert])
            adopted += alert.object_id not in before and len(foreseen.light_curve) > 1
    assert adopted


def test_a_preview_refuses_a_name_at_another_place(store: Store) -> None:
    store.join([atlas("here", 1.0)])
    with pytest.raises(ValueError, match="a name stands for one position"):
        store.preview(atlas("here", 2.0, north=20.0), by_position=True)


def test_photometry_that_comes_first_is_kept_and_joins_when_the_object_comes(store: Store) -> None:
    photometry, alert = atlas("here", 1.0, 3.0, east=1.0), ztf("ZTF1", 2.0)
    (alone,) = store.join([photometry])
    assert (alone.object_id, alone.light_curve) == ("here", photometry.light_curve)
    assert light_curve(store, "here") == photometry.light_curve

    together = merge([alert.light_curve, photometry.light_curve])
    other, adopting = store.merge([ztf("ZTF2", 2.0, east=60.0), alert])
    assert (other.light_curve, adopting.light_curve) == (alert.light_curve, together)
    assert light_curve(store, "ZTF1") == together
    assert len(light_curve(store, "ZTF2")) == 1
    assert store.load(["here"])["here"].object_id == "ZTF1"  # the name that it gave up still finds it


def test_the_next_alert_and_the_next_photometry_find_one_another(store: Store) -> None:
    store.join([atlas("here", 1.0)])
    store.merge([ztf("ZTF1", 2.0)])
    store.merge([ztf("ZTF1", 4.0, east=0.2)])
    (joined,) = store.join([atlas("here", 1.0, 3.0)])
    assert joined.light_curve.mjd.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert store.merge([ztf("ZTF1", 5.0)])[0].light_curve.mjd.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(("east", "joins"), [(1.4, True), (-1.4, True), (1.6, False)])
def test_the_radius_is_an_angle_on_the_sky(store: Store, east: float, joins: bool) -> None:
    store.merge([ztf("ZTF1", 1.0)])
    (found,) = store.join([atlas("here", 2.0, east=east)])
    assert (found.object_id == "ZTF1") is joins


def test_the_radius_can_be_chosen_and_zero_joins_nothing(store_url: str) -> None:
    for radius, joins in ((3.0, True), (0.0, False)):
        store = open_store(store_url, radius)
        store.merge([ztf(f"ZTF{radius}", 1.0, north=200 * radius)])
        (found,) = store.join([atlas(f"here{radius}", 2.0, east=2.0 * joins, north=200 * radius)])
        assert (found.object_id == f"ZTF{radius}") is joins
        store.merge([ztf(f"ZTF{radius} new", 1.0, east=1.9 * joins, north=200 * radius)])
        assert (len(light_curve(store, f"ZTF{radius} new")) == 2) is joins  # it is nearer, if near counts at all
        store.close()


def test_photometry_goes_to_the_nearest_object_even_if_that_comes_last(store: Store) -> None:
    """Given photometry that has joined an object, when a nearer one is found, then it leaves the first whole."""
    far, near, photometry = ztf("far", 1.0, east=1.2), ztf("near", 2.0, east=0.3), atlas("here", 3.0)
    store.merge([far])
    assert store.join([photometry])[0].object_id == "far"
    assert store.merge([near])[0].light_curve == merge([near.light_curve, photometry.light_curve])
    assert light_curve(store, "far") == far.light_curve
    assert (store.joined("far"), store.joined("near")) == ([], ["here"])
    store.merge([ztf("farther", 1.0, east=-0.9)])
    assert store.joined("near") == ["here"]


def test_what_joined_stays_with_an_object_that_moves_a_little(store: Store) -> None:
    store.merge([ztf("ZTF1", 1.0, east=1.4)])
    store.join([atlas("here", 2.0)])
    store.merge([ztf("ZTF1", 3.0, east=1.7)])
    assert store.join([atlas("here", 4.0)])[0].light_curve.mjd.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_two_positions_of_one_object_both_join_and_overlap(store: Store) -> None:
    store.merge([ztf("ZTF1", 1.0)])
    first, second = store.join([atlas("a", 2.0, 3.0), atlas("b", 3.0, 4.0, north=0.5)])
    assert first.light_curve == second.light_curve
    assert second.light_curve.mjd.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert store.joined("ZTF1") == ["a", "b"]


def test_redelivered_photometry_changes_nothing(store: Store) -> None:
    batch = [atlas("here", 1.0), atlas("alone", 1.0, east=90), atlas("here", 2.0)]
    store.merge([ztf("ZTF1", 1.0)])
    first = store.join(batch)
    before = store.load(["ZTF1", "here", "alone"]), store.statistics().objects, store.statistics().sources
    assert store.join(batch) == first
    assert (store.load(["ZTF1", "here", "alone"]), store.statistics().objects, store.statistics().sources) == before
    assert before[1:] == (1, 2)
    assert store.join([]) == []


def test_a_name_stands_for_one_position(store: Store) -> None:
    store.join([atlas("here", 1.0)])
    with pytest.raises(ValueError, match=r"source here was at ra 10\.000000, dec 20\.000000 and is now 60\.0 arcsec"):
        store.join([atlas("other", 1.0, east=300), atlas("here", 2.0, north=60.0)])
    assert store.load(["other"]) == {}
    assert len(light_curve(store, "here")) == 1


def test_photometry_may_have_the_name_of_an_object(store: Store) -> None:
    """A position that was asked for under an object's name, before the object was known here."""
    store.join([atlas("ZTF1", 1.0)])
    store.record([classification("ZTF1", 1)])
    store.merge([ztf("ZTF1", 2.0)])
    assert light_curve(store, "ZTF1").mjd.tolist() == [1.0, 2.0]
    assert store.latest("ZTF1") is not None


def test_what_has_joined_is_no_object_of_its_own_any_more(store: Store) -> None:
    store.join([atlas("here", 1.0), atlas("alone", 1.0, east=90)])
    store.record([classification("here", 1), classification("alone", 2)])
    here = Cone(10.0, 20.0, 0.1)
    assert [c.object_id for c in store.query(cone=here)[0]] == ["alone", "here"]
    store.merge([ztf("ZTF1", 2.0)])
    store.record([classification("ZTF1", 3)])
    assert [c.object_id for c in store.query(cone=here)[0]] == ["ZTF1", "alone"]
    assert [c.object_id for c in store.query()[0]] == ["ZTF1", "alone"]
    assert [c.candid for c in store.history("here")] == [1]


def test_the_border_of_a_cell_and_the_first_meridian_are_no_borders(store: Store) -> None:
    for name, ra, dec in (("border", 33.0, 20.25), ("meridian", 0.0, 5.0), ("pole", 77.0, 89.99999)):
        curve = ztf("x", 1.0).light_curve
        shift = 0.5 * ARCSEC
        store.merge([Increment(name, ra, dec + shift if dec < 89 else dec, curve)])
        (found,) = store.join([Increment(f"at {name}", (ra - shift) % 360, dec, atlas("x", 2.0).light_curve)])
        assert found.object_id == name


def test_old_sources_are_forgotten_with_old_objects(store: Store) -> None:
    store.merge([ztf("old", 1.0), ztf("new", 100.0, east=30)])
    store.join([atlas("at old", 99.0), atlas("at new", 1.0, east=30), atlas("alone", 1.0, east=60)])
    store.record([classification("alone", 1), classification("old", 2)])
    assert store.prune(50.0) == 3
    assert store.statistics().sources == 1
    assert light_curve(store, "new").mjd.tolist() == [1.0, 100.0]
    assert light_curve(store, "at old").mjd.tolist() == [99.0]  # what it had joined is gone, it is not
    assert (store.latest("alone"), store.history("alone"), store.history("old")) == (None, [], [])
    store.merge([ztf("old", 101.0)])
    assert light_curve(store, "old").mjd.tolist() == [99.0, 101.0]


def test_a_store_of_the_first_version_is_read_and_joins_from_now_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "migrations", lambda _: migrations("sqlite")[:1])
        SqliteStore(path).close()
    known = ztf("ZTF1", 1.0)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?)",
            ("ZTF1", known.ra, known.dec, cell_of(known.ra, known.dec), 1.0, encode_light_curve(known.light_curve)),
        )
    store = SqliteStore(path)
    assert store.join([atlas("here", 2.0)])[0].light_curve.mjd.tolist() == [1.0, 2.0]
    store.close()


# -- any order, any batches, any replicas

_fresh = count()
_points = st.lists(
    st.tuples(st.sampled_from([1.0, 2.0, 2.0 + 4e-7, 3.0]), st.sampled_from([18.0, 18.5, np.nan]), st.integers(0, 2)),
    max_size=4,
)
_deliveries = st.lists(
    st.tuples(st.sampled_from(["ZTF A", "ZTF B", "at A", "at B", "near A", "nowhere"]), _points), max_size=14
)
_EAST = {"ZTF A": 0.0, "ZTF B": 60.0, "at A": 0.0, "at B": 61.0, "near A": -1.0, "nowhere": 30.0}


def host(name: str) -> str | None:
    return {"at A": "ZTF A", "at B": "ZTF B", "near A": "ZTF A"}.get(name)


@given(_deliveries, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_both_surveys_stores_the_same(
    store: Store, deliveries: list[tuple[str, list[tuple[float, float, int]]]], chance: random.Random
) -> None:
    """Same epochs and bands in both surveys: what is stored is the union, at the nearest object, in any order."""
    field = next(_fresh)
    increments = []
    for name, points in deliveries:
        curve = LightCurve.from_columns(
            [p[0] for p in points], 1, mag=[p[1] for p in points], kind=[p[2] for p in points],
            survey=0 if name.startswith("ZTF") else ATLAS,
        )  # fmt: skip
        increments.append(moved(Increment(f"{name} {field}", 10.0, 20.0, curve), _EAST[name], 300.0 * field))
    names = {name for name, _ in deliveries}
    expected = {}
    for name in names:
        owners = [name] + [other for other in names if host(other) == name]
        if host(name) in names:
            owners = [host(name), *(other for other in names if host(other) == host(name))]
        expected[f"{name} {field}"] = merge(
            [i.light_curve for i in increments if i.object_id[: -1 - len(str(field))] in owners]
        )

    delivered = increments + chance.sample(increments, len(increments) // 3)
    chance.shuffle(delivered)
    while delivered:
        size = chance.randint(1, len(delivered))
        batch, delivered = delivered[:size], delivered[size:]
        alerts = [i for i in batch if i.object_id.startswith("ZTF")]
        photometry = [i for i in batch if not i.object_id.startswith("ZTF")]
        for known, alert in zip(store.merge(alerts), alerts, strict=True):
            assert known.light_curve.merge(alert.light_curve) == known.light_curve
        for known, given_ in zip(store.join(photometry), photometry, strict=True):
            assert known.light_curve.merge(given_.light_curve) == known.light_curve
    assert {name: thing.light_curve for name, thing in store.load(sorted(expected)).items()} == expected


def night(seed: int) -> list[list[Increment]]:
    """Batches of alerts and of photometry for 40 positions."""
    chance = random.Random(seed)
    batches = []
    for _ in range(30):
        make = chance.choice([ztf, atlas])
        batches.append(
            [
                make(f"{make.__name__} {place}", float(chance.randint(1, 30)), east=10.0 * place)
                for place in (chance.randrange(40) for _ in range(12))
            ]
        )
    return batches


@pytest.fixture
def replicas(store_url: str) -> Iterator[list[Store]]:
    opened = [open_store(store_url) for _ in range(4)]
    yield opened
    for store in opened:
        store.close()


def test_replicas_that_meet_the_same_positions_at_once_end_with_the_union(replicas: list[Store]) -> None:
    """Given alerts at two replicas and photometry at two others, when all go at once, then each object ends with
    everything of its position: neither of two that came in the same moment missed the other.
    """
    start = threading.Barrier(len(replicas))
    nights = [night(seed) for seed in range(len(replicas))]

    def deliver(store: Store, batches: list[list[Increment]]) -> None:
        start.wait()
        for batch in batches:
            (store.merge if batch[0].object_id.startswith("ztf") else store.join)(batch)

    with ThreadPoolExecutor(len(replicas)) as pool:
        for done in [pool.submit(deliver, *each) for each in zip(replicas, nights, strict=True)]:
            done.result()
    everything = [i for batches in nights for batch in batches for i in batch]
    objects = sorted({i.object_id for i in everything if i.object_id.startswith("ztf")})
    assert len(objects) == 40
    stored = replicas[0].load(objects)
    for name in objects:
        place = name.split()[1]
        expected = merge([i.light_curve for i in everything if i.object_id.split()[1] == place])
        assert stored[name].light_curve == expected


def test_the_radius_of_the_settings_is_that_of_the_store() -> None:
    assert StoreSettings().join_radius_arcsec == JOIN_RADIUS_ARCSEC


def test_separations_are_angles() -> None:
    assert separation_arcsec(10, 0, 10, 1) == pytest.approx(3600)
    assert separation_arcsec(359.9999, 60, 0.0001, 60) == pytest.approx(0.36, rel=1e-6)
    assert separation_arcsec(0, 0, 180, 0) == pytest.approx(180 * 3600)
    assert np.isnan(separation_arcsec(0, 0, np.nan, 0))
