"""Each topic gets what it asks for, in its form; the first gets everything."""

from __future__ import annotations

from typing import Any

import pytest

from service.config import KafkaSettings, OutputSettings
from service.output.avro import decode_classification
from service.output.outputs import Outputs, condition, unknown_names
from tests.output.answers import ANSWER

SUPERNOVA = ANSWER | {"superclass_probabilities": {"Transient": 0.9, "Stochastic": 0.1}}
NAMELESS = SUPERNOVA | {"top_class": None, "flags": ["no_detection"]}
ATLAS = SUPERNOVA | {"survey": "atlas", "flags": []}


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({}, [True, True, True]),
        ({"classes": ["SNIa", "SNII"]}, [True, False, True]),
        ({"classes": ["AGN"]}, [False, False, False]),
        ({"superclasses": ["Transient"]}, [True, False, True]),
        ({"superclasses": ["Stochastic"]}, [False, False, False]),
        ({"min_probability": 0.75}, [True, False, True]),
        ({"min_probability": 0.76}, [False, False, False]),
        ({"classes": ["SNIa"], "superclasses": ["Transient"], "min_probability": 0.8}, [False, False, False]),
        ({"superclasses": ["Transient"], "min_probability": 0.8}, [True, False, True]),
        ({"flags": ["low_quality"]}, [True, False, False]),
        ({"flags": ["low_quality", "no_detection"]}, [False, False, False]),
        ({"without_flags": ["low_quality", "no_detection"]}, [False, False, True]),
        ({"surveys": ["atlas", "lsst"]}, [False, False, True]),
        ({"surveys": ["ztf"], "classes": ["SNIa"]}, [True, False, False]),
    ],
)
def test_an_output_takes_what_meets_all_it_asks_for(asked: dict[str, Any], taken: list[bool]) -> None:
    takes = condition(OutputSettings(topic="some", **asked))
    assert [takes is None or takes(answer) for answer in (SUPERNOVA, NAMELESS, ATLAS)] == taken


def test_the_first_topic_gets_everything_and_the_others_what_they_asked_for() -> None:
    outputs = Outputs(
        KafkaSettings(
            output_topic="all",
            outputs=[
                OutputSettings(topic="good", format="json", without_flags=["low_quality"]),
                OutputSettings(topic="sn", format="body", classes=["SNIa"]),
            ],
        )
    )
    assert [message.topic for message in outputs.messages(SUPERNOVA)] == ["all", "sn"]
    assert [message.topic for message in outputs.messages(NAMELESS)] == ["all", "good"]
    assert [message.topic for message in outputs.messages(ATLAS)] == ["all", "good", "sn"]
    first, _, body = outputs.messages(ATLAS)
    assert decode_classification(first.value)["survey"] == "atlas"
    assert first.key == b"ZTF25abcdefg"
    assert body.key.startswith(b'{"type":"record"')


def test_a_slip_in_a_name_of_a_class_is_told() -> None:
    outputs = [OutputSettings(topic="t", classes=["SNIa", "SN1a"]), OutputSettings(topic="u", superclasses=["SN"])]
    assert unknown_names(outputs, ["SNIa", "SNII"], ["Transient"]) == [
        "kafka.outputs.0.classes: the model has no SN1a, but SNIa, SNII",
        "kafka.outputs.1.superclasses: the model has no SN, but Transient",
    ]
    assert unknown_names(outputs[:1], ["SNIa", "SN1a"], []) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outputs": [{"topic": "alert-classifications"}]}, "alert-classifications stands twice"),
        ({"outputs": [{"topic": "a"}, {"topic": "a"}]}, "a stands twice"),
        ({"topics": ["a"], "outputs": [{"topic": "a"}]}, "a is read and written"),
        ({"outputs": [{"topic": "a", "format": "confluent"}]}, "confluent needs schema_registry_url"),
        ({"output_format": "confluent"}, "confluent needs schema_registry_url"),
        ({"outputs": [{"topic": "a", "format": "xml"}]}, "single_object"),
        ({"outputs": [{"topic": "a", "klasses": ["SNIa"]}]}, "klasses"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KafkaSettings(**settings)
