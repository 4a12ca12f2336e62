"""The same place in two surveys: objects that are counterparts of one another, whichever came first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from service.photometry import BAND_CODES, SURVEY_CODES, LightCurve
from service.store import Counterpart, Increment, SqliteStore, Store
from service.store.encoding import encode_light_curve
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
@pytest.mark.timeout(3600)
def test_among_ten_million_positions_they_are_found_at_once(store: Store, store_url: str) -> None:
    """Given ten million objects over the sky, then one object's counterparts are found by the index, and so are those
    of a batch; `-s` shows how fast.
    """
    rng = np.random.default_rng(0)
    blob = encode_light_curve(ztf("x", 1.0).light_curve)
    count, step = 10_000_000, 500_000
    store.statistics()  # PostgreSQL's tables are made with the first connection
    for start in range(0, count, step):
        ra, dec = rng.uniform(0, 360, step), np.degrees(np.arcsin(rng.uniform(-1, 1, step)))
        rows = (
            (f"o{start + number}", a, d, cell_of(a, d), 1.0, blob)
            for number, (a, d) in enumerate(zip(ra.tolist(), dec.tolist(), strict=True))
        )
        _fill(store, store_url, rows)
    if not isinstance(store, SqliteStore):
        psycopg = pytest.importorskip("psycopg")
        with psycopg.connect(store_url, autocommit=True) as connection:
            connection.execute("ANALYZE alert_classifier.objects")
    number = 256
    places = zip(rng.uniform(0, 360, number).tolist(), rng.uniform(-80, 80, number).tolist(), strict=True)
    pairs = [(replace(lsst(f"l{n}"), ra=a, dec=d), replace(ztf(f"z{n}", 1.0), ra=a, dec=d))
             for n, (a, d) in enumerate(places)]  # fmt: skip
    store.merge([alert for pair in pairs for alert in pair])
    for names in ([f"z{n}" for n in range(number)], [f"l{n}" for n in range(number)]):
        known = [store.load([name])[name] for name in names]
        begin = perf_counter()
        found = [store.counterparts([each])[0] for each in known]
        alone = (perf_counter() - begin) / number
        begin = perf_counter()
        together = store.counterparts(known)
        batch = perf_counter() - begin
        assert [[each.object_id for each in one] for one in found] == [
            [name.translate(str.maketrans("zl", "lz"))] for name in names
        ]
        assert together == found
        print(f"{store_url.partition(':')[0]}: {1000 * alone:.2f} ms for one, {1000 * batch:.0f} ms for {number}")
        assert alone < 0.05


def _fill(store: Store, url: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Rows of the table of objects, without the work of merging."""
    columns = "object_id, ra, dec, cell, last_mjd, light_curve"
    if isinstance(store, SqliteStore):
        store._writer.execute("BEGIN")  # the connection begins none by itself: each row would be a transaction
        store._writer.executemany(f"INSERT INTO objects ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
        store._writer.execute("COMMIT")
        return
    psycopg = pytest.importorskip("psycopg")
    with (
        psycopg.connect(url) as connection,
        connection.cursor().copy(f"COPY alert_classifier.objects ({columns}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)
