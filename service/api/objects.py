"""`GET /v1/objects...`: stored objects and their classifications."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from service.alerts.alert import LONGEST_NAME
from service.api.answers import (
    History,
    Neighbours,
    ObjectAnswer,
    WithEmbedding,
    json_response,
    links,
    of_context,
    of_light_curve,
    of_stored,
)
from service.api.context import Here
from service.api.links import links_of_place
from service.api.problems import FieldError, ProblemError, responses

router: Final = APIRouter(prefix="/v1/objects", tags=["objects"])

# No store keeps an id with a control character in it (PostgreSQL's text has no NUL).
ObjectId = Annotated[str, Path(max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["ZTF21abcdefg"])]


@router.get("/{object_id}", response_model=ObjectAnswer, responses=responses(404, 422, 503))
def get_object(object_id: ObjectId, here: Here, embedding: WithEmbedding = False) -> Response:
    """An object's light curve, its surroundings, its latest classification, and links to other pages about it.

    The name of photometry that has joined an object by position is answered with that object.
    """
    known = here.store.load([object_id]).get(object_id)
    if known is None:
        raise unknown(object_id)
    latest = here.store.latest(known.object_id)
    return json_response(
        {
            "object_id": known.object_id,
            "ra": known.ra,
            "dec": known.dec,
            "light_curve": of_light_curve(known.light_curve),
            "classification": None if latest is None else of_stored(latest, embedding),
            "context": None if known.context is None else of_context(known.context),
            "sources": here.store.joined(known.object_id),
            "counterparts": [asdict(each) for each in here.store.counterparts([known])[0]],
            "links": links(known.object_id) | links_of_place(known.ra, known.dec),
        }
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
