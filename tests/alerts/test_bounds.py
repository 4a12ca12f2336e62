"""No message costs more than it is worth: what is a little beyond a bound is refused, what is at it is read."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from service import jit
from service.alerts import Alert, AlertError, Decoder, container, interpreter, oddities, readers, schema
from service.alerts.alert import LONGEST_NAME
from service.alerts.compiler import MAX_OPERATIONS, compile_schema
from service.alerts.container import write_long
from service.alerts.ztf import PROJECTION
from tests.alerts import ztf_packets
from tests.alerts.hostile import MEGABYTE, PACKED, Containers, Cost, Schemas, doubling, file, record, referring
from tests.alerts.ztf_packets import an_alert, packet

SCHEMA = ztf_packets.schema()
PACKET = packet(an_alert(), SCHEMA)
HEADER = container.read_header(PACKET)
RECORD = next((block.data[block.start : block.end]) for block in container.blocks(PACKET, HEADER))

# What a message may take, with room for a busy machine; most take less than a tenth of it.
SECONDS = 0.25
MEMORY = 64 * MEGABYTE


def code(result: Alert | AlertError) -> str:
    return result.code if isinstance(result, AlertError) else "good"


def codes(raw: bytes) -> Counter[str]:
    return Counter(map(code, Decoder().decode_all(raw)))


def refusal(raw: bytes) -> AlertError:
    with pytest.raises(AlertError) as refused:
        Decoder().decode(raw)
    return refused.value


# --- writer schemas --------------------------------------------------------------------------------------------------


def with_extra(*fields: tuple[str, Any], **attributes: Any) -> dict[str, Any]:
    """The usual schema with more fields behind its own."""
    return SCHEMA | {"fields": [*SCHEMA["fields"], *({"name": n, "type": t} for n, t in fields)]} | attributes


def written(written_by: dict[str, Any], extra: bytes = b"") -> bytes:
    return file(written_by, [(1, RECORD + extra)])


@pytest.fixture(autouse=True, scope="module")
def _machine_code() -> Iterator[None]:
    """What is bounded is the cost of a service that has begun: kernels are plain Python in its first seconds."""
    with jit.compiled():
        Decoder().warm_up()
        yield


def test_a_type_counts_each_time_it_is_referred_to() -> None:
    """Given 4 kB of schema whose types double with each record, then it is refused before it is unfolded."""
    assert len(json.dumps(doubling(40))) < 5_000
    with Cost() as cost:
        error = refusal(file(doubling(40), [(1, b"")]))
    assert error.code == "unsupported_schema"
    assert "10,000 types" in str(error)
    assert cost.seconds < SECONDS
    assert refusal(file(doubling(11), [(0, b""), (1, b"\x02")])).code == "bad_length"  # 2^11 are no danger


def test_a_schema_has_as_many_types_as_are_read() -> None:
    used = schema.resolve(SCHEMA).types + 1  # type: ignore[union-attr]
    room = schema.MAX_TYPES - used
    at = with_extra(*((f"x{number}", "null") for number in range(room)))
    assert isinstance(Decoder().decode(written(at)), Alert)
    error = refusal(written(with_extra(*((f"x{number}", "null") for number in range(room + 1)))))
    assert (error.code, "10,000 types" in str(error)) == ("unsupported_schema", True)


@pytest.mark.parametrize("kind", ["array", "map"])
def test_types_nest_as_deep_as_is_read_by_reference_too(kind: str) -> None:
    """Given records side by side, each with an array of the one before, then their depth counts, not the text's."""
    levels = (schema.MAX_DEPTH - 2) // 2  # an array and a record each
    nested = bytes.fromhex("02" * 3)  # one item, holding one, holding one, ...
    assert refusal(file(referring(levels, kind), [(1, nested)])).code in ("record_overrun", "bad_count", "bad_length")
    error = refusal(file(referring(levels + 1, kind), [(1, nested)]))
    assert (error.code, "64 levels" in str(error)) == ("unsupported_schema", True)


def test_the_loops_of_the_deepest_schema_fit_the_interpreter() -> None:
    deepest: Any = "int"
    for _ in range(schema.MAX_DEPTH - 1):
        deepest = {"type": "array", "items": deepest}
    tree = schema.resolve(record(("a", deepest)))
    data = b"\x02" * (schema.MAX_DEPTH - 1) + b"\x02" + b"\0" * (schema.MAX_DEPTH - 1)
    _, end = interpreter.read(data, 0, len(data), compile_schema(tree, PROJECTION))
    assert end == len(data)
    with pytest.raises(AlertError, match="64 levels"):
        schema.resolve(record(("a", {"type": "array", "items": deepest})))


def test_the_text_of_a_schema_is_bounded_before_it_is_read() -> None:
    at = with_extra(doc="")
    at["doc"] = "x" * (schema.MAX_TEXT - len(json.dumps(at)))
    assert isinstance(Decoder().decode(written(at)), Alert)
    at["doc"] += "x"
    assert refusal(written(at)).code == "unsupported_schema"
    many = with_extra(doc="," * schema.MAX_MARKS)
    assert "brackets and commas" in str(refusal(written(many)))


def test_names_are_bounded() -> None:
    assert isinstance(Decoder().decode(written(with_extra(("x" * schema.MAX_NAME, "null")))), Alert)
    for written_by in (
        with_extra(("x" * (schema.MAX_NAME + 1), "null")),
        with_extra(("a", record(name="y" * (schema.MAX_NAME + 1)))),
        with_extra(("a", record(name="y", **{}) | {"namespace": "z" * schema.MAX_NAME})),
    ):
        error = refusal(written(written_by))
        assert (error.code, "name has" in str(error)) == ("unsupported_schema", True)
    assert refusal(written(with_extra(("a", record(name="y") | {"namespace": [1]})))).code == "bad_schema"


def test_a_union_takes_no_more_operations_than_are_read() -> None:
    branches = ["null"] * (MAX_OPERATIONS // 2)
    with pytest.raises(AlertError, match="operations"):
        compile_schema(schema.Union(tuple(schema.Primitive(name) for name in branches)), PROJECTION)


def test_messages_are_short_and_can_be_written_whatever_the_names_are() -> None:
    """A field's name may hold half a surrogate pair, with which no dead letter could be written."""
    error = refusal(file(record(("\ud800" * 200, record(("y" * 250, "string"), name="n"))), [(1, b"\x08")]))
    assert error.code in ("bad_length", "record_overrun")
    str(error).encode()
    assert len(str(error)) < 2_000


def test_kept_schemas_and_headers_are_bounded_in_bytes() -> None:
    """Given a stream of ever new and long schemas, good and refused, then what is kept of them is bounded."""
    decoder = Decoder()
    decoder.decode(PACKET)
    gc.collect()
    with Cost() as cost:
        for number in range(80):
            kind = "null" if number % 2 else "missing"
            at = with_extra((f"x{number}", kind), doc=f"{number}" + "x" * 400_000)
            assert code(decoder.decode_many([written(at)])[0]) == ("good" if number % 2 else "bad_schema")
    known = decoder._readers
    assert sum(len(header.prefix) + len(header.schema) for header, _ in known._by_header) <= readers.MAX_BYTES
    assert len(known._by_schema._things) <= readers.MAX_SCHEMAS
    assert known._by_schema._bytes <= readers.MAX_BYTES
    assert cost.memory < MEMORY


def test_a_refused_schema_is_not_read_again() -> None:
    decoder = Decoder()
    raw = file(record(("a", "int"), name="other.alert") | {"doc": "," * 90_000}, [(1, b"")])
    with Cost() as first:
        (error,) = decoder.decode_many([raw])
    again = [decoder.decode_many([raw])[0] for _ in range(3)]
    assert {(code(each), str(each)) for each in again} == {("unsupported_survey", str(error))}
    assert len({id(each) for each in again}) == 3  # or each would keep the traces of all
    assert first.seconds < SECONDS


def test_values_of_odd_types_are_bounded() -> None:
    """They are read one by one; what is not needed is skipped."""
    row = record(("procstatus", "int"), ("filler", "bytes"), name="row")
    written_by = record(("prv_candidates", {"type": "array", "items": row}))
    for count, told in ((oddities.MAX_VALUES, "missing_field"), (oddities.MAX_VALUES + 1, "too_many_rows")):
        with Cost() as cost:
            error = refusal(file(written_by, [(1, write_long(count) + bytes(2 * count) + b"\0")]))
        assert error.code == told
        assert cost.seconds < SECONDS
        assert cost.memory < MEMORY


# --- values ----------------------------------------------------------------------------------------------------------


def test_a_name_longer_than_anyone_can_ask_for_is_refused() -> None:
    name = "ZTF24abcdefg" + "x" * (LONGEST_NAME - 12)
    assert Decoder().decode(packet(an_alert() | {"objectId": name}, SCHEMA)).object_id == name
    error = refusal(packet(an_alert() | {"objectId": name + "x"}, SCHEMA))
    assert (error.code, str(error)) == ("long_name", "objectId has 201 characters; at most 200 are kept")


# --- containers ------------------------------------------------------------------------------------------------------


def test_a_header_has_as_many_entries_as_are_read() -> None:
    entries = {f"key{number}": b"x" for number in range(container.MAX_ENTRIES - 2)}
    assert isinstance(Decoder().decode(file(SCHEMA, [(1, RECORD)], **entries)), Alert)
    assert refusal(file(SCHEMA, [(1, RECORD)], **entries, more=b"x")).code == "bad_header"


def test_a_header_has_as_many_bytes_as_are_read() -> None:
    room = container.MAX_HEADER - len(file(SCHEMA, [], filler=b"")) + 16
    assert isinstance(Decoder().decode(file(SCHEMA, [(1, RECORD)], filler=b"x" * (room - 3))), Alert)
    assert refusal(file(SCHEMA, [(1, RECORD)], filler=b"x" * (room + 3))).code == "bad_header"


@pytest.mark.parametrize("empty_ones", [True, False])
def test_a_message_has_as_many_blocks_as_are_read(empty_ones: bool) -> None:
    more = (0, b"") if empty_ones else (1, RECORD)
    blocks = [(1, RECORD), *[more] * (container.MAX_BLOCKS - 1)]
    assert codes(file(SCHEMA, blocks)) == {"good": 1 if empty_ones else container.MAX_BLOCKS}
    over = file(SCHEMA, [*blocks, more])
    with Cost() as cost:
        assert codes(over) == {"too_large": 1}
        assert Decoder().holds_many(over)
    with pytest.raises(AlertError, match="5,000 blocks"):
        Decoder().split(over)
    assert cost.seconds < 3 * SECONDS  # every record is decoded, and an alert


def test_a_message_has_as_many_records_as_are_read() -> None:
    count = container.MAX_RECORDS
    tiny = json.dumps(record(("a", "int"))).encode()
    assert codes(file(tiny, [(count, bytes(count))])) == {"missing_field": count}
    assert codes(file(tiny, [(count, bytes(count)), (1, b"\0")])) == {"too_large": 1}


def test_the_dead_letters_of_a_message_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds the header: ten thousand small records with a long one would make gigabytes of them."""
    monkeypatch.setattr(container, "MAX_HEADERS", 10 * len(HEADER.prefix))
    prefix = HEADER.prefix + PACKET[-16:]

    def blocks(count: int) -> bytes:
        return prefix + (b"\x02" + write_long(len(RECORD)) + RECORD + PACKET[-16:]) * count

    assert codes(blocks(10)) == {"good": 10}
    assert codes(blocks(11)) == {"too_large": 1}
    monkeypatch.setattr(container, "MAX_HEADERS", 10)
    assert codes(blocks(1)) == {"good": 1}


@pytest.mark.parametrize("codec", [codec for codec in PACKED if codec != b"null"])
def test_a_message_unpacks_to_as_many_bytes_as_are_read(codec: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its blocks together, and each; bzip2 is so slow that less of it is read."""
    share = 16 if codec == b"bzip2" else 1
    monkeypatch.setattr(container, "MAX_UNPACKED", 4 * len(RECORD) * share)
    monkeypatch.setattr(container.Work, "room", _without_size)
    block = (1, PACKED[codec](RECORD))
    assert codes(file(SCHEMA, [block] * 4, codec)) == {"good": 4}
    assert codes(file(SCHEMA, [block] * 5, codec)) == {"too_large": 1}
    monkeypatch.setattr(container, "MAX_BLOCK", len(RECORD))
    assert codes(file(SCHEMA, [block] * 2, codec)) == {"good": 2}
    monkeypatch.setattr(container, "MAX_BLOCK", len(RECORD) - 1)
    assert codes(file(SCHEMA, [block], codec)) == {"too_large": 1}


def _without_size(work: container.Work, slowness: int) -> int:
    return min(container.MAX_BLOCK, (container.MAX_UNPACKED - work.unpacked) // slowness)


def test_a_long_message_may_unpack_to_more_than_a_short_one() -> None:
    assert container.Work(size=100).room(1) == container.MAX_BLOCK
    long = container.Work(size=container.MAX_UNPACKED)
    long.unpacked = container.MAX_UNPACKED
    assert long.room(1) == container.MAX_BLOCK


def test_the_history_of_all_records_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    written_by = record(("prv_candidates", {"type": "array", "items": record(("b", "boolean"), name="row")}))
    rows = write_long(100) + bytes(100) + b"\0"
    monkeypatch.setattr(container, "MAX_ROWS", 1000)
    assert codes(file(written_by, [(10, rows * 10)])) == {"missing_field": 10}
    assert codes(file(written_by, [(11, rows * 11)])) == {"too_large": 1}
    with pytest.raises(AlertError, match="rows of history"):
        Decoder().split(file(written_by, [(11, rows * 11)]))


# --- anything at all -------------------------------------------------------------------------------------------------


def check(raw: bytes, decoder: Decoder) -> str:
    """What becomes of a message in the stream, within time and memory; of the time the best of three turns counts."""
    for _turn in range(3):
        with Cost() as cost:
            told = outcome(raw, decoder)
        assert cost.memory < MEMORY, told
        if cost.seconds < SECONDS:
            return told
    raise AssertionError(f"{told} took {cost.seconds:.2f} s three times")


def outcome(raw: bytes, decoder: Decoder) -> str:
    if not decoder.holds_many(raw):
        return code(decoder.decode_many([raw])[0])
    try:
        pieces = decoder.split(raw)
    except AlertError as error:
        return error.code
    decoder.decode_many(piece.alone() for piece in pieces[:200])
    return "split"


FUZZ = [60, pytest.param(5_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]


@pytest.mark.parametrize("count", FUZZ)
def test_no_schema_takes_long(count: int) -> None:
    decoder = Decoder()
    decoder.warm_up()
    schemas = Schemas(count)
    found = Counter(check(schemas.message(), decoder) for _ in range(count))
    print(found)
    assert {"unsupported_schema", "bad_schema", "trailing_bytes"} <= set(found)


@pytest.mark.parametrize("count", FUZZ)
def test_no_container_takes_long(count: int) -> None:
    decoder = Decoder()
    decoder.warm_up()
    containers = Containers(count, PACKET, largest=9 * MEGABYTE if count > 1_000 else MEGABYTE)
    found = Counter(check(containers.message(), decoder) for _ in range(count))
    print(found)
    assert {"split", "bad_header", "truncated"} <= set(found)
