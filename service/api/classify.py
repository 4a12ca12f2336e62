"""`POST /v1/classify` and `/v1/classify/alert`: light curves or packets in, classifications out; nothing is stored."""

from __future__ import annotations

from time import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter
from starlette.responses import Response

from service.alerts import Alert, AlertError, SchemaSourceUnavailableError
from service.alerts.quality import failed_cuts
from service.api import old_names
from service.api.answers import (
    Classification,
    Classifications,
    WithEmbedding,
    WithLightCurve,
    extras,
    json_response,
)
from service.api.bodies import CSV, JSON, PARQUET, TABLE_TYPES, VALUES_PER_POINT, content_type, parse_json, read_body
from service.api.context import Context, Here, in_thread
from service.api.light_curves import AnyLightCurve, LightCurveBody, Sent, Unit, check_count, parse_light_curves
from service.api.problems import FieldError, ProblemError, invalid, responses
from service.config import ApiSettings
from service.output.classification import Subject, classification, without_alert
from service.photometry import Context as ObjectContext
from service.photometry import LightCurve
from service.store.interface import StoredDataError
from service.stream.pipeline import preview

router: Final = APIRouter(prefix="/v1", tags=["classify"])

# Larger JSON is parsed in a thread: a megabyte takes some 30 ms, which would block all other requests.
INLINE_BYTES: Final = 50_000

# The last is the default of `curl --data-binary`.
PACKET_TYPES: Final = (
    "application/avro", "avro/binary", "application/vnd.apache.avro", "application/octet-stream",
    "application/x-www-form-urlencoded",
)  # fmt: skip

_CSV_EXAMPLE: Final = "object_id,mjd,band,mag,magerr,sign\nmine,60313.3,r,19.8,0.12,1\nmine,60316.2,g,19.1,0.07,1\n"
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}

# OpenAPI schemas of the bodies that routes read themselves (see `openapi.py`).
BODY_SCHEMA: Final = TypeAdapter[Any](LightCurveBody | list[AnyLightCurve]).json_schema(
    ref_template="#/components/schemas/{model}"
)


@router.post(
    "/classify",
    response_model=Classification | Classifications,
    responses=responses(400, 413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {key: value for key, value in BODY_SCHEMA.items() if key != "$defs"}},
                CSV: {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
                PARQUET[0]: _BINARY,
            },
        }
    },
)
async def classify(
    request: Request,
    here: Here,
    embedding: WithEmbedding = False,
    light_curve: WithLightCurve = False,
    unit: Annotated[Unit | None, Query(description="of an uploaded table; mag unless said")] = None,
) -> Response:
    """Classify light curves.

    One light curve as JSON is answered with one classification; a list, `{"light_curves": [...]}` or a table
    (CSV or Parquet, a row per point) with `{"classifications": [...]}`. `unit` says what an uploaded table is in (mag
    unless said); JSON says it itself. The body may be compressed (Content-Encoding: gzip).
    """
    kind = content_type(request, (JSON, *TABLE_TYPES))
    settings = here.settings.api
    body = await read_body(request, here)
    if kind != JSON:
        named, headers = await here.parse(body, _parse_table, kind, unit or "mag", settings)
        return await _answer_many(here, named, embedding, light_curve, headers)
    if unit is not None:
        raise ProblemError(
            422,
            "invalid-request",
            "unit: JSON says its unit itself",
            [FieldError(field="unit", message="is for tables")],
        )
    if len(body) <= INLINE_BYTES:
        several, named, headers = _read_json(body, settings)
    else:
        several, named, headers = await here.parse(body, _read_json, settings)
    if several:
        return await _answer_many(here, named, embedding, light_curve, headers)
    [sent] = named
    [prediction] = await here.classify([sent.light_curve], [sent.context])
    answer = without_alert(sent.object_id, prediction) | extras(prediction, sent.light_curve, embedding, light_curve)
    return json_response(answer, headers=headers)


@router.post(
    "/classify/alert",
    response_model=Classification | Classifications,
    responses=responses(400, 413, 415, 422),
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(PACKET_TYPES[:4], _BINARY)}},
)
async def classify_alert(
    request: Request,
    here: Here,
    embedding: WithEmbedding = False,
    light_curve: WithLightCurve = False,
    stored_history: bool = Query(default=False, description="add what the store knows of the object and its place"),
) -> Response:
    """Classify an alert packet: the bytes of an Avro container file with one alert, as the survey sends them.

    A file of several alerts is answered with `{"classifications": [...]}`, in their order. The answer has the fields of
    the message that the stream would publish for it, by the same code. Without `stored_history` the packet's own
    history is all that is looked at.
    """
    if "content-type" in request.headers:
        content_type(request, PACKET_TYPES)
    received = time()
    raw = await read_body(request, here)
    # a packet takes 0.05 ms, but a new writer schema takes some 50 ms, and perhaps a request to the registry
    alerts, several = await in_thread(_read_packet, here, raw)
    subjects = [(Subject.of(alert), alert.light_curve, alert.context) for alert in alerts]
    if stored_history:
        subjects = [await in_thread(_with_history, here, alert) for alert in alerts]
    predictions = await here.classify([known for _, known, _ in subjects], [context for _, _, context in subjects])
    answers = []
    for alert, (subject, known, _), prediction in zip(alerts, subjects, predictions, strict=True):
        failed = failed_cuts(alert, here.settings.quality)
        answer = classification(subject, prediction, received=received, failed_cuts=failed)
        answers.append(answer.document | extras(prediction, known, embedding, light_curve))
    return json_response({"classifications": answers} if several else answers[0])


async def _answer_many(
    here: Context,
    named: list[Sent],
    embedding: bool,
    with_light_curve: bool,
    headers: dict[str, str] | None = None,
) -> Response:
    predictions = await here.classify([sent.light_curve for sent in named], [sent.context for sent in named])
    answers = [
        without_alert(sent.object_id, prediction) | extras(prediction, sent.light_curve, embedding, with_light_curve)
        for sent, prediction in zip(named, predictions, strict=True)
    ]
    return json_response({"classifications": answers}, headers=headers)


def _read_json(body: bytes, settings: ApiSettings) -> tuple[bool, list[Sent], dict[str, str] | None]:
    """Whether several were sent, the light curves with their names, and deprecation headers for old field names."""
    values = parse_json(body, VALUES_PER_POINT * (settings.max_points + settings.max_light_curves))
    named = parse_light_curves(values, settings)
    several = isinstance(values, list) or "light_curves" in values
    return several, named, old_names.DEPRECATION if old_names.are_used(values) else None


def _read_packet(here: Context, raw: bytes) -> tuple[list[Alert], bool]:
    """The alerts of a packet, and whether it is a file of several. One bad record, named by number, refuses all."""
    try:
        return [here.decoder.decode(raw)], False
    except AlertError as error:
        if error.code != "many_records":
            raise _unreadable(error, "body") from error
    except SchemaSourceUnavailableError as error:
        raise ProblemError(503, "schemas-unavailable", str(error), headers={"Retry-After": "1"}) from error
    alerts: list[Alert] = []
    for number, alert in enumerate(here.decoder.decode_all(raw), 1):
        if isinstance(alert, AlertError):
            raise _unreadable(alert, f"body#{number}")
        check_count(number, here.settings.api)
        alerts.append(alert)
    return alerts, True


def _unreadable(error: AlertError, field: str) -> ProblemError:
    code = f"alert-{error.code.replace('_', '-')}"
    return ProblemError(422, code, f"the packet can't be read: {error}", [FieldError(field=field, message=str(error))])


def _with_history(here: Context, alert: Alert) -> tuple[Subject, LightCurve, ObjectContext | None]:
    try:
        return preview(here.store, alert)
    except StoredDataError:  # not the sender's fault
        raise
    except ValueError as error:
        raise invalid("body", str(error)) from error


def _parse_table(
    body: bytes, media_type: str, unit: Unit, settings: ApiSettings
) -> tuple[list[Sent], dict[str, str] | None]:
    from service.api.tables import parse_table  # pyarrow, for which the start does not wait

    return parse_table(body, media_type, unit, settings)
