"""`/v1/models`: which models are resident, what they are, and which one answers."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.api.access import require_write
from service.api.answers import json_response
from service.api.context import Context, Here, in_thread
from service.api.problems import ProblemError, responses
from service.inference.bundle import BundleError
from service.inference.classifier import Classifier

router: Final = APIRouter(prefix="/v1/models", tags=["models"])


class ModelSummary(BaseModel):
    """A resident model. `role`: active (it is published), of_survey (so it is for one survey), shadow (answers beside
    them), previous (for rollback).
    """

    name: str = Field(examples=["alert-clr"])
    version: str
    role: str = Field(examples=["active"])
    provider: str = Field(description="ONNX Runtime execution provider in force", examples=["CPUExecutionProvider"])
    description: str
    taxonomy: dict[str, str] = Field(description="class -> superclass")
    bands: list[str]
    minimum_detections: int = Field(description="below it, answers carry the flag too_few_points")
    context: list[str] = Field(
        description="columns of the object's surroundings that it takes; none: it takes no context"
    )
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
    return json_response({"models": [_fields(model, ModelSummary) for model in here.models.models()]})


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


def _resident(here: Context, name: str, version: str) -> tuple[Classifier, str]:
    listed = here.models.models()
    for model in listed:
        if (model[0].name, model[0].version) == (name, version):
            return model
    known = ", ".join(f"{classifier.name}/{classifier.version}" for classifier, _ in listed)
    raise ProblemError(404, "unknown-model", f"no model {name}/{version} is resident; resident are {known}")


def _fields(model: tuple[Classifier, str], shape: type[BaseModel]) -> dict[str, Any]:
    """What users may see: where the bundle lies on disk is not theirs."""
    classifier, role = model
    bundle = classifier.bundle
    told = {"role": role, "provider": classifier.provider, "card": bundle.card, "metrics": bundle.metrics}
    told["preprocessing"] = bundle.manifest.preprocessing.id
    return {name: told[name] if name in told else getattr(bundle.manifest, name) for name in shape.model_fields}
