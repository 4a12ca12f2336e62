"""Errors as RFC 9457 problem details: one clear sentence, the field it concerns, and what would be right."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.secrets import masked
from service.store.interface import StoreDamagedError, StoredDataError, StoreUnavailableError
from service.validation import said

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:alert-classifier:problem:"

# Retry-After while the store or the stream is unavailable: about as long as the pipeline waits between retries.
RETRY_AFTER_S: Final = 1

# Names of RFC 9110, which Python has from 3.13 on.
_RENAMED: Final = {413: "Content Too Large", 422: "Unprocessable Content"}

# Most errors listed for one request.
MOST_ERRORS: Final = 20


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="where: a path into the body, or a parameter", examples=["points.3.mag"])
    message: str = Field(description="what would be right", examples=["Input should be a valid number"])


class Problem(BaseModel):
    """RFC 9457 problem details; the media type is `application/problem+json`."""

    model_config = ConfigDict(json_schema_extra={"description": "RFC 9457 problem details"})

    type: str = Field(examples=[f"{TYPE_PREFIX}invalid-request"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["points.3.mag: Input should be a valid number"])
    instance: str = Field(default="", description="path of the request")
    request_id: str = Field(default="", description="also in the X-Request-ID header and in the service's log")
    errors: list[FieldError] = Field(default_factory=list)


class ProblemError(Exception):
    """An error response. `code` is a stable constant in kebab-case for programs."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}


def invalid(field: str, message: str) -> ProblemError:
    """422 about one field."""
    return ProblemError(422, "invalid-request", f"{field}: {message}", [FieldError(field=field, message=message)])


def invalid_fields(errors: Iterable[ErrorDetails]) -> ProblemError:
    """422 from pydantic's errors about a body."""
    return _invalid([FieldError(field=".".join(map(str, e["loc"])) or "body", message=said(e)) for e in errors])


def _invalid_parameters(errors: Iterable[ErrorDetails]) -> ProblemError:
    """422 from FastAPI's errors, whose locations are (query | path | header, parameter, type that failed)."""
    return _invalid([FieldError(field=str(error["loc"][1]), message=said(error)) for error in errors])


def _invalid(found: list[FieldError]) -> ProblemError:
    told = "; ".join(f"{error.field}: {error.message}" for error in found[:3])
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return ProblemError(422, "invalid-request", told + more, found[:MOST_ERRORS])


def problem_response(request_id: str, path: str, error: ProblemError) -> Response:
    problem = Problem(
        type=TYPE_PREFIX + error.code,
        title=_title(error.status),
        status=error.status,
        detail=error.detail,
        instance=path,
        request_id=request_id,
        errors=list(error.errors),
    )
    content = problem.model_dump()
    if path.startswith("/v2"):
        content["error"] = error.detail  # where clients of the Open Inference Protocol look
    return Response(masked(orjson.dumps(content).decode()), error.status, dict(error.headers), MEDIA_TYPE)


def _title(status: int) -> str:
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for a route's possible problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _title(status), "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Turn every expected error of a route into a problem; `middleware.RequestContext` handles the unexpected."""

    def answer(request: Request, error: ProblemError) -> Response:
        return problem_response(request.scope.get("request_id", ""), request.url.path, error)

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return answer(request, error)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, _invalid_parameters(error.errors()))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(request, _from_http(request, error))

    async def on_store(request: Request, error: Exception) -> Response:
        damaged = isinstance(error, StoreDamagedError)
        detail = str(error) if damaged else f"the store does not answer: {error}"
        return answer(
            request, ProblemError(503, "store-unavailable", detail, headers={"Retry-After": f"{RETRY_AFTER_S}"})
        )

    async def on_damage(request: Request, error: Exception) -> Response:
        log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(
            request, ProblemError(503, "stored-data-damaged", f"{error}; the other objects are not concerned")
        )

    async def on_depth(request: Request, error: Exception) -> Response:
        if request.method != "POST":  # without a body it is a defect of ours
            raise error
        return answer(request, ProblemError(400, "too-deeply-nested", "the body is nested too deeply to be read"))

    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(StoredDataError, on_damage)
    app.add_exception_handler(RecursionError, on_depth)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(StoreUnavailableError, on_store)


def _from_http(request: Request, error: HTTPException) -> ProblemError:
    """A problem for Starlette's own errors: unknown path or method."""
    if error.status_code == 404:
        return ProblemError(404, "not-found", f"there is nothing at {request.url.path}; /docs lists what there is")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.url.path} does not take {request.method}" + (f", only {allowed}" if allowed else "")
        return ProblemError(405, "method-not-allowed", detail, headers=error.headers)
    return ProblemError(error.status_code, "http-error", str(error.detail), headers=error.headers)
