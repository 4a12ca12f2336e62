"""Archives through the whole pipeline: folders, single files and a night's tar.gz, into files."""

from __future__ import annotations

import io
import tarfile
import threading
from pathlib import Path

import fastavro
import orjson
import pyarrow.parquet as pq
import pytest

from service.alerts.decode import Decoder
from service.config import PipelineSettings, QualitySettings
from service.inference.registry import ModelRegistry
from service.output.dead_letter import read_dead_letter_file
from service.output.files import JsonLines, Parquet
from service.simulate import SimulatedAlert, simulate
from service.store import SqliteStore, StoreUnavailableError
from service.stream.batch import Batch
from service.stream.files.archives import ArchiveError
from service.stream.files.replay import ArchiveSource, replay_archive
from service.stream.files.sinks import FileSink
from service.stream.pipeline import Pipeline
from service.stream.runner import StreamRunner


def night(path: Path, alerts: list[SimulatedAlert], *extra: bytes) -> Path:
    """A night's archive as the survey publishes it."""
    with tarfile.open(path, "w:gz") as archive:
        for number, packet in enumerate([*(alert.packet for alert in alerts), *extra]):
            member = tarfile.TarInfo(f"night/{number}.avro")
            member.size = len(packet)
            archive.addfile(member, io.BytesIO(packet))
    return path


def test_a_night_becomes_json_lines(pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path) -> None:
    """Given a tar.gz with one broken member, then every alert is a line, and the broken one a dead letter with its
    bytes; the books close.
    """
    archive = night(tmp_path / "ztf_public_20260101.tar.gz", alerts, b"broken")
    out, dead = tmp_path / "out.jsonl", tmp_path / "dead.jsonl"
    result = replay_archive([archive], pipeline, FileSink(JsonLines.to(out), dead))
    assert result.account.consumed == len(alerts) + 1
    assert result.account.published == len(alerts)
    assert result.account.dead_lettered == {"bad_magic": 1}
    lines = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert [line["candid"] for line in lines] == [alert.candid for alert in alerts]
    (letter,) = read_dead_letter_file(dead)
    assert (letter.value, letter.code, letter.place) == (b"broken", "bad_magic", f"{archive}/0/{len(alerts)}")


def test_a_folder_becomes_parquet(pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path) -> None:
    folder = tmp_path / "alerts"
    folder.mkdir()
    for alert in alerts:
        (folder / f"{alert.candid}.avro").write_bytes(alert.packet)
    (folder / "notes.txt").write_text("not an alert")
    replay_archive([folder], pipeline, FileSink(Parquet(tmp_path / "out.parquet")))
    table = pq.read_table(tmp_path / "out.parquet")
    assert sorted(table["candid"].to_pylist()) == sorted(alert.candid for alert in alerts)
    assert dict(table["probabilities"][0].as_py()).keys() >= {"SNIa", "AGN", "RR"}
    assert not (tmp_path / "dead.jsonl").exists()


def test_a_damaged_archive_gives_what_comes_before_the_damage(
    pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path
) -> None:
    whole = night(tmp_path / "whole.tar.gz", alerts)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = replay_archive([cut], pipeline, FileSink())
    assert 0 < result.account.published < len(alerts)
    (error,) = result.damaged
    assert "cut.tar.gz" in str(error)


def test_every_record_of_a_container_is_an_alert_of_its_own(
    pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path
) -> None:
    """Given a container of four records, the second of which has no band that is known, then three are answered, and
    the second is a dead letter with a place and bytes of its own.
    """
    readers = [fastavro.reader(io.BytesIO(alert.packet)) for alert in alerts[:4]]
    records = [next(reader) for reader in readers]
    records[1]["candidate"]["fid"] = 7
    with (tmp_path / "four.avro").open("wb") as file:
        fastavro.writer(file, readers[0].writer_schema, records, codec="deflate")
    (tmp_path / "z.avro").write_bytes(alerts[5].packet)
    result = replay_archive([tmp_path], pipeline, FileSink(None, tmp_path / "dead.jsonl"))
    assert (result.account.consumed, result.account.published) == (5, 4)
    (letter,) = read_dead_letter_file(tmp_path / "dead.jsonl")
    assert (letter.code, letter.place) == ("unknown_band", f"{tmp_path}/0/0#2")
    (alone,) = fastavro.reader(io.BytesIO(letter.value))
    assert alone["candid"] == alerts[1].candid


def test_a_path_that_is_not_there_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"nowhere\.tar\.gz does not exist"):
        replay_archive([tmp_path / "nowhere.tar.gz"], pipeline, FileSink())
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(ArchiveError, match=r"x\.txt is neither"):
        replay_archive([tmp_path / "x.txt"], pipeline, FileSink())


class _Away:
    """A store that can't be reached for the first tries."""

    def __init__(self, store: SqliteStore, tries: int) -> None:
        self._store = store
        self.tries = tries

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def merge(self, increments: object) -> object:
        if self.tries:
            self.tries -= 1
            raise StoreUnavailableError("database or disk is full")
        return self._store.merge(increments)  # type: ignore[arg-type]


def test_the_stream_waits_for_the_store(
    decoder: Decoder, store: SqliteStore, models: ModelRegistry, alerts: list[SimulatedAlert], tmp_path: Path
) -> None:
    """Given a store that is away for a while, then nothing is refused for it, and everything is published after."""
    pipeline = Pipeline(decoder, _Away(store, tries=5), models, QualitySettings())  # type: ignore[arg-type]
    archive = night(tmp_path / "night.tar.gz", alerts)
    result = replay_archive([archive], pipeline, FileSink(), PipelineSettings(max_batch=8, retry_s=0.05))
    assert result.account.published == len(alerts)
    assert not result.account.dead_lettered


def test_a_standstill_pauses_the_source_and_ends_when_told(
    decoder: Decoder, store: SqliteStore, models: ModelRegistry, tmp_path: Path
) -> None:
    """Given a store that stays away, when the thread is stopped, then it ends within its time, and what it had
    taken is neither published nor forgotten.
    """
    pipeline = Pipeline(decoder, _Away(store, tries=10**6), models, QualitySettings())  # type: ignore[arg-type]
    archive = night(tmp_path / "night.tar.gz", list(simulate(200, seed=24)))
    source = ArchiveSource([archive])
    runner = StreamRunner(source, pipeline, FileSink(), PipelineSettings(max_batch=4, retry_s=0.05))
    thread = threading.Thread(target=runner.run)
    thread.start()
    for _ in range(100):
        if source._paused and runner.trouble:
            break
        thread.join(0.05)
    assert source._paused
    assert "full" in str(runner.trouble)
    taken = runner.accounting.in_flight
    assert 0 < taken < 200
    runner.stop(drain_s=0.3)
    thread.join(5)
    assert not thread.is_alive()
    assert runner.accounting.total().published == 0
    assert runner.accounting.in_flight == taken
    assert runner.accounting.closes()


def test_a_stage_that_breaks_ends_the_stream_with_its_error(
    pipeline: Pipeline, alerts: list[SimulatedAlert], tmp_path: Path
) -> None:
    class Full(FileSink):
        def send(self, batch: Batch) -> None:
            raise OSError(28, "No space left on device")

    archive = night(tmp_path / "night.tar.gz", alerts)
    with pytest.raises(OSError, match="No space left"):
        replay_archive([archive], pipeline, Full())
