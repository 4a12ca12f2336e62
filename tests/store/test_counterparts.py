"""The same place in two surveys: objects that are counterparts of one another, whichever came first."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.photometry import BAND_CODES, SURVEY_CODES, LightCurve
from service.store import Counterpart, Increment, SqliteStore, Store
from service.store.sky import cell_of
from tests.store.test_joining import atlas, moved, ztf


def lsst(object_id: str, east: float = 0.0, north: float = 0.0) -> Increment:
    curve = LightCurve.from_columns([1.0, 2.0], BAND_CODES["z"], mag=21.0, survey=SURVEY_CODES["lsst"])
    return moved(Increment(object_id, 10.0, 20.0, curve), east, north)


def names(store: Store, object_id: str) -> list[tuple[str, str]]:
    known = store.load([object_id])[object_id]
    return [(each.object_id, each.survey) for each in store.counterparts([known])[0]]


@pytest.mark.parametrize("order", [1, -1])
def test_each_names_the_other_whichever_came_first(store: Store, order: int) -> None:
    for alert in (ztf("ZTF1", 1.0), lsst("313", east=1.0))[::order]:
        store.merge([alert])
    assert names(store, "ZTF1") == [("313", "lsst")]
    assert names(store, "313") == [("ZTF1", "ztf")]
    ((found,),) = store.counterparts([store.load(["313"])["313"]])
    assert isinstance(found, Counterpart)
    assert found.separation_arcsec == pytest.approx(1.0, abs=1e-3)


def test_only_near_objects_of_another_survey_count_nearest_first(store: Store) -> None:
    store.merge(
        [
            ztf("ZTF1", 1.0),
            ztf("ZTF2", 1.0, east=0.5),  # of the same survey: two objects, however near
            lsst("far", north=1.51),
            lsst("near", north=1.4),
            lsst("nearest", north=-0.2),
        ]
    )
    assert names(store, "ZTF1") == [("nearest", "lsst"), ("near", "lsst")]
    assert names(store, "far") == []
    store.join([atlas("photometry", 1.0)])  # has joined an object, and is none
    assert names(store, "ZTF1") == [("nearest", "lsst"), ("near", "lsst")]
    assert names(store, "nearest") == [("ZTF1", "ztf"), ("ZTF2", "ztf")]


def test_an_object_without_a_position_has_none(store: Store) -> None:
    store.merge([replace(ztf("ZTF1", 1.0), ra=float("nan"), dec=float("nan")), lsst("313")])
    assert names(store, "ZTF1") == []


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.99999, 45.0), (120.0, 89.99999), (7.5, -0.25)])
def test_they_are_found_across_every_edge_of_the_sky_s_cells(store: Store, ra: float, dec: float) -> None:
    store.merge([replace(ztf("ZTF1", 1.0), ra=ra, dec=dec)])
    for number, (east, north) in enumerate([(1, 0), (-1, 0), (0, 1), (0, -1)]):
        there = min(max(dec + north / 3600, -90.0), 90.0)
        store.merge([replace(lsst(f"{number}"), ra=(ra + east / 3600 / np.cos(np.radians(dec))) % 360, dec=there)])
    assert len(names(store, "ZTF1")) == 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_among_ten_million_positions_they_are_found_at_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    rng = np.random.default_rng(0)
    packed = ztf("x", 1.0)
    store.merge([packed])
    ((blob,),) = store._writer.execute("SELECT light_curve FROM objects").fetchall()
    count, step = 10_000_000, 500_000
    for start in range(0, count, step):
        ra, dec = rng.uniform(0, 360, step), np.degrees(np.arcsin(rng.uniform(-1, 1, step)))
        rows = (
            (f"o{start + number}", a, d, cell_of(a, d), 1.0, blob)
            for number, (a, d) in enumerate(zip(ra.tolist(), dec.tolist(), strict=True))
        )
        with store._writer:
            store._writer.executemany(
                "INSERT INTO objects (object_id, ra, dec, cell, last_mjd, light_curve) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
    places = [(float(a), float(d)) for a, d in zip(rng.uniform(0, 360, 200), rng.uniform(-80, 80, 200), strict=True)]
    store.merge([replace(lsst(f"l{n}"), ra=a, dec=d) for n, (a, d) in enumerate(places)])
    store.merge([replace(ztf(f"z{n}", 1.0), ra=a, dec=d) for n, (a, d) in enumerate(places)])
    known = store.load([f"z{n}" for n in range(len(places))])
    begin = time.perf_counter()
    found = {name: store.counterparts([each])[0] for name, each in known.items()}
    spent = (time.perf_counter() - begin) / len(places)
    assert all([each.object_id for each in found[f"z{n}"]] == [f"l{n}"] for n in range(len(places)))
    assert spent < 0.05, f"{1000 * spent:.1f} ms each"
    store.close()
