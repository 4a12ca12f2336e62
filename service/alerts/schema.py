"""Avro writer schemas, from JSON text to a checked tree with every name resolved (Avro 1.11 specification)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from service.alerts.alert import AlertError

# ZTF's and Rubin's schemas nest four deep and hold some 400 types.
MAX_DEPTH: Final = 64
MAX_TYPES: Final = 100_000

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
    """`is_empty`: its values take no bytes."""

    name: str
    fields: tuple[tuple[str, Node], ...]
    is_empty: bool


Node = Primitive | Fixed | Enum | Array | Map | Union | Record


def load(text: bytes) -> Any:
    """A schema's JSON values without logical types, whose values are read as plain numbers. Raises AlertError."""
    try:
        return _plain(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise AlertError("bad_schema", f"writer schema is not JSON: {error}") from error


def resolve(schema: Any) -> Node:
    """The tree of a loaded schema.

    Raises AlertError: bad_schema, or unsupported_schema for two constructs that no survey uses but an attacker could: a
    type that contains itself (data could nest without end), and an array of items of zero bytes (little data could
    declare any number of them).
    """
    return _Resolver().node(schema, "", "schema", 0)


def full_name(schema: Any) -> str:
    """Full name of a loaded schema's record, even if the rest of the schema is invalid; "" if it is no record."""
    if not isinstance(schema, dict) or schema.get("type") not in ("record", "error"):
        return ""
    return _full_name(schema, "", "schema")[0]


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


class _Resolver:
    def __init__(self) -> None:
        self._named: dict[str, Node | None] = {}  # None: still being read
        self._types = 0

    def node(self, schema: Any, namespace: str, place: str, depth: int) -> Node:
        self._types += 1
        if depth > MAX_DEPTH or self._types > MAX_TYPES:
            raise AlertError("unsupported_schema", f"writer schema: {place} nests deeper or longer than any survey's")
        if isinstance(schema, list):
            branches = tuple(self.node(branch, namespace, place, depth + 1) for branch in schema)
            if any(isinstance(branch, Union) for branch in branches):
                raise _bad(place, "a union lies directly in a union")
            return Union(branches)
        if isinstance(schema, str):
            return self._reference(schema, namespace, place)
        if not isinstance(schema, dict):
            raise _bad(place, f"{schema!r:.60} is not a type")
        kind = schema.get("type")
        if kind in ("record", "error"):
            return self._record(schema, namespace, place, depth)
        if kind == "array":
            items = self.node(schema.get("items"), namespace, f"{place}[]", depth + 1)
            if _is_empty(items):
                raise AlertError("unsupported_schema", f"writer schema: {place}: an array of items that take no bytes")
            return Array(items)
        if kind == "map":
            return Map(self.node(schema.get("values"), namespace, f"{place}{{}}", depth + 1))
        if kind == "enum":
            symbols = schema.get("symbols")
            if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
                raise _bad(place, "an enum without symbols")
            return self._define(schema, namespace, place, Enum(tuple(symbols)))
        if kind == "fixed":
            size = schema.get("size")
            if not isinstance(size, int) or not 0 <= size < 2**31:
                raise _bad(place, f"a fixed type of size {size!r:.60}")
            return self._define(schema, namespace, place, Fixed(size))
        return self.node(kind, namespace, place, depth + 1)  # {"type": "string", ...} or {"type": {...}}

    def _record(self, schema: dict[str, Any], namespace: str, place: str, depth: int) -> Record:
        name, inner = _full_name(schema, namespace, place)
        if name in self._named:
            raise _bad(place, f"type {name} is defined twice")
        self._named[name] = None
        fields = schema.get("fields")
        if not isinstance(fields, list):
            raise _bad(place, "a record without fields")
        members: dict[str, Node] = {}
        for field in fields:
            if not isinstance(field, dict) or not isinstance(field.get("name"), str) or "type" not in field:
                raise _bad(place, "a field without name or type")
            if field["name"] in members:
                raise _bad(place, f"field {field['name']} occurs twice")
            members[field["name"]] = self.node(field["type"], inner, f"{place}.{field['name']}", depth + 1)
        record = Record(name, tuple(members.items()), all(_is_empty(member) for member in members.values()))
        self._named[name] = record
        return record

    def _define(self, schema: dict[str, Any], namespace: str, place: str, node: Node) -> Node:
        name, _ = _full_name(schema, namespace, place)
        if name in self._named:
            raise _bad(place, f"type {name} is defined twice")
        self._named[name] = node
        return node

    def _reference(self, name: str, namespace: str, place: str) -> Node:
        if name in PRIMITIVES:
            return Primitive(name)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._named:
            raise _bad(place, f"type {name!r:.60} is unknown")
        node = self._named[full]
        if node is None:
            raise AlertError("unsupported_schema", f"writer schema: {place}: type {name} contains itself")
        return node


def _is_empty(node: Node) -> bool:
    return node.is_empty if isinstance(node, Record) else node in (Primitive("null"), Fixed(0))


def _full_name(schema: dict[str, Any], namespace: str, place: str) -> tuple[str, str]:
    """Full name of a named type, and the namespace for names within it."""
    name = schema.get("name")
    if not isinstance(name, str) or not name:
        raise _bad(place, "a named type without name")
    if "." not in name:
        own = schema.get("namespace", namespace)
        name = f"{own}.{name}" if own else name
    return name, name.rpartition(".")[0]


def _plain(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_plain(value) for value in schema]
    return schema


def _bad(place: str, what: str) -> AlertError:
    return AlertError("bad_schema", f"writer schema: {place}: {what}")
