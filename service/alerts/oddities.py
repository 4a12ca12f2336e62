"""Records with values of types that no survey uses for them: a boolean for a number of pixels, a number for a version.

The compiled program tells only where such a value is, so that what is not needed is skipped here too.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from service.alerts import interpreter
from service.alerts.alert import AlertError
from service.alerts.container import read_long
from service.alerts.interpreter import Odd, Program
from service.alerts.projection import NEGATIVE, POSITIVE, UNKNOWN, Cells, Type
from service.alerts.schema import Enum, Fixed, Primitive

# Each takes some 3 microseconds. ZTF's longest histories have some hundreds of rows.
MAX_VALUES: Final = 20_000

_SIGNS: Final[dict[int | float, int]] = {1: POSITIVE, 0: NEGATIVE, -1: NEGATIVE}

_Value = str | bytes | int | float


def read(data: bytes, start: int, end: int, program: Program) -> tuple[Cells, int]:
    """As `interpreter.read`, which leaves the positions of `program.odd`, with their values instead.

    Raises AlertError: as `interpreter.read`, and bad_value.
    """
    _, behind = interpreter.read(data, start, end, program)
    record = data[start:behind]
    cells, _ = interpreter.read(record, 0, len(record), program)
    if sum(cells.n_rows for odd in program.odd if odd.is_column) > MAX_VALUES:
        names = ", ".join(odd.field.path for odd in program.odd if odd.is_column)
        raise AlertError(
            "too_many_rows", f"{names}: more than {MAX_VALUES} values of types that no survey uses for them"
        )
    texts = bytearray()
    numbers = cells.values.view(np.float64)
    for odd in program.odd:
        missing = int(program.empty[odd.cell])
        for row in range(cells.n_rows if odd.is_column else 1):
            cell = odd.cell + row * program.n_columns
            position = int(cells.values[cell])
            if position == missing:
                continue
            value = _value(record, position, odd)
            if odd.field.type is Type.NUMBER:
                numbers[cell] = value
            elif odd.field.type is Type.SIGN and not isinstance(value, str | bytes):
                cells.values[cell] = _SIGNS.get(value, UNKNOWN)
            elif odd.field.type is Type.INTEGER:
                cells.values[cell] = value
            else:
                text = value if isinstance(value, bytes) else str(value).encode(errors="replace")
                cells.values[cell] = (len(record) + len(texts)) << 32 | len(text)
                texts += text
    return Cells(record + bytes(texts), cells.values, cells.n_rows), behind


def _value(record: bytes, position: int, odd: Odd) -> _Value:
    """The value at `position`, whose extent the program has checked. Raises AlertError: bad_value."""
    node, wanted = odd.node, odd.field.type
    value: _Value
    if node == Primitive("boolean"):
        value = record[position] != 0
    elif node in (Primitive("float"), Primitive("double")):
        value = struct.unpack_from("<f" if node == Primitive("float") else "<d", record, position)[0]
    elif isinstance(node, Enum):
        value = node.symbols[read_long(record, position, odd.field.path)[0]]
    elif isinstance(node, Fixed):
        value = record[position : position + node.size]
    elif node in (Primitive("bytes"), Primitive("string")):
        size, begin = read_long(record, position, odd.field.path)
        value = record[begin : begin + size]
    elif isinstance(node, Primitive):
        value = read_long(record, position, odd.field.path)[0]
    else:
        raise AlertError(
            "bad_value", f"{odd.field.path} is not a plain value but of type {type(node).__name__.lower()}"
        )
    if wanted in (Type.NUMBER, Type.INTEGER) and isinstance(value, str | bytes):
        kind = node.name if isinstance(node, Primitive) else type(node).__name__.lower()
        raise AlertError("bad_value", f"{odd.field.path} is not a number but of type {kind}")
    if isinstance(value, bytes):
        try:
            value.decode()
        except UnicodeDecodeError:
            raise AlertError("bad_text", f"{odd.field.path} is not UTF-8") from None
    return value
