"""Avro writer schemas, from JSON text to a checked tree with every name resolved (Avro 1.11 specification)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from service.alerts.alert import AlertError
from service.alerts.places import TOP, Place, spelled

# ZTF's and Rubin's schemas nest four deep, and have some 400 and some 3,000 types, where each reference counts as what
# it refers to. Without that a schema of 4 kB, in which each record refers twice to the one before, has 2^100 types.
MAX_DEPTH: Final = 64
MAX_TYPES: Final = 10_000
# A type takes 8 bytes of JSON or more, and a doc string seldom more than 100; ZTF's schema has 25 kB. Brackets and
# commas are counted before the JSON is read, because each may become an object of 64 bytes or more.
MAX_TEXT: Final = 512 << 10
MAX_MARKS: Final = 100_000
# The longest of any survey has 40. Names are kept and told, so they must not be endless.
MAX_NAME: Final = 256

PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


@dataclass(frozen=True, slots=True)
class Primitive:
    name: str


@dataclass(frozen=True, slots=True)
class Fixed:
    size: int


@dataclass(frozen=True, slots=True)
class Enum:
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Array:
    items: Node


@dataclass(frozen=True, slots=True)
class Map:
    values: Node


@dataclass(frozen=True, slots=True)
class Union:
    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """`is_empty`: its values take no bytes. `types` and `depth`: how many types it has, and how deep they nest."""

    name: str
    fields: tuple[tuple[str, Node], ...]
    is_empty: bool
    types: int = 0
    depth: int = 0


Node = Primitive | Fixed | Enum | Array | Map | Union | Record


def load(text: bytes) -> Any:
    """A schema's JSON values. Raises AlertError: bad_schema, unsupported_schema."""
    marks = sum(map(text.count, (b"{", b"[", b",")))
    if len(text) > MAX_TEXT or marks > MAX_MARKS:
        said = (
            f"{len(text):,} bytes with {marks:,} brackets and commas; at most {MAX_TEXT:,} and {MAX_MARKS:,} are read"
        )
        raise AlertError("unsupported_schema", f"writer schema: {said}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AlertError("bad_schema", f"writer schema is not JSON: {error}") from error


def resolve(schema: Any) -> Node:
    """The tree of a loaded schema.

    Raises AlertError: bad_schema, or unsupported_schema for what no survey uses but an attacker could: more or deeper
    types than the bounds above, a type that contains itself (data could nest without end), and an array of items of
    zero bytes (little data could declare any number of them).
    """
    return _Resolver().node(schema, "", _TOP, 0)


def full_name(schema: Any) -> str:
    """Full name of a loaded schema's record, even if the rest of the schema is invalid; "" if it is no record."""
    if not isinstance(schema, dict) or schema.get("type") not in ("record", "error"):
        return ""
    return _full_name(schema, "", _TOP)[0]


def types_at(node: Node, path: str) -> Iterator[Node]:
    """The possible types of the value at the dotted `path`, within unions and arrays too."""
    if isinstance(node, Union):
        for branch in node.branches:
            yield from types_at(branch, path)
    elif not path:
        yield node
    elif isinstance(node, Array):
        yield from types_at(node.items, path)
    elif isinstance(node, Record):
        name, _, rest = path.partition(".")
        for member, inner in node.fields:
            if member == name:
                yield from types_at(inner, rest)


_TOP: Final[Place] = (TOP, "schema")


class _Resolver:
    def __init__(self) -> None:
        self._named: dict[str, Node | None] = {}  # None: still being read
        self._types = 0  # so far, where a reference counts as all that it refers to
        self._deepest = 0

    def node(self, schema: Any, namespace: str, place: Place, depth: int) -> Node:
        self._count(1, depth, place)
        if isinstance(schema, list):
            branches = tuple(self.node(branch, namespace, place, depth + 1) for branch in schema)
            if any(isinstance(branch, Union) for branch in branches):
                raise _bad(place, "a union lies directly in a union")
            return Union(branches)
        if isinstance(schema, str):
            return self._reference(schema, namespace, place, depth)
        if not isinstance(schema, dict):
            raise _bad(place, f"{_shown(schema)} is not a type")
        kind = schema.get("type")
        if kind in ("record", "error"):
            return self._record(schema, namespace, place, depth)
        if kind == "array":
            items = self.node(schema.get("items"), namespace, (place, "[]"), depth + 1)
            if _is_empty(items):
                raise _unsupported(place, "an array of items that take no bytes")
            return Array(items)
        if kind == "map":
            return Map(self.node(schema.get("values"), namespace, (place, "{}"), depth + 1))
        if kind == "enum":
            symbols = schema.get("symbols")
            if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
                raise _bad(place, "an enum without symbols")
            return self._define(schema, namespace, place, Enum(tuple(symbols)))
        if kind == "fixed":
            size = schema.get("size")
            if type(size) is not int or not 0 <= size < 2**31:
                raise _bad(place, f"a fixed type of size {_shown(size)}")
            return self._define(schema, namespace, place, Fixed(size))
        return self.node(kind, namespace, place, depth + 1)  # {"type": "string", ...} or {"type": {...}}

    def _count(self, types: int, depth: int, place: Place) -> None:
        self._types += types
        self._deepest = max(self._deepest, depth)
        if depth > MAX_DEPTH or self._types > MAX_TYPES:
            bounds = f"more than {MAX_TYPES:,} types or {MAX_DEPTH} levels, further than any survey's"
            raise _unsupported(place, f"the schema reaches here {bounds}")

    def _record(self, schema: dict[str, Any], namespace: str, place: Place, depth: int) -> Record:
        name, inner = _full_name(schema, namespace, place)
        if name in self._named:
            raise _bad(place, f"type {name} is defined twice")
        self._named[name] = None
        types, deepest, self._deepest = self._types, self._deepest, depth
        fields = schema.get("fields")
        if not isinstance(fields, list):
            raise _bad(place, "a record without fields")
        members: dict[str, Node] = {}
        for field in fields:
            if not isinstance(field, dict) or not isinstance(field.get("name"), str) or "type" not in field:
                raise _bad(place, "a field without name or type")
            if field["name"] in members:
                raise _bad(place, f"field {field['name']:.60} occurs twice")
            if len(field["name"]) > MAX_NAME:
                raise _unsupported(place, f"a field's name has {len(field['name']):,} characters, more than {MAX_NAME}")
            members[field["name"]] = self.node(field["type"], inner, (place, field["name"]), depth + 1)
        is_empty = all(_is_empty(member) for member in members.values())
        record = Record(name, tuple(members.items()), is_empty, self._types - types, self._deepest - depth)
        self._deepest = max(self._deepest, deepest)
        self._named[name] = record
        return record

    def _define(self, schema: dict[str, Any], namespace: str, place: Place, node: Node) -> Node:
        name, _ = _full_name(schema, namespace, place)
        if name in self._named:
            raise _bad(place, f"type {name} is defined twice")
        self._named[name] = node
        return node

    def _reference(self, name: str, namespace: str, place: Place, depth: int) -> Node:
        if name in PRIMITIVES:
            return Primitive(name)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._named:
            raise _bad(place, f"type {name!r:.60} is unknown")
        node = self._named[full]
        if node is None:
            raise _unsupported(place, f"type {name:.60} contains itself")
        if isinstance(node, Record):
            self._count(node.types, depth + node.depth, place)
        return node


def _is_empty(node: Node) -> bool:
    return node.is_empty if isinstance(node, Record) else node in (Primitive("null"), Fixed(0))


def _full_name(schema: dict[str, Any], namespace: str, place: Place) -> tuple[str, str]:
    """Full name of a named type, and the namespace for names within it."""
    name = schema.get("name")
    if not isinstance(name, str) or not name:
        raise _bad(place, "a named type without name")
    if "." not in name:
        own = schema.get("namespace", namespace)
        if own and not isinstance(own, str):
            raise _bad(place, f"a namespace that is {_shown(own)}")
        name = f"{own}.{name}" if own else name
    if len(name) > MAX_NAME:
        raise _unsupported(place, f"a type's name has {len(name):,} characters, more than {MAX_NAME}")
    return name, name.rpartition(".")[0]


def _shown(value: Any) -> str:
    """A JSON value for a message; of a list or an object, which may be huge, only its kind."""
    return f"{value!r:.60}" if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"


def _bad(place: Place, what: str) -> AlertError:
    return AlertError("bad_schema", f"writer schema: {spelled(place)}: {what}")


def _unsupported(place: Place, what: str) -> AlertError:
    return AlertError("unsupported_schema", f"writer schema: {spelled(place)}: {what}")
