"""What the API answers: classifications, objects and light curves, as models for the documentation and as plain dicts.

The dicts are written to JSON without validation, which would cost more than making them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import numpy as np
import orjson
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.inference.prediction import Prediction
from service.output.classification import complete
from service.photometry import BANDS, SURVEYS, Context, Kind, LightCurve
from service.store.interface import LightCurveDamagedError, StoredClassification

WithEmbedding = Annotated[bool, Query(description="add the model's embedding of the light curve")]
WithLightCurve = Annotated[bool, Query(description="add the light curve as it was understood")]

_PROBABILITIES: Final = {"SNIa": 0.82, "SNII": 0.11, "AGN": 0.07}


class LightCurveColumns(BaseModel):
    """Columns of equal length, ordered by time; null where unknown. It can be sent to /v1/classify as it is."""

    unit: str = Field(examples=["mag"])
    survey: str | list[str] = Field(description="of all points, or where they differ one per point", examples=["ztf"])
    mjd: list[float]
    band: list[str]
    mag: list[float | None]
    magerr: list[float | None]
    diffmaglim: list[float | None]
    limit: list[float | None] = Field(description="the old name of diffmaglim", deprecated=True)
    sign: list[int]
    magnr: list[float | None]
    kind: list[str]
    candid: list[int]


class CounterpartAnswer(BaseModel):
    object_id: str
    survey: str = Field(examples=["lsst"])
    separation_arcsec: float


class Classification(BaseModel):
    """What one classifier version says about one light curve: the fields of the published message (`/schemas`).

    Those that belong to an alert are null where a light curve was sent without one. Times are in microseconds since
    1970. `candid` needs 64 bits: read it with a JSON parser that keeps them (JavaScript's own does not).
    """

    model_config = ConfigDict(extra="allow")

    object_id: str = Field(examples=["ZTF21abcdefg"])
    candid: int | None = Field(default=None, description="identifier of the alert")
    survey: str | None = None
    mjd: float | None = Field(default=None, description="epoch of the alert [days, UTC]")
    ra: float | None = Field(default=None, description="[deg, ICRS]")
    dec: float | None = Field(default=None, description="[deg, ICRS]")
    classifier: str = Field(examples=["alert-clr"])
    version: str = Field(examples=["0.1.0"])
    top_class: str | None = Field(
        description="null where nothing was looked at: no_detection, unusable_photometry", examples=["SNIa"]
    )
    top_probability: float = Field(examples=[0.82])
    probabilities: dict[str, float] = Field(description="calibrated; they sum to one", examples=[_PROBABILITIES])
    superclass_probabilities: dict[str, float] = Field(examples=[{"Transient": 0.93, "Stochastic": 0.07}])
    conformal_set: list[str] = Field(description="the classes that can't be ruled out", examples=[["SNIa", "SNII"]])
    ood_score: float | None = Field(default=None, description="distance from the training data; 1 is typical of it")
    variance: dict[str, float] | None = Field(
        default=None, description="of each probability over the model's stochastic passes; only where it makes them"
    )
    mutual_information: float | None = Field(default=None, description="of class and pass [nats]; as variance")
    bald: float | None = Field(default=None, description="the old name of mutual_information", deprecated=True)
    n_detections: dict[str, int] = Field(description="per band", examples=[{"g": 3, "r": 4}])
    n_upper_limits: dict[str, int] = Field(description="per band", examples=[{"r": 2}])
    flags: list[str] = Field(description="what to be careful about", examples=[["too_few_points"]])
    counterparts: list[CounterpartAnswer] | None = Field(
        default=None, description="objects of other surveys at its place when it was classified; null: not looked for"
    )
    observed: int | None = None
    broker_timestamp: int | None = None
    received: int | None = None
    published: int | None = None
    embedding: list[float] | None = Field(default=None, description="only where asked for with embedding=true")
    light_curve: LightCurveColumns | None = Field(default=None, description="only where asked for")


class Classifications(BaseModel):
    """One per light curve, in the order in which they were sent (a table's objects: by object_id)."""

    classifications: list[Classification]


class Page(BaseModel):
    """Objects by their latest classification. `next` is the cursor of the next page; null at the end."""

    objects: list[Classification]
    next: str | None


class ObjectAnswer(BaseModel):
    """An object at rest: where it is, what was seen, what it is taken for, and where else it is shown."""

    object_id: str
    ra: float | None = Field(description="of the latest alert [deg, ICRS]")
    dec: float | None
    light_curve: LightCurveColumns
    classification: Classification | None = Field(description="the latest; null where none was published yet")
    context: dict[str, float] | None = Field(
        default=None,
        description="what its newest alert says of its surroundings, without what is missing, by the names and in the"
        " units of ZTF's packets; gal_b: absolute galactic latitude [deg]. It can be sent to /v1/classify as it is",
        examples=[{"gal_b": 54.2, "sgscore1": 0.03, "distpsnr1": 1.2}],
    )
    sources: list[str] = Field(description="names of the photometry that has joined by position", examples=[[]])
    counterparts: list[CounterpartAnswer] = Field(
        description="objects of other surveys within the join radius, nearest first: probably the same source"
    )
    links: dict[str, str] = Field(description="pages about this object elsewhere")


class History(BaseModel):
    """An object's classifications, oldest first; of each alert those of every resident model."""

    object_id: str
    classifications: list[dict[str, Any]]


class Neighbour(BaseModel):
    object_id: str
    similarity: float = Field(description="cosine between the embeddings, 1 is the same")
    top_class: str | None
    top_probability: float


class Neighbours(BaseModel):
    """The objects whose latest light curves look most alike to the same classifier version."""

    object_id: str
    classifier: str
    version: str
    compared: int = Field(description="objects that were looked at")
    neighbours: list[Neighbour]


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` with numpy arrays and NaN (as null) allowed."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, "application/json")


def extras(prediction: Prediction, light_curve: LightCurve, embedding: bool, with_light_curve: bool) -> dict[str, Any]:
    """What is added to a classification where it was asked for."""
    added: dict[str, Any] = {"embedding": np.ascontiguousarray(prediction.embedding)} if embedding else {}
    return added | ({"light_curve": of_light_curve(light_curve)} if with_light_curve else {})


def of_stored(stored: StoredClassification, embedding: bool = False) -> dict[str, Any]:
    """A classification at rest as it was published; what an earlier version did not write is null."""
    document = complete(stored.document)
    document["mutual_information"] = document["bald"]  # messages of earlier versions only have the old name
    if not embedding:
        return document
    vector = stored.embedding
    return document | {"embedding": None if vector is None else vector.astype(np.float32)}


def of_light_curve(light_curve: LightCurve) -> dict[str, Any]:
    """Columns for JSON; a survey's name alone where all points are of one. Raises LightCurveDamagedError."""
    try:
        return _columns(light_curve)
    except (IndexError, ValueError) as error:  # points from the store may have codes that nobody wrote
        raise LightCurveDamagedError(f"a stored light curve is damaged: {error}") from error


def _columns(light_curve: LightCurve) -> dict[str, Any]:
    points = light_curve.points
    surveys = [SURVEYS[code] for code in points["survey"].tolist()] or [SURVEYS[0]]
    columns: dict[str, Any] = {
        "unit": "mag",
        "survey": surveys[0] if len(set(surveys)) == 1 else surveys,
        "mjd": points["mjd"].tolist(),
        "band": [BANDS[code] for code in points["band"].tolist()],
    }
    for name in ("mag", "magerr", "limit", "magnr"):
        columns[name] = np.ascontiguousarray(points[name])
    columns["diffmaglim"] = columns["limit"]
    columns["sign"] = points["sign"].tolist()
    columns["kind"] = [Kind(code).name.lower() for code in points["kind"].tolist()]
    columns["candid"] = points["candid"].tolist()
    return columns


def of_context(context: Context) -> dict[str, np.float32]:
    """The values that are not missing, by name."""
    return {name: np.float32(value) for name, value in context.known().items()}


def links(object_id: str) -> dict[str, str]:
    """Pages about an object at the community's brokers: a ZTF object's, with the Transient Name Server's, and a Rubin
    object's, whose name is a number of 15 to 19 digits. Those of the Solar System have none.
    """
    if re.fullmatch(r"[1-9]\d{14,18}", object_id):
        return {
            "Fink": f"https://lsst.fink-portal.org/{object_id}",
            "ALeRCE": f"https://lsst.alerce.online/object/{object_id}?survey=lsst",
            "Lasair": f"https://lasair.lsst.ac.uk/objects/{object_id}/",
        }
    if not re.fullmatch(r"ZTF\d\d[a-z]{7}", object_id):
        return {}
    return {
        "ALeRCE": f"https://alerce.online/object/{object_id}",
        "Fink": f"https://fink-portal.org/{object_id}",
        "Lasair": f"https://lasair-ztf.lsst.ac.uk/objects/{object_id}/",
        "TNS": f"https://www.wis-tns.org/search?internal_name={object_id}",
    }
