"""Open Inference Protocol v2 under `/v2`: the same models and preprocessing, for standard clients.

A model takes columns of light curves, a value per point, and returns a row per light curve. Errors are problem details
that also have the protocol's `error`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service import __version__
from service.api.answers import json_response
from service.api.bodies import JSON, content_type, read_body
from service.api.context import Context, Here, in_thread
from service.api.inferences import Times
from service.api.light_curves import check_count, too_many_points
from service.api.oip_tensors import (
    BYTES,
    HEADER_LENGTH,
    InferRequest,
    Tensor,
    TensorError,
    decode_request,
    encode_response,
)
from service.api.old_names import DEPRECATION
from service.api.operations import check_readiness
from service.api.problems import ProblemError, invalid, responses
from service.config import ApiSettings
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.photometry import LightCurve
from service.photometry.columns import ColumnError, codes, points_from_columns

router: Final = APIRouter(prefix="/v2", tags=["open inference protocol"])

PLATFORM: Final = "onnxruntime_onnx"
EXTENSIONS: Final = ["binary_tensor_data", "classification", "model_configuration", "statistics"]
OCTETS: Final = "application/octet-stream"

# name -> (datatype, required, description)
INPUTS: Final = {
    "mjd": ("FP64", True, "modified Julian date of each point [days]"),
    "band": (BYTES, True, "g, r or i"),
    "mag": ("FP32", True, "AB magnitude of the absolute difference flux; NaN (null) is an upper limit"),
    "magerr": ("FP32", False, "its error"),
    "diffmaglim": ("FP32", False, "5-sigma limiting magnitude"),
    "sign": ("INT8", False, "1, -1, or 0 for unknown"),
    "magnr": ("FP32", False, "magnitude of the nearest reference source"),
    "light_curve": ("INT32", False, "which light curve each point is of, from 0; all of one unless given"),
}
ACCEPTED: Final = INPUTS | {"limit": INPUTS["diffmaglim"]}  # by its old name too
_FLOATS: Final = ("mjd", "mag", "magerr", "limit", "magnr")


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    name: str
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(description="-1: any size")


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str] = Field(description="classes: the names of the columns of probabilities, by commas")


class IsReady(BaseModel):
    ready: bool


class InferInput(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] = Field(default_factory=list)


class InferOutput(BaseModel):
    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Infer(BaseModel):
    """The JSON of an inference request; with the binary tensor extension, the tensors' bytes follow it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inputs": [
                        {"name": "mjd", "shape": [3], "datatype": "FP64", "data": [60310.2, 60313.3, 60316.2]},
                        {"name": "band", "shape": [3], "datatype": "BYTES", "data": ["r", "r", "g"]},
                        {"name": "mag", "shape": [3], "datatype": "FP32", "data": [None, 19.8, 19.1]},
                    ],
                    "outputs": [{"name": "probabilities"}, {"name": "top_class"}],
                }
            ]
        }
    )

    id: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InferInput]
    outputs: list[InferOutput] = Field(default_factory=list)


_INFER: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"$ref": "#/components/schemas/Infer"}},
            OCTETS: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("", response_model=ServerMetadata)
async def server() -> Response:
    """What this server is."""
    return json_response({"name": "alert-classifier", "version": __version__, "extensions": EXTENSIONS})


@router.get("/health/live", response_model=dict[str, bool])
async def live() -> Response:
    return json_response({"live": True})


@router.get("/health/ready", response_model=IsReady, responses=responses(503))
async def ready(here: Here) -> Response:
    _, failures = await in_thread(check_readiness, here)
    return json_response({"ready": not failures}, 503 if failures else 200)


@router.get("/models/{name}", response_model=ModelMetadata, responses=responses(404))
@router.get("/models/{name}/versions/{version}", response_model=ModelMetadata, responses=responses(404))
async def metadata(name: str, here: Here, version: str = "") -> Response:
    """What a model takes and gives."""
    classifier = find(here, name, version)
    manifest = classifier.bundle.manifest
    shapes = shapes_of(classifier)
    return json_response(
        {
            "name": manifest.name,
            "versions": [each.version for each in residents(here) if each.name == name],
            "platform": PLATFORM,
            "inputs": [{"name": name, "datatype": INPUTS[name][0], "shape": [-1]} for name in INPUTS],
            "outputs": [
                {"name": output, "datatype": datatype, "shape": shapes.get(output, [-1])}
                for output, datatype in outputs_of(classifier).items()
            ],
            "parameters": {"classes": ",".join(manifest.classes)},
        }
    )


@router.get("/models/{name}/ready", response_model=IsReady, responses=responses(404))
@router.get("/models/{name}/versions/{version}/ready", response_model=IsReady, responses=responses(404))
async def model_ready(name: str, here: Here, version: str = "") -> Response:
    """A resident model is always warm."""
    find(here, name, version)
    return json_response({"ready": True})


@router.post(
    "/models/{name}/infer", response_model=dict[str, Any], responses=responses(400, 404, 413, 415), openapi_extra=_INFER
)
@router.post(
    "/models/{name}/versions/{version}/infer",
    response_model=dict[str, Any],
    responses=responses(400, 404, 413, 415),
    openapi_extra=_INFER,
)
async def infer(name: str, request: Request, here: Here, version: str = "") -> Response:
    """Classify light curves given as columns; see the model's metadata for names and types."""
    classifier = find(here, name, version)
    if "content-type" in request.headers:
        content_type(request, (JSON, OCTETS))
    body = await read_body(request, here)
    times = Times()
    try:
        header_length = request.headers.get(HEADER_LENGTH)
        asked, light_curves = await here.parse(body, _read, header_length, outputs_of(classifier), here.settings.api)
        times.end("compute_input")
        predictions = await in_thread(classifier.classify, light_curves)
        times.end("compute_infer")
        answer, answer_length = _answer(asked, classifier, predictions)
        times.end("compute_output")
    except (TensorError, ProblemError) as error:
        here.inferences.failed(classifier.name, classifier.version, times)
        raise invalid(error.field, str(error)) if isinstance(error, TensorError) else error from error
    here.inferences.succeeded(classifier.name, classifier.version, len(light_curves), times)
    old = "limit" in asked.inputs or any(each.name == "bald" for each in asked.outputs)
    headers = dict(DEPRECATION) if old else {}
    if answer_length is None:
        return Response(answer, media_type=JSON, headers=headers)
    return Response(answer, media_type=OCTETS, headers=headers | {HEADER_LENGTH: str(answer_length)})


OUTPUTS: Final = {
    "probabilities": "FP32", "top_class": BYTES, "conformal_set": "BOOL", "ood_score": "FP32", "flags": BYTES,
    "embedding": "FP32",
}  # fmt: skip
STOCHASTIC_OUTPUTS: Final = {  # of models with stochastic passes
    "variance": "FP32", "mutual_information": "FP32",
    "bald": "FP32",  # the old name of mutual_information
}  # fmt: skip


def outputs_of(classifier: Classifier) -> dict[str, str]:
    return OUTPUTS | (STOCHASTIC_OUTPUTS if classifier.bundle.manifest.stochastic else {})


def shapes_of(classifier: Classifier) -> dict[str, list[int]]:
    """Of those outputs that have more than one value per light curve; -1: any size."""
    size = len(classifier.bundle.manifest.classes)
    return {name: [-1, size] for name in ("probabilities", "conformal_set", "variance")} | {"embedding": [-1, -1]}


def residents(here: Context) -> list[Classifier]:
    return [classifier for classifier, _ in here.models.models()]


def find(here: Context, name: str, version: str) -> Classifier:
    known_here = residents(here)
    for classifier in known_here:
        if classifier.name == name and version in ("", classifier.version):
            return classifier
    known = ", ".join(f"{each.name} {each.version}" for each in known_here)
    raise ProblemError(
        404, "unknown-model", f"no model {name} {version}".rstrip() + f" is resident; resident are {known}"
    )


def _read(
    body: bytes, header_length: str | None, outputs: dict[str, str], settings: ApiSettings
) -> tuple[InferRequest, list[LightCurve]]:
    asked = decode_request(body, header_length)
    unknown = [name for name in asked.inputs if name not in ACCEPTED]
    if unknown:
        raise TensorError("inputs", f"there is no input {unknown[0]}; there are {', '.join(INPUTS)}")
    missing = [name for name, (_, required, _) in INPUTS.items() if required and name not in asked.inputs]
    if missing:
        raise TensorError("inputs", f"input {missing[0]} is missing")
    unwanted = [each.name for each in asked.outputs if each.name not in outputs]
    if unwanted:
        raise TensorError("outputs", f"there is no output {unwanted[0]}; there are {', '.join(outputs)}")
    inputs = {name: _as_column(tensor) for name, tensor in asked.inputs.items()}
    if {"limit", "diffmaglim"} <= inputs.keys():
        raise TensorError("limit", "is the old name of diffmaglim, which is given too: send diffmaglim alone")
    if "diffmaglim" in inputs:
        inputs["limit"] = inputs.pop("diffmaglim")
    return asked, _light_curves(inputs, settings)


def _as_column(tensor: Tensor) -> Tensor:
    """MLServer's codecs write a column of N values in the shape [N, 1]."""
    values = tensor.values
    return Tensor(tensor.name, tensor.datatype, values[:, 0]) if values.ndim == 2 and values.shape[1] == 1 else tensor


def _light_curves(inputs: dict[str, Tensor], settings: ApiSettings) -> list[LightCurve]:
    count = inputs["mjd"].values.size
    if count > settings.max_points:
        raise too_many_points(settings.max_points)
    for tensor in inputs.values():
        if tensor.values.shape != (count,):
            raise TensorError(tensor.name, f"must have the shape [{count}] of mjd, not {list(tensor.values.shape)}")
    if not count:
        raise TensorError("mjd", "must hold at least one point")
    columns: dict[str, np.ndarray[Any, Any]] = {name: _numbers(inputs[name], "f") for name in _FLOATS if name in inputs}
    if "sign" in inputs:
        columns["sign"] = _numbers(inputs["sign"], "iu")
    light_curve = _numbers(inputs["light_curve"], "iu") if "light_curve" in inputs else np.zeros(count, np.int64)
    number = int(light_curve.max()) + 1
    if int(light_curve.min()) < 0:
        raise TensorError("light_curve", "must count light curves from 0")
    check_count(number, settings)
    try:
        points = points_from_columns(columns | {"band": codes("band", _texts(inputs["band"]))})
    except ColumnError as error:
        raise TensorError(error.column, error.reason) from error
    order = np.argsort(light_curve, kind="stable")
    edges = np.searchsorted(light_curve[order], np.arange(number + 1))
    if not np.diff(edges).all():
        raise TensorError("light_curve", f"must count light curves from 0; {np.diff(edges).argmin()} has no point")
    return [LightCurve.from_points(points[order[start:stop]]) for start, stop in pairwise(edges)]


def _numbers(tensor: Tensor, kinds: str) -> np.ndarray[Any, Any]:
    if tensor.datatype == BYTES or tensor.values.dtype.kind not in kinds:
        raise TensorError(tensor.name, f"must be of datatype {ACCEPTED[tensor.name][0]}, not {tensor.datatype}")
    return tensor.values


def _texts(tensor: Tensor) -> list[str]:
    if tensor.datatype != BYTES:
        raise TensorError(tensor.name, f"must be of datatype {BYTES}, not {tensor.datatype}")
    return list(tensor.values.tolist())


def _answer(asked: InferRequest, classifier: Classifier, predictions: list[Prediction]) -> tuple[bytes, int | None]:
    classes = classifier.bundle.manifest.classes
    wanted = {each.name: each for each in asked.outputs}
    tensors = []
    for name in wanted or outputs_of(classifier):
        each = wanted.get(name)
        tensor = _output(name, classes, predictions)
        if each is not None and each.classes:
            tensor = _best(tensor, classes, each.classes)
        tensors.append((tensor, each.binary if each is not None else asked.binary))
    head = {"model_name": classifier.name, "model_version": classifier.version}
    if asked.id:
        head["id"] = asked.id
    return encode_response(head | {"parameters": {"classes": ",".join(classes)}}, tensors)


def _output(name: str, classes: tuple[str, ...], predictions: list[Prediction]) -> Tensor:
    values: Any
    match name:
        case "probabilities":
            values = np.stack([each.probabilities for each in predictions])
        case "top_class":
            values = np.array([each.top_class or "" for each in predictions], dtype=object)
        case "conformal_set":
            values = np.array([[label in each.conformal_set for label in classes] for each in predictions])
        case "ood_score":
            values = np.array([each.ood_score for each in predictions], dtype=np.float32)
        case "flags":
            values = np.array([",".join(each.flags) for each in predictions], dtype=object)
        case "variance":
            nothing = np.full(len(classes), np.nan, dtype=np.float32)
            values = np.stack([nothing if each.variance is None else each.variance for each in predictions])
        case "mutual_information" | "bald":
            values = np.array([each.bald for each in predictions], dtype=np.float32)
        case _:
            values = np.stack([each.embedding for each in predictions])
    return Tensor(name, (OUTPUTS | STOCHASTIC_OUTPUTS)[name], values)


def _best(tensor: Tensor, classes: tuple[str, ...], count: int) -> Tensor:
    """The classification extension: the `count` greatest values of each row as `value:index:label`."""
    if tensor.name != "probabilities":
        raise TensorError("outputs", f"classification goes with the output probabilities, not with {tensor.name}")
    rows = [
        [f"{row[column]:.6f}:{column}:{classes[column]}" for column in np.argsort(-row, kind="stable")[:count]]
        for row in tensor.values
    ]
    return Tensor(tensor.name, BYTES, np.array(rows, dtype=object))
