"""The two published schemas: what goes in comes out, and strangers are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fastavro.schema import to_parsing_canonical_form
from hypothesis import given
from hypothesis import strategies as st

from service.output.avro import CLASSIFICATION, SchemaMismatchError, decode_classification
from service.output.dead_letter import DEAD_LETTER, DeadLetter

letters = st.builds(
    DeadLetter,
    topic=st.text(min_size=1),
    partition=st.integers(0, 1000),
    offset=st.integers(0, 2**62),
    timestamp=st.none() | st.just(1_700_000_000.123),
    code=st.text(),
    message=st.text(),
    service_version=st.text(),
    refused=st.just(1_700_000_001.5),
    key=st.none() | st.text().map(str.encode),
    size=st.just(0),
    value=st.just(b""),
)


@given(letters, st.binary(max_size=300))
def test_a_dead_letter_survives_topic_and_file(letter: DeadLetter, value: bytes) -> None:
    letter = replace(letter, value=value, size=len(value))
    assert DeadLetter.decode(letter.encode()) == letter
    assert DeadLetter.from_json(json.loads(json.dumps(letter.as_json()))) == letter
    short = DeadLetter.decode(letter.encode(keep=10))
    assert short.truncated == (len(value) > 10)
    assert short.value == value[:10]


def test_fingerprints_follow_the_specification() -> None:
    """The frame holds the CRC-64-AVRO of the schema's canonical form, here computed as the specification tells."""
    empty = 0xC15D213AA4D7A795
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (empty if value & 1 else 0)
        table.append(value)
    for message in (*CLASSIFICATION.versions.values(), *DEAD_LETTER.versions.values()):
        value = empty
        for byte in to_parsing_canonical_form(json.loads(message.text)).encode():
            value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
        assert message.header == b"\xc3\x01" + value.to_bytes(8, "little")


def test_every_field_is_explained() -> None:
    for message in (CLASSIFICATION, DEAD_LETTER):
        schema = json.loads(message.text)
        assert schema["doc"]
        unexplained = [field["name"] for field in schema["fields"] if not field.get("doc")]
        assert not unexplained, unexplained


@pytest.mark.parametrize("stranger", [b"", b"{}", b"\xc3\x01" + bytes(8), DEAD_LETTER.header + b"\x00"])
def test_strangers_are_refused(stranger: bytes) -> None:
    with pytest.raises(SchemaMismatchError, match="not a classification message"):
        decode_classification(stranger)


def test_a_cut_message_is_refused() -> None:
    with pytest.raises(SchemaMismatchError, match="damaged"):
        decode_classification(CLASSIFICATION.header + b"\x18ZTF")


@pytest.mark.parametrize("number", DEAD_LETTER.versions)
def test_dead_letters_of_every_version_are_read(number: int) -> None:
    letter = DeadLetter("t", 1, 2, 1.5, "bad_magic", "no", b"k", 3, b"abc", "0.1.0", 2.5)
    fields = DEAD_LETTER.decode(letter.encode())
    assert fields["record"] == 1
    assert (
        DeadLetter.decode(DEAD_LETTER.versions[number].encode(fields | {"timestamp": 1500000, "refused": 2500000}))
        == letter
    )
    assert letter.place == "t/1/2"
    assert replace(letter, record=2).place == "t/1/2#2"
    assert DeadLetter.decode(replace(letter, record=2).encode()).record == 2


def test_a_time_that_is_none_is_refused() -> None:
    fields = dict.fromkeys(("partition", "offset", "size", "record"), 0) | {
        "topic": "", "code": "", "message": "", "service_version": "", "key": None, "value": b"", "timestamp": None,
    }  # fmt: skip
    assert DEAD_LETTER.decode(DEAD_LETTER.encode(fields | {"refused": 0}))["refused"].year == 1970
    with pytest.raises(SchemaMismatchError, match=f"whose refused is {2**62}: no time"):
        DEAD_LETTER.decode(DEAD_LETTER.encode(fields | {"refused": 2**62}))
