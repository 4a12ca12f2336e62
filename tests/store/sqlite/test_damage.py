"""Given an overwritten page of a real database file, then it is told from "busy", and what can be read is kept."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.alerts.decode import Decoder
from service.config import PipelineSettings, QualitySettings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.photometry import LightCurve
from service.simulate import simulate
from service.store import (
    Increment,
    LightCurveDamagedError,
    SqliteStore,
    StoreDamagedError,
    StoreUnavailableError,
)
from service.store.sqlite import store as engine
from service.store.sqlite.damage import check
from service.store.sqlite.repair import exchange, repair
from service.stream.files.sinks import FileSink
from service.stream.interfaces import StreamError
from service.stream.pipeline import Pipeline
from service.stream.runner import StreamRunner
from tests.store.test_contract import classification
from tests.stream.source import Source

PAGE = 4096
TABLE_LEAF, TABLE_INTERIOR, INDEX_LEAF = 0x0D, 0x05, 0x0A
OBJECTS = [f"ZTF26{number:06d}" for number in range(800)]


def increment(name: str) -> Increment:
    chance = np.random.default_rng(int(name[5:]))
    mjd = 60000 + np.sort(chance.random(25)) * 30
    return Increment(name, 10.0, 20.0, LightCurve.from_columns(mjd, 0, mag=18 + chance.random(25), limit=21.0, sign=1))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store.db"
    with closing(SqliteStore(path)) as store:
        store.merge([increment(name) for name in OBJECTS])
        store.record([classification(name, candid) for name in OBJECTS for candid in (1, 2)])
    return path


@pytest.fixture
def path(healthy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(healthy, tmp_path / "store.db"))


def pages(path: Path, kind: int, *texts: bytes) -> list[int]:
    """Numbers from 0 of the pages of a kind that hold these texts."""
    whole = path.read_bytes()
    every = {number: whole[number * PAGE : (number + 1) * PAGE] for number in range(1, len(whole) // PAGE)}
    return [number for number, page in every.items() if page[0] == kind and all(text in page for text in texts)]


def overwrite(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(np.random.default_rng(page).bytes(PAGE))


def page_of(path: Path, name: str) -> int:
    """The leaf of the table of objects with this one: the name alone stands in `latest` too."""
    stored = sqlite3.connect(path)
    (curve,) = stored.execute("SELECT light_curve FROM objects WHERE object_id = ?", (name,)).fetchone()
    stored.close()
    (page,) = pages(path, TABLE_LEAF, name.encode(), curve[:40])
    return page


def names_readable(path: Path) -> set[str]:
    with closing(SqliteStore(path)) as store:
        return set(store.load(OBJECTS))


def test_a_healthy_store_has_no_damage(path: Path) -> None:
    found = check(path)
    assert not found.damaged
    assert (found.objects, found.classifications) == (800, 1600)


def test_a_damaged_page_is_no_busy_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a damaged leaf, then merging names its object and what to do; readiness says so until the process ends; and
    of a locked file nothing of the kind is said.
    """
    overwrite(path, page_of(path, OBJECTS[400]))
    with closing(SqliteStore(path)) as store:
        store.merge([increment(OBJECTS[0])])
        store.check()
        with pytest.raises(StoreDamagedError, match=rf"malformed; among others .*{OBJECTS[400]}.*store repair"):
            store.merge([increment(name) for name in OBJECTS[398:403]])
        with pytest.raises(StoreDamagedError, match=OBJECTS[400]):
            store.check()
        assert store.load([OBJECTS[0]])
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.1)
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked") as busy:
            store.merge([increment(OBJECTS[0])])
        assert not isinstance(busy.value, StoreDamagedError)


@pytest.mark.parametrize("which", ["leaf", "interior", "index", "history"])
def test_what_can_be_read_is_kept(path: Path, which: str) -> None:
    """Given any kind of page that is overwritten, then the new file has everything outside it, whole, and every object
    that is gone is named.
    """
    before = path.read_bytes()
    match which:
        case "leaf":
            overwrite(path, page_of(path, OBJECTS[400]))
        case "interior":
            overwrite(path, pages(path, TABLE_INTERIOR)[0])
        case "index":
            overwrite(path, pages(path, INDEX_LEAF, OBJECTS[400].encode())[0])
        case "history":
            overwrite(path, pages(path, INDEX_LEAF, OBJECTS[400].encode())[-1])
    damaged = path.read_bytes()
    assert damaged != before
    assert check(path).damaged
    found = repair(path, path.with_name("new.db"))
    assert path.read_bytes() == damaged, "the old file stays as it is"
    assert not found.problems
    again = check(path.with_name("new.db"))
    assert not again.damaged
    assert (again.objects, again.classifications) == (found.objects, found.classifications)
    kept = names_readable(path.with_name("new.db"))
    assert kept | set(found.lost) == set(OBJECTS)
    assert not kept & set(found.lost)
    most_lost = {"leaf": 20, "interior": 800, "index": 0, "history": 0}[which]
    assert len(found.lost) <= most_lost
    assert (OBJECTS[400] in found.lost) == (which == "leaf") or which == "interior"
    with closing(SqliteStore(path.with_name("new.db"))) as store:
        for name, stored in store.load(OBJECTS).items():
            assert stored.light_curve == increment(name).light_curve
        assert store.statistics().objects == len(kept)
        store.merge([increment(name) for name in OBJECTS])
        assert set(store.load(OBJECTS)) == set(OBJECTS), "their next alerts bring them back"


def test_a_light_curve_that_is_no_more_concerns_its_object_alone(path: Path) -> None:
    """Given bytes that changed within a light curve, which SQLite does not notice, then its object is named, others go
    on, and a repair forgets it.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE objects SET light_curve = x'ffffffff00' WHERE object_id = ?", (OBJECTS[7],))
    with closing(SqliteStore(path)) as store:
        with pytest.raises(LightCurveDamagedError, match=OBJECTS[7]):
            store.merge([increment(OBJECTS[7])])
        store.merge([increment(OBJECTS[8])])
        store.check()
    assert check(path).lost == (OBJECTS[7],)
    assert repair(path, path.with_name("new.db")).lost == (OBJECTS[7],)


def test_a_file_without_its_first_page_says_what_to_do(path: Path) -> None:
    overwrite(path, 0)
    with pytest.raises(StoreDamagedError, match="not a database"):
        SqliteStore(path)
    for look in (check, lambda path: repair(path, path.with_name("new.db"))):
        with pytest.raises(
            StoreDamagedError, match="put a backup in its place, or remove it and read the stream again"
        ):
            look(path)


def test_a_store_in_use_is_not_repaired(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.merge([increment(OBJECTS[0])])
        with pytest.raises(StoreUnavailableError, match="in use: stop the service first"):
            repair(path, path.with_name("new.db"))
        assert not path.with_name("new.db").exists()
        assert not check(path).damaged


def test_the_new_file_takes_the_place_of_the_old(path: Path) -> None:
    overwrite(path, page_of(path, OBJECTS[400]))
    damaged = path.read_bytes()
    repair(path, path.with_name("new.db"))
    aside = exchange(path, path.with_name("new.db"))
    assert aside.read_bytes() == damaged
    assert not check(path).damaged


def test_the_stream_ends_instead_of_waiting(path: Path) -> None:
    """Given alerts for a damaged place, then the stream ends with an error that names object and remedy; it neither
    waits nor refuses the alerts.
    """
    alerts = list(simulate(6, seed=5))
    with closing(SqliteStore(path)) as store:
        store.merge([replace(increment(OBJECTS[0]), object_id=alert.object_id) for alert in alerts])
    overwrite(path, page_of(path, alerts[3].object_id))
    with closing(SqliteStore(path)) as store:
        pipeline = Pipeline(Decoder(), store, ModelRegistry(load_bundle(), threads=1), QualitySettings())
        source = Source(alerts, 6)
        runner = StreamRunner(source, pipeline, FileSink(), PipelineSettings())
        errors: list[BaseException] = []

        def run() -> None:
            try:
                runner.run()
            except StreamError as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        assert "store repair" in str(errors[0])
        assert alerts[3].object_id in str(errors[0])
        assert not source.acknowledged
        assert not runner.accounting.total().dead_lettered
