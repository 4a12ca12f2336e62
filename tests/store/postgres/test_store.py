"""What is special to the shared store: its server, its other users."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.photometry import LightCurve
from service.store import Increment, StoreUnavailableError, StoreVersionError, open_store
from tests.integration.postgres import PostgresServer, binaries, own_server

psycopg = pytest.importorskip("psycopg", reason="the postgres extra is not installed")
from service.store.postgres import connections as postgres_connections
from service.store.postgres import store as engine

pytestmark = pytest.mark.postgres


def batch(number: int, size: int = 20) -> list[Increment]:
    curve = LightCurve.from_columns([float(number)], 0, mag=19.0)
    return [Increment(f"old{i:03d}", 0, 0, curve) for i in range(size)] + [Increment(f"new{number:05d}", 0, 0, curve)]


def test_tables_of_a_newer_version_are_refused(postgres_url: str) -> None:
    store = open_store(postgres_url)
    store.check()
    store.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE alert_classifier.schema_version SET version = 99")
    store = open_store(postgres_url)
    with pytest.raises(StoreVersionError, match="99"):
        store.check()
    store.close()


def test_a_migration_keeps_what_was_stored(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(postgres_url)
    store.merge(batch(1))
    store.close()
    known = postgres_connections.migrations("postgres")
    steps = [*known, (len(known) + 1, "CREATE TABLE alert_classifier.added (x int);")]
    monkeypatch.setattr(postgres_connections, "migrations", lambda _: steps)
    store = open_store(postgres_url)
    assert len(store.load(["new00001"])) == 1
    store.close()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT version FROM alert_classifier.schema_version").fetchone() == (len(steps),)


def test_a_dump_restores_into_the_same_store(postgres_url: str, tmp_path: Path) -> None:
    folder = binaries()
    if folder is None:
        pytest.skip("no pg_dump here")
    store = open_store(postgres_url)
    store.merge(batch(1))
    dump = tmp_path / "alerts.dump"
    subprocess.run(
        [folder / "pg_dump", "--format=custom", "--schema=alert_classifier", f"--file={dump}", postgres_url], check=True
    )
    store.merge(batch(2))
    store.close()
    subprocess.run([folder / "pg_restore", "--clean", "--if-exists", f"--dbname={postgres_url}", dump], check=True)
    store = open_store(postgres_url)
    assert store.load(["old003"])["old003"].light_curve.mjd.tolist() == [1.0]
    store.merge(batch(2))  # played again
    assert store.load(["old003"])["old003"].light_curve.mjd.tolist() == [1.0, 2.0]
    store.close()


def test_updates_of_known_objects_touch_no_index(postgres_url: str) -> None:
    store = open_store(postgres_url)
    for number in range(10):
        store.merge(batch(number))
    store.close()
    updates = 0
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for _ in range(50):  # the server counts with a delay
            updates, heap_only = connection.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'objects'"
            ).fetchone()
            if updates == 9 * 20:
                break
            time.sleep(0.1)
    assert updates == 9 * 20
    assert heap_only > 0.9 * updates


def test_a_server_that_is_away_is_said_so_with_its_reason() -> None:
    store = open_store("postgresql://someone:secret@127.0.0.1:1/alerts")
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1/alerts.*refused") as refusal:
        store.check()
    assert "secret" not in str(refusal.value)
    store.close()


def test_a_frozen_transaction_of_another_makes_us_wait_and_then_say_so(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "SESSION", "SET lock_timeout = '200ms'")
    store = open_store(postgres_url)
    store.merge(batch(1))
    with psycopg.connect(postgres_url) as frozen:
        frozen.execute("SELECT * FROM alert_classifier.objects WHERE object_id = 'old003' FOR UPDATE")
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            store.merge(batch(2))
        assert store.load(["old000"])["old000"].light_curve.mjd.tolist() == [1.0]  # nothing half written
        frozen.rollback()
    store.merge(batch(2))
    assert store.load(["old003"])["old003"].light_curve.mjd.tolist() == [1.0, 2.0]
    store.close()


def test_replicas_that_insert_the_same_new_objects_never_lock_each_other_out(postgres_url: str) -> None:
    stores = [open_store(postgres_url) for _ in range(3)]
    together = threading.Barrier(len(stores))

    def read(which: int) -> None:
        for night in range(15):
            curve = LightCurve.from_columns([float(which)], 0, mag=19.0)
            order = range(30) if which % 2 else reversed(range(30))
            alerts = [Increment(f"night{night:02d}-{i:02d}", 0, 0, curve) for i in order]
            together.wait()
            stores[which].merge(alerts)

    with ThreadPoolExecutor(len(stores)) as replicas:
        list(replicas.map(read, range(len(stores))))
    everything = stores[0].load([f"night{night:02d}-{i:02d}" for night in range(15) for i in range(30)])
    assert len(everything) == 450
    assert all(thing.light_curve.mjd.tolist() == [0, 1, 2] for thing in everything.values())
    for store in stores:
        store.close()


def test_without_the_extra_the_error_names_it() -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from service.store import open_store\n"
        "open_store('sqlite://').close()\n"
        "open_store('postgresql://localhost/x')\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode
    assert "alert-classifier[postgres]" in run.stderr.splitlines()[-1]


@pytest.fixture
def mortal_server() -> Iterator[PostgresServer]:
    with own_server() as server:
        yield server


@pytest.mark.faults
@pytest.mark.parametrize("away_s", [0.0, 10.0])
def test_a_server_killed_mid_run_loses_nothing_and_is_found_again(mortal_server: PostgresServer, away_s: float) -> None:
    store = open_store(mortal_server.dsn)
    total, failures, back, healed, number, killed_at = 400, 0, float("inf"), 0.0, 0, 0

    def fail_and_return() -> None:
        nonlocal back, killed_at
        time.sleep(0.5)
        killed_at = number
        mortal_server.kill()
        time.sleep(away_s)
        mortal_server.start()
        back = time.monotonic()

    fault = threading.Thread(target=fail_and_return)
    for number in range(total):
        if number == 50:
            fault.start()
        while True:
            try:
                store.merge(batch(number))
                break
            except StoreUnavailableError:
                failures += 1
                time.sleep(0.2)
        if fault.is_alive():
            time.sleep(0.01)  # be in the middle of the run when the server dies
        if failures and not healed:
            healed = time.monotonic()
    fault.join()
    assert 50 <= killed_at < total - 1
    assert failures or not away_s  # a server that is back within 3 s is only waited for
    assert healed - back < 10
    stored = store.load([f"old{i:03d}" for i in range(20)] + [f"new{number:05d}" for number in range(total)])
    assert len(stored) == 20 + total
    assert all(len(stored[f"old{i:03d}"].light_curve) == total for i in range(20))
    store.check()
    store.close()


@pytest.mark.faults
def test_a_service_that_starts_before_its_server_waits_for_it(mortal_server: PostgresServer) -> None:
    mortal_server.kill()
    store = open_store(mortal_server.dsn)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            store.check()
    mortal_server.start()
    back = time.monotonic()
    while True:
        try:
            store.merge(batch(1))
            break
        except StoreUnavailableError:
            time.sleep(0.2)
    assert time.monotonic() - back < 10
    store.close()


def test_photometry_waits_for_an_object_that_is_just_being_stored(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a replica that has stored a new object and has not committed yet, when photometry of its position comes to
    another, then that one waits: neither could see the other, and they would have missed one another for good.
    """
    stored, go_on = threading.Event(), threading.Event()
    finish = engine.with_adopted

    def paused(*arguments: Any) -> Any:
        stored.set()
        assert go_on.wait(20)
        return finish(*arguments)

    monkeypatch.setattr(engine, "with_adopted", paused)
    stores = [open_store(postgres_url) for _ in range(2)]
    alert = Increment("ZTF1", 10.0, 20.0, LightCurve.from_columns([1.0], 0, mag=19.0))
    photometry = Increment("here", 10.0, 20.0, LightCurve.from_columns([2.0], 7, mag=18.0, survey=2))
    with ThreadPoolExecutor(2) as pool:
        merging = pool.submit(stores[0].merge, [alert])
        assert stored.wait(20)
        joining = pool.submit(stores[1].join, [photometry])
        time.sleep(0.3)
        assert not joining.done()
        go_on.set()
        merging.result(20)
        assert joining.result(20)[0].light_curve.mjd.tolist() == [1.0, 2.0]
    assert stores[0].load(["ZTF1"])["ZTF1"].light_curve.mjd.tolist() == [1.0, 2.0]
    for store in stores:
        store.close()


def test_an_object_waits_for_photometry_that_is_just_being_stored(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way round: the object's first alert comes while photometry is not committed yet."""
    stored, go_on = threading.Event(), threading.Event()
    join = engine.join_batch

    def paused(*arguments: Any) -> Any:
        done = join(*arguments)
        stored.set()
        assert go_on.wait(20)
        return done

    monkeypatch.setattr(engine, "join_batch", paused)
    stores = [open_store(postgres_url) for _ in range(2)]
    known = Increment("ZTF0", 50.0, 20.0, LightCurve.from_columns([1.0], 0, mag=19.0))
    new = Increment("ZTF1", 10.0, 20.0, LightCurve.from_columns([1.0], 0, mag=19.0))
    photometry = Increment("here", 10.0, 20.0, LightCurve.from_columns([2.0], 7, mag=18.0, survey=2))
    stores[0].merge([known])
    with ThreadPoolExecutor(2) as pool:
        joining = pool.submit(stores[0].join, [photometry])
        assert stored.wait(20)
        stores[1].merge([known])  # what brings no object has nothing to wait for
        merging = pool.submit(stores[1].merge, [known, new])
        time.sleep(0.3)
        assert not merging.done()
        go_on.set()
        joining.result(20)
        assert merging.result(20)[1].light_curve.mjd.tolist() == [1.0, 2.0]
    assert stores[0].load(["ZTF1"])["ZTF1"].light_curve.mjd.tolist() == [1.0, 2.0]
    for store in stores:
        store.close()
