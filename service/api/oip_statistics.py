"""What standard tools ask an Open Inference Protocol server besides inference: configuration, statistics, index.

Triton's extensions of the protocol, whose shapes its clients and its performance tools expect:
https://github.com/triton-inference-server/server/tree/main/docs/protocol (model configuration, statistics, model
repository; of the last only the index: models are activated under `/v1/models`).
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from service.api.answers import json_response
from service.api.bodies import parse_json
from service.api.context import Here
from service.api.oip import INPUTS, PLATFORM, find, outputs_of, residents, shapes_of
from service.api.oip_tensors import BYTES
from service.api.problems import invalid, responses

MOST_VALUES: Final = 100  # of a body that has one

router: Final = APIRouter(prefix="/v2", tags=["open inference protocol"])


class TensorConfig(BaseModel):
    name: str
    data_type: str
    dims: list[int]
    optional: bool = False


class ModelConfig(BaseModel):
    """Triton's model configuration: `max_batch_size` 0 says that the first dimension is not one of batches."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]


class Indexed(BaseModel):
    name: str
    version: str
    state: str
    reason: str


@router.get("/models/stats", response_model=dict[str, Any])
async def all_statistics(here: Here) -> Response:
    """Of every resident model: inference requests under `/v2` since the start, and where their time went."""
    return json_response({"model_stats": [here.inferences.view(each.name, each.version) for each in residents(here)]})


@router.get("/models/{name}/stats", response_model=dict[str, Any], responses=responses(404))
@router.get("/models/{name}/versions/{version}/stats", response_model=dict[str, Any], responses=responses(404))
async def statistics(name: str, here: Here, version: str = "") -> Response:
    """Of one model; without a version, of all its resident versions."""
    find(here, name, version)
    asked = [each for each in residents(here) if each.name == name and version in ("", each.version)]
    return json_response({"model_stats": [here.inferences.view(each.name, each.version) for each in asked]})


@router.get("/models/{name}/config", response_model=ModelConfig, responses=responses(404))
@router.get("/models/{name}/versions/{version}/config", response_model=ModelConfig, responses=responses(404))
async def config(name: str, here: Here, version: str = "") -> Response:
    """A model's configuration, as Triton writes it."""
    classifier = find(here, name, version)
    shapes = shapes_of(classifier)
    inputs = [
        {"name": each, "data_type": _type(datatype), "dims": [-1], "optional": not required}
        for each, (datatype, required, _) in INPUTS.items()
    ]
    outputs = [
        {"name": each, "data_type": _type(datatype), "dims": shapes.get(each, [-1])}
        for each, datatype in outputs_of(classifier).items()
    ]
    told = {"name": name, "platform": PLATFORM, "backend": "onnxruntime", "max_batch_size": 0}
    return json_response(told | {"input": inputs, "output": outputs})


@router.post("/repository/index", response_model=list[Indexed], responses=responses(400, 422))
async def index(request: Request, here: Here) -> Response:
    """The resident models. They are all ready, so `{"ready": true}` asks for the same."""
    body = await request.body()
    asked = parse_json(body, MOST_VALUES) if body else {}
    if not isinstance(asked, dict) or not isinstance(asked.get("ready", True), bool):
        raise invalid("ready", "must be true or false, in an object")
    return json_response(
        [{"name": each.name, "version": each.version, "state": "READY", "reason": ""} for each in residents(here)]
    )


def _type(datatype: str) -> str:
    """Of the configuration, where a text is TYPE_STRING."""
    return "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}"
