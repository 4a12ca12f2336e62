"""`GET /v1/objects...`: stored objects and their classifications."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import BeforeValidator, Field
from starlette.responses import Response

from service.alerts.alert import LONGEST_NAME
from service.api.answers import (
    History,
    Neighbours,
    ObjectAnswer,
    Page,
    WithEmbedding,
    json_response,
    links,
    of_context,
    of_cutouts,
    of_light_curve,
    of_stored,
)
from service.api.context import Here
from service.api.etags import unless_unchanged
from service.api.links import links_of_place
from service.api.problems import FieldError, ProblemError, invalid, responses
from service.store import Cone, Sort

router: Final = APIRouter(prefix="/v1/objects", tags=["objects"])

# No store keeps an id with a control character in it (PostgreSQL's text has no NUL).
ObjectId = Annotated[str, Path(max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["ZTF21abcdefg"])]

ARCMIN: Final = 60.0


def _no_number(text: object) -> object:
    """Pydantic takes a number for a time too, so that seconds before 1970 would pass as one."""
    try:
        float(str(text))
    except ValueError:
        return text
    raise ValueError("a number of seconds must be between 0 and 1e11")


Moment = Annotated[datetime, BeforeValidator(_no_number)]
Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]


@router.get("", response_model=Page, responses=responses(422, 503))
def query(
    here: Here,
    top_class: Annotated[
        str | None, Query(alias="class", description="the most probable class", examples=["SNIa"])
    ] = None,
    min_probability: Annotated[float, Query(ge=0, le=1, description="of the most probable class")] = 0.0,
    since: Annotated[
        Moment | Seconds | None,
        Query(description="classified at or after this time: ISO 8601 (UTC unless said) or seconds since 1970"),
    ] = None,
    ra: Annotated[float | None, Query(ge=0, le=360, description="[deg, ICRS]; with dec and radius")] = None,
    dec: Annotated[float | None, Query(ge=-90, le=90, description="[deg, ICRS]")] = None,
    radius: Annotated[float | None, Query(gt=0, le=600, description="of the cone [arcmin]")] = None,
    sort: Annotated[Sort, Query(description="descending")] = "newest",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=1000, description="`next` of the page before")] = None,
) -> Response:
    """Objects by their latest classification, a page at a time."""
    _check_class(here, top_class)
    try:
        found, further = here.store.query(
            top_class=top_class,
            min_probability=min_probability,
            since=_unix_seconds(since),
            cone=_cone(ra, dec, radius),
            sort=sort,
            limit=limit,
            cursor=cursor,
        )
    except ValueError as error:  # only the cursor can still be wrong
        raise invalid("cursor", str(error)) from error
    return json_response({"objects": [stored.document for stored in found], "next": further})


@router.get("/{object_id}", response_model=ObjectAnswer, responses=responses(404, 422, 503))
def get_object(object_id: ObjectId, request: Request, here: Here, embedding: WithEmbedding = False) -> Response:
    """An object's light curve, its surroundings, its latest classification, and links to other pages about it.

    The answer has an ETag: with `If-None-Match` it is 304, without a body, until an alert changes the object.

    The name of photometry that has joined an object by position is answered with that object.
    """
    known = here.store.load([object_id]).get(object_id)
    if known is None:
        raise unknown(object_id)
    latest = here.store.latest(known.object_id)
    return unless_unchanged(
        request,
        {
            "object_id": known.object_id,
            "ra": known.ra,
            "dec": known.dec,
            "light_curve": of_light_curve(known.light_curve),
            "classification": None if latest is None else of_stored(latest, embedding),
            "context": None if known.context is None else of_context(known.context),
            "sources": here.store.joined(known.object_id),
            "counterparts": [asdict(each) for each in here.store.counterparts(known)],
            "cutouts": of_cutouts(here.store.cutouts(known.object_id)),
            "links": links(known.object_id) | links_of_place(known.ra, known.dec),
        },
    )


@router.get("/{object_id}/history", response_model=History, responses=responses(404, 422, 503))
def history(object_id: ObjectId, here: Here, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000) -> Response:
    """The last `limit` classifications of an object, oldest first: how the answer grew with the light curve."""
    found = here.store.history(object_id, limit)
    if not found and not here.store.load([object_id]):
        raise unknown(object_id)
    answers: list[dict[str, Any]] = [
        {
            "candid": stored.candid,
            "mjd": stored.mjd,
            "published": round(stored.published_at * 1e6),
            "classifier": stored.classifier,
            "version": stored.version,
            "active": stored.active,
            "top_class": stored.top_class,
            "top_probability": stored.top_probability,
            "probabilities": stored.document.get("probabilities", {}),
        }
        for stored in found
    ]
    return json_response({"object_id": object_id, "classifications": answers})


@router.get("/{object_id}/similar", response_model=Neighbours, responses=responses(404, 409, 422, 503))
def similar(object_id: ObjectId, here: Here, limit: Annotated[int, Query(ge=1, le=100)] = 10) -> Response:
    """The objects most alike to this one: cosine between the embeddings of their latest light curves."""
    latest = here.store.latest(object_id)
    if latest is None:
        raise unknown(object_id)
    if latest.embedding is None or not latest.embedding.any():
        detail = f"nothing could be judged of {object_id} yet, so that it has no embedding to compare"
        raise ProblemError(409, "no-embedding", detail)
    near = here.neighbours.of(latest, limit)
    return json_response(
        {
            "object_id": object_id,
            "classifier": latest.classifier,
            "version": latest.version,
            "compared": near.compared,
            "neighbours": [
                {
                    "object_id": stored.object_id,
                    "similarity": similarity,
                    "top_class": stored.top_class,
                    "top_probability": stored.top_probability,
                }
                for stored, similarity in near.found
            ],
        }
    )


def unknown(object_id: str) -> ProblemError:
    return ProblemError(
        404,
        "unknown-object",
        f"object {object_id} is not in the store: no alert of it was classified yet, or it was pruned",
        [FieldError(field="object_id", message="must be an object of the store; GET /v1/objects lists them")],
        links=links(object_id),
    )


def _check_class(here: Here, top_class: str | None) -> None:
    known = here.models.active.bundle.manifest.classes
    if top_class is not None and top_class not in known:
        raise invalid("class", f"{top_class} is not a class of the active model; its classes are {', '.join(known)}")


def _cone(ra: float | None, dec: float | None, radius: float | None) -> Cone | None:
    given = {"ra": ra, "dec": dec, "radius": radius}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if ra is None or dec is None or radius is None:
        raise invalid(missing[0], "ra, dec and radius make a cone together: give all three or none")
    try:
        return Cone(ra, dec, radius / ARCMIN)
    except ValueError as error:
        raise invalid("radius", str(error)) from error


def _unix_seconds(since: datetime | float | None) -> float | None:
    if since is None or isinstance(since, float):
        return since
    return (since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp()
