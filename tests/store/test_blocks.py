"""Long light curves lie in blocks: whatever the order of alerts, they are read back whole, and little is written."""

from __future__ import annotations

import random
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from itertools import accumulate, count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.photometry import LightCurve, merge
from service.store import Increment, Store, StoredObject, blocks, open_store
from service.store.interface import LightCurveDamagedError
from service.store.migrations import migrations
from service.store.sqlite.damage import check
from service.store.sqlite.repair import repair
from service.store.sqlite.store import SqliteStore

_fresh = count()


def alert(day: float, candid: int, points: int = 12, mag: float = 18.5, days: float = 30.0) -> LightCurve:
    """What a packet of this day holds: points spread over the days before it."""
    mjd = day - np.linspace(days, 0, points)
    return LightCurve.from_columns(
        np.round(mjd, 0), np.arange(points) % 2, mag=np.full(points, mag), magerr=0.1, brought_by=candid
    )


def years(alerts: int, every: float = 5.0) -> list[LightCurve]:
    return [alert(58000 + every * number, 1 + number, mag=18 + number % 7 / 10) for number in range(alerts)]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 5)
    monkeypatch.setattr(blocks, "LONGEST", 20)


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 40), st.integers(1, 15)), min_size=1, max_size=25),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_light_curve_is_the_same_whatever_the_order_of_alerts(
    store: Store, small_blocks: None, packets: list[tuple[int, int, int]], chance: random.Random
) -> None:
    curves = [alert(58000 + day, candid, points, 17 + candid / 10) for day, candid, points in packets]
    name = f"old{next(_fresh)}"
    delivered = curves + chance.sample(curves, len(curves) // 3)  # some come twice
    chance.shuffle(delivered)
    so_far = LightCurve.empty()
    while delivered:
        size = chance.randint(1, min(4, len(delivered)))
        batch, delivered = delivered[:size], delivered[size:]
        for curve, known in zip(batch, store.merge([Increment(name, 10, 20, each) for each in batch]), strict=True):
            so_far = so_far.merge(curve)
            assert known.light_curve.is_identical(so_far)
        assert store.load([name])[name].light_curve.is_identical(so_far)
    assert so_far.is_identical(merge(curves))


def test_an_alert_of_an_old_object_writes_its_newest_points_alone() -> None:
    curves = years(400)
    stored = StoredObject("old", 10, 20, 60000, LightCurve.empty())
    sizes = []
    for curve in curves:
        after = replace(stored, light_curve=stored.light_curve.merge(curve))
        change = blocks.changes(stored, after)
        sizes.append(len(change.newest))
        lengths = dict(enumerate(stored.closed)) | {number: len(block) for number, block in change.blocks}
        assert len(change.blocks) <= 1
        stored = replace(after, closed=tuple(lengths[number] for number in sorted(lengths)))
    assert len(stored.light_curve) > 1000
    assert sum(stored.closed) > 700
    assert max(sizes[50:]) < 2 * blocks.BLOCK

    late = replace(stored, light_curve=stored.light_curve.merge(alert(58400, 10**6, points=1)))
    change = blocks.changes(stored, late)
    assert len(change.blocks) == 1
    assert blocks.changes(late, late).blocks == []


def test_photometry_that_leaves_an_object_leaves_its_blocks(store: Store, small_blocks: None) -> None:
    own, forced = merge(years(20)), merge(years(15))
    points = forced.points.copy()
    points["survey"] = 2  # ATLAS
    name = f"host{next(_fresh)}"
    place = 40.0 + next(_fresh)
    store.merge([Increment(name, place, 20.0, own)])
    store.join([Increment(f"{name} forced", place, 20.0 + 1.0 / 3600, LightCurve.from_points(points))])
    assert len(store.load([name])[name].light_curve) == len(own) + len(forced)
    store.merge([Increment(f"{name} nearer", place, 20.0 + 0.9 / 3600, alert(59000, 5))])
    assert store.load([name])[name].light_curve.is_identical(own)
    store.merge([Increment(name, place, 20.0, alert(59100, 6))])
    assert store.load([name])[name].light_curve.is_identical(own.merge(alert(59100, 6)))


def test_an_object_that_is_pruned_and_comes_back_starts_anew(store: Store, small_blocks: None) -> None:
    name = f"gone{next(_fresh)}"
    store.merge([Increment(name, 10, 20, merge(years(20, every=-20)))])
    store.prune(58000.5)
    assert store.load([name]) == {}
    store.merge([Increment(name, 10, 20, alert(59000, 1))])
    assert store.load([name])[name].light_curve.is_identical(alert(59000, 1))


def test_a_store_from_before_blocks_and_packets_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long light curve in one row, in the layout without `brought_by`."""
    points = merge(years(300)).points.copy()
    points["brought_by"] = 0
    old = LightCurve(points)
    assert old.pack()[:1] == b"\x01"
    with monkeypatch.context() as before:
        before.setattr(blocks, "BLOCK", 10**6)
        store = open_store(f"sqlite:///{tmp_path}/new.db")
        store.merge([Increment("old", 10, 20, old)])
        store.close()
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        connection.executescript("\n".join(sql for version, sql in migrations("sqlite") if version <= 2))
        columns = ", ".join(name for _, name, *_ in connection.execute("PRAGMA table_info(objects)"))
        connection.execute("ATTACH ? AS new", (f"{tmp_path}/new.db",))
        connection.execute(f"INSERT INTO main.objects ({columns}) SELECT {columns} FROM new.objects")
        connection.execute("PRAGMA user_version = 2")
    store = open_store(f"sqlite:///{tmp_path}/old.db")
    assert isinstance(store, SqliteStore)
    assert store.load(["old"])["old"].light_curve.is_identical(old)
    newest = alert(58000 + 300 * 5, 9)
    (known,) = store.merge([Increment("old", 10, 20, newest)])
    assert known.light_curve.is_identical(old.merge(newest))
    again = store.load(["old"])["old"]
    assert again.light_curve.is_identical(known.light_curve)
    assert len(again.closed) > 3
    store.close()


def test_a_reader_beside_a_writer_sees_one_moment(store: Store, small_blocks: None) -> None:
    """While blocks grow and points move into them, what is read is always a light curve that was stored."""
    name = f"read{next(_fresh)}"
    curves = years(40, every=20)
    stored = [reduced.points.tobytes() for reduced in accumulate(curves, LightCurve.merge)]
    store.merge([Increment(name, 10, 20, curves[0])])
    writer = threading.Thread(target=lambda: [store.merge([Increment(name, 10, 20, curve)]) for curve in curves[1:]])
    writer.start()
    seen = [stored.index(store.load([name])[name].light_curve.points.tobytes())]
    while writer.is_alive():
        seen.append(stored.index(store.load([name])[name].light_curve.points.tobytes()))
    writer.join()
    assert seen == sorted(seen)
    assert store.load([name])[name].light_curve.points.tobytes() == stored[-1]


@pytest.mark.parametrize(
    "damage", ["UPDATE blocks SET light_curve = x'00' WHERE number = 1", "DELETE FROM blocks WHERE number = 1"]
)
def test_a_damaged_block_is_told_and_repair_keeps_the_newest_points(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store.db"
    store = open_store(f"sqlite:///{path}")
    whole = merge(years(300))
    store.merge([Increment("old", 10, 20, whole), Increment("young", 50, 20, alert(59000, 1))])
    closed = store.load(["old"])["old"].closed
    assert len(closed) > 3
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()

    store = open_store(f"sqlite:///{path}")
    with pytest.raises(LightCurveDamagedError, match="old"):
        store.load(["old"])
    store.close()
    assert check(path).lost == ("old",)
    found = repair(path, tmp_path / "new.db")
    assert (found.objects, found.lost) == (2, ("old",))
    store = open_store(f"sqlite:///{tmp_path}/new.db")
    newest = LightCurve(whole.points[sum(closed) :])
    assert store.load(["old"])["old"].light_curve.is_identical(newest)
    assert store.load(["young"])["young"].light_curve.is_identical(alert(59000, 1))
    store.merge([Increment("old", 10, 20, merge(years(100)))])
    assert store.load(["old"])["old"].light_curve.is_identical(newest.merge(merge(years(100))))
    store.close()
    assert not check(tmp_path / "new.db").damaged
