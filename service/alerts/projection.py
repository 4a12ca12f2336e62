"""The fields needed from an alert, and the layout of their values.

Values are stored in one flat array of 8-byte cells: first the alert's own fields, then the rows of its tables (arrays
of records such as a history), `len(columns)` cells each. The contents of a cell depend on its field's type:

NUMBER       float64, a NaN with the bits of `MISSING_NUMBER` if missing
INTEGER      int64, `NO_INTEGER` if missing
TEXT         start << 32 | length of its UTF-8 bytes in the buffer that belongs to the cells, `NO_TEXT` if missing
BOOLEAN      int64 1 or 0, `NO_INTEGER` if missing
SIGN         as TEXT if the sign is spelled in letters, else `POSITIVE`, `NEGATIVE` or `UNKNOWN`; `NO_TEXT` if missing
PRESENT      int64 1 if the writer's record has a field of that name, with any value, else 0
IF_A_NUMBER  as NUMBER; missing too where the writer's type is no number: no alert is refused for such a field
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

MISSING_NUMBER: Final = 0x7FF8_0000_0000_0001  # a quiet NaN that no float32 widens to
NO_INTEGER: Final = -(2**63)
NO_TEXT: Final = -1
POSITIVE: Final = -2
NEGATIVE: Final = -3
UNKNOWN: Final = -4  # a number that is not a sign


class Type(IntEnum):
    NUMBER = 0
    INTEGER = 1
    TEXT = 2
    PRESENT = 3
    SIGN = 4
    IF_A_NUMBER = 5
    BOOLEAN = 6


@dataclass(frozen=True, slots=True)
class Field:
    """One needed field: its name in the writer's schema, dotted where it lies in a nested record, and its type.

    `precise`: refuse a 32-bit float, which would round it (a Julian date to a quarter of a day).
    """

    path: str
    type: Type = Type.NUMBER
    precise: bool = False


@dataclass(frozen=True, slots=True)
class Projection:
    """`fields` occur once per alert; `columns` once per row of the arrays named in `tables`, whose rows make one table
    in the record's order (a column missing in a record stays empty).
    """

    fields: tuple[Field, ...]
    tables: tuple[str, ...]
    columns: tuple[Field, ...]

    def empty_fields(self) -> NDArray[np.int64]:
        return _empty(self.fields)

    def empty_row(self) -> NDArray[np.int64]:
        return _empty(self.columns)


@dataclass(frozen=True, slots=True)
class Cells:
    """The projected values of one alert.

    `buffer` holds the bytes that TEXT cells point into; `values` int64 (fields + n_rows * columns, or longer).
    """

    buffer: bytes
    values: NDArray[np.int64]
    n_rows: int

    def text(self, cell: int) -> str | None:
        """Text of a TEXT cell."""
        span = int(self.values[cell])
        if span == NO_TEXT:
            return None
        start = span >> 32
        return self.buffer[start : start + (span & 0xFFFFFFFF)].decode()


def _empty(fields: tuple[Field, ...]) -> NDArray[np.int64]:
    empty = {
        Type.NUMBER: MISSING_NUMBER,
        Type.INTEGER: NO_INTEGER,
        Type.TEXT: NO_TEXT,
        Type.SIGN: NO_TEXT,
        Type.PRESENT: 0,
        Type.IF_A_NUMBER: MISSING_NUMBER,
        Type.BOOLEAN: NO_INTEGER,
    }
    return np.array([empty[field.type] for field in fields], dtype=np.int64)
