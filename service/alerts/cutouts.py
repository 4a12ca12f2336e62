"""The small pictures in a packet, as they stand in it: gzipped FITS (ZTF), FITS (Rubin).

The decoder skips them; here a second, smaller program walks the record and notes where they are. So alerts are decoded
as fast as ever where nobody wants pictures.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from service.alerts import container, interpreter, schema
from service.alerts.alert import AlertError
from service.alerts.compiler import compile_schema
from service.alerts.interpreter import Program
from service.alerts.projection import Field, Projection, Type
from service.alerts.schema import Node, types_at
from service.alerts.schemas import SchemaSource, SchemaSourceUnavailableError

KINDS: Final = ("science", "template", "difference")

# A stamp of ZTF has 13 kB, one of Rubin 35 kB to some 200 kB; what is larger is no stamp of an alert.
MOST_BYTES: Final = 1_000_000
# Writer schemas remembered; a stream has one or two.
_MOST_PROGRAMS: Final = 16

FRAME_SIZE: Final = 5  # of the Confluent frame: 0, and the schema's id in four bytes
_NAMES: Final = ("cutoutScience", "cutoutTemplate", "cutoutDifference")
_LARGEST_HEADER: Final = 10  # bytes of a 64-bit varint


@dataclass(frozen=True, slots=True)
class Cutouts:
    """Bytes of each picture as in the packet; empty where the packet has none."""

    science: bytes = b""
    template: bytes = b""
    difference: bytes = b""


class CutoutReader:
    """Reads the pictures of packets: Avro container files, with `schemas` also Confluent-framed messages. Safe to use
    from many threads.
    """

    def __init__(self, schemas: SchemaSource | None = None) -> None:
        self._schemas = schemas
        self._programs: OrderedDict[bytes | int, Program | None] = OrderedDict()  # by schema, or by its id
        self._header: container.Header | None = None  # the latest: nearly every message has the same
        self._lock = threading.Lock()

    def read(self, raw: bytes) -> Cutouts | None:
        """The pictures of the first record of `raw`; None where it has none, or can't be read.

        Nothing is raised: an alert is worth its answer without pictures too.
        """
        try:
            if self._schemas is not None and raw[:1] == b"\0":
                number = int.from_bytes(raw[1:FRAME_SIZE], "big")
                return _pictures(raw, FRAME_SIZE, len(raw), self._program(number))
            header = self._header
            if header is None or not raw.startswith(header.prefix):
                header = self._header = container.read_header(raw, 0)
            program = self._program(header.schema)
            for block in container.blocks(raw, header) if program is not None else ():
                if block.count:
                    return _pictures(block.data, block.start, block.end, program)
        except (AlertError, SchemaSourceUnavailableError):
            pass
        return None

    def _program(self, key: bytes | int) -> Program | None:
        with self._lock:
            if key in self._programs:
                self._programs.move_to_end(key)
                return self._programs[key]
        text = key
        if isinstance(text, int):
            assert self._schemas is not None
            text = self._schemas.schema(text)
        program = _compiled(text)
        with self._lock:
            self._programs[key] = program
            while len(self._programs) > _MOST_PROGRAMS:
                self._programs.popitem(last=False)
        return program


def _pictures(data: bytes, start: int, end: int, program: Program | None) -> Cutouts | None:
    if program is None:
        return None
    cells, _ = interpreter.read(data, start, end, program)
    found = [_bytes_at(data, int(cells.values[cell])) for cell in range(len(_NAMES))]
    return Cutouts(*found) if any(found) else None


def _compiled(text: bytes) -> Program | None:
    """None where the schema has no pictures, or can't be compiled."""
    try:
        tree = schema.resolve(schema.load(text))
        paths = [_path(tree, name) for name in _NAMES]
        if None in paths:
            return None
        # Nothing reads bytes into a cell: of such a field the program notes the position, which is what is wanted here.
        fields = tuple(Field(path, Type.TEXT) for path in paths if path is not None)
        return compile_schema(tree, Projection(fields, (), (Field("nothing", Type.PRESENT),)))
    except AlertError:
        return None


def _path(tree: Node, name: str) -> str | None:
    """Where the bytes of a picture lie: ZTF has a record of file name and data, Rubin the data."""
    for path in (f"{name}.stampData", name):
        if "bytes" in {getattr(each, "name", "") for each in types_at(tree, path)}:
            return path
    return None


def _bytes_at(data: bytes, position: int) -> bytes:
    """The Avro bytes at `position`, which the program has checked; none where the field was null."""
    if position < 0:
        return b""
    length = shift = 0
    for byte in data[position : position + _LARGEST_HEADER]:
        position += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    length >>= 1  # zigzag; the program has refused negative ones
    return data[position : position + length] if length <= MOST_BYTES else b""
