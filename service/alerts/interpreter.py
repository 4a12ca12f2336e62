"""Runs a compiled writer schema over the bytes of one record. Every read is checked against the record's end.

A program is a flat list of operations, four int32 each: code, two arguments, and `optional`: -1, or the branch number
of null where the field is a union of null and the type that the operation reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from service.alerts.alert import AlertError
from service.alerts.places import Place, spelled
from service.alerts.projection import NEGATIVE, POSITIVE, UNKNOWN, Cells, Field
from service.alerts.schema import MAX_DEPTH, Node
from service.jit import jit, jit_inline

# Operation       first argument      second argument
BEGIN: Final = 0  # number of fields  number of columns     always operation 0: the layout of the cells
END: Final = 1
SKIP: Final = 2  # bytes
SKIP_RUN: Final = 3  # bytes          how often             that many optional fields of equal size
FLOAT: Final = 4  # cell
DOUBLE: Final = 5  # cell
PRESENT: Final = 6  # cell
JUMP: Final = 7  # operation
LOOP: Final = 8  # operation behind its NEXT                an array or a map
NEXT: Final = 9
ROW: Final = 10
ROW_END: Final = 11
BOOLEAN_AS_SIGN: Final = 12  # cell
POSITION: Final = 13  # cell                                where the next value is, for `oddities`
FIRST_WITH_VARINT: Final = 14  # the operations from here on begin by reading a varint
SKIP_LONG: Final = 14
LONG_AS_NUMBER: Final = 15  # cell
LONG: Final = 16  # cell
LONG_AS_SIGN: Final = 17  # cell
SKIP_ENUM: Final = 18  # symbols
UNION: Final = 19  # branches                               followed by a JUMP per branch
SKIP_BYTES: Final = 20
SKIP_TEXT: Final = 21
TEXT: Final = 22  # cell

# Initial and largest number of history rows. ZTF's longest histories have some hundreds.
_ROOM: Final = 256
MAX_ROWS: Final = 65_536

_OK: Final = 0
_MORE_ROWS: Final = 1
_OVERRUN: Final = 2
_BAD_VARINT: Final = 3
_BAD_LENGTH: Final = 4
_BAD_UNION: Final = 5
_BAD_ENUM: Final = 6
_BAD_TEXT: Final = 7
_BAD_COUNT: Final = 8

_FAULTS: Final = {
    _OVERRUN: ("record_overrun", "runs past the end of the record"),
    _BAD_VARINT: ("bad_varint", "is a number of more than 64 bits"),
    _BAD_LENGTH: ("bad_length", "has a length that is negative or runs past the end of the record"),
    _BAD_UNION: ("bad_union", "names a union branch that its schema does not have"),
    _BAD_ENUM: ("bad_enum", "names an enum symbol that its schema does not have"),
    _BAD_TEXT: ("bad_text", "is not UTF-8"),
    _BAD_COUNT: ("bad_count", "claims more items than the record has bytes"),
}


@dataclass(frozen=True, slots=True)
class Odd:
    """A cell (numbered through fields and columns) whose value no operation reads, only its position; `node` is its
    type.
    """

    cell: int
    is_column: bool
    field: Field
    node: Node


@dataclass(frozen=True, slots=True)
class Program:
    """`operations` int32 (n, 4); `places` (n,) is the field of each operation; `empty` int64 (fields + columns,) are
    the initial values of the cells of the fields, and of one row. `odd`: the cells that `oddities` must read.
    """

    operations: NDArray[np.int32]
    places: tuple[Place, ...]
    empty: NDArray[np.int64]
    n_fields: int
    n_columns: int
    odd: tuple[Odd, ...] = ()

    @property
    def nbytes(self) -> int:
        """About the memory that it takes: the operations, and a place with a name for each."""
        return self.operations.nbytes + 150 * len(self.places)


def read(data: bytes, start: int, end: int, program: Program) -> tuple[Cells, int]:
    """The needed values of the record at `start`, and the position after it.

    Raises AlertError: record_overrun, bad_varint, bad_length, bad_union, bad_enum, bad_text, bad_count, too_many_rows.
    """
    buffer = np.frombuffer(data, dtype=np.uint8)  # read-only, so always of the one type that is compiled
    room = _ROOM
    while True:
        values = np.empty(program.n_fields + room * program.n_columns, dtype=np.int64)
        status, operation, position, n_rows = run(program.operations, program.empty, buffer, start, end, values)
        if status == _OK:
            return Cells(data, values, n_rows), position
        if status != _MORE_ROWS:
            _refuse(program, status, operation, position, start, end)
        if room >= MAX_ROWS:
            raise AlertError(
                "too_many_rows", f"{spelled(program.places[operation])}: more than {MAX_ROWS} rows of history"
            )
        room = min(room * 8, MAX_ROWS)


def _refuse(program: Program, status: int, operation: int, position: int, start: int, end: int) -> NoReturn:
    code, what = _FAULTS[status]
    place = spelled(program.places[operation])
    raise AlertError(code, f"{place} {what} (at byte {position - start} of {end - start})")


@jit
def run(operations, empty, buffer, start, end, values):  # type: ignore[no-untyped-def]
    """(status, operation, position, rows): where it stopped, and the number of rows read.

    operations int32 (n, 4), empty int64 (fields + columns,), buffer uint8 (bytes,), values int64 (cells,).
    """
    numbers = values.view(np.float64)
    n_fields = operations[0, 1]
    n_columns = operations[0, 2]
    capacity = (len(values) - n_fields) // n_columns
    for cell in range(n_fields):
        values[cell] = empty[cell]
    bits = np.empty(1, np.uint64)
    as_float = bits.view(np.float32)  # its first half, on the little-endian machines that numba knows
    as_double = bits.view(np.float64)
    remaining = np.empty(MAX_DEPTH, np.int64)  # items left in each open loop's block
    first = np.empty(MAX_DEPTH, np.int64)  # operation of each open loop
    depth = 0
    base = 0  # first cell of the row that is being read, 0 outside of tables
    rows = 0
    at = np.int64(1)
    p = start
    while True:
        code = operations[at, 0]
        argument = np.int64(operations[at, 1])
        if code == SKIP_RUN:
            null = operations[at, 3]
            for _ in range(operations[at, 2]):
                if p < end and buffer[p] == 2 * null:  # null in one byte, as every writer writes it: the fast path
                    p += 1
                    continue
                branch, p = _long(buffer, p, end)  # refuses p beyond the end too
                if p < 0:
                    return _fault(p, at, rows)
                if branch == null:
                    continue
                if branch != 1 - null:
                    return _BAD_UNION, at, p, rows
                p += argument
            if p > end:
                return _OVERRUN, at, end, rows
            at += 1
            continue
        if operations[at, 3] >= 0:
            branch, p = _long(buffer, p, end)
            if p < 0:
                return _fault(p, at, rows)
            if branch == operations[at, 3]:
                at += 1
                continue
            if branch != 1 - operations[at, 3]:
                return _BAD_UNION, at, p, rows
        if code >= FIRST_WITH_VARINT:
            value, p = _long(buffer, p, end)
            if p < 0:
                return _fault(p, at, rows)
            if code == SKIP_LONG:
                pass
            elif code >= SKIP_BYTES:
                if value < 0 or value > end - p:
                    return _BAD_LENGTH, at, p, rows
                if code != SKIP_BYTES and not _is_ascii(buffer, p, p + value) and not _is_utf8(buffer, p, p + value):
                    return _BAD_TEXT, at, p, rows
                if code == TEXT:
                    values[base + argument] = p << 32 | value
                p += value
            elif code == LONG_AS_NUMBER:
                numbers[base + argument] = np.float64(value)
            elif code == LONG:
                values[base + argument] = value
            elif code == UNION:
                if value < 0 or value >= argument:
                    return _BAD_UNION, at, p, rows
                at += value  # to the JUMP before the branch's own: the step below completes it
            elif code == LONG_AS_SIGN:
                values[base + argument] = POSITIVE if value == 1 else NEGATIVE if -1 <= value <= 0 else UNKNOWN
            elif value < 0 or value >= argument:
                return _BAD_ENUM, at, p, rows
        elif code == SKIP:
            if argument > end - p:
                return _OVERRUN, at, p, rows
            p += argument
        elif code in (FLOAT, DOUBLE):
            size = 4 if code == FLOAT else 8
            if size > end - p:
                return _OVERRUN, at, p, rows
            bits[0] = 0
            for index in range(size):
                bits[0] |= np.uint64(buffer[p + index]) << np.uint64(8 * index)
            numbers[base + argument] = as_float[0] if code == FLOAT else as_double[0]
            p += size
        elif code == JUMP:
            at = argument
            continue
        elif code == PRESENT:
            values[base + argument] = 1
        elif code == ROW:
            if rows == capacity:
                return _MORE_ROWS, at, p, rows
            base = n_fields + rows * n_columns
            for cell in range(n_columns):
                values[base + cell] = empty[n_fields + cell]
        elif code == ROW_END:
            rows += 1
            base = 0
        elif code in (LOOP, NEXT):
            if code == LOOP:
                first[depth] = at + 1
                remaining[depth] = 1
                depth += 1
            remaining[depth - 1] -= 1
            if remaining[depth - 1] == 0:
                count, p = _long(buffer, p, end)
                if p >= 0 and count < 0:  # a negative count is followed by the block's size in bytes
                    count = -count
                    size, p = _long(buffer, p, end)
                    if p >= 0 and (size < 0 or size > end - p):
                        return _BAD_LENGTH, at, p, rows
                if p < 0:
                    return _fault(p, at, rows)
                if count < 0 or count > end - p:  # an item has at least one byte; -(-2**63) is negative
                    return _BAD_COUNT, at, p, rows
                if count == 0:
                    depth -= 1
                    at = np.int64(operations[first[depth] - 1, 1])
                    continue
                remaining[depth - 1] = count
            at = first[depth - 1]
            continue
        elif code == BOOLEAN_AS_SIGN:
            if p >= end:
                return _OVERRUN, at, p, rows
            values[base + argument] = NEGATIVE if buffer[p] == 0 else POSITIVE
            p += 1
        elif code == POSITION:
            values[base + argument] = p
        else:
            return _OK, at, p, rows
        at += 1


@jit_inline
def _long(buffer, p, end):  # type: ignore[no-untyped-def]
    """A zigzag varint and the position after it; a negative position is an error code: see `_fault`."""
    if p >= end:
        return np.int64(0), -2 * end - 2
    byte = np.uint64(buffer[p])
    p += 1
    value = byte & np.uint64(0x7F)
    shift = np.uint64(7)
    while byte >= np.uint64(0x80):
        if p >= end:
            return np.int64(0), -2 * end - 2
        byte = np.uint64(buffer[p])
        if shift == np.uint64(63) and byte > np.uint64(1):
            return np.int64(0), -2 * p - 1
        p += 1
        value |= (byte & np.uint64(0x7F)) << shift
        shift += np.uint64(7)
    return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), p


@jit
def _fault(p, at, rows):  # type: ignore[no-untyped-def]
    if p % 2 == 0:
        return _OVERRUN, at, (-p - 2) // 2, rows
    return _BAD_VARINT, at, (-p - 1) // 2, rows


@jit_inline
def _is_ascii(buffer, start, end):  # type: ignore[no-untyped-def]
    high = np.uint8(0)
    for p in range(start, end):
        high |= buffer[p]
    return high < 0x80


@jit
def _is_utf8(buffer, start, end):  # type: ignore[no-untyped-def]
    """Whether the bytes are UTF-8 (RFC 3629)."""
    p = start
    while p < end:
        byte = buffer[p]
        p += 1
        if byte < 0x80:
            continue
        if 0xC2 <= byte <= 0xDF:
            more, low, top = 1, 0x80, 0xBF
        elif 0xE0 <= byte <= 0xEF:
            more, low, top = 2, (0xA0 if byte == 0xE0 else 0x80), (0x9F if byte == 0xED else 0xBF)
        elif 0xF0 <= byte <= 0xF4:
            more, low, top = 3, (0x90 if byte == 0xF0 else 0x80), (0x8F if byte == 0xF4 else 0xBF)
        else:
            return False
        if more > end - p or not low <= buffer[p] <= top:
            return False
        for index in range(1, more):
            if not 0x80 <= buffer[p + index] <= 0xBF:
                return False
        p += more
    return True
