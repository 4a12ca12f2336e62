"""`GET /v1/objects` and `/v1/candidates`: lists of objects by what their latest classification says."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BeforeValidator, Field
from starlette.responses import Response

from service.alerts.alert import LONGEST_NAME
from service.api.answers import Page, json_response
from service.api.context import Context, Here
from service.api.problems import invalid, responses
from service.photometry import SURVEYS
from service.photometry.time import mjd_from_unix, unix_from_mjd
from service.store import Cone, Sort
from service.store.interface import Store, StoredClassification
from service.store.traits import detections_of, traits_of

router: Final = APIRouter(prefix="/v1", tags=["objects"])

ARCMIN: Final = 60.0
DAY_S: Final = 86400.0
MOST_FLAGS: Final = 20
MOST_CANDIDATES: Final = 10_000
# A page may be short, where few objects pass the filter: then the next is asked for, but not for ever.
GATHERING_S: Final = 10.0
STORE_PAGE: Final = 1000


def _no_number(text: object) -> object:
    """Pydantic takes a number for a time too, so that seconds before 1970 would pass as one."""
    try:
        float(str(text))
    except ValueError:
        return text
    raise ValueError("a number must be in the bounds that its parameter has")


Moment = Annotated[datetime, BeforeValidator(_no_number)]
Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Days = Annotated[float, Field(ge=0, le=200_000, allow_inf_nan=False)]
Flag = Annotated[str, Field(pattern="^[A-Za-z0-9_:]{1,64}$")]
Flags = Annotated[list[Flag], Query(max_length=MOST_FLAGS)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters of a request, as `Store.query` takes them."""

    filters: dict[str, Any]


def asked(
    here: Here,
    top_class: Annotated[
        str | None, Query(alias="class", description="the most probable class", examples=["SNIa"])
    ] = None,
    superclass: Annotated[str | None, Query(description="the most probable superclass", examples=["Transient"])] = None,
    min_probability: Annotated[float, Query(ge=0, le=1, description="of the most probable class")] = 0.0,
    since: Annotated[
        Moment | Seconds | None,
        Query(description="classified at or after this time: ISO 8601 (UTC unless said) or seconds since 1970"),
    ] = None,
    seen_since: Annotated[
        Moment | Days | None,
        Query(description="its last alert is of this time or later: ISO 8601 (UTC unless said) or MJD"),
    ] = None,
    seen_before: Annotated[
        Moment | Days | None, Query(description="its last alert is of before this time: ISO 8601 or MJD")
    ] = None,
    min_detections: Annotated[Count | None, Query(description="in all bands")] = None,
    max_detections: Annotated[Count | None, Query(description="in all bands")] = None,
    flag: Annotated[Flags | None, Query(description="it bears this flag; several: all of them")] = None,
    without_flag: Annotated[Flags | None, Query(description="it does not bear this flag; several: none")] = None,
    survey: Annotated[str | None, Query(description="of its last alert", examples=["ztf"])] = None,
    prefix: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=LONGEST_NAME,
            description="how its name begins, in any case; the list is then in the order of names",
            examples=["ztf21ab"],
        ),
    ] = None,
    ra: Annotated[float | None, Query(ge=0, le=360, description="[deg, ICRS]; with dec and radius")] = None,
    dec: Annotated[float | None, Query(ge=-90, le=90, description="[deg, ICRS]")] = None,
    radius: Annotated[float | None, Query(gt=0, le=600, description="of the cone [arcmin]")] = None,
) -> Asked:
    lasting = lasting_filters(
        here, top_class=top_class, superclass=superclass, min_probability=min_probability,
        min_detections=min_detections, max_detections=max_detections, flag=flag, without_flag=without_flag,
        survey=survey, ra=ra, dec=dec, radius=radius,
    )  # fmt: skip
    return Asked(
        {
            **lasting,
            "since": _unix_seconds(since),
            "seen_since": _mjd(seen_since),
            "seen_before": _mjd(seen_before),
            "prefix": prefix,
        }
    )


def lasting_filters(
    here: Context, *, top_class: str | None, superclass: str | None, min_probability: float,
    min_detections: int | None, max_detections: int | None, flag: list[str] | None, without_flag: list[str] | None,
    survey: str | None, ra: float | None, dec: float | None, radius: float | None,
) -> dict[str, Any]:  # fmt: skip
    """The filters that say what an answer is, checked, as `Store.query` takes them. Raises ProblemError."""
    manifests = [each.bundle.manifest for each in here.models.residents.answering]
    for name, given, known in (
        ("class", top_class, dict.fromkeys(each for manifest in manifests for each in manifest.classes)),
        ("superclass", superclass, dict.fromkeys(each for manifest in manifests for each in manifest.superclasses)),
    ):
        if given is not None and given not in known:
            raise invalid(name, f"{given} is not a {name} of the active model; it has {', '.join(known)}")
    if survey is not None and survey not in SURVEYS:
        raise invalid("survey", f"{survey} is no survey; there are {', '.join(SURVEYS)}")
    if min_detections is not None and max_detections is not None and min_detections > max_detections:
        raise invalid("max_detections", f"must be at least min_detections ({min_detections})")
    return {
        "top_class": top_class,
        "superclass": superclass,
        "min_probability": min_probability,
        "min_detections": min_detections,
        "max_detections": max_detections,
        "flags": tuple(flag or ()),
        "without_flags": tuple(without_flag or ()),
        "survey": survey,
        "cone": _cone(ra, dec, radius),
    }


Filtered = Annotated[Asked, Depends(asked)]
SortedBy = Annotated[Sort, Query(description="newest: the last classified first; name: in ascending order")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next` of the page before")]


@router.get("/objects", response_model=Page, responses=responses(422, 503))
def query(
    here: Here,
    filtered: Filtered,
    sort: SortedBy = "newest",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor = None,
) -> Response:
    """Objects by their latest classification, a page at a time.

    A page does a bounded amount of work: where few objects pass the filters it may be short, or empty, and still have a
    `next`. The list ends where `next` is null.
    """
    found, further = _page(here.store, filtered, sort, limit, cursor)
    return json_response({"objects": [stored.document for stored in found], "next": further})


COLUMNS: Final = (
    "object_id", "top_class", "top_probability", "superclass", "detections", "last_seen_mjd", "last_seen", "ra", "dec",
    "classified", "survey", "flags", "conformal_set", "ood_score", "classifier", "version",
)  # fmt: skip
_TABLE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/csv": {}, "application/json": {}}}}


@router.get("/candidates", response_class=Response, responses=_TABLE | responses(422, 503))
def candidates(
    here: Here,
    filtered: Filtered,
    sort: SortedBy = "most_probable",
    limit: Annotated[int, Query(ge=1, le=MOST_CANDIDATES)] = 1000,
    cursor: Cursor = None,
    form: Annotated[Literal["csv", "json"], Query(alias="format")] = "csv",
) -> Response:
    """A table to take away: the best candidates of the last 24 hours (or of `since`), one row each.

    Takes the filters of `/v1/objects`. Where the table is cut at `limit`, the JSON's `next`, and the header
    `X-Next-Cursor`, lead on.
    """
    if filtered.filters["since"] is None:
        filtered.filters["since"] = time() - DAY_S
    rows, further = _gathered(here.store, filtered, sort, limit, cursor)
    night = datetime.now(UTC).strftime("%Y%m%d")
    headers = {"content-disposition": f'attachment; filename="candidates-{night}.{form}"'}
    if further is not None:
        headers["x-next-cursor"] = further
    if form == "json":
        return json_response({"candidates": rows, "next": further}, headers=headers)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    table.writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
    return Response(text.getvalue(), headers=headers, media_type="text/csv")


def candidate(stored: StoredClassification) -> dict[str, Any]:
    """One row of the table of candidates."""
    document = stored.document
    return {
        "object_id": stored.object_id,
        "top_class": stored.top_class,
        "top_probability": stored.top_probability,
        "superclass": traits_of(stored)[1] or None,
        "detections": detections_of(document),
        "last_seen_mjd": stored.mjd,
        "last_seen": _utc(unix_from_mjd(stored.mjd)),
        "ra": document.get("ra"),
        "dec": document.get("dec"),
        "classified": _utc(stored.published_at),
        "survey": document.get("survey"),
        "flags": document.get("flags", []),
        "conformal_set": document.get("conformal_set", []),
        "ood_score": document.get("ood_score"),
        "classifier": stored.classifier,
        "version": stored.version,
    }


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is quoted: names come from whoever sent the alert."""
    if isinstance(value, list):
        value = " ".join(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _gathered(
    store: Store, filtered: Asked, sort: Sort, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    rows: list[dict[str, Any]] = []
    begun = monotonic()
    while True:
        found, cursor = _page(store, filtered, sort, min(limit - len(rows), STORE_PAGE), cursor)
        rows += map(candidate, found)
        if cursor is None or len(rows) >= limit or monotonic() - begun > GATHERING_S:
            return rows, cursor


def _page(
    store: Store, filtered: Asked, sort: Sort, limit: int, cursor: str | None
) -> tuple[list[StoredClassification], str | None]:
    try:
        return store.query(**filtered.filters, sort=sort, limit=limit, cursor=cursor)
    except ValueError as error:  # only the cursor can still be wrong
        raise invalid("cursor", str(error)) from error


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


def _mjd(given: datetime | float | None) -> float | None:
    if given is None or isinstance(given, float):
        return given
    seconds = _unix_seconds(given)
    return None if seconds is None else mjd_from_unix(seconds)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
