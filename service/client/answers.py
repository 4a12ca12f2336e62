"""What the service answers, and what it refuses, as Python's objects."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from service.errors import AlertClassifierError
from service.photometry import BANDS, SURVEYS, Kind, LightCurve


class ServiceError(AlertClassifierError):
    """The service refused or failed. `errors` holds (field, message) of everything that was wrong with the request."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("detail") or f"the service answered {status}")
        self.status = status
        self.type: str = problem.get("type", "")
        self.request_id: str = problem.get("request_id", "")
        self.errors: list[tuple[str, str]] = [(each["field"], each["message"]) for each in problem.get("errors", ())]


class ServiceUnreachableError(AlertClassifierError, ConnectionError):
    """Nobody answered, and asking again did not help."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What one classifier version says about one light curve; `raw` is the whole answer. `top_class` is None where
    nothing was looked at (flags `no_detection`, `unusable_photometry`): probabilities are then the training prior.
    """

    object_id: str
    classifier: str
    version: str
    top_class: str | None
    top_probability: float
    probabilities: dict[str, float]
    superclass_probabilities: dict[str, float]
    conformal_set: tuple[str, ...]
    ood_score: float | None
    n_detections: dict[str, int]
    n_upper_limits: dict[str, int]
    flags: tuple[str, ...]
    variance: dict[str, float] | None = None
    mutual_information: float | None = None
    candid: int | None = None
    mjd: float | None = None
    ra: float | None = None
    dec: float | None = None
    embedding: tuple[float, ...] | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        known = {name: answer[name] for name in cls.__slots__ if name in answer}
        known.setdefault("mutual_information", answer.get("bald"))  # of a service of the version before
        for name in ("conformal_set", "flags", "embedding"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known, raw=answer)

    @property
    def bald(self) -> float | None:
        """The old name of `mutual_information`."""
        return self.mutual_information


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the service knows it; ra, dec [deg]. `sources` names photometry that has joined it by position;
    `counterparts` objects of other surveys at its place, each with its survey and the separation [arcsec];
    `context` is what is known of its surroundings, None if nothing is.
    """

    object_id: str
    ra: float | None
    dec: float | None
    light_curve: LightCurve
    classification: Classification | None
    links: dict[str, str]
    sources: tuple[str, ...] = ()
    context: dict[str, float] | None = None
    counterparts: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Neighbour:
    object_id: str
    similarity: float
    top_class: str | None
    top_probability: float


def one_or_many(answer: dict[str, Any]) -> Classification | list[Classification]:
    several = answer.get("classifications")
    return Classification.of(answer) if several is None else [Classification.of(each) for each in several]


def stored(answer: dict[str, Any]) -> StoredObject:
    columns = answer["light_curve"]
    latest = answer["classification"]
    nan = float("nan")
    survey = columns["survey"]
    called = {"limit": "diffmaglim" if "diffmaglim" in columns else "limit"}
    floats = {
        name: [nan if value is None else value for value in columns[called.get(name, name)]]
        for name in ("mag", "magerr", "limit", "magnr")
    }
    light_curve = LightCurve.from_columns(
        columns["mjd"],
        [BANDS.index(name) for name in columns["band"]],
        **floats,
        sign=columns["sign"],
        kind=[Kind[name.upper()] for name in columns["kind"]],
        candid=columns["candid"],
        survey=[SURVEYS.index(name) for name in survey] if isinstance(survey, list) else SURVEYS.index(survey),
    )
    return StoredObject(
        answer["object_id"],
        answer["ra"],
        answer["dec"],
        light_curve,
        None if latest is None else Classification.of(latest),
        answer["links"],
        tuple(answer.get("sources", ())),
        answer.get("context"),
        tuple(
            (each["object_id"], each["survey"], each["separation_arcsec"]) for each in answer.get("counterparts", ())
        ),
    )


def read_file(path: Path, answer: dict[str, Any]) -> list[Classification]:
    if answer["skipped_rows"]:
        first = answer["first_skipped"][0]
        warnings.warn(
            f"{path.name}, read as {answer['read_as']}: {answer['skipped_rows']} rows were left out; the first is row"
            f" {first['row']}: {first['column']} is {first['value'] or 'empty'}, {first['reason']}",
            stacklevel=3,
        )
    return [Classification.of(each) for each in answer["classifications"]]
