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

# Some bytes of every record: the same for all, or (n, width), with a mask that broadcasts to it where not all are used.
_Piece: TypeAlias = "tuple[bytes | NDArray[np.uint8], NDArray[np.bool_] | None]"


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


class RecordEncoder:
    """Encodes records of one Avro record schema of primitive fields and unions of null and a primitive."""

    def __init__(self, record: Schema) -> None:
        self.name = str(record["name"])
        self._fields = [(field["name"], *_resolve(field["type"])) for field in record["fields"]]

    def encode(self, columns: Mapping[str, Column], count: int) -> list[bytes]:
        """`count` encoded records. NaN in a nullable float field is written as null.

        Raises KeyError on a field without a column, ValueError on null where none may be.
        """
        pieces: list[_Piece] = []
        for name, kind, branch, null in self._fields:
            column = columns[name]
            if isinstance(column, np.ndarray):
                pieces += _encode_column(kind, branch, null, column)
            elif column is not None:
                pieces.append((branch + _encode_value(kind, column), None))
            elif null is not None:
                pieces.append((null, None))
            else:
                raise ValueError(f"field {name} of {self.name} can't be null")
        widths = [len(piece) if isinstance(piece, bytes) else piece.shape[1] for piece, _ in pieces]
        ends = np.cumsum(widths).tolist()
        matrix = np.empty((count, ends[-1]), np.uint8)
        mask = np.ones(matrix.shape, bool)
        for (piece, used), width, end in zip(pieces, widths, ends, strict=True):
            matrix[:, end - width : end] = np.frombuffer(piece, np.uint8) if isinstance(piece, bytes) else piece
            if used is not None:
                mask[:, end - width : end] = used
        stops = np.cumsum(np.count_nonzero(mask, axis=1)).tolist()
        data = matrix[mask].tobytes()
        return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


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
    if kind == "boolean":
        return bytes([bool(value)])
    return string(value) if isinstance(value, str) else varint(int(value))


def _encode_column(kind: str, branch: bytes, null: bytes | None, column: NDArray[Any]) -> list[_Piece]:
    count = len(column)
    if kind in _FLOATS:
        payload = np.ascontiguousarray(column, _FLOATS[kind]).view(np.uint8).reshape(count, -1)
        missing = np.isnan(column)
        if null is not None and missing.any():
            selector = np.where(missing, null[0], branch[0]).astype(np.uint8)
            return [(selector[:, None], None), (payload, ~missing[:, None])]
        return [(branch, None), (payload, None)]
    if kind == "string":
        letters = np.ascontiguousarray(column).view(np.uint8).reshape(count, column.dtype.itemsize)
        lengths = np.char.str_len(column)
        used = np.arange(letters.shape[1]) < lengths[:, None]
        return [(branch, None), _encode_integers(lengths), (letters, used)]
    if kind == "boolean":
        return [(branch, None), (column.astype(np.uint8)[:, None], None)]
    return [(branch, None), _encode_integers(column)]


def _encode_integers(values: NDArray[Any]) -> _Piece:
    """`varint` of each of (n,) integers: bytes (n, w), and where they are used unless everywhere."""
    signed = values.astype(np.int64)
    zigzag = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    width = max(1, -(-int(zigzag.max()).bit_length() // _VARINT_BITS))
    shifted = zigzag[:, None] >> (np.arange(width, dtype=np.uint64) * np.uint64(_VARINT_BITS))
    digits = (shifted & np.uint64(0x7F)).astype(np.uint8)
    if width == 1:
        return digits, None
    used = shifted > 0
    used[:, 0] = True
    digits[:, :-1] |= used[:, 1:].view(np.uint8) << 7
    return digits, None if used[:, -1].all() else used
