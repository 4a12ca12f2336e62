"""Real packets of every schema version, against fastavro and against a plain reading of the fields."""

import csv
from pathlib import Path

import pytest

from service.alerts import AlertError, Decoder

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def index(real_data: Path) -> list[dict[str, str]]:
    with open(real_data / "alerts" / "index.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_good_packet_is_read(real_data: Path, index: list[dict[str, str]]) -> None:
    decoder = Decoder()
    good = [row for row in index if row["valid"] == "True"]
    for row in good:
        alert = decoder.decode((real_data / "alerts" / row["file"]).read_bytes())
        assert (alert.object_id, alert.candid) == (row["objectId"], int(row["candid"]))
    assert len(good) == 505


@pytest.mark.parametrize(
    ("name", "code", "place"),
    [
        ("bad_block_516434762915010006", "bad_", "record"),
        ("sync_marker_516401801315010009", "bad_sync", "sync marker at byte 66528"),
        ("undecodable_87704463155000", "bad_magic", "not an Avro container file"),
        ("truncated_1079564896215015003", "truncated", "claims 43248 bytes, the file has 16603"),
        ("empty", "empty", "no bytes"),
        ("bad_magic_1079564896215015003", "bad_magic", "begins with 4a 55 4e 4b"),
    ],
)
def test_every_bad_packet_says_what_is_wrong(real_data: Path, name: str, code: str, place: str) -> None:
    raw = (real_data / "alerts" / "bad" / f"{name}.avro").read_bytes()
    with pytest.raises(AlertError, match=place) as refused:
        Decoder().decode(raw)
    assert refused.value.code.startswith(code)
    assert [error.code for error in Decoder().decode_all(raw) if isinstance(error, AlertError)] == [refused.value.code]
