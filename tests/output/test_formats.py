"""Every form of a classification is read by a library that knows nothing of us."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from avro.datafile import DataFileReader
from avro.io import DatumReader

from service.config import OutputFormat
from service.output.avro import CLASSIFICATION, SchemaMismatchError, SchemaVersion
from service.output.elasticc import CLASS_IDS, SCHEMA_TEXT
from service.output.formats import form, read
from tests.output.answers import ANSWER, MICROSECONDS, TIME

NAMELESS = ANSWER | {"top_class": None, "flags": ["no_detection"]}


def number_seven(version: SchemaVersion) -> int:
    return 7


@pytest.mark.parametrize("kind", [kind for kind in OutputFormat if kind is not OutputFormat.ELASTICC])
@pytest.mark.parametrize("version", [None, 1, 2])
@pytest.mark.parametrize("answer", [ANSWER, NAMELESS], ids=["named", "nameless"])
def test_what_goes_in_comes_out(kind: OutputFormat, version: int | None, answer: dict[str, Any]) -> None:
    made = form(kind, version, registered=number_seven)
    found = read(kind, version, made.encode(answer))
    if kind is OutputFormat.JSON:
        assert found == answer
        return
    assert found["candid"] == answer["candid"]
    assert found["observed"] == TIME
    assert found["top_class"] == "SNIa"
    assert found["probabilities"] == answer["probabilities"]
    assert found["variance"] == (None if version == 1 else answer["variance"])


def test_a_message_says_which_schema_it_has() -> None:
    for kind in OutputFormat:
        if kind is not OutputFormat.ELASTICC:
            headers = dict(form(kind, 1, registered=number_seven).headers)
            assert headers["schema"] == b"classification_1"
            assert headers["schema_fingerprint"] == CLASSIFICATION.versions[1].fingerprint.encode()


def test_a_container_is_a_file_of_its_own() -> None:
    value = form(OutputFormat.CONTAINER).encode(ANSWER)
    assert len(value) < 10_000
    with DataFileReader(io.BytesIO(value), DatumReader()) as records:
        [theirs] = list(records)
    assert theirs["candid"] == ANSWER["candid"]
    assert theirs["observed"] == MICROSECONDS
    assert dict(form(OutputFormat.CONTAINER).headers)["_format"] == b"avro"


def test_the_key_of_a_body_is_its_schema() -> None:
    made = form(OutputFormat.BODY)
    assert made.key is not None
    schema = fastavro.parse_schema(json.loads(made.key))
    record = fastavro.schemaless_reader(io.BytesIO(made.encode(ANSWER)), schema, None)
    assert isinstance(record, dict)
    assert record["object_id"] == ANSWER["object_id"]


def test_confluents_frame_holds_the_registrys_number() -> None:
    assert form(OutputFormat.CONFLUENT, registered=number_seven).encode(ANSWER)[:5] == b"\x00\x00\x00\x00\x07"


def elasticc(answer: dict[str, Any]) -> dict[str, Any]:
    value = form(OutputFormat.ELASTICC, broker="ours").encode(answer)
    record = fastavro.schemaless_reader(io.BytesIO(value), fastavro.parse_schema(json.loads(SCHEMA_TEXT)), None)
    assert isinstance(record, dict)
    return record


def test_elasticcs_record_says_what_brokers_are_asked() -> None:
    record = elasticc(ANSWER)
    assert (record["alertId"], record["diaSourceId"]) == (ANSWER["candid"], ANSWER["candid"])
    assert record["elasticcPublishTimestamp"] == TIME.replace(microsecond=678000)
    assert record["brokerName"] == "ours"
    assert record["classifierName"] == "alert-clr 1.2.0"
    assert record["classifierParams"] == "low_quality low_quality:rb"
    assert record["classifications"] == [
        {"classId": 2222, "probability": 0.75},
        {"classId": 2224, "probability": 0.25},
    ]
    sent = ANSWER | {"broker_timestamp": MICROSECONDS + 5_000_000}
    assert elasticc(sent)["elasticcPublishTimestamp"] > record["elasticcPublishTimestamp"]


def test_elasticc_is_told_what_was_not_classified_and_what_it_has_no_class_for() -> None:
    assert elasticc(NAMELESS)["classifications"] == [{"classId": 300, "probability": 1.0}]
    foreign = ANSWER | {"probabilities": {"SNIa": 0.5, "Nova": 0.25, "Kilonova": 0.25}}
    assert elasticc(foreign)["classifications"] == [
        {"classId": 2222, "probability": 0.5},
        {"classId": 200, "probability": 0.5},
    ]


def test_every_class_of_the_shipped_model_has_a_number_of_its_own() -> None:
    from service.inference.bundle import load_bundle

    assert set(load_bundle().manifest.classes) == set(CLASS_IDS)
    assert len(set(CLASS_IDS.values())) == len(CLASS_IDS)


@pytest.mark.parametrize("kind", OutputFormat)
def test_strangers_are_refused(kind: OutputFormat) -> None:
    with pytest.raises(SchemaMismatchError):
        read(kind, None, b"\x01nothing of ours")
