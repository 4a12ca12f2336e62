"""`/v1/models`: which models are resident, what they are, and which one answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.api.access import require_write
from service.api.answers import json_response
from service.api.context import Context, Here, in_thread
from service.api.problems import ProblemError, responses
from service.inference.bundle import BundleError
from service.inference.registry import ModelInfo

router: Final = APIRouter(prefix="/v1/models", tags=["models"])


class ModelSummary(BaseModel):
    """A resident model. `role`: active (it is published), shadow (answers beside it), previous (for rollback)."""

    name: str = Field(examples=["alert-clr"])
    version: str
    role: str = Field(examples=["active"])
    provider: str = Field(description="ONNX Runtime execution provider in force", examples=["CPUExecutionProvider"])
    description: str
    taxonomy: dict[str, str] = Field(description="class -> superclass")
    bands: list[str]
    minimum_detections: int = Field(description="below it, answers carry the flag too_few_points")
    preprocessing: str
    sha256: str
    data_digest: str
    created: str


class Model(ModelSummary):
    """A resident model with its card (Markdown) and the metrics of its evaluation."""

    card: str
    metrics: dict[str, Any]


class Models(BaseModel):
    models: list[ModelSummary]


@router.get("", response_model=Models)
def models(here: Here) -> Response:
    """Every resident model: the active one first."""
    return json_response({"models": [_fields(info, ModelSummary) for info in here.models.models()]})


@router.get("/{name}/{version}", response_model=Model, responses=responses(404))
def model(name: str, version: str, here: Here) -> Response:
    """One resident model, with its card and its figures."""
    return json_response(_fields(_resident(here, name, version), Model))


@router.post("/{name}/{version}/activate", response_model=Model, responses=responses(403, 404, 409))
async def activate(name: str, version: str, request: Request, here: Here) -> Response:
    """Make a resident model (a shadow, or the previous one) the active one, without a gap. Needs a write key."""
    require_write(request.scope)
    _resident(here, name, version)
    try:
        await in_thread(here.models.promote, name, version)
    except BundleError as error:
        raise ProblemError(409, "model-not-usable", str(error)) from error
    return json_response(_fields(_resident(here, name, version), Model))


@router.post("/rollback", response_model=Model, responses=responses(403, 409))
async def rollback(request: Request, here: Here) -> Response:
    """Make the model active that was so before the last change. Needs a write key."""
    require_write(request.scope)
    try:
        classifier = await in_thread(here.models.rollback)
    except BundleError as error:
        raise ProblemError(409, "nothing-to-roll-back", str(error)) from error
    return json_response(_fields(_resident(here, classifier.name, classifier.version), Model))


def _resident(here: Context, name: str, version: str) -> ModelInfo:
    listed = here.models.models()
    for info in listed:
        if (info.name, info.version) == (name, version):
            return info
    known = ", ".join(f"{info.name}/{info.version}" for info in listed)
    raise ProblemError(404, "unknown-model", f"no model {name}/{version} is resident; resident are {known}")


def _fields(info: ModelInfo, shape: type[BaseModel]) -> dict[str, Any]:
    """The fields for users, without the bundle's path."""
    values = asdict(info)
    return {name: values[name] for name in shape.model_fields}
