"""Avro records, a column at a time: the simulator's writer, fast because no field of no record passes through Python.

Each field of n records is one uint8 matrix (n, width), with a mask where its bytes vary in number (unions, varints);
the matrices side by side, masked, are the n encoded records. Encoding: Avro 1.11 specification, "Binary encoding"
and "Object container files".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Schema: TypeAlias = dict[str, Any]
Value: TypeAlias = float | int | str | None
# One value for all records, or an array (n,): floats, integers, or ASCII strings as bytes ("S" dtype).
Column: TypeAlias = "Value | NDArray[Any]"

_FLOATS: Final = {"float": "<f4", "double": "<f8"}
_VARINT_BITS: Final = 7


@dataclass(frozen=True, slots=True)
class Container:
    """Object container files of one record each, codec null: what the survey puts into one Kafka message."""

    header: bytes
    sync: bytes

    @classmethod
    def of(cls, schema: Schema) -> Container:
        text = json.dumps(schema, separators=(",", ":"))
        sync = hashlib.md5(text.encode(), usedforsecurity=False).digest()
        metadata = varint(2) + string("avro.schema") + string(text) + string("avro.codec") + string("null") + b"\0"
        return cls(b"Obj\x01" + metadata + sync, sync)

    def pack(self, *parts: bytes) -> bytes:
        """The packet whose one record is the concatenation of `parts`."""
        size = sum(map(len, parts))
        return b"".join((self.header, b"\x02", varint(size), *parts, self.sync))


def encode(record: Schema, columns: Mapping[str, Column], count: int) -> list[bytes]:
    """`count` encoded records of an Avro record schema of primitive fields and unions of null and a primitive.

    NaN in a nullable float field is written as null. Raises KeyError on a field without a column.
    """
    pieces: list[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]] = []
    constant = b""
    for field in record["fields"]:
        kind, branch, null = _resolve(field["type"])
        column = columns[field["name"]]
        if column is None:
            if null is None:
                raise ValueError(f"field {field['name']} of {record['name']} can't be null")
            constant += null
        elif isinstance(column, np.ndarray):
            if constant:
                pieces.append((_repeat(constant, count), None))
            constant = b""
            pieces += _encode_column(kind, branch, null, column)
        else:
            constant += branch + _encode_value(kind, column)
    if constant:
        pieces.append((_repeat(constant, count), None))
    matrix = np.concatenate([piece for piece, _ in pieces], axis=1)
    mask = np.concatenate([np.ones(piece.shape, bool) if used is None else used for piece, used in pieces], axis=1)
    ends = np.cumsum(mask.sum(axis=1)).tolist()
    data = matrix[mask].tobytes()
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def varint(value: int) -> bytes:
    """An Avro int or long: zigzag, then base 128 with the lowest seven bits first."""
    value = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= _VARINT_BITS
    encoded.append(value)
    return bytes(encoded)


def string(value: str | bytes) -> bytes:
    """An Avro string or bytes: length, then bytes."""
    data = value.encode() if isinstance(value, str) else value
    return varint(len(data)) + data


def _resolve(kind: Any) -> tuple[str, bytes, bytes | None]:
    """(primitive, bytes that select it, bytes that say null) of a field's type."""
    if isinstance(kind, str):
        return kind, b"", None
    null = kind.index("null")
    return kind[1 - null], varint(1 - null), varint(null)


def _encode_value(kind: str, value: float | int | str) -> bytes:
    if kind in _FLOATS:
        return np.asarray(value, _FLOATS[kind]).tobytes()
    return string(value) if isinstance(value, str) else varint(int(value))


def _repeat(data: bytes, count: int) -> NDArray[np.uint8]:
    return np.broadcast_to(np.frombuffer(data, np.uint8), (count, len(data)))


def _encode_column(
    kind: str, branch: bytes, null: bytes | None, column: NDArray[Any]
) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]]:
    count = len(column)
    pieces: list[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]] = []
    used: NDArray[np.bool_] | None = None
    if kind in _FLOATS:
        payload = np.ascontiguousarray(column, _FLOATS[kind]).view(np.uint8).reshape(count, -1)
        missing = np.isnan(column)
        if null is not None and missing.any():
            selector = np.where(missing, null[0], branch[0]).astype(np.uint8)
            return [(selector[:, None], None), (payload, np.broadcast_to(~missing[:, None], payload.shape))]
    elif kind == "string":
        payload = np.ascontiguousarray(column).view(np.uint8).reshape(count, column.dtype.itemsize)
        lengths = np.char.str_len(column)
        pieces.append((_repeat(branch, count), None))
        pieces.append(_encode_integers(lengths))
        branch = b""
        used = np.arange(payload.shape[1]) < lengths[:, None]
    else:
        payload, used = _encode_integers(column)
    if branch:
        pieces.append((_repeat(branch, count), None))
    return [*pieces, (payload, used)]


def _encode_integers(values: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    signed = values.astype(np.int64)
    rest = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    seven, low, more = np.uint64(_VARINT_BITS), np.uint64(0x7F), np.uint64(0x80)
    digits, used = [], [np.ones(len(values), bool)]
    while True:
        after = rest >> seven
        digits.append((rest & low) | np.where(after > 0, more, np.uint64(0)))
        if not after.any():
            return np.stack(digits, axis=1).astype(np.uint8), np.stack(used, axis=1)
        used.append(after > 0)
        rest = after
