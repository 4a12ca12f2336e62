"""No file costs more than it is worth: a packet has a largest size, and what can't be read is told in so many lines."""

from __future__ import annotations

import bz2
import gzip
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from service.stream.files.archives import MOST_TOLD, ArchiveSource, Damage, PacketFile, read_archive
from tests.alerts.hostile import MEGABYTE, Cost
from tests.stream.files.damaged_archives import PACK, tar

LARGEST = 5_000
AT, OVER = b"Obj\x01" + bytes(LARGEST - 4), b"Obj\x01" + bytes(LARGEST - 3)


def read(path: Path, largest: int = LARGEST) -> tuple[list[bytes], list[Damage]]:
    found = list(read_archive(path, largest))
    return [one.value for one in found if isinstance(one, PacketFile)], [
        one for one in found if isinstance(one, Damage)
    ]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, PACK[".tar.zst"]])
@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".zst"])
def test_a_file_has_as_many_bytes_as_are_read(tmp_path: Path, pack: Callable[[bytes], bytes], ending: str) -> None:
    """Packed or not, whatever its name says."""
    assert read(written(tmp_path / f"a.avro{ending}", pack(AT))) == ([AT], [])
    packets, (damage,) = read(written(tmp_path / f"a.avro{ending}", pack(OVER)))
    assert (packets, damage.code) == ([], "too_large")
    assert "at most 5,000 are read (pipeline.max_message_bytes)" in str(damage)


@pytest.mark.parametrize("ending", PACK)
def test_a_member_that_claims_more_than_a_packet_may_have_is_not_read(tmp_path: Path, ending: str) -> None:
    """Given a member at the bound, some beyond it (one packed), and one behind them, then the bound ones are read."""
    files = [("a.avro", AT), ("b.avro", OVER), ("c.avro.gz", gzip.compress(OVER)), ("notes.txt", OVER), ("d.avro", AT)]
    packets, damage = read(written(tmp_path / f"night{ending}", PACK[ending](tar(files))))
    assert packets == [AT, AT]
    assert [(one.source.rpartition(":")[2], one.code) for one in damage] == [
        ("b.avro", "too_large"),
        ("c.avro.gz", "too_large"),
    ]


def test_a_member_is_refused_by_its_header(tmp_path: Path) -> None:
    """Given a header that claims a terabyte, then it is refused, and the end of the archive told."""
    header = tarfile.TarInfo("a.avro")
    header.size = 1 << 40
    path = written(tmp_path / "night.tar", tar([("b.avro", AT)])[: 512 + 5120] + header.tobuf() + bytes(512))
    packets, (refused, end) = read(path)
    assert packets == [AT]
    assert "1,099,511,627,776 bytes" in str(refused)
    assert "it ends in a.avro" in str(end)


def test_what_is_refused_takes_no_memory(tmp_path: Path) -> None:
    large = tar([("a.avro", bytes(40 * MEGABYTE)), ("b.avro", AT)])
    path = written(tmp_path / "night.tar.gz", gzip.compress(large))
    del large
    with Cost() as cost:
        packets, (damage,) = read(path)
    assert (packets, damage.code) == ([AT], "too_large")
    assert cost.memory < 16 * MEGABYTE


def test_a_size_that_is_no_number_of_bytes_is_not_believed(tmp_path: Path) -> None:
    """A header in PAX's form may give a size of thousands of digits, which Python refuses to read."""
    size = b"9" * 5000
    field = b" size=" + size + b"\n"
    data = str(len(field) + 4).encode() + field
    extended = tarfile.TarInfo("pax")
    extended.type, extended.size = tarfile.XHDTYPE, len(data)
    member = tar([("a.avro", AT)])
    path = written(tmp_path / "night.tar", extended.tobuf() + data + bytes(-len(data) % 512) + member)
    assert read(path) == ([AT], [])


def test_what_cannot_be_read_of_a_file_is_told_so_often_and_then_counted(tmp_path: Path) -> None:
    for count in (MOST_TOLD, MOST_TOLD + 7):
        files = [(f"{number}.avro", OVER) for number in range(count)]
        path = written(tmp_path / "night.tar", tar([*files, ("z.avro", AT)]))
        packets, damage = read(path)
        assert packets == [AT]
        assert len(damage) == MOST_TOLD + (count > MOST_TOLD)
        assert sum(one.count for one in damage) == count
    assert str(damage[-1]) == f"{path}: and 7 more in this file"


def test_names_that_are_not_utf8_can_be_told(tmp_path: Path) -> None:
    """Given a member and a file whose names hold Latin-1, then they are read, and their sources can be written."""
    raw = bytearray(tar([("n\u00e9.avro", AT), ("m\u00e9.avro", OVER)], tarfile.USTAR_FORMAT))
    raw = bytearray(raw.replace("é".encode(), b"\xe9x"))
    for start in (0, raw.index(b"m\xe9x.avro")):
        raw[start + 148 : start + 156] = b" " * 8
        raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + 512])
    path = tmp_path / os.fsdecode(b"night-\xe9.tar")
    path.write_bytes(raw)
    packets, (damage,) = read(path)
    assert packets == [AT]
    str(damage).encode()
    source = ArchiveSource([path])
    [message] = [message for message in source.poll(10, 0) if message.value == AT]
    message.topic.encode()


def test_archives_of_nothing_are_told_as_such(tmp_path: Path) -> None:
    """As `tar cf empty.tar -T /dev/null` makes one: nothing is wrong with it, but nothing was read."""
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    for name, data in (("a.tar", (tmp_path / "empty.tar").read_bytes()), ("b.tar.gz", gzip.compress(bytes(1024)))):
        packets, (damage,) = read(written(tmp_path / name, data))
        assert (packets, damage.code) == ([], "no_packets")
