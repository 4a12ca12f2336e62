"""`classify` and `replay` read the same things in the same way, and say the same of what they can't read."""

import gzip
import io
import json
import tarfile

import fastavro
import pytest

from service.simulate import simulate

PACKETS = [alert.packet for alert in simulate(12, seed=5)]


def tar(packets):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, packet in enumerate(packets):
            member = tarfile.TarInfo(f"{number}.avro")
            member.size = len(packet)
            archive.addfile(member, io.BytesIO(packet))
    return buffer.getvalue()


@pytest.fixture
def both(run, tmp_path):
    """(packets, what classify reports) of a path read by both, with the same exit status."""

    def both(*arguments, status=0, config=()):
        classified = run(*config, "classify", *arguments, "--format", "jsonl", status=status)
        replayed = run(*config, "replay", *arguments, "--out", tmp_path / "out.jsonl", status=status)
        *reports, summary = [json.loads(line) for line in classified.stderr.splitlines() if line.startswith("{")]
        answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert len(answers) == summary["packets"]
        for report in reports:
            assert report["code"] in replayed.stderr or report["message"] in replayed.stderr
        return summary["packets"], [report["message"] for report in reports]

    return both


def test_nights_one_behind_the_other_are_read_whole(both, tmp_path):
    path = tmp_path / "nights.TGZ"
    path.write_bytes(gzip.compress(tar(PACKETS[:5])) + gzip.compress(tar(PACKETS[5:])))
    assert both(path) == (12, [])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_header_is_told_and_the_rest_is_read(both, tmp_path, pack):
    archive = bytearray(tar(PACKETS))
    archive[archive.index(b"3.avro") + 130] ^= 1
    path = tmp_path / ("night.tar.gz" if pack is gzip.compress else "night.tar")
    path.write_bytes(pack(bytes(archive)))
    packets, (damage,) = both(path, status=1)
    assert packets == 11
    assert "header at byte" in damage


def test_a_cut_at_a_header_is_told(both, tmp_path):
    archive = tar(PACKETS)
    path = tmp_path / "night.tar"
    path.write_bytes(archive[: archive.index(b"3.avro")])
    packets, (damage,) = both(path, status=1)
    assert packets == 3
    assert "without an end marker" in damage


def test_a_bad_entry_of_a_folder_is_told_and_the_rest_is_read(both, tmp_path):
    folder = tmp_path / "folder"
    (folder / "spark.avro").mkdir(parents=True)
    (folder / "spark.avro" / "part-0.avro.gz").write_bytes(gzip.compress(PACKETS[0]))
    (folder / "dangling.avro").symlink_to("nowhere")
    (folder / "z.AVRO").write_bytes(PACKETS[1])
    packets, (damage,) = both(folder, status=1)
    assert packets == 2
    assert "No such file" in damage


def test_reading_nothing_is_an_error(both, tmp_path):
    (tmp_path / "empty").mkdir()
    assert both(tmp_path / "empty", status=1)[0] == 0
    (tmp_path / "none.tar").write_bytes(tar([]))
    assert both(tmp_path / "none.tar", status=1)[0] == 0


def test_framed_and_bare_records_are_read_where_a_schema_folder_is_configured(both, run, tmp_path):
    reader = fastavro.reader(io.BytesIO(PACKETS[0]))
    records = [next(fastavro.reader(io.BytesIO(packet))) for packet in PACKETS[:3]]
    schemas, folder = tmp_path / "schemas", tmp_path / "folder"
    schemas.mkdir()
    folder.mkdir()
    (schemas / "402.avsc").write_text(json.dumps(reader.writer_schema))
    config = tmp_path / "config.toml"
    config.write_text(f'[kafka]\nschema_folder = "{schemas}"\n')
    for number, record in enumerate(records):
        buffer = io.BytesIO(b"\0" + (402).to_bytes(4, "big") if number < 2 else b"")
        buffer.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(buffer, reader.writer_schema, record)
        (folder / f"{number}.avro").write_bytes(buffer.getvalue())
    assert both(folder, config=("--config", config)) == (3, [])
    assert "kafka.schema_folder" in run("classify", folder, status=1).stderr
