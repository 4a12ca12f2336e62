"""Refuse unknown query parameters: a misspelt filter would silently be ignored."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.api.problems import FieldError, ProblemError


def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of all routes but health and metrics. Raises ProblemError 422 that names an unknown parameter."""
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = list(_parameters(route.dependant))
    for name in request.query_params:
        if name not in known:
            close = get_close_matches(name, known, 1)
            there_are = f"this route has {', '.join(known)}" if known else "this route has none"
            message = f"is no parameter: did you mean {close[0]}?" if close else f"is no parameter; {there_are}"
            raise ProblemError(
                422, "unknown-parameter", f"{name}: {message}", [FieldError(field=name, message=message)]
            )


def _parameters(dependant: Dependant) -> Iterator[str]:
    """Names of the query parameters of a route and of all that it depends on."""
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _parameters(inner)
