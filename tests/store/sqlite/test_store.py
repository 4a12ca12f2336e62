"""What is special to the embedded store: its file, its process, its disk."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from service.photometry import Context, LightCurve
from service.store import (
    Cone,
    Increment,
    SqliteStore,
    StoredClassification,
    StoredObject,
    StoreUnavailableError,
    StoreVersionError,
    listing,
    open_store,
)
from service.store.encoding import encode_document, encode_light_curve
from service.store.sqlite import store as engine
from tests.store.test_contract import classification


def batch(number: int, size: int = 40) -> list[Increment]:
    """The `number`-th batch adds the epoch `number` to each of the same objects, and a few new objects."""
    chance = np.random.default_rng(number)
    epochs = np.concatenate([[float(number)], 1e4 + number + chance.random(20)])
    curve = LightCurve.from_columns(epochs, 0, mag=chance.random(21), limit=chance.random(21))
    return [Increment(f"old{i:03d}", 0, 0, curve) for i in range(size)] + [Increment(f"new{number:05d}", 0, 0, curve)]


def batches_of(store: SqliteStore, size: int = 40) -> list[set[float]]:
    """The batches that each of the common objects has seen."""
    stored = store.load([f"old{i:03d}" for i in range(size)])
    return [{mjd for mjd in thing.light_curve.mjd.tolist() if mjd < 1e4} for thing in stored.values()]


def test_a_store_without_a_path_leaves_no_file_behind() -> None:
    store = SqliteStore()
    store.merge(batch(1))
    folder = store.path.parent
    assert folder.exists()
    store.close()
    assert not folder.exists()


def test_folders_of_the_path_are_made(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/var/lib/store.db").close()
    assert (tmp_path / "var/lib/store.db").exists()


def test_a_path_that_cannot_be_is_said_to_be_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnavailableError, match="file"):
        SqliteStore(tmp_path / "file" / "store.db")
    with pytest.raises(StoreUnavailableError, match="store"):
        SqliteStore(tmp_path)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a light curve\n" * 1000)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        SqliteStore(path)
    assert path.read_text() == "a light curve\n" * 1000


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "store.db").close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match="99"):
        SqliteStore(tmp_path / "store.db")


def test_a_migration_keeps_what_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SqliteStore(tmp_path / "store.db")
    first.merge(batch(1))
    first.close()
    known = engine.migrations("sqlite")
    steps = [*known, (len(known) + 1, "CREATE TABLE added (x);\nCREATE INDEX added_x ON added (x); -- two\n")]
    monkeypatch.setattr(engine, "migrations", lambda _: steps)
    second = SqliteStore(tmp_path / "store.db")
    assert len(second.load(["new00001"])) == 1
    second.close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
        assert connection.execute("SELECT count(*) FROM added").fetchone() == (0,)


def test_objects_of_a_store_without_context_get_it_with_their_next_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = engine.migrations("sqlite")
    before = next(version for version, sql in known if "ADD COLUMN context" in sql) - 1
    with monkeypatch.context() as patch:
        patch.setattr(engine, "migrations", lambda _: known[:before])
        SqliteStore(tmp_path / "store.db").close()
    old = LightCurve.from_columns([1.0], 0, mag=19.0)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute(
            "INSERT INTO objects (object_id, ra, dec, cell, last_mjd, light_curve) VALUES ('A', 10.0, 20.0, 0, 1.0, ?)",
            (encode_light_curve(old),),
        )
        connection.execute("UPDATE totals SET objects = 1")
    store = SqliteStore(tmp_path / "store.db")
    assert store.load(["A"])["A"] == StoredObject("A", 10.0, 20.0, 1.0, old)
    context = Context.of({"sgscore1": 0.25})
    store.merge([Increment("A", 10.0, 20.0, LightCurve.from_columns([2.0], 0, mag=19.0), context)])
    assert store.load(["A"])["A"].context == context
    store.close()


def test_what_was_recorded_before_lists_had_filters_is_still_found_by_class_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = engine.migrations("sqlite")
    before = next(version for version, sql in known if "CREATE TABLE traits" in sql) - 1
    with monkeypatch.context() as patch:
        patch.setattr(engine, "migrations", lambda _: known[:before])
        old = SqliteStore(tmp_path / "store.db")
        old.merge([Increment("A", 10.0, 20.0, LightCurve.from_columns([1.0], 0, mag=19.0))])
        old.close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("INSERT INTO classifiers VALUES (1, 'alert-clr', '1.0.0', '[]', ?)", (b"{}",))
        connection.execute(
            "INSERT INTO latest VALUES ('A', 1, 1, 1.0, 1.7e9, 'AGN', 0.7, ?, NULL)", (encode_document({}, b"{}"),)
        )
    store = SqliteStore(tmp_path / "store.db")
    monkeypatch.setattr(listing, "LARGE_CONE", 0)
    for filters in ({}, {"top_class": "AGN"}, {"cone": Cone(10, 20, 1)}, {"prefix": "a"}, {"sort": "most_probable"}):
        assert [each.top_class for each in store.query(**filters)[0]] == ["AGN"], filters
    assert store.query(survey="ztf") == ([], None)
    store.record([replace(classification("A", 2), document={"survey": "ztf", "probabilities": {}})])
    assert len(store.query(survey="ztf")[0]) == 1
    store.close()


def test_a_migration_that_fails_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = engine.migrations("sqlite")
    steps = [*known, (len(known) + 1, "CREATE TABLE added (x);\nCREATE TABLE objects (x);\n")]
    SqliteStore(tmp_path / "store.db").close()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "migrations", lambda _: steps)
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            SqliteStore(tmp_path / "store.db")
    store = SqliteStore(tmp_path / "store.db")
    store.merge(batch(1))
    store.close()


@pytest.mark.parametrize(
    "filters",
    [{}, {"top_class": "SNIa"}, {"sort": "most_probable", "min_probability": 0.5}, {"since": 1.0}],
    ids=lambda filters: "-".join(filters) or "all",
)
def test_pages_are_found_in_an_index_not_by_reading_documents(filters: dict[str, object]) -> None:
    store = SqliteStore()
    store.record([classification("A"), classification("B", top_class="AGN")])
    statements: list[str] = []
    store.query()  # opens the reader
    store._idle_readers[0].set_trace_callback(statements.append)
    store.query(**filters)  # type: ignore[arg-type]
    plan = plan_of(store, statements)
    assert any("COVERING INDEX latest_by_" in step for step in plan)
    assert not any(step.startswith("SCAN latest") and "COVERING" not in step for step in plan)
    assert not any("TEMP B-TREE" in step for step in plan)
    store.close()


def plan_of(store: SqliteStore, statements: list[str]) -> list[str]:
    """How the statements of a page are run."""
    reader = store._idle_readers[0]
    reader.set_trace_callback(None)
    pages = [sql for sql in statements if "SELECT" in sql]
    return [row[3] for sql in pages for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}")]


def test_a_cone_search_reads_the_index_of_cells() -> None:
    store = SqliteStore()
    statements: list[str] = []
    store.query()
    store._idle_readers[0].set_trace_callback(statements.append)
    store.query(cone=Cone(10, 10, 1))
    plan = [row[3] for row in store._idle_readers[0].execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert any("objects_by_cell" in step for step in plan)
    store.close()


def test_a_file_locked_by_another_process_is_unavailable_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
    store = SqliteStore(tmp_path / "store.db")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        store.merge(batch(1))
    with pytest.raises(StoreUnavailableError, match="locked"):
        store.check()
    assert store.load(["old001"]) == {}  # readers do not wait for writers
    other.execute("ROLLBACK")
    store.check()
    store.merge(batch(1))
    assert len(store.load(["old001"])) == 1
    other.close()
    store.close()


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 command is not installed")
def test_a_backup_taken_beside_a_writer_is_a_store_of_its_own(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.merge(batch(1))
    subprocess.run(["sqlite3", tmp_path / "store.db", f".backup '{tmp_path / 'backup.db'}'"], check=True)
    store.merge(batch(2))
    copy = SqliteStore(tmp_path / "backup.db")
    assert all(seen == {1.0} for seen in batches_of(copy))
    copy.merge(batch(2))  # played again
    assert batches_of(copy) == batches_of(store)
    copy.close()
    store.close()


def test_a_record_waits_for_the_disk_and_a_merge_leaves_that_to_it() -> None:
    store = SqliteStore()
    statements: list[str] = []
    store._writer.set_trace_callback(statements.append)
    store.merge(batch(1))
    assert statements[0] == "PRAGMA synchronous = NORMAL"
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    statements.clear()
    store.record([StoredClassification("A", 1, "alert-clr", "1", 60000.0, 1.7e9, "RR", 1.0, {"probabilities": {}})])
    assert statements[0] == "PRAGMA synchronous = FULL"
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert statements[-2] == "COMMIT"
    store.close()


def test_a_defect_in_a_batch_leaves_no_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore()
    store.merge(batch(1))
    monkeypatch.setattr(engine, "cell_of", lambda ra, dec: object())  # SQLite can't bind it
    with pytest.raises(sqlite3.Error):
        store.merge(batch(2))
    monkeypatch.undo()
    assert all(seen == {1.0} for seen in batches_of(store))
    store.merge(batch(3))
    assert store.statistics().objects == 42
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() or mount is None:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs can't be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(store: SqliteStore, numbers: Iterator[int]) -> None:
    while True:
        store.merge(batch(next(numbers)))


def test_a_full_disk_loses_nothing_and_heals_by_itself(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "store.db")
    store.check()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(34_000_000))
    numbers = count()
    with pytest.raises(StoreUnavailableError, match="full"):
        fill(store, numbers)
    number = next(numbers) - 1  # the batch that failed
    assert number > 1
    with pytest.raises(StoreUnavailableError, match="full"):
        store.check()
    with pytest.raises(StoreUnavailableError, match="full"):
        store.merge(batch(number))
    assert all(seen == set(map(float, range(number))) for seen in batches_of(store))  # reading goes on; no half batch
    assert store.load([f"new{number:05d}"]) == {}

    ballast.unlink()
    store.check()
    store.merge(batch(number))
    assert all(seen == set(map(float, range(number + 1))) for seen in batches_of(store))
    assert store._writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


WRITER = """
import sys
from service.store import open_store
from tests.store.sqlite.test_store import batch
store = open_store(sys.argv[1])
for number in range(100_000):
    store.merge(batch(number))
    print(number, flush=True)
"""


@pytest.mark.parametrize("moment_s", [0.05, 0.2, 0.5])
def test_a_writer_killed_at_any_moment_leaves_whole_batches(tmp_path: Path, moment_s: float) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()  # the first batch is in
    time.sleep(moment_s)
    writer.send_signal(signal.SIGKILL)
    acknowledged = len(writer.stdout.read().splitlines()) + 1
    writer.wait()

    store = SqliteStore(tmp_path / "store.db")
    (seen,) = {frozenset(seen) for seen in batches_of(store)}
    assert seen in (frozenset(range(acknowledged)), frozenset(range(acknowledged + 1)))
    assert store.statistics().objects == 40 + len(seen)
    assert store._writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.merge(batch(acknowledged))
    store.close()
