"""Any writer schema at all: its compiled program reads what fastavro reads, and reads nothing else."""

import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from service.alerts import AlertError, Decoder, interpreter, oddities
from service.alerts.compiler import compile_schema
from service.alerts.projection import MISSING_NUMBER, NO_INTEGER, Cells, Field, Projection, Type
from service.alerts.schema import load, resolve
from tests.alerts import oracle
from tests.alerts.ztf_packets import an_alert, assert_same, packet, schema

# Wanted fields that the generated records may have or lack; everything else in them is to be skipped.
PROJECTION = Projection(
    fields=(
        Field("number"),
        Field("integer", Type.INTEGER),
        Field("text", Type.TEXT),
        Field("inner.number"),
        Field("inner.text", Type.TEXT),
        Field("inner.number", Type.PRESENT),
    ),
    tables=("rows", "more"),
    columns=(Field("number"), Field("integer", Type.INTEGER), Field("text", Type.TEXT), Field("text", Type.PRESENT)),
)

_INT = st.integers(-(2**31), 2**31 - 1)
_LONG = st.integers(-(2**63), 2**63 - 1)
_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(), "boolean": st.booleans(), "int": _INT, "long": _LONG, "float": st.floats(width=32),
    "double": st.floats(), "string": st.text(max_size=8), "bytes": st.binary(max_size=8),
}  # fmt: skip
_WANTED = {
    "number": ["int", "long", "float", "double", "boolean"],
    "integer": ["int", "long", "boolean"],
    "text": ["string", "int", "long", "float", "double", "boolean", "letter"],
}
_LETTER = {"type": "enum", "name": "letter", "symbols": ["t", "f"]}


class Generator:
    """Draws a type together with a strategy for its values."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._names = 0

    def any_type(self, depth: int) -> tuple[Any, st.SearchStrategy[Any]]:
        kinds = ["plain", "plain", "enum", "fixed"] + (["array", "map", "record", "union"] if depth else [])
        kind = self._draw(st.sampled_from(kinds))
        if kind == "plain":
            name = self._draw(st.sampled_from(sorted(_PLAIN)))
            return name, _PLAIN[name]
        if kind == "enum":
            symbols = ["A", "B", "C"][: self._draw(st.integers(1, 3))]
            return {"type": "enum", "name": self._name(), "symbols": symbols}, st.sampled_from(symbols)
        if kind == "fixed":
            size = self._draw(st.integers(0, 20))
            return {"type": "fixed", "name": self._name(), "size": size}, st.binary(min_size=size, max_size=size)
        if kind == "array":
            items, values = self.union([self.any_type(depth - 1)])  # a union takes a byte: no items without bytes
            return {"type": "array", "items": items}, st.lists(values, max_size=3)
        if kind == "map":
            items, values = self.any_type(depth - 1)
            return {"type": "map", "values": items}, st.dictionaries(st.text(max_size=4), values, max_size=3)
        if kind == "record":
            return self.record(depth - 1, {})
        return self.union([self.any_type(depth - 1) for _ in range(self._draw(st.integers(1, 3)))])

    def union(self, members: list[tuple[Any, st.SearchStrategy[Any]]]) -> tuple[Any, st.SearchStrategy[Any]]:
        """Of the members that may stand together (one array, one map, no union) and null, anywhere among them."""
        kept: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {"null": ("null", st.none())}
        for kind, values in members:
            if not isinstance(kind, list):
                label = kind if isinstance(kind, str) else kind["name"] if "name" in kind else kind["type"]
                kept.setdefault(label, (kind, values))
        order = self._draw(st.permutations(list(kept.values())))
        # fastavro picks a value's branch by its type; one branch beside null leaves it no choice to get wrong
        chosen = order if len(order) == 2 else [(kind, values) for kind, values in order if kind == "null"]
        return [kind for kind, _ in order], st.one_of([values for _, values in chosen])

    def record(self, depth: int, wanted: dict[str, list[str]], **extra: Any) -> tuple[Any, st.SearchStrategy[Any]]:
        members: list[tuple[str, tuple[Any, st.SearchStrategy[Any]]]] = list(extra.items())
        for name, kinds in wanted.items():
            if self._draw(st.booleans()):
                plain = self._draw(st.sampled_from(kinds))
                member: tuple[Any, st.SearchStrategy[Any]]
                if plain == "letter":
                    member = (_LETTER | {"name": self._name()}, st.sampled_from(["t", "f"]))
                else:
                    member = (plain, _PLAIN[plain])
                members.append((name, self.union([member]) if self._draw(st.booleans()) else member))
        members += [(f"skip{number}", self.any_type(depth)) for number in range(self._draw(st.integers(0, 4)))]
        order = self._draw(st.permutations(members))
        fields = [{"name": name, "type": kind} for name, (kind, _) in order]
        values = st.fixed_dictionaries({name: values for name, (_, values) in order})
        return {"type": "record", "name": self._name(), "fields": fields}, values

    def _name(self) -> str:
        self._names += 1
        return f"type{self._names}"


@st.composite
def written(draw: st.DrawFn) -> tuple[Any, bytes]:
    """A schema with wanted fields in random places, and the bytes of a record."""
    generator = Generator(draw)
    extra: dict[str, Any] = {}
    if draw(st.booleans()):
        extra["inner"] = generator.record(1, {name: _WANTED[name] for name in ("number", "text")})
        if draw(st.booleans()):
            extra["inner"] = generator.union([extra["inner"]])
    for table in PROJECTION.tables:
        if draw(st.booleans()):
            row, values = generator.record(1, _WANTED, filler=("boolean", st.booleans()))
            if draw(st.booleans()):
                row, values = generator.union([(row, values)])
            array: tuple[Any, Any] = ({"type": "array", "items": row}, st.lists(values, max_size=5))
            extra[table] = generator.union([array]) if draw(st.booleans()) else array
    kind, values = generator.record(3, _WANTED, **extra)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, kind, draw(values))
    return kind, stream.getvalue()


def plain(cells: Cells) -> list[Any]:
    """Cells as Python values."""
    fields = [*PROJECTION.fields, *(field for _ in range(cells.n_rows) for field in PROJECTION.columns)]
    values: list[Any] = []
    for cell, field in enumerate(fields):
        bits = int(cells.values[cell])
        if field.type is Type.TEXT:
            values.append(cells.text(cell))
        elif field.type is Type.NUMBER:
            number = float(cells.values[cell : cell + 1].view(np.float64)[0])
            values.append(None if bits == MISSING_NUMBER else "nan" if np.isnan(number) else number)
        else:
            values.append(None if bits == NO_INTEGER else bits)
    return values


@settings(max_examples=300, deadline=None)
@given(written(), st.binary(max_size=3), st.binary(max_size=3))
def test_the_compiled_program_reads_what_fastavro_reads(case: tuple[Any, bytes], before: bytes, after: bytes) -> None:
    kind, record = case
    loaded = load(json.dumps(kind).encode())
    try:
        program = compile_schema(resolve(loaded), PROJECTION)
    except AlertError as error:
        if "has several types" not in str(error):  # a column of its two tables may have one odd type, not two
            raise
        return
    data = before + record + after
    start, end = len(before), len(before) + len(record)
    fast, fast_end = (oddities if program.odd else interpreter).read(data, start, end, program)
    slow, slow_end = oracle.read(data, start, end, oracle.parse(loaded), PROJECTION)
    assert fast_end == slow_end == end
    assert plain(fast) == plain(slow)
    for cut in range(len(record)):  # shorter by any number of bytes it is refused, never read beyond
        with pytest.raises(AlertError):
            interpreter.read(data, start, start + cut, program)


def test_blocks_of_negative_count_carry_their_size() -> None:
    record = resolve(
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}]}
    )
    program = compile_schema(record, PROJECTION)
    _, end = interpreter.read(bytes([3, 4, 2, 4, 2, 6, 0]), 0, 7, program)  # -2 items in 2 bytes, 1 item, end
    assert end == 7


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff" * 9 + b"\x01\x00", "bad_count"),  # -2**63 items
        (b"\xfe" + b"\xff" * 8 + b"\x01\x00", "bad_count"),  # 2**63 - 1 items
        (b"\x80" * 10 + b"\x00", "bad_varint"),
        (b"\xff" * 9 + b"\x02\x00", "bad_varint"),
        (b"\x03\xff\xff\xff\xff\x0f\x02\x02\x00", "bad_length"),  # two items in -2**31 bytes
        (b"\x04\x02", "bad_count"),
        (b"\x02\x80", "record_overrun"),
        (b"", "record_overrun"),
    ],
)
def test_impossible_counts_are_refused(data: bytes, code: str) -> None:
    record = resolve(
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}]}
    )
    with pytest.raises(AlertError) as refused:
        interpreter.read(data, 0, len(data), compile_schema(record, PROJECTION))
    assert refused.value.code == code
    assert str(refused.value).startswith("a ") or str(refused.value).startswith("a[] ")


@pytest.mark.parametrize(
    "text",
    [
        b"\xc0\x80",
        b"\xc3",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\x80",
        b"a\xffb",
    ],
)
def test_text_that_is_not_utf8_is_refused_even_when_skipped(text: bytes) -> None:
    record = resolve({"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]})
    data = bytes([2 * len(text)]) + text
    with pytest.raises(UnicodeDecodeError):
        text.decode()
    with pytest.raises(AlertError, match="a is not UTF-8"):
        interpreter.read(data, 0, len(data), compile_schema(record, PROJECTION))


# --- schemas that are not compiled, or refused -----------------------------------------------------------------------


def with_field(name: str, kind: Any) -> dict[str, Any]:
    """The usual schema with another type for a field of the candidate."""
    changed = schema()
    changed["fields"][3]["type"]["fields"] = [
        {"name": name, "type": kind} if field["name"] == name else field
        for field in changed["fields"][3]["type"]["fields"]
    ]
    return changed


def test_a_schema_with_types_that_no_survey_uses_is_read_slowly_and_counted() -> None:
    decoder = Decoder()
    before = REGISTRY.get_sample_value("alert_classifier_decoder_fallbacks_total") or 0
    raw = packet(an_alert(nbad=False), with_field("nbad", ["null", "boolean"]))
    for _ in range(3):
        assert_same(decoder.decode(raw), an_alert())
    assert (decoder.fallbacks.schemas, decoder.fallbacks.records) == (1, 3)
    assert_same(decoder.decode(packet(an_alert(), schema())), an_alert())
    assert (decoder.fallbacks.schemas, decoder.fallbacks.records) == (1, 3)
    assert REGISTRY.get_sample_value("alert_classifier_decoder_fallbacks_total") == before + 3


def test_what_is_no_number_is_refused_by_its_name() -> None:
    with pytest.raises(AlertError, match=r"candidate\.magpsf is not a number but of type string") as refused:
        Decoder().decode(packet(an_alert(magpsf="18.5"), with_field("magpsf", "string")))
    assert refused.value.code == "bad_value"
    damaged = packet(an_alert(nbad=False), with_field("nbad", ["null", "boolean"])).replace(
        b"ZTF24abcdefg", b"ZTF24abcde\xff\xff"
    )
    with pytest.raises(AlertError) as refused:
        Decoder().decode(damaged)
    assert refused.value.code == "bad_text"


def test_numbers_of_any_width_are_understood() -> None:
    for name, kind, value in [
        ("magpsf", "double", 18.5),
        ("fid", "long", 1),
        ("ra", "float", 150.25),
        ("nbad", "long", 0),
    ]:
        decoder = Decoder()
        assert_same(decoder.decode(packet(an_alert(**{name: value}), with_field(name, kind))), an_alert())
        assert decoder.fallbacks.schemas == 0


def test_a_logical_type_is_read_as_the_number_beneath() -> None:
    with_time = schema()
    with_time["fields"].insert(0, {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}})
    assert_same(Decoder().decode(packet(an_alert() | {"timestamp": 2**62}, with_time)), an_alert())


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ({"type": "record", "name": "r"}, "bad_schema", "a record without fields"),
        ({"type": "record", "fields": []}, "bad_schema", "a named type without name"),
        ({"type": "enum", "name": "e"}, "bad_schema", "an enum without symbols"),
        ({"type": "fixed", "name": "f", "size": -1}, "bad_schema", "a fixed type of size -1"),
        ("missing", "bad_schema", "type 'missing' is unknown"),
        ({"type": "array"}, "bad_schema", "None is not a type"),
        (["null", ["null", "int"]], "bad_schema", "a union lies directly in a union"),
        ({"type": "array", "items": "null"}, "unsupported_schema", "items that take no bytes"),
        (
            {"type": "record", "name": "r", "fields": [{"name": "r", "type": ["null", "r"]}]},
            "unsupported_schema",
            "itself",
        ),
    ],
)
def test_schemas_that_are_refused(kind: Any, code: str, said: str) -> None:
    with pytest.raises(AlertError) as refused:
        resolve({"type": "record", "name": "alert", "fields": [{"name": "a", "type": kind}]})
    assert refused.value.code == code
    assert said in str(refused.value)


def test_schemas_made_to_exhaust_the_compiler_are_refused() -> None:
    deep: Any = "int"
    for _ in range(100):
        deep = {"type": "map", "values": deep}
    with pytest.raises(AlertError, match="64 levels"):
        resolve(deep)
    with pytest.raises(AlertError, match="not JSON"):
        load(b"[" * 100_000)
    wide: Any = {"type": "record", "name": "r0", "fields": [{"name": "x", "type": "string"}]}
    for level in range(1, 25):  # each holds the one before twice: 2**24 strings in a short schema
        fields = [{"name": "a", "type": wide}, {"name": "b", "type": f"r{level - 1}"}]
        wide = {"type": "record", "name": f"r{level}", "fields": fields}
    with pytest.raises(AlertError, match="more than 10,000 types"):
        resolve(wide)
