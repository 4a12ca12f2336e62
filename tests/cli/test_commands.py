"""The other commands: help, store, models, dead letters, simulation, replay."""

import json
import shutil
import sqlite3
import sys
from contextlib import closing

import pytest

from service.alerts import Decoder
from service.cli import COMMANDS
from service.cli.report import SPARKLINE_WIDTH, sparkline
from service.inference.bundle import default_bundle_folder
from service.photometry import LightCurve
from tests.alerts.atlas_tables import exposures, write_table
from tests.store.sqlite.test_damage import overwrite, page_of


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(run, name):
    assert len(run(name, "--help").stdout) > 200
    assert name in run("--help").stdout


def test_a_replay_fills_the_store_and_doing_it_again_changes_nothing(run, night, tmp_path):
    (night / "poison.avro").write_bytes(b"Obj\x01 and then nothing")
    try:
        letters = tmp_path / "letters.jsonl"
        first = run("replay", night, "--out", tmp_path / "out.jsonl", "--dead-letters", letters, status=1)
        assert "41 alerts = 40 classified + 0 filtered + 1 dead-lettered" in first.stderr
        before = run("store", "stats").stdout
        run("replay", night, "--out", tmp_path / "again.parquet", status=1)
        assert run("store", "stats").stdout.split(",")[:2] == before.split(",")[:2]
    finally:
        (night / "poison.avro").unlink()
    published = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len({(each["object_id"], each["candid"]) for each in published}) == 40

    listed = run("dead-letters", "list", "--file", letters, "--format", "jsonl")
    (letter,) = [json.loads(line) for line in listed.stdout.splitlines()]
    shown = run("dead-letters", "show", letter["place"], "--file", letters, "--out", tmp_path / "poison")
    assert letter["message"] in shown.stdout
    assert (tmp_path / "poison").read_bytes() == b"Obj\x01 and then nothing"
    assert "list" in run("dead-letters", "show", "no/0/0", "--file", letters, status=1).stderr


def test_atlas_tables_are_imported_and_again_changes_nothing(run, night, tmp_path):
    run("replay", night)
    alert = Decoder().decode(next(night.glob("*.avro")).read_bytes())
    rows = exposures((alert.mjd, "o", 300.0), (alert.mjd + 1, "c", 5.0), (alert.mjd + 2, "c", 500.0), chi_n=[1, 1, 9])
    here = write_table(tmp_path / "here.txt", rows, alert.ra, alert.dec)
    alone = write_table(tmp_path / "alone.txt", rows, alert.ra, alert.dec - 1.0)
    broken = tmp_path / "broken.txt"
    broken.write_text("no table\n")
    before = run("store", "stats").stdout
    for _ in range(2):
        done = run("store", "import-atlas", here, alone, broken, status=1)
        assert "2 tables, 4 of 6 exposures kept: 1 have joined an object, 1 wait for one" in done.stdout
        assert "broken.txt has no column MJD" in done.stderr
        assert "2 sources of photometry" in run("store", "stats").stdout
    assert run("store", "stats").stdout.split(",")[0] == before.split(",")[0]
    assert "wait for one" in run("store", "import-atlas", broken, status=1).stdout
    cloudy = write_table(tmp_path / "cloudy.txt", exposures((60000.0, "o", 9.0), sky=[15.0]), 10.0, 20.0)
    assert "nothing worth keeping: ATLAS_J004000.00+200000.0" in run("store", "import-atlas", cloudy).stderr


def test_watch_names_what_does_not_answer(run):
    assert "nothing can be read from http://127.0.0.1:9" in run("watch", "--url", "http://127.0.0.1:9", status=1).stderr


def test_old_objects_are_pruned_on_request(run, night):
    run("replay", night)
    assert run("store", "prune", "--older-than", "1000", "--yes").stdout.startswith("0 objects")
    assert "0 objects, 0 classifications" not in run("store", "stats").stdout


def test_a_damaged_store_is_found_and_repaired(run, night, tmp_path):
    """Given a page of the store that was overwritten, `check` fails and `repair` puts a sound file in its place."""
    run("replay", night)
    assert "no damage was found" in run("store", "check").stdout
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as store:
        (name,) = store.execute("SELECT object_id FROM objects LIMIT 1").fetchone()
    overwrite(path, page_of(path, name))
    found = run("store", "check", status=1)
    assert f"light curve lost: {name}" in found.stderr
    assert "is damaged: stop the service" in found.stderr
    repaired = run("store", "repair")
    assert f"light curve lost: {name}" in repaired.stderr
    assert f"the damaged file is now {path}.damaged" in repaired.stdout
    assert "no damage was found" in run("store", "check").stdout
    with pytest.raises(AssertionError, match="only an SQLite file"):
        run("store", "check", "--url", "postgresql://localhost/alerts")


def test_the_shipped_bundle_is_sound_and_a_changed_one_is_refused(run, tmp_path):
    assert "is sound and runs on CPUExecutionProvider" in run("model", "verify").stdout
    assert "SNIa (Transient)" in " ".join(run("model", "show").stdout.split())
    changed = tmp_path / "changed"
    shutil.copytree(default_bundle_folder(), changed)
    with (changed / "model.onnx").open("ab") as graph:
        graph.write(b"\0")
    assert "sha256" in run("model", "verify", changed, status=1).stderr


def test_simulation_is_repeatable_and_needs_to_know_where_to(run, tmp_path):
    for name in ("one", "two"):
        run("simulate", "--alerts", "5", "--seed", "7", "--out", tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 6
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    assert "--out FOLDER or --topic TOPIC" in run("simulate", status=2).stderr
    assert "kafka.bootstrap_servers" in run("simulate", "--topic", "x", status=1).stderr


def test_a_topic_for_one_stream_is_refused_where_there_are_inputs(run, environment):
    environment["ALERT_CLASSIFIER_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    environment["ALERT_CLASSIFIER_INPUTS"] = '[{"name": "ztf"}]'
    told = run("serve", "--topic", "x", "--port", "0", status=1)
    assert "with inputs, topics and photometry_topics are set in each of them" in told.stderr


def test_a_wrong_setting_is_one_sentence(run, environment):
    environment["ALERT_CLASSIFIER_PIPELINE__MAX_BATCH"] = "none"
    assert "pipeline.max_batch" in run("classify", ".", status=1).stderr


@pytest.mark.parametrize("command", [("serve", "--port", "0", "--store"), ("store", "stats", "--url")])
def test_a_missing_extra_is_one_sentence(run, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("service.store.postgres")]:
        monkeypatch.delitem(sys.modules, name)  # else an earlier test's import would serve, for ever
    error = run(*command, "postgresql://localhost/x", status=1).stderr
    assert "Error: the PostgreSQL store needs the postgres extra" in error


def test_the_sparkline_shows_the_brightest_highest():
    curve = LightCurve.from_columns([0.0, 10.0, 20.0], [0, 0, 0], mag=[20.0, 18.0, 20.0])
    line = sparkline(curve)
    assert len(line) == SPARKLINE_WIDTH
    assert line[0] == line[-1] == "▁"
    assert line[SPARKLINE_WIDTH // 2] == "█"
    assert sparkline(LightCurve.empty()) == ""


def test_the_shell_completes_commands(run, environment):
    environment |= {
        "_ALERT_CLASSIFIER_COMPLETE": "bash_complete",
        "COMP_WORDS": "alert-classifier cl",
        "COMP_CWORD": "1",
    }
    assert run().stdout.split() == ["plain,classify"]
