"""Runs a compiled writer schema over the bytes of one record. Every read is checked against the record's end."""

from __future__ import annotations

from typing import Final, NoReturn

import numpy as np

from service.alerts import program as ops
from service.alerts.alert import AlertError
from service.alerts.jit import jit
from service.alerts.program import Program
from service.alerts.projection import Cells

# Rows of history that are first made room for, and at most. ZTF's longest histories have some hundreds of rows.
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


def read(data: bytes, start: int, end: int, program: Program) -> tuple[Cells, int]:
    """The needed values of the record at `start`, and where it ends.

    Raises AlertError: record_overrun, bad_varint, bad_length, bad_union, bad_enum, bad_text, bad_count, too_many_rows.
    """
    buffer = np.frombuffer(data, dtype=np.uint8)
    room = _ROOM
    while True:
        values = np.empty(program.n_fields + room * program.n_columns, dtype=np.int64)
        status, operation, position, n_rows = run(program.operations, program.empty, buffer, start, end, values)
        if status == _OK:
            return Cells(data, values, n_rows), position
        if status != _MORE_ROWS:
            _refuse(program, status, operation, position, start, end)
        if room >= MAX_ROWS:
            raise AlertError("too_many_rows", f"{program.places[operation]} and others have more than {MAX_ROWS} rows")
        room *= 8


def _refuse(program: Program, status: int, operation: int, position: int, start: int, end: int) -> NoReturn:
    code, what = _FAULTS[status]
    place = program.places[operation]
    raise AlertError(code, f"{place} {what} (at byte {position - start} of {end - start})")


@jit
def run(operations, empty, buffer, start, end, values):  # type: ignore[no-untyped-def]
    """(status, operation, position, rows): where it stopped, and how many rows it read.

    operations int32 (n, 4), empty int64 (fields + columns,), buffer uint8 (bytes,), values int64 (cells,).
    """
    numbers = values.view(np.float64)
    n_fields = operations[0, 1]
    n_columns = operations[0, 2]
    capacity = (len(values) - n_fields) // n_columns
    for cell in range(n_fields):
        values[cell] = empty[cell]
    four = np.empty(1, np.uint32)
    eight = np.empty(1, np.uint64)
    four_as_float = four.view(np.float32)
    eight_as_float = eight.view(np.float64)
    remaining = np.empty(ops.MAX_LOOPS, np.int64)  # items left in each open loop's block
    first = np.empty(ops.MAX_LOOPS, np.int64)  # operation of each open loop
    depth = 0
    base = 0  # first cell of the row that is being read, 0 outside of tables
    rows = 0
    at = 1
    p = start
    while True:
        code = operations[at, 0]
        optional = operations[at, 3]
        if optional >= 0 and code != ops.SKIP_RUN:
            branch, p = _long(buffer, p, end)
            if p < 0:
                return _fault(p, at, rows)
            if branch == optional:
                at += 1
                continue
            if branch != 1 - optional:
                return _BAD_UNION, at, p, rows
        if code == ops.SKIP_RUN:
            size = operations[at, 1]
            for _ in range(operations[at, 2]):
                if p < end and buffer[p] == 2 * optional:  # one byte is how every writer spells a branch
                    p += 1
                    continue
                branch, p = _long(buffer, p, end)
                if p < 0:
                    return _fault(p, at, rows)
                if branch == optional:
                    continue
                if branch != 1 - optional:
                    return _BAD_UNION, at, p, rows
                if size > end - p:
                    return _OVERRUN, at, p, rows
                p += size
        elif code == ops.SKIP:
            if operations[at, 1] > end - p:
                return _OVERRUN, at, p, rows
            p += operations[at, 1]
        elif code == ops.FLOAT:
            if end - p < 4:
                return _OVERRUN, at, p, rows
            four[0] = (
                np.uint32(buffer[p]) | np.uint32(buffer[p + 1]) << np.uint32(8)
                | np.uint32(buffer[p + 2]) << np.uint32(16) | np.uint32(buffer[p + 3]) << np.uint32(24)
            )  # fmt: skip
            numbers[base + operations[at, 1]] = four_as_float[0]
            p += 4
        elif code == ops.DOUBLE:
            if end - p < 8:
                return _OVERRUN, at, p, rows
            bits = np.uint64(0)
            for index in range(8):
                bits |= np.uint64(buffer[p + index]) << np.uint64(8 * index)
            eight[0] = bits
            numbers[base + operations[at, 1]] = eight_as_float[0]
            p += 8
        elif code == ops.SKIP_LONG:
            _, p = _long(buffer, p, end)
            if p < 0:
                return _fault(p, at, rows)
        elif code == ops.LONG_AS_NUMBER or code == ops.LONG:
            value, p = _long(buffer, p, end)
            if p < 0:
                return _fault(p, at, rows)
            if code == ops.LONG:
                values[base + operations[at, 1]] = value
            else:
                numbers[base + operations[at, 1]] = np.float64(value)
        elif code == ops.SKIP_BYTES or code == ops.SKIP_TEXT or code == ops.TEXT:
            size, p = _long(buffer, p, end)
            if p < 0:
                return _fault(p, at, rows)
            if size < 0 or size > end - p:
                return _BAD_LENGTH, at, p, rows
            if code != ops.SKIP_BYTES and not _is_text(buffer, p, p + size):
                return _BAD_TEXT, at, p, rows
            if code == ops.TEXT:
                values[base + operations[at, 1]] = p << 32 | size
            p += size
        elif code == ops.PRESENT:
            values[base + operations[at, 1]] = 1
        elif code == ops.UNION:
            branch, p = _long(buffer, p, end)
            if p < 0:
                return _fault(p, at, rows)
            if branch < 0 or branch >= operations[at, 1]:
                return _BAD_UNION, at, p, rows
            at += np.int64(1 + branch)
            continue
        elif code == ops.JUMP:
            at = np.int64(operations[at, 1])
            continue
        elif code == ops.ROW:
            if rows == capacity:
                return _MORE_ROWS, at, p, rows
            base = n_fields + rows * n_columns
            for cell in range(n_columns):
                values[base + cell] = empty[n_fields + cell]
        elif code == ops.ROW_END:
            rows += 1
            base = 0
        elif code == ops.LOOP or code == ops.NEXT:
            if code == ops.LOOP:
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
        elif code == ops.SKIP_ENUM:
            symbol, p = _long(buffer, p, end)
            if p < 0:
                return _fault(p, at, rows)
            if symbol < 0 or symbol >= operations[at, 1]:
                return _BAD_ENUM, at, p, rows
        else:
            return _OK, at, p, rows
        at += 1


@jit
def _long(buffer, p, end):  # type: ignore[no-untyped-def]
    """A zigzag varint and the position behind it; a negative position says what is wrong: see `_fault`."""
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


@jit
def _is_text(buffer, start, end):  # type: ignore[no-untyped-def]
    """Whether the bytes are UTF-8 (RFC 3629)."""
    high = np.uint8(0)
    for p in range(start, end):
        high |= buffer[p]
    if high < 0x80:
        return True
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
