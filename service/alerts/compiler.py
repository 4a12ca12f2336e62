"""Compiles a writer schema for one projection into operations that read the needed fields and skip the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.alerts import interpreter as op
from service.alerts.alert import AlertError
from service.alerts.interpreter import Odd, Program
from service.alerts.places import TOP, Place, spelled
from service.alerts.projection import Field, Projection, Type
from service.alerts.schema import Array, Enum, Fixed, Map, Node, Primitive, Record, Union

# The programs for real schemas have some 150 operations. How many a schema can have is bounded by its types, which
# `schema.resolve` counts; this is for unions, each branch of which takes several.
MAX_OPERATIONS: Final = 20_000

_SIZES: Final = {"boolean": 1, "float": 4, "double": 8}
_SKIPS: Final = {"int": op.SKIP_LONG, "long": op.SKIP_LONG, "bytes": op.SKIP_BYTES, "string": op.SKIP_TEXT}
# By type of the field and of the writer. Any other plain value is told by its position and read by `oddities`.
_READS: Final = {
    (Type.NUMBER, "int"): op.LONG_AS_NUMBER,
    (Type.NUMBER, "long"): op.LONG_AS_NUMBER,
    (Type.NUMBER, "float"): op.FLOAT,
    (Type.NUMBER, "double"): op.DOUBLE,
    (Type.IF_A_NUMBER, "int"): op.LONG_AS_NUMBER,
    (Type.IF_A_NUMBER, "long"): op.LONG_AS_NUMBER,
    (Type.IF_A_NUMBER, "float"): op.FLOAT,
    (Type.IF_A_NUMBER, "double"): op.DOUBLE,
    (Type.INTEGER, "int"): op.LONG,
    (Type.INTEGER, "long"): op.LONG,
    (Type.TEXT, "string"): op.TEXT,
    (Type.SIGN, "string"): op.TEXT,
    (Type.SIGN, "int"): op.LONG_AS_SIGN,
    (Type.SIGN, "long"): op.LONG_AS_SIGN,
    (Type.SIGN, "boolean"): op.BOOLEAN_AS_SIGN,
    (Type.BOOLEAN, "boolean"): op.BOOLEAN,
}


def compile_schema(schema: Node, projection: Projection) -> Program:
    """Raises AlertError unsupported_schema, naming the field, where a type can't hold what is needed from it."""
    compiler = _Compiler(projection)
    compiler.emit(op.BEGIN, len(projection.fields), len(projection.columns), place=TOP)
    compiler.value(schema, _wanted(projection), TOP)
    compiler.emit(op.END, place=(TOP, "end of the record"))
    operations = np.array(compiler.operations, dtype=np.int32)
    empty = np.concatenate([projection.empty_fields(), projection.empty_row()])
    for array in (operations, empty):
        array.setflags(write=False)
    return Program(
        operations,
        tuple(compiler.places),
        empty,
        n_fields=len(projection.fields),
        n_columns=len(projection.columns),
        odd=tuple(compiler.odd.values()),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """The fields needed from each row of a table."""

    columns: _Wanted


# What to read of a value: nothing, the value (into a field's cell, possibly several), or parts of it by name. A cell is
# numbered through fields and columns.
_Leaf = list[tuple[int, Field]]
_Wanted = dict[str, "_Leaf | _Wanted | _Row"]
_Want = _Leaf | _Wanted | _Row | None


def _wanted(projection: Projection) -> _Wanted:
    wanted = _by_name(projection.fields)
    for table in projection.tables:
        wanted[table] = _Row(_by_name(projection.columns))
    return wanted


def _by_name(fields: Sequence[Field]) -> _Wanted:
    """The cells of fields by name."""
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
        leaf.append((cell, field))
    return wanted


class _Compiler:
    def __init__(self, projection: Projection) -> None:
        self.operations: list[tuple[int, int, int, int]] = []
        self.places: list[Place] = []
        self.odd: dict[int, Odd] = {}  # by number of the cell
        self._plain: set[int] = set()  # cells that an operation fills with the value
        self._n_fields = len(projection.fields)
        self._is_row = False
        self._label = 0  # the latest jump target: later operations may not be merged with those before it

    def emit(self, code: int, first: int = 0, second: int = 0, optional: int = -1, *, place: Place) -> int:
        if len(self.operations) >= MAX_OPERATIONS:
            raise _unsupported(place, f"the schema takes more than {MAX_OPERATIONS} operations to read")
        self.operations.append((code, first, second, optional))
        self.places.append(place)
        return len(self.operations) - 1

    def value(self, node: Node, want: _Want, place: Place) -> None:
        """Emit the operations that read one value of type `node`."""
        if isinstance(node, Union):
            self._union(node, want, place)
        elif isinstance(want, _Row) and not isinstance(node, Array):
            if node != Primitive("null"):
                raise _unsupported(place, "is not an array")
        elif isinstance(want, dict) and not isinstance(node, Record) and node != Primitive("null"):
            raise _unsupported(place, "is not a record")
        elif isinstance(node, Primitive):
            self._primitive(node, want if isinstance(want, list) else None, place)
        else:
            if isinstance(want, list):
                self._mark(node, want, place)
            self._other(node, want, place)

    def _other(self, node: Array | Enum | Fixed | Map | Record, want: _Want, place: Place) -> None:
        if isinstance(node, Record):
            self._record(node, want if isinstance(want, dict) else {}, place)
        elif isinstance(node, Array):
            self._array(node, want, place)
        elif isinstance(node, Map):
            loop = self._open_loop(place)
            self.emit(op.SKIP_TEXT, place=(place, "{}"))
            self.value(node.values, None, (place, "{}"))
            self._close_loop(loop, place)
        elif isinstance(node, Enum):
            self.emit(op.SKIP_ENUM, len(node.symbols), place=place)
        else:
            self._skip(node.size, place)

    def _primitive(self, node: Primitive, want: _Leaf | None, place: Place, optional: int = -1) -> None:
        if node.name == "null":
            return
        for cell, field in _read(want):
            narrow = ("float", "double") if field.type is Type.INTEGER else ("float",) if field.precise else ()
            if node.name in narrow:
                needed = "long" if field.type is Type.INTEGER else "double"
                raise _unsupported(place, f"is {node.name}, which rounds it: it must be {needed}")
            if (field.type, node.name) in _READS:
                number = cell + self._n_fields * self._is_row
                if number in self.odd:
                    raise _unsupported(place, "has several types")
                self._plain.add(number)
                self.emit(_READS[field.type, node.name], cell, optional=optional, place=place)
                return
            if field.type is Type.IF_A_NUMBER:
                continue
            assert optional < 0, "`_union` gives these a jump for each branch"
            self._mark(node, [(cell, field)], place)
        if node.name in _SIZES:
            self._skip(_SIZES[node.name], place, optional)
        else:
            self.emit(_SKIPS[node.name], optional=optional, place=place)

    def _mark(self, node: Node, want: _Leaf, place: Place) -> None:
        """Note where the value is that is skipped next, for `oddities` to read it."""
        for cell, field in _read(want):
            if field.type is Type.IF_A_NUMBER:
                continue
            number = cell + self._n_fields * self._is_row
            known = self.odd.setdefault(number, Odd(number, self._is_row, field, node))
            if known.node != node or number in self._plain:
                raise _unsupported(place, "has several types")
            self.emit(op.POSITION, cell, place=place)

    def _skip(self, size: int, place: Place, optional: int = -1) -> None:
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

    def _record(self, node: Record, parts: _Wanted, place: Place) -> None:
        for name, member in node.fields:
            inner = parts.get(name)
            path = (place, name)
            for cell, field in inner if isinstance(inner, list) else ():
                if field.type is Type.PRESENT:
                    self.emit(op.PRESENT, cell, place=path)
            self.value(member, inner, path)

    def _array(self, node: Array, want: _Want, place: Place) -> None:
        loop = self._open_loop(place)
        if isinstance(want, _Row):
            self._row(node.items, want, (place, "[]"))
        else:
            self.value(node.items, None, (place, "[]"))
        self._close_loop(loop, place)

    def _row(self, node: Node, want: _Row, place: Place) -> None:
        if isinstance(node, Union):
            self._branches(node, place, lambda branch: self._row(branch, want, place))
        elif isinstance(node, Record):
            self.emit(op.ROW, place=place)
            self._label = len(self.operations)
            self._is_row = True
            self.value(node, want.columns, place)
            self._is_row = False
            self.emit(op.ROW_END, place=place)
        elif node != Primitive("null"):
            raise _unsupported(place, "is not a record")

    def _union(self, node: Union, want: _Want, place: Place) -> None:
        names = [branch.name if isinstance(branch, Primitive) else "" for branch in node.branches]
        if len(names) == 2 and "null" in names and all(names) and not isinstance(want, dict | _Row):
            null = names.index("null")
            other = names[1 - null]
            leaf = want if isinstance(want, list) else None
            if other != "null" and all((field.type, other) in _READS for _, field in _read(leaf)):
                self._primitive(Primitive(other), leaf, place, optional=null)
                return
        self._branches(node, place, lambda branch: self.value(branch, want, place))

    def _branches(self, node: Union, place: Place, emit_branch: Callable[[Node], None]) -> None:
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

    def _open_loop(self, place: Place) -> int:
        loop = self.emit(op.LOOP, place=place)
        self._label = len(self.operations)
        return loop

    def _close_loop(self, loop: int, place: Place) -> None:
        self.emit(op.NEXT, place=place)
        self._aim(loop)

    def _aim(self, jump: int) -> None:
        """Make operation `jump` go to the operation that is emitted next."""
        code, _, second, optional = self.operations[jump]
        self._label = len(self.operations)
        self.operations[jump] = (code, self._label, second, optional)


def _read(want: _Leaf | None) -> _Leaf:
    """Of what is wanted of a value, the value itself."""
    return [(cell, field) for cell, field in want or () if field.type is not Type.PRESENT]


def _unsupported(place: Place, what: str) -> AlertError:
    return AlertError("unsupported_schema", f"writer schema: {spelled(place)} {what}")
