"""Which topics a classification goes to, and in what form: one takes all, others take what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from service.config import KafkaSettings, OutputSettings
from service.output.avro import SchemaVersion
from service.output.formats import Document, Form, Headers, form

# (topic, schema) -> the schema's number in the registry
Register = Callable[[str, SchemaVersion], int]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of one topic, for any transport that has keys and headers."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Output:
    """One topic, its form, and the condition on what it takes (None: everything)."""

    topic: str
    form: Form
    takes: Callable[[Document], bool] | None = None


class Outputs:
    """All topics of classifications. The first takes every answer: it is the one that is counted as published."""

    def __init__(self, settings: KafkaSettings, register: Register | None = None) -> None:
        """`register` is called at once for each output in Confluent's form."""

        self._all = []
        for each in (first_output(settings), *settings.outputs):
            registered = None if register is None else partial(register, each.topic)
            made = form(each.format, each.schema_version, broker=settings.broker_name, registered=registered)
            self._all.append(Output(each.topic, made, condition(each)))

    def messages(self, document: Document) -> tuple[Outgoing, ...]:
        """The messages of a classification, that of the first topic first. Raises on one that does not fit a schema."""
        object_key = document["object_id"].encode()
        return tuple(
            Outgoing(output.topic, output.form.key or object_key, output.form.encode(document), output.form.headers)
            for output in self._all
            if output.takes is None or output.takes(document)
        )


def first_output(settings: KafkaSettings) -> OutputSettings:
    """The output that takes everything, written as the others are."""
    return OutputSettings(
        topic=settings.output_topic, format=settings.output_format, schema_version=settings.output_schema_version
    )


def condition(settings: OutputSettings) -> Callable[[Document], bool] | None:
    """Whether an output takes a document: all that is set must hold. None where nothing is set."""
    tests: list[Callable[[Document], bool]] = []
    classes, superclasses, least = set(settings.classes), set(settings.superclasses), settings.min_probability
    wanted, unwanted, surveys = set(settings.flags), set(settings.without_flags), set(settings.surveys)
    if classes:
        tests.append(lambda document: document["top_class"] in classes)
    if superclasses:
        tests.append(
            lambda document: document["top_class"] is not None and _top_superclass(document)[0] in superclasses
        )
    if least > 0:
        if superclasses and not classes:
            tests.append(lambda document: _top_superclass(document)[1] >= least)
        else:
            tests.append(lambda document: document["top_class"] is not None and document["top_probability"] >= least)
    if wanted:
        tests.append(lambda document: wanted.issubset(document["flags"]))
    if unwanted:
        tests.append(lambda document: unwanted.isdisjoint(document["flags"]))
    if surveys:
        tests.append(lambda document: document["survey"] in surveys)
    return (lambda document: all(test(document) for test in tests)) if tests else None


def unknown_names(outputs: Sequence[OutputSettings], classes: Sequence[str], superclasses: Sequence[str]) -> list[str]:
    """What outputs ask for that a model never says, one clause each: a topic with a slip in it would stay empty."""
    found = []
    for number, output in enumerate(outputs):
        for field, known in (("classes", classes), ("superclasses", superclasses)):
            strangers = [name for name in getattr(output, field) if name not in known]
            if strangers:
                found.append(
                    f"kafka.outputs.{number}.{field}: the model has no {', '.join(strangers)}, but {', '.join(known)}"
                )
    return found


def _top_superclass(document: dict[str, Any]) -> tuple[str, float]:
    probabilities: dict[str, float] = document["superclass_probabilities"]
    name = max(probabilities, key=probabilities.__getitem__)
    return name, probabilities[name]
