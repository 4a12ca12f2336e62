"""How light curves, contexts, documents, probabilities and embeddings are encoded for columns of bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import cramjam
import numpy as np
import orjson
from numpy.typing import NDArray

from service.photometry import Context, LightCurve
from service.photometry.context import N_CONTEXT
from service.store.interface import LightCurveDamagedError, StoredClassification, StoredDataError, StoredObject

_COLUMNS: Final = (
    "object_id", "candid", "classifier", "version", "mjd", "published_at", "top_class", "top_probability",
)  # fmt: skip
_ALERT: Final = struct.Struct("<dq")
_FLOAT32: Final = np.dtype("<f4")
LZ4_MOST: Final = 255  # times the packed bytes: what LZ4 unpacks to at most, so that damage can't claim gigabytes
NO_CLASS: Final = ""  # in the column `top_class`, of an answer that names none


_CONTINUES: Final = 0x80  # bit of the first packed byte, in an object's row: older points are in blocks


def encode_light_curve(light_curve: LightCurve, continues: bool = False) -> bytes:
    """The packed light curve in one LZ4 block: half the size in 3 us (zlib: 0.4 of it in 40 us).

    `continues`: an object's newest points, of which the older ones are in blocks.
    """
    packed = light_curve.pack()
    if continues:
        packed = bytes([packed[0] | _CONTINUES]) + packed[1:]
    return bytes(cramjam.lz4.compress_block(packed))


def decode_light_curve(stored: bytes, name: str) -> LightCurve:
    """The light curve of the object or source `name`. Raises LightCurveDamagedError."""
    try:
        return LightCurve.unpack(_decompressed(stored))
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def decode_newest(stored: bytes, name: str) -> tuple[LightCurve, bool]:
    """The points of an object's row, and whether older ones are in blocks. Raises LightCurveDamagedError."""
    try:
        packed = _decompressed(stored)
        if packed[0] < _CONTINUES:
            return LightCurve.unpack(packed), False
        return LightCurve.unpack(bytes([packed[0] & ~_CONTINUES]) + packed[1:]), True
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def with_blocks(stored: StoredObject, blocks: Sequence[tuple[int, bytes]]) -> StoredObject:
    """An object with the points of its blocks, (number, light curve) in their order, before those of its row.

    Raises LightCurveDamagedError, also where a block is missing.
    """
    try:
        if [number for number, _ in blocks] != list(range(len(blocks))):
            raise ValueError("a block of it is missing")
        parts = [_decompressed(block) for _, block in blocks]
        light_curve = LightCurve.unpack_before(parts, stored.light_curve)
        closed = tuple([LightCurve.packed_length(part) for part in parts])
        return replace(stored, light_curve=light_curve, closed=closed)
    except _DAMAGE as error:
        raise _damaged(stored.object_id, error) from error


_DAMAGE: Final = (cramjam.DecompressionError, ValueError, OverflowError, MemoryError, LookupError)


def _decompressed(stored: bytes) -> bytes:
    if int.from_bytes(stored[:4], "little") > LZ4_MOST * len(stored):
        raise ValueError("it unpacks to more than LZ4 can hold")
    return bytes(cramjam.lz4.decompress_block(stored))


def _damaged(name: str, error: BaseException) -> LightCurveDamagedError:
    return LightCurveDamagedError(
        f"the stored light curve of {name} is damaged ({error}): `alert-classifier store repair` forgets it"
    )


def encode_context(context: Context | None) -> bytes | None:
    """Epoch and candid of its alert, then float32 in the order of CONTEXT_COLUMNS: mostly noise, so not compressed."""
    return None if context is None else _ALERT.pack(context.mjd, context.candid) + context.values.tobytes()


def decode_context(stored: bytes | None) -> Context | None:
    """None too where the bytes are not whole: the object's next alert brings its context again."""
    if stored is None or len(stored) < _ALERT.size or len(stored) % _FLOAT32.itemsize:
        return None
    mjd, candid = _ALERT.unpack_from(stored)
    values = np.frombuffer(stored, _FLOAT32, offset=_ALERT.size)
    if len(values) != N_CONTEXT:  # columns are only ever added, at the end
        values = np.concatenate([values, np.full(N_CONTEXT, np.nan, np.float32)])[:N_CONTEXT]
    return Context(values, mjd, candid)


def encode_document(document: dict[str, Any], sample: bytes) -> bytes:
    """JSON, deflated with `sample`, the first document of the same classifier, as dictionary."""
    deflate = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS, zdict=sample)
    return deflate.compress(document_json(document)) + deflate.flush()


def decode_document(stored: bytes, sample: bytes) -> dict[str, Any]:
    """Raises StoredDataError."""
    try:
        inflated = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=sample).decompress(stored)
        document: dict[str, Any] = orjson.loads(inflated)
    except (zlib.error, ValueError) as error:
        raise StoredDataError(f"a stored classification is damaged: {error}") from error
    return document


def document_json(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def classes_of(document: dict[str, Any]) -> tuple[str, ...]:
    """The classes with probabilities in `document`, in its order."""
    probabilities = document.get("probabilities")
    return tuple(probabilities) if isinstance(probabilities, dict) else ()


def encode_probabilities(document: dict[str, Any]) -> bytes:
    """float32, in the order of `classes_of(document)`."""
    classes = classes_of(document)
    return struct.pack(f"<{len(classes)}f", *(document["probabilities"][name] for name in classes))


def encode_embedding(embedding: NDArray[np.floating[Any]] | None) -> bytes | None:
    """float16: similarity needs no more, and a million of 96 dimensions fit 200 MB."""
    return None if embedding is None else np.asarray(embedding, dtype="<f2").tobytes()


def decode_embeddings(rows: Sequence[tuple[str, bytes]]) -> tuple[list[str], NDArray[np.float16]]:
    """(object ids, embeddings (n, D)) of (object_id, stored embedding) rows of one length."""
    packed = b"".join(embedding for _, embedding in rows)
    return [object_id for object_id, _ in rows], np.frombuffer(packed, "<f2").reshape(len(rows), -1 if rows else 0)


def decode_latest(row: Sequence[Any]) -> StoredClassification:
    """From the columns of StoredClassification up to `top_probability`, then document, its sample and embedding."""
    *columns, document, sample, embedding = row
    return StoredClassification(
        **_named(columns),
        document=decode_document(document, sample),
        embedding=None if embedding is None else np.frombuffer(embedding, dtype="<f2"),
    )


def decode_history(row: Sequence[Any]) -> StoredClassification:
    """From the columns of StoredClassification up to `top_probability`, then active, probabilities, classes (JSON)."""
    *columns, active, probabilities, classes = row
    values = np.frombuffer(probabilities, dtype="<f4").tolist()
    document = {"probabilities": dict(zip(orjson.loads(classes), values, strict=True))}
    return StoredClassification(**_named(columns), document=document, active=bool(active))


def _named(columns: Sequence[Any]) -> dict[str, Any]:
    named = dict(zip(_COLUMNS, columns, strict=True))
    return named | {"top_class": named["top_class"] or None}
