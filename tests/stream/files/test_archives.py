"""Archives and folders: everything readable is read, and what is not is told with its place."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.alerts import AlertError, Decoder
from service.stream.files.archives import Damage, PacketFile, read_archive
from service.stream.files.unpacking import Raw
from tests.alerts.ztf_packets import an_alert, packet, schema
from tests.stream.files.damaged_archives import PACK, is_whole, lenient, tar

PACK_ONE = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": PACK[".tar.zst"]}
FILES = [(f"night/{number}.avro", bytes([number]) * (700 + 300 * number)) for number in range(10)]
VALUES = dict(FILES)


def read(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """Packets by the last part of their source, and what is told as missing."""
    packets: dict[str, bytes] = {}
    damage = []
    for one in read_archive(path):
        if isinstance(one, PacketFile):
            assert one.source.startswith(str(path))
            packets[one.source.rpartition(":")[2] if ":" in one.source else one.source] = one.value
        else:
            damage.append(str(one))
    return packets, damage


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def header_of(archive: bytes, name: str) -> int:
    return archive.index(name.encode())


@pytest.mark.parametrize("ending", [*PACK, *(ending.upper() for ending in PACK)])
def test_a_whole_archive_is_read_in_every_packing(tmp_path: Path, ending: str) -> None:
    packets, damage = read(written(tmp_path / f"night{ending}", PACK[ending.lower()](tar(FILES))))
    assert packets == VALUES
    assert not damage


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_in_every_dialect(tmp_path: Path, form: int) -> None:
    long = [(f"{'deep/' * 30}{'n' * 60}{number}.avro", b"x" * number) for number in range(3)]
    if form != tarfile.USTAR_FORMAT:
        long.append((f"{'m' * 300}\u00e9.avro", b"y"))
    packets, damage = read(written(tmp_path / "night.tar", tar(long, form)))
    assert packets == dict(long)
    assert not damage


@pytest.mark.parametrize("ending", PACK)
def test_nights_put_one_behind_the_other_are_all_read(tmp_path: Path, ending: str) -> None:
    """As `cat a.tar.gz b.tar.gz` and `cat a.tar b.tar` make them: one packing or several, many end markers."""
    pack = PACK[ending]
    nights = [tar(FILES[:3]), tar(FILES[3:4]), tar(FILES[4:])]
    for data in (pack(b"".join(nights)), b"".join(map(pack, nights))):
        packets, damage = read(written(tmp_path / f"nights{ending}", data))
        assert packets == VALUES
        assert not damage


@pytest.mark.parametrize("ending", PACK)
def test_a_flipped_bit_in_a_header_costs_no_other_member(tmp_path: Path, ending: str) -> None:
    """In the name: the member is read too, under what is left of its name. In the size: that member is lost."""
    for offset, lost in ((4, 0), (130, 1)):
        archive = bytearray(tar(FILES))
        archive[header_of(archive, "night/3.avro") + offset] ^= 1
        packets, damage = read(written(tmp_path / f"night{ending}", PACK[ending](bytes(archive))))
        assert len(packets) == len(FILES) - lost
        assert packets.items() >= {name: value for name, value in FILES if name != "night/3.avro"}.items()
        (said,) = damage
        assert f"header at byte {header_of(tar(FILES), 'night/3.avro')}" in said


@pytest.mark.parametrize("ending", PACK)
def test_a_cut_is_told_wherever_it_is(tmp_path: Path, ending: str) -> None:
    """At a header, inside one, at the end of a member's data, inside it: all before it is read."""
    archive = tar(FILES)
    begin = header_of(archive, "night/3.avro")
    for cut in (begin, begin + 100, begin + 511, begin + 512, begin + 600):
        packets, damage = read(written(tmp_path / f"night{ending}", PACK[ending](archive[:cut])))
        assert packets.items() >= dict(FILES[:3]).items()
        assert len(packets) <= 4
        assert damage


@pytest.mark.parametrize("ending", [ending for ending in PACK if ending != ".tar"])
def test_damage_of_one_night_leaves_those_behind_it(tmp_path: Path, ending: str) -> None:
    """Given nights packed apart, one cut and one with a flipped bit, then the others are whole."""
    rng = random.Random(7)
    noise = [(name, rng.randbytes(20_000)) for name, _ in FILES]
    nights = [bytearray(PACK[ending](tar(noise[start : start + 2]))) for start in range(0, 10, 2)]
    nights[1][len(nights[1]) // 2] ^= 1
    del nights[3][len(nights[3]) // 2 :]
    packets, damage = read(written(tmp_path / f"nights{ending}", b"".join(nights)))
    whole = {name: value for number, (name, value) in enumerate(noise) if number // 2 in (0, 2, 4)}
    assert packets.items() >= whole.items()
    assert len([said for said in damage if "data are damaged" in said]) >= 2


def test_everything_before_damage_of_the_packing_is_read(tmp_path: Path) -> None:
    rng = random.Random(3)
    noise = [(name, rng.randbytes(3_000)) for name, _ in FILES]
    packed = bytearray(gzip.compress(tar(noise), 1))
    packed[len(packed) * 9 // 10] ^= 4
    packets, damage = read(written(tmp_path / "night.tar.gz", bytes(packed)))
    assert packets.items() >= dict(noise[:7]).items()
    assert "gzip data are damaged" in " ".join(damage)


def test_what_is_no_archive_at_all_is_told(tmp_path: Path) -> None:
    for name, data in (("a.tar", b""), ("b.tar.gz", b"text"), ("c.tar", b"text" * 1000), ("d.tar.xz", tar(FILES)[:0])):
        packets, damage = read(written(tmp_path / name, data))
        assert not packets
        assert damage
    packets, damage = read(written(tmp_path / "e.tar", tar([("readme.txt", b"no packets")])))
    assert (packets, len(damage)) == ({}, 1)
    assert "holds no .avro" in damage[0]


def test_packets_are_found_however_they_are_packed(tmp_path: Path) -> None:
    """In a folder and in archives, packed alone or in an archive within an archive, in capitals or not."""
    value = b"Obj\x01 and so on"
    kinds = [
        ("a.avro", value), ("B.AVRO", value), ("c.avro.gz", gzip.compress(value)), ("d.avro.bz2", bz2.compress(value)),
        ("e.AVRO.XZ", lzma.compress(value)), ("f.avro", gzip.compress(value)),
    ]  # fmt: skip
    inner = [*kinds, ("g.tar.gz", gzip.compress(tar(kinds))), ("notes.txt", b"")]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in inner:
        (folder / name).write_bytes(data)
    archive = written(tmp_path / "all.tgz", gzip.compress(tar([*inner, ("h.tar", tar(kinds))])))
    for path, count in ((folder, 12), (archive, 18)):
        found = list(read_archive(path))
        assert [one.value for one in found if isinstance(one, PacketFile)] == [value] * count
        assert not [one for one in found if isinstance(one, Damage)]
    assert f"{archive}:h.tar:a.avro" in [one.source for one in found]
    assert f"{archive}:g.tar.gz:c.avro.gz" in [one.source for one in found]


def test_what_was_unpacked_on_its_way_is_read_under_its_packed_name(tmp_path: Path) -> None:
    assert read(written(tmp_path / "night.tar.gz", tar(FILES))) == (VALUES, [])
    whole = packet(an_alert(), schema())
    assert read(written(tmp_path / "1.avro.xz", whole)) == ({str(tmp_path / "1.avro.xz"): whole}, [])


def test_archives_in_archives_without_end_are_refused(tmp_path: Path) -> None:
    data = tar([("x.avro", b"x")])
    for _ in range(20):
        data = tar([("x.tar", data)])
    packets, (damage,) = read(written(tmp_path / "x.tar", data))
    assert not packets
    assert "archives in one another" in damage


def test_one_bad_entry_does_not_end_a_folder(tmp_path: Path) -> None:
    """A dangling link, a pipe, folders named like packets (Spark's, with parts in it, and an empty one), a circle."""
    (tmp_path / "a.avro").write_bytes(b"a")
    (tmp_path / "b.avro").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "c.avro")
    (tmp_path / "d.avro").mkdir()
    (tmp_path / "e.avro").mkdir()
    (tmp_path / "e.avro" / "part-0.avro").write_bytes(b"e")
    (tmp_path / "e.avro" / ".part-0.avro.crc").write_bytes(b"crc")
    (tmp_path / "e.avro" / "up").symlink_to(tmp_path)
    (tmp_path / "z.avro").write_bytes(b"z")
    found = list(read_archive(tmp_path))
    assert [one.value for one in found if isinstance(one, PacketFile)] == [b"a", b"e", b"z"]
    assert [one.source for one in found if isinstance(one, Damage)] == [
        str(tmp_path / f"{name}.avro") for name in "bcd"
    ]


def test_a_file_that_vanishes_is_told(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.avro").write_bytes(b"x")
    reading = read_archive(tmp_path)
    next(reading)
    (tmp_path / "b.avro").unlink()
    told, last = reading
    assert (told.source, last.source) == (str(tmp_path / "b.avro"), str(tmp_path / "c.avro"))
    assert isinstance(told, Damage)
    assert "No such file" in told.message


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: as root, become somebody who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        for file in ("a.avro", "c.avro"):
            (folder / file).write_bytes(b"x")
            (folder / file).chmod(0o644)
        (folder / "a.avro").chmod(0)
        (folder / "b").mkdir(mode=0)
        with as_nobody():
            packets, damage = read(folder)
        assert len(packets) == 1
        assert len(damage) == 2


def test_a_device_that_fails_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = written(tmp_path / "night.tar", tar(FILES))
    whole = Raw.read

    def failing(self: Raw, size: int) -> bytes:
        if self.left is None and len(told) > 5:
            raise OSError(5, "Input/output error")
        told.append(size)
        return whole(self, size)

    told: list[int] = []
    monkeypatch.setattr(Raw, "read", failing)
    *_, last = read_archive(archive)
    assert isinstance(last, Damage)
    assert "Input/output error" in last.message


def _damaged(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("count", [60, pytest.param(2_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_damage_anywhere_is_never_silent(tmp_path: Path, count: int) -> None:
    """What is read and what is told cover every member that a lenient reader finds, and all of the original."""
    rng = random.Random(count)
    files = [(f"night/{number}.avro", rng.randbytes(rng.randrange(3000)) + bytes(1500)) for number in range(12)]
    halves = [tar(files[:6]), tar(files[6:])]
    for number in range(count):
        ending = rng.choice(list(PACK))
        pack = PACK[ending]
        parts = list(map(pack, halves))
        damaged = _damaged(rng.choice((pack(b"".join(halves)), b"".join(parts))), rng)
        if is_whole(damaged, parts[0]):
            continue
        path = written(tmp_path / f"{number}{ending}", damaged)
        packets, damage = read(path)
        if not damage:
            # of a plain archive the packets' own bytes (and the padding) are nobody's to check but the packets'
            assert packets.keys() == dict(files).keys()
            assert ending == ".tar" or packets == dict(files)
        if not damage or ending != ".tar":
            assert packets.keys() >= lenient(path).keys() - {""}, damage
        else:
            assert sum(len(value) for value in packets.values()) >= sum(len(v) for v in lenient(path).values())
        path.unlink()


@pytest.mark.parametrize("count", [60, pytest.param(2_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_damage_of_packets_is_never_silent(tmp_path: Path, count: int) -> None:
    """Given containers of one record and of several, packed or not, then as many alerts as there were, or an error."""
    rng = random.Random(count)
    decoder = Decoder()
    written_by = schema()
    for number in range(count):
        records = [an_alert(jd=2460500.5 + day) for day in range(rng.choice((1, 1, 4)))]
        raw = packet(records, written_by, rng.choice(("null", "deflate", "bzip2", "xz")))
        ending = rng.choice(list(PACK_ONE))
        path = written(tmp_path / f"{number}.avro{ending}", _damaged(PACK_ONE[ending](raw), rng))
        found = list(read_archive(path))
        told = [one for one in found if isinstance(one, Damage)]
        decoded = [one for file in found if isinstance(file, PacketFile) for one in decoder.decode_all(file.value)]
        errors = [one for one in decoded if isinstance(one, AlertError)]
        assert told or errors or len(decoded) == len(records), path.name
        path.unlink()
