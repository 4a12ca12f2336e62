"""Tensors of the Open Inference Protocol v2 on the wire: in the JSON, or after it as bytes.

The protocol: https://github.com/kserve/open-inference-protocol; bytes after the JSON are its binary tensor data
extension, the default of standard clients.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import AlertClassifierError

HEADER_LENGTH: Final = "inference-header-content-length"  # bytes of JSON before the tensors' bytes

BYTES: Final = "BYTES"
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"), "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"), "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
}  # fmt: skip

Array = NDArray[Any]

MOST_VALUES: Final = 2_000_000  # some 200 MB of Python's objects
MOST_DIMENSIONS: Final = 8  # our inputs have one; numpy ends at 64


class TensorError(AlertClassifierError, ValueError):
    """A tensor or message that violates the protocol; `field` is its path in the request."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Tensor:
    """`values` of the type that `datatype` names; texts (BYTES) as an object array of str."""

    name: str
    datatype: str
    values: Array


@dataclass(frozen=True, slots=True)
class Wanted:
    """A requested output. `classes` > 0: that many best classes as texts, instead of the numbers."""

    name: str
    binary: bool
    classes: int


@dataclass(frozen=True, slots=True)
class InferRequest:
    """`outputs` empty: all of them, as bytes if `binary`."""

    id: str
    inputs: dict[str, Tensor]
    outputs: list[Wanted]
    binary: bool


def may_hold_more(text: bytes, most_values: int) -> bool:
    """Whether JSON may hold more values: each is preceded by one of these (a comma in a text counts too)."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") > most_values


def decode_request(body: bytes, header_length: str | None, most_values: int = MOST_VALUES) -> InferRequest:
    """Raises TensorError."""
    head, tail = _split(body, header_length)
    if may_hold_more(head, most_values):
        raise TensorError("body", f"the JSON may hold more than {most_values:,} values: send tensors as bytes")
    try:
        message = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise TensorError("body", f"the request is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise TensorError("body", "the request must be an object")
    inputs, offset = {}, 0
    for place, each in _objects(message, "inputs"):
        tensor, offset = _decode(each, place, tail, offset)
        if tensor.name in inputs:
            raise TensorError(place, f"input {tensor.name} is given twice")
        inputs[tensor.name] = tensor
    if offset != len(tail):
        raise TensorError(
            "inputs", f"{len(tail) - offset} bytes follow the last tensor: binary_data_size does not add up"
        )
    binary = _parameters(message, "body").get("binary_data_output") is True
    outputs = [_wanted(each, place, binary) for place, each in _objects(message, "outputs")]
    given_id = message.get("id", "")
    if not isinstance(given_id, str):
        raise TensorError("id", "must be a text")
    return InferRequest(given_id, inputs, outputs, binary)


def encode_response(head: dict[str, Any], tensors: list[tuple[Tensor, bool]]) -> tuple[bytes, int | None]:
    """(body, length of its JSON if bytes follow, else None); `tensors` are pairs (tensor, whether sent as bytes)."""
    outputs, blobs = [], []
    for tensor, binary in tensors:
        output: dict[str, Any] = {
            "name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.values.shape)
        }  # fmt: skip
        if binary:
            blob = _to_bytes(tensor)
            output["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            output["data"] = tensor.values.ravel().tolist()
        outputs.append(output)
    text = orjson.dumps(head | {"outputs": outputs})
    return b"".join((text, *blobs)), len(text) if blobs else None


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    # thousands of digits Python refuses to read
    if not header_length.isdecimal() or len(header_length) > 18 or int(header_length) > len(body):
        given = header_length[:20]
        raise TensorError("body", f"Inference-Header-Content-Length is {given}, the body has {len(body)} bytes")
    return body[: int(header_length)], body[int(header_length) :]


def _decode(each: dict[str, Any], place: str, tail: bytes, offset: int) -> tuple[Tensor, int]:
    name, datatype, shape = each.get("name"), each.get("datatype"), each.get("shape")
    if not isinstance(name, str) or not name:
        raise TensorError(f"{place}.name", "must be the name of an input")
    if datatype != BYTES and datatype not in DTYPES:
        raise TensorError(f"{place}.datatype", f"must be one of {BYTES}, {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise TensorError(f"{place}.shape", "must be a list of sizes")
    if len(shape) > MOST_DIMENSIONS:
        raise TensorError(f"{place}.shape", f"has {len(shape)} dimensions; at most {MOST_DIMENSIONS} are read")
    count = math.prod(shape)
    size = _parameters(each, place).get("binary_data_size")
    if size is None:
        values = _from_json(each.get("data"), datatype, count, place)
    elif type(size) is not int or size < 0 or offset + size > len(tail):
        raise TensorError(f"{place}.parameters.binary_data_size", f"{size} bytes are not there")
    else:
        values = _from_bytes(tail[offset : offset + size], datatype, count, place)
        offset += size
    return Tensor(name, datatype, values.reshape(shape)), offset


def _from_json(data: Any, datatype: str, count: int, place: str) -> Array:
    """`data` flat or nested according to the shape; null means NaN, which JSON lacks."""
    flat = _flatten(data)
    if len(flat) != count:
        raise TensorError(f"{place}.data", f"must hold {count} values as the shape says, not {len(flat)}")
    if datatype == BYTES:
        if not all(isinstance(value, str) for value in flat):
            raise TensorError(f"{place}.data", "must hold texts")
        return np.array(flat, dtype=object)
    dtype = DTYPES[datatype]
    fits = (int, float, type(None)) if dtype.kind == "f" else (bool,) if dtype.kind == "b" else (int,)
    if not all(isinstance(value, fits) and (dtype.kind == "b") == isinstance(value, bool) for value in flat):
        raise TensorError(f"{place}.data", f"must hold values of {datatype}")
    try:
        return np.array(flat, dtype=dtype)
    except OverflowError as error:
        raise TensorError(f"{place}.data", f"must hold values of {datatype}: {error}") from error


def _flatten(data: Any) -> list[Any]:
    rows: list[Any] = data if isinstance(data, list) else []
    while rows and all(isinstance(row, list) for row in rows):
        rows = [value for row in rows for value in row]
    return rows


def _from_bytes(data: bytes, datatype: str, count: int, place: str) -> Array:
    if datatype != BYTES:
        dtype = DTYPES[datatype]
        if len(data) != count * dtype.itemsize:
            raise TensorError(
                place, f"{count} values of {datatype} take {count * dtype.itemsize} bytes, not {len(data)}"
            )
        return np.frombuffer(data, dtype=dtype)
    texts: list[str] = []
    offset = 0
    while offset + 4 <= len(data) and len(texts) < count:
        (length,) = struct.unpack_from("<I", data, offset)
        offset += 4 + length
        texts.append(data[offset - length : offset].decode("utf-8", "replace"))
    if len(texts) != count or offset != len(data):
        raise TensorError(place, f"the bytes do not hold {count} texts, each behind its length in 4 bytes")
    return np.array(texts, dtype=object)


def _to_bytes(tensor: Tensor) -> bytes:
    if tensor.datatype != BYTES:
        return np.ascontiguousarray(tensor.values, dtype=DTYPES[tensor.datatype]).tobytes()
    texts = [text.encode() for text in tensor.values.ravel().tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _wanted(each: dict[str, Any], place: str, binary: bool) -> Wanted:
    name = each.get("name")
    if not isinstance(name, str) or not name:
        raise TensorError(f"{place}.name", "must be the name of an output")
    parameters = _parameters(each, place)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise TensorError(f"{place}.parameters.classification", "must be a number of classes")
    return Wanted(name, parameters.get("binary_data", binary) is True, classes)


def _objects(message: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    values = message.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise TensorError(key, "must be a list of objects")
    return [(f"{key}.{number}", value) for number, value in enumerate(values)]


def _parameters(each: dict[str, Any], place: str) -> dict[str, Any]:
    parameters = each.get("parameters", {})
    if not isinstance(parameters, dict):
        raise TensorError(f"{place}.parameters", "must be an object")
    return parameters
