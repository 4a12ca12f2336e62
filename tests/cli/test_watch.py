"""`watch`: what messages of the output topic look like on a terminal."""

from __future__ import annotations

from collections import deque

from service.cli.watch import _of_message, _probability, _table
from service.config import KafkaSettings
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.output.avro import decode_classification, encode_classification
from service.output.classification import Subject, classification
from service.photometry import LightCurve


def test_a_message_that_names_no_class_has_a_dash() -> None:
    """Given the messages of a light curve and of nothing, then only the first has a class and a probability."""
    subject = Subject("mine", 1, "ztf", 60000.0, 10.0, 20.0)
    seen = LightCurve.from_columns([60000.0, 60003.0], [0, 1], mag=18.0, magerr=0.1, sign=1)
    predictions = Classifier(load_bundle(), threads=1).classify([seen, LightCurve.empty()])
    messages = [encode_classification(classification(subject, each, received=1e9).document) for each in predictions]
    named, unnamed = (_of_message(KafkaSettings(), message) for message in messages)
    assert named == decode_classification(messages[0])
    assert unnamed == decode_classification(messages[1]) | {"top_class": None}
    assert _probability(named) == named["top_probability"]
    assert _probability(unnamed) == 0.0
    _, _, classes, probabilities, *_ = (list(column.cells) for column in _table(deque([named, unnamed])).columns)
    assert classes == [named["top_class"], "–"]
    assert probabilities == [f"{named['top_probability']:.2f}", "–"]
