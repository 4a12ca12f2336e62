"""Compiles a writer schema for one projection into operations that read the needed fields and skip the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.alerts import interpreter as op
from service.alerts.interpreter import Program
from service.alerts.projection import Field, Projection, Type
from service.alerts.schema import Array, Enum, Fixed, Map, Node, Primitive, Record, Union

# The programs for real schemas have some 150 operations.
MAX_OPERATIONS: Final = 20_000

_SIZES: Final = {"boolean": 1, "float": 4, "double": 8}
_SKIPS: Final = {"int": op.SKIP_LONG, "long": op.SKIP_LONG, "bytes": op.SKIP_BYTES, "string": op.SKIP_TEXT}
_READS: Final = {
    (Type.NUMBER, "int"): op.LONG_AS_NUMBER,
    (Type.NUMBER, "long"): op.LONG_AS_NUMBER,
    (Type.NUMBER, "float"): op.FLOAT,
    (Type.NUMBER, "double"): op.DOUBLE,
    (Type.INTEGER, "int"): op.LONG,
    (Type.INTEGER, "long"): op.LONG,
    (Type.TEXT, "string"): op.TEXT,
    (Type.SIGN, "string"): op.TEXT,
    (Type.SIGN, "int"): op.LONG_AS_SIGN,
    (Type.SIGN, "long"): op.LONG_AS_SIGN,
    (Type.SIGN, "boolean"): op.BOOLEAN_AS_SIGN,
    (Type.BOOLEAN, "boolean"): op.BOOLEAN,
}


class NotCompilableError(Exception):
    """A valid schema that can't be compiled; the message says why."""


def compile_schema(schema: Node, projection: Projection) -> Program:
    """Raises NotCompilableError."""
    compiler = _Compiler()
    compiler.emit(op.BEGIN, len(projection.fields), len(projection.columns), place="")
    compiler.value(schema, _wanted(projection), "")
    compiler.emit(op.END, place="end of the record")
    operations = np.array(compiler.operations, dtype=np.int32)
    empty = np.concatenate([projection.empty_fields(), projection.empty_row()])
    return Program(
        operations, tuple(compiler.places), empty, n_fields=len(projection.fields), n_columns=len(projection.columns)
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """The fields needed from each row of a table."""

    columns: _Wanted


# What to read of a value: nothing, the value (into a cell of a type, possibly several), or parts of it by name.
_Leaf = list[tuple[int, Type]]
_Wanted = dict[str, "_Leaf | _Wanted | _Row"]
_Want = _Leaf | _Wanted | _Row | None


def _wanted(projection: Projection) -> _Wanted:
    wanted = _by_name(projection.fields)
    for table in projection.tables:
        wanted[table] = _Row(_by_name(projection.columns))
    return wanted


def _by_name(fields: Sequence[Field]) -> _Wanted:
    wanted: _Wanted = {}
    for cell, field in enumerate(fields):
        *parents, name = field.path.split(".")
        level = wanted
        for parent in parents:
            inner = level.setdefault(parent, {})
            assert isinstance(inner, dict), f"{field.path}: {parent} is both a value and a record"
            level = inner
        leaf = level.setdefault(name, [])
        assert isinstance(leaf, list), f"{field.path} is both a value and a record"
        leaf.append((cell, field.type))
    return wanted


class _Compiler:
    def __init__(self) -> None:
        self.operations: list[tuple[int, int, int, int]] = []
        self.places: list[str] = []
        self._label = 0  # the latest jump target: later operations may not be merged with those before it

    def emit(self, code: int, first: int = 0, second: int = 0, optional: int = -1, *, place: str) -> int:
        if len(self.operations) >= MAX_OPERATIONS:
            raise NotCompilableError(f"more than {MAX_OPERATIONS} operations")
        self.operations.append((code, first, second, optional))
        self.places.append(place)
        return len(self.operations) - 1

    def value(self, node: Node, want: _Want, place: str) -> None:
        """Emit the operations that read one value of type `node`."""
        if isinstance(node, Union):
            self._union(node, want, place)
        elif isinstance(want, _Row) and not isinstance(node, Array):
            if node != Primitive("null"):
                raise NotCompilableError(f"{place} is not an array")
        elif isinstance(node, Record):
            self._record(node, want, place)
        elif isinstance(want, dict) and node != Primitive("null"):
            raise NotCompilableError(f"{place} is not a record")
        elif isinstance(node, Array):
            self._array(node, want, place)
        elif want and not isinstance(node, Primitive):
            raise NotCompilableError(f"{place} is not a plain value")
        elif isinstance(node, Map):
            loop = self._open_loop(place)
            self.emit(op.SKIP_TEXT, place=f"{place}{{}}")
            self.value(node.values, None, f"{place}{{}}")
            self._close_loop(loop, place)
        elif isinstance(node, Enum):
            self.emit(op.SKIP_ENUM, len(node.symbols), place=place)
        elif isinstance(node, Fixed):
            self._skip(node.size, place)
        else:
            self._primitive(node, want if isinstance(want, list) else None, place)

    def _primitive(self, node: Primitive, want: _Leaf | None, place: str, optional: int = -1) -> None:
        reads = [(cell, type_) for cell, type_ in want or () if type_ is not Type.PRESENT]
        if node.name == "null":
            return
        if len(reads) > 1:
            raise NotCompilableError(f"{place} is wanted twice")
        for cell, type_ in reads:
            if (type_, node.name) not in _READS:
                raise NotCompilableError(f"{place} is {node.name}, not {type_.name.lower()}")
            self.emit(_READS[type_, node.name], cell, optional=optional, place=place)
            return
        if node.name in _SIZES:
            self._skip(_SIZES[node.name], place, optional)
        else:
            self.emit(_SKIPS[node.name], optional=optional, place=place)

    def _skip(self, size: int, place: str, optional: int = -1) -> None:
        """Skip `size` bytes, together with what is skipped just before if nothing jumps in between."""
        last = self.operations[-1] if len(self.operations) > self._label else (op.END, 0, 0, 0)
        if optional < 0:
            if last[0] == op.SKIP and last[1] + size < 2**31:
                self.operations[-1] = (op.SKIP, last[1] + size, 0, -1)
            else:
                self.emit(op.SKIP, size, place=place)
        elif last[0] == op.SKIP_RUN and last[1] == size and last[3] == optional:
            self.operations[-1] = (op.SKIP_RUN, size, last[2] + 1, optional)
        else:
            self.emit(op.SKIP_RUN, size, 1, optional, place=place)

    def _record(self, node: Record, want: _Want, place: str) -> None:
        if isinstance(want, list) and any(type_ is not Type.PRESENT for _, type_ in want):
            raise NotCompilableError(f"{place} is a record, not a value")
        parts = want if isinstance(want, dict) else {}
        for name, member in node.fields:
            inner = parts.get(name)
            path = f"{place}.{name}" if place else name
            for cell, type_ in inner if isinstance(inner, list) else ():
                if type_ is Type.PRESENT:
                    self.emit(op.PRESENT, cell, place=path)
            self.value(member, inner, path)

    def _array(self, node: Array, want: _Want, place: str) -> None:
        if isinstance(want, list) and any(type_ is not Type.PRESENT for _, type_ in want):
            raise NotCompilableError(f"{place} is an array, not a value")
        loop = self._open_loop(place)
        if isinstance(want, _Row):
            self._row(node.items, want, f"{place}[]")
        else:
            self.value(node.items, None, f"{place}[]")
        self._close_loop(loop, place)

    def _row(self, node: Node, want: _Row, place: str) -> None:
        if isinstance(node, Union):
            self._branches(node, place, lambda branch: self._row(branch, want, place))
        elif isinstance(node, Record):
            self.emit(op.ROW, place=place)
            self._label = len(self.operations)
            self.value(node, want.columns, place)
            self.emit(op.ROW_END, place=place)
        elif node != Primitive("null"):
            raise NotCompilableError(f"{place} is not a record")

    def _union(self, node: Union, want: _Want, place: str) -> None:
        names = [branch.name if isinstance(branch, Primitive) else "" for branch in node.branches]
        if len(names) == 2 and "null" in names and all(names) and not isinstance(want, dict | _Row):
            null = names.index("null")
            self._primitive(Primitive(names[1 - null]), want, place, optional=null)
        else:
            self._branches(node, place, lambda branch: self.value(branch, want, place))

    def _branches(self, node: Union, place: str, emit_branch: Callable[[Node], None]) -> None:
        self.emit(op.UNION, len(node.branches), place=place)
        table = len(self.operations)
        for _ in node.branches:
            self.emit(op.JUMP, place=place)
        ends = []
        for index, branch in enumerate(node.branches):
            self._aim(table + index)
            emit_branch(branch)
            ends.append(self.emit(op.JUMP, place=place))
        for end in ends:
            self._aim(end)

    def _open_loop(self, place: str) -> int:
        loop = self.emit(op.LOOP, place=place)
        self._label = len(self.operations)
        return loop

    def _close_loop(self, loop: int, place: str) -> None:
        self.emit(op.NEXT, place=place)
        self._aim(loop)

    def _aim(self, jump: int) -> None:
        """Make operation `jump` go to the operation that is emitted next."""
        code, _, second, optional = self.operations[jump]
        self._label = len(self.operations)
        self.operations[jump] = (code, self._label, second, optional)
