"""Every version of a published schema stays as it was, and each is read by the readers of every other."""

from __future__ import annotations

import json

import avro.schema
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from service.config import KafkaSettings, OutputSettings
from service.output.avro import CLASSIFICATION, SchemaVersion, SingleObject, decode_classification
from service.output.dead_letter import DEAD_LETTER
from tests.output.answers import ANSWER, TIME

# What has been published must not change: a change is a new file with the next number, and a line here.
FINGERPRINTS = {
    "classification_1": "f11e9af5994db4a8",
    "classification_2": "e1d4f11bcb2cc65b",
    "classification_3": "e1d4f11bcb2cc65b",
    "classification_4": "bc6b7077e8ba6fea",
    "dead_letter_1": "9dec210e1319e660",
    "dead_letter_2": "ab3256d743686040",
    "dead_letter_3": "ab3256d743686040",
}


def test_what_was_published_stays_as_it_was() -> None:
    published = [*CLASSIFICATION.versions.values(), *DEAD_LETTER.versions.values()]
    assert {version.label: version.fingerprint for version in published} == FINGERPRINTS


@pytest.mark.parametrize("number", CLASSIFICATION.versions)
def test_an_answer_of_any_version_is_read(number: int) -> None:
    version = CLASSIFICATION.versions[number]
    known = {field["name"] for field in json.loads(version.text)["fields"]}
    read = decode_classification(version.encode(ANSWER))
    assert read["observed"] == TIME
    assert read["broker_timestamp"] is None
    for name, value in ANSWER.items():
        if name not in ("observed", "received", "published"):
            assert read[name] == (value if name in known else None), name


def compatible(reader: str, writer: str) -> bool:
    found = ReaderWriterCompatibilityChecker().get_compatibility(avro.schema.parse(reader), avro.schema.parse(writer))
    return bool(found.compatibility is SchemaCompatibilityType.compatible)


@pytest.mark.parametrize("schema", [CLASSIFICATION, DEAD_LETTER], ids=lambda schema: schema.name)
def test_each_version_reads_the_messages_of_every_other(schema: SingleObject) -> None:
    """What is new has a default, so new readers take old messages, and what goes had one, so old readers take new."""
    for writer in schema.versions.values():
        for reader in schema.versions.values():
            assert compatible(reader.text, writer.text), f"{reader.label} does not read {writer.label}"


def test_a_change_without_a_default_would_be_noticed() -> None:
    now = json.loads(CLASSIFICATION.text)
    new = {"name": "redshift", "type": ["null", "double"], "doc": "of the host"}
    with_default = json.dumps(now | {"fields": [*now["fields"], new | {"default": None}]})
    without = json.dumps(now | {"fields": [*now["fields"], new]})
    retyped = json.dumps(now).replace('"candid", "type": "long"', '"candid", "type": "string"')
    removed = json.dumps(now | {"fields": [field for field in now["fields"] if field["name"] != "mjd"]})
    assert compatible(with_default, CLASSIFICATION.text)
    assert not compatible(without, CLASSIFICATION.text)
    assert not compatible(retyped, CLASSIFICATION.text)
    assert not compatible(CLASSIFICATION.text, removed)


def test_every_version_may_be_asked_for() -> None:
    """`kafka.output_schema_version` takes the number of each that is there, and no other."""
    for settings in (
        {"topic": "t", "schema_version": 0},
        {"topic": "t", "schema_version": max(CLASSIFICATION.versions) + 1},
    ):
        with pytest.raises(ValueError, match="schema_version"):
            OutputSettings(**settings)
    assert OutputSettings(topic="t", schema_version=max(CLASSIFICATION.versions))
    assert KafkaSettings(output_schema_version=max(CLASSIFICATION.versions))


def test_the_newest_version_has_no_logical_type() -> None:
    """The fingerprint of a schema with one differs between Avro's libraries (Java, Python, Rust, Go)."""
    for schema in (CLASSIFICATION, DEAD_LETTER):
        assert "logicalType" not in schema.text


def test_apaches_library_computes_our_fingerprints_where_there_is_no_logical_type() -> None:
    def theirs(version: SchemaVersion) -> str:
        return avro.schema.parse(version.text).fingerprint("CRC-64-AVRO").hex()

    for schema in (CLASSIFICATION, DEAD_LETTER):
        assert theirs(schema.newest) == schema.newest.fingerprint
        assert theirs(schema.versions[2]) != schema.versions[2].fingerprint
