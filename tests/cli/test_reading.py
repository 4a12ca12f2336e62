"""`classify` and `replay` read the same things in the same way, and say the same of what they can't read."""

import gzip
import io
import json
import random
import tarfile

import fastavro
import pytest

from service.simulate import simulate
from service.stream.files.archives import MOST_TOLD
from tests.stream.files.damaged_archives import PACK, is_whole

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


@pytest.mark.parametrize("ending", [".tar.zst", ".tar.xz"])
def test_archives_are_read_in_newer_packings_too(both, tmp_path, ending):
    (tmp_path / f"night{ending}").write_bytes(PACK[ending](tar(PACKETS)))
    assert both(tmp_path / f"night{ending}") == (12, [])


def test_containers_put_one_behind_the_other_are_read_whole(both, tmp_path):
    """As `cat a.avro b.avro` makes them, and with a block without records between two with one."""
    begin = PACKETS[0].index(PACKETS[0][-16:]) + 16
    hollow = PACKETS[0] + b"\0\0" + PACKETS[0][-16:] + PACKETS[0][begin:]
    (tmp_path / "night.avro").write_bytes(b"".join([*PACKETS[:3], hollow]))
    assert both(tmp_path / "night.avro") == (5, [])


def test_an_alert_that_cannot_be_decoded_is_told_by_the_exit_status(both, tmp_path):
    """Given a plain tar, in which nothing but the packet itself tells of a flipped bit, then both end with 1."""
    archive = bytearray(tar(PACKETS))
    begin = archive.index(b"Obj\x01", archive.index(b"3.avro"))
    archive[archive.index(b"ZTF", begin + 30_000) - 1] ^= 0x80  # the length of objectId
    (tmp_path / "night.tar").write_bytes(archive)
    assert both(tmp_path / "night.tar", status=1)[0] == 11


def test_a_packet_larger_than_a_message_may_be_is_refused_by_both(both, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[pipeline]\nmax_message_bytes = 90000\n")
    small, large = sorted((packet for packet in PACKETS if len(packet) < 90_000), key=len)[:2], PACKETS[0] * 2
    assert len(large) > 90_000
    (tmp_path / "night.tar").write_bytes(tar([small[0], large, small[1]]))
    packets, (damage,) = both(tmp_path / "night.tar", status=1, config=("--config", config))
    assert packets == 2
    assert "pipeline.max_message_bytes" in damage


def test_many_bad_records_of_a_file_are_counted(both, run, tmp_path):
    count = MOST_TOLD + 9
    (tmp_path / "night.tar").write_bytes(tar([b"rubbish"] * count + PACKETS[:1]))
    done = run("classify", tmp_path / "night.tar", status=1)
    *lines, last, summary = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert len(lines) == MOST_TOLD
    assert {line["code"] for line in (*lines, last)} == {"bad_magic"}
    assert (last["count"], last["message"]) == (9, "and 9 more in this file")
    assert summary["unreadable"] == count


@pytest.mark.parametrize("count", [8, pytest.param(2_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_the_exit_status_is_0_only_if_everything_was_read(run, tmp_path, count):
    """Given damage anywhere in archives of every packing, then both commands end alike, and with 0 only where each of
    the alerts was answered.
    """
    rng = random.Random(count)
    halves = [tar(PACKETS[:3]), tar(PACKETS[3:6])]
    ends = set()
    for _ in range(count):
        ending = rng.choice(list(PACK))
        pack = PACK[ending]
        parts = list(map(pack, halves))
        whole = bytearray(rng.choice((pack(b"".join(halves)), b"".join(parts))))
        if rng.random() < 0.3:
            del whole[rng.randrange(len(whole)) :]
        for _ in range(rng.choice((1, 1, 3)) if whole else 0):
            whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        if is_whole(bytes(whole), parts[0]):
            continue
        path = tmp_path / f"night{ending}"
        path.write_bytes(whole)
        classified, replayed = (run(command, path, status=None) for command in ("classify", "replay"))
        assert classified.returncode == replayed.returncode, classified.stderr + replayed.stderr
        summary = json.loads(classified.stderr.splitlines()[-1])
        assert classified.returncode == 1 or summary["packets"] == 6
        assert f"{summary['packets']} classified" in replayed.stderr
        ends.add(classified.returncode)
    assert ends == {0, 1}  # a flipped bit in the images of a plain tar is for nobody to see
