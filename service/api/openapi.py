"""The OpenAPI document: FastAPI's, completed for routes that read their bodies themselves."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.classify import BODY_SCHEMA
from service.api.oip import Infer
from service.api.problems import MEDIA_TYPE, Problem

DESCRIPTION: Final = """
Classifies partial light curves of survey alerts: calibrated class probabilities, a conformal set and an
out-of-distribution score. What comes over HTTP and what comes over the stream goes through the same code.

Errors are RFC 9457 problem details (`application/problem+json`) that name the field and say what would be right.
"""

TAGS: Final = [
    {"name": "classify", "description": "Light curves or packets in, classifications out; nothing is stored."},
    {"name": "objects", "description": "What the stream has brought together, and what it was taken for."},
    {"name": "models", "description": "The model bundles in memory."},
    {"name": "operations", "description": "Health, accounts, metrics, schemas, live events."},
    {"name": "open inference protocol", "description": "Version 2, for stock clients."},
]


def install(app: FastAPI, keys_needed: bool) -> None:
    """Complete `app.openapi()`; the document is made once, at the first call."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, tags=TAGS, routes=app.routes
            )
            _complete(document, keys_needed)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], keys_needed: bool) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.update(BODY_SCHEMA["$defs"])
    for model in (Infer, Problem):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    answer = {"description": "Problem", "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            if "422" in operation["responses"]:  # FastAPI's own entry, in FastAPI's own form
                operation["responses"]["422"] = answer | {"description": "Unprocessable Content"}
            operation["responses"]["default"] = answer
    if keys_needed:
        components["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        document["security"] = [{"key": []}, {"bearer": []}]
