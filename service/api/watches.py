"""`/v1/watches`: saved filters, what they noticed as feeds, and webhooks."""

from __future__ import annotations

from time import time
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.api.access import require_write
from service.api.answers import json_response
from service.api.context import Here
from service.api.lists import ARCMIN, MOST_FLAGS, Count, Flag, lasting_filters
from service.api.problems import FieldError, ProblemError, invalid, responses
from service.store.filters import Filters, Watch
from service.watches.feeds import atom_feed, json_feed
from service.watches.signing import new_secret

router: Final = APIRouter(prefix="/v1/watches", tags=["watches"])

_NAME: Final = "^[a-z0-9][a-z0-9-]{0,63}$"
MOST_WATCHES: Final = 100  # each is looked at for every alert, 1 us
MOST_ITEMS: Final = 500

Name = Annotated[str, Path(pattern=_NAME, examples=["young-supernovae"])]
Items = Annotated[int, Query(ge=1, le=MOST_ITEMS)]


class WatchFilters(BaseModel):
    """What is watched for: the parameters of `/v1/objects` by the same names; all that are given must hold."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    top_class: str | None = Field(default=None, alias="class", examples=["SNIa"])
    superclass: str | None = Field(default=None, examples=["Transient"])
    min_probability: float = Field(default=0.0, ge=0, le=1)
    min_detections: Count | None = None
    max_detections: Count | None = None
    flag: list[Flag] = Field(default_factory=list, max_length=MOST_FLAGS, description="all of these are borne")
    without_flag: list[Flag] = Field(default_factory=list, max_length=MOST_FLAGS, description="none of these is")
    survey: str | None = None
    ra: float | None = Field(default=None, ge=0, le=360)
    dec: float | None = Field(default=None, ge=-90, le=90)
    radius: float | None = Field(default=None, gt=0, le=600, description="of the cone [arcmin]")


class NewWatch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=_NAME, examples=["young-supernovae"])
    filters: WatchFilters
    url: str | None = Field(
        default=None,
        max_length=2000,
        description="of a webhook, at one of the origins in watch.webhook_origins; none: a feed alone",
    )


class WatchAnswer(BaseModel):
    """A watch, and how its webhook does. Times in seconds since 1970."""

    name: str
    filters: dict[str, Any]
    created: float
    feeds: dict[str, str] = Field(description="addresses of what was noticed: atom, json")
    webhook: str | None = Field(description="its origin; the whole address may hold a secret")
    waiting: int = Field(description="objects that the webhook has yet to be told")
    failures: int = Field(description="tries that failed in a row")
    last_error: str | None
    next_try: float | None
    last_delivery: float | None
    secret: str | None = Field(
        default=None, description="only in the answer that made it: the webhook's messages are signed with it"
    )


class Watches(BaseModel):
    watches: list[WatchAnswer]


@router.get("", response_model=Watches, responses=responses(503))
def list_watches(here: Here) -> Response:
    """The saved filters, by name."""
    return json_response({"watches": [_answer(each) for each in here.store.watches()]})


@router.post("", response_model=WatchAnswer, status_code=201, responses=responses(403, 409, 422, 503))
def add_watch(request: Request, here: Here, new: NewWatch) -> Response:
    """Save a filter; needs a key of scope write.

    An object is noticed when its classification passes for the first time, from some seconds after now on. Webhooks get
    messages after the Standard Webhooks specification, at least once, signed with the `secret` of this answer.
    """
    require_write(request.scope)
    filters = Filters(**lasting_filters(here, **new.filters.model_dump()))
    if filters == Filters():
        raise invalid("filters", "at least one is needed: everything would pass")
    if new.url is not None and not here.settings.watch.allows(new.url):
        known = ", ".join(here.settings.watch.webhook_origins) or "none"
        raise invalid("url", f"must be at an origin that the setting watch.webhook_origins allows ({known})")
    if len(here.store.watches()) >= MOST_WATCHES:
        raise ProblemError(409, "too-many-watches", f"there are {MOST_WATCHES} watches already: remove one")
    watch = Watch(new.name, filters, time(), new.url, None if new.url is None else new_secret())
    if not here.store.add_watch(watch):
        detail = f"there is a watch {new.name} already: remove it, or take another name"
        raise ProblemError(409, "watch-exists", detail, [FieldError(field="name", message="must be a new one")])
    return json_response(_answer(watch) | {"secret": watch.secret}, 201)


@router.delete("/{name}", status_code=204, response_class=Response, responses=responses(403, 404, 422, 503))
def remove_watch(request: Request, here: Here, name: Name) -> Response:
    """Forget a watch and what it noticed; needs a key of scope write."""
    require_write(request.scope)
    if not here.store.remove_watch(name):
        raise _unknown(name)
    return Response(status_code=204)


_ATOM: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/atom+xml": {}}}}
_JSON: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/feed+json": {}}}}


@router.get("/{name}/feed.atom", response_class=Response, responses=_ATOM | responses(404, 422, 503))
def atom(request: Request, here: Here, name: Name, limit: Items = 100) -> Response:
    """What the watch noticed, the newest first, as an Atom feed (RFC 4287)."""
    watch = _known(here, name)
    body = atom_feed(watch, here.store.notices(name, limit), str(request.base_url), str(request.url))
    return Response(body, media_type="application/atom+xml")


@router.get("/{name}/feed.json", response_class=Response, responses=_JSON | responses(404, 422, 503))
def feed(request: Request, here: Here, name: Name, limit: Items = 100) -> Response:
    """What the watch noticed, the newest first, as JSON Feed 1.1; `_classification` is the answer that passed."""
    watch = _known(here, name)
    content = json_feed(watch, here.store.notices(name, limit), str(request.base_url), str(request.url))
    response = json_response(content)
    response.headers["content-type"] = "application/feed+json"
    return response


def _known(here: Here, name: str) -> Watch:
    for watch in here.store.watches():
        if watch.name == name:
            return watch
    raise _unknown(name)


def _unknown(name: str) -> ProblemError:
    return ProblemError(404, "unknown-watch", f"there is no watch {name}: GET /v1/watches lists them")


def _answer(watch: Watch) -> dict[str, Any]:
    origin = None
    if watch.url is not None:
        parts = urlsplit(watch.url)
        origin = f"{parts.scheme}://{parts.netloc}"
    return {
        "name": watch.name,
        "filters": _said(watch.filters),
        "created": watch.created,
        "feeds": {form: f"/v1/watches/{watch.name}/feed.{form}" for form in ("atom", "json")},
        "webhook": origin,
        "waiting": watch.waiting,
        "failures": watch.failures,
        "last_error": watch.last_error,
        "next_try": watch.next_try or None,
        "last_delivery": watch.last_delivery,
    }


def _said(filters: Filters) -> dict[str, Any]:
    """By the names of the request, without what is not filtered by."""
    cone = filters.cone
    said = {
        "class": filters.top_class,
        "superclass": filters.superclass,
        "min_probability": filters.min_probability or None,
        "min_detections": filters.min_detections,
        "max_detections": filters.max_detections,
        "flag": list(filters.flags) or None,
        "without_flag": list(filters.without_flags) or None,
        "survey": filters.survey,
        "ra": cone and cone.ra,
        "dec": cone and cone.dec,
        "radius": cone and cone.radius * ARCMIN,
    }
    return {name: value for name, value in said.items() if value is not None}
