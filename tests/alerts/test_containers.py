"""Container files and framed messages: what surrounds the records."""

import bz2
import io
import json
import lzma
import random
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fastavro
import pytest
from cramjam import zstd

import service.alerts
from service.alerts import (
    Alert,
    AlertError,
    Decoder,
    SchemaFolder,
    SchemaRegistry,
    SchemaSourceUnavailableError,
    container,
    interpreter,
)
from service.alerts.readers import MAX_SCHEMAS
from tests.alerts.ztf_packets import an_alert, assert_same, framed, packet, schema

SCHEMA = schema()


def refusal(raw: bytes, decoder: Decoder | None = None) -> AlertError:
    with pytest.raises(AlertError) as refused:
        (decoder or Decoder()).decode(raw)
    return refused.value


def test_every_code_that_is_raised_is_documented() -> None:
    sources = [path.read_text() for path in Path(service.alerts.__file__).parent.glob("*.py")]
    raised = {code for source in sources for code in re.findall(r'AlertError\(\s*"(\w+)"', source)}
    raised |= {code for code, _ in interpreter._FAULTS.values()}
    documented = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b|\bempty\b|\btruncated\b", AlertError.__doc__ or ""))
    assert raised == documented


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "bzip2", "xz"])
def test_every_codec_gives_the_same_alert(codec: str) -> None:
    assert_same(Decoder().decode(packet(an_alert(), SCHEMA, codec)), an_alert())


def zstandard(raw: bytes, pack: Callable[[bytes], bytes] = lambda data: bytes(zstd.compress(data))) -> bytes:
    """A container file of one block without codec, written again with the codec that fastavro can't write here."""
    header = container.read_header(raw)
    (block,) = container.blocks(raw, header)
    packed, size = pack(raw[block.start : block.end]), io.BytesIO()
    fastavro.schemaless_writer(size, "long", len(packed))
    prefix = header.prefix.replace(b"\x08null", b"\x12zstandard", 1)
    return prefix + raw[-16:] + b"\x02" + size.getvalue() + packed + raw[-16:]


def test_zstandard_gives_the_same_alert() -> None:
    assert_same(Decoder().decode(zstandard(packet(an_alert(), SCHEMA))), an_alert())


def test_damage_in_a_compressed_block_is_told() -> None:
    for codec in ("bzip2", "xz"):
        raw = packet(an_alert(), SCHEMA, codec)
        assert refusal(raw[:-60] + bytes(20) + raw[-40:]).code == "bad_compression"
    whole = packet(an_alert(), SCHEMA)
    assert refusal(zstandard(whole, lambda data: bytes(zstd.compress(data))[:-3])).code == "bad_compression"
    for pack in (lambda data: bz2.compress(data)[:-9], lambda data: lzma.compress(data)[:-9]):
        header = packet(an_alert(), SCHEMA, "bzip2" if pack(b"x")[:2] == b"BZ" else "xz")
        prefix, sync = container.read_header(header).prefix, header[-16:]
        data, size = pack(b"x" * 100), io.BytesIO()
        fastavro.schemaless_writer(size, "long", len(data))
        assert refusal(prefix + sync + b"\x02" + size.getvalue() + data + sync).code == "bad_compression"


def test_a_compressed_block_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_BLOCK", 1000)
    record = an_alert(pdiffimfilename="x" * 2000)
    assert refusal(packet(record, SCHEMA, "bzip2")).code == "too_large"
    assert refusal(packet(record, SCHEMA, "xz")).code == "too_large"
    assert refusal(zstandard(packet(record, SCHEMA))).code == "too_large"


def test_an_unknown_codec_is_named() -> None:
    raw = packet(an_alert(), SCHEMA).replace(b"\x08null", b"\x08zest", 1)
    assert str(refusal(raw)) == "avro.codec is 'zest'; supported are null, deflate, snappy, zstandard, bzip2, xz"


def test_a_file_of_many_records_is_refused_by_decode_and_read_by_decode_all() -> None:
    records = [an_alert(jd=2460500.5 + day, candid=1 + day) | {"candid": 1 + day} for day in range(3)]
    raw = packet(records, SCHEMA)
    assert refusal(raw).code == "many_records"
    for alert, record in zip(Decoder().decode_all(raw), records, strict=True):
        assert isinstance(alert, Alert)
        assert_same(alert, record)


def test_one_bad_value_among_many_records_costs_one_alert() -> None:
    raw = packet([an_alert(), an_alert(fid=7), an_alert()], SCHEMA)
    codes = [one.code if isinstance(one, AlertError) else "good" for one in Decoder().decode_all(raw)]
    assert codes == ["good", "unknown_band", "good"]


def test_damage_inside_a_block_costs_the_rest_of_that_block_only() -> None:
    stream = io.BytesIO()
    fastavro.writer(stream, SCHEMA, [an_alert()] * 2, sync_interval=1)  # a block per record
    raw = bytearray(stream.getvalue())
    where = raw.index(b"ZTF24abcdefg") - 1
    raw[where] = 0xFF  # the length of objectId is now nonsense
    results = list(Decoder().decode_all(bytes(raw)))
    assert isinstance(results[0], AlertError)
    assert results[0].code in ("bad_length", "record_overrun", "bad_text")
    assert "objectId" in str(results[0]) or "candid" in str(results[0])
    assert isinstance(results[1], Alert)


def test_a_block_that_claims_more_records_than_it_has_bytes_is_refused() -> None:
    raw = packet(an_alert(), SCHEMA)
    header = raw[: raw.rindex(raw[-16:], 0, -16) + 16]
    count = io.BytesIO()
    fastavro.schemaless_writer(count, "long", 2**62)
    hostile = header + count.getvalue() + b"\x02\x00" + raw[-16:]
    assert [error.code for error in Decoder().decode_all(hostile) if isinstance(error, AlertError)] == ["bad_count"]


def test_a_file_without_records_says_so() -> None:
    assert refusal(packet([], SCHEMA)).code == "no_record"


def test_every_truncation_is_refused() -> None:
    raw = packet(an_alert(), SCHEMA)
    decoder = Decoder()
    decoder.decode(raw)
    for size in range(len(raw)):
        assert refusal(raw[:size], decoder).code in ("empty", "bad_magic", "truncated", "no_record")


def test_bytes_behind_the_record_are_refused() -> None:
    raw = packet(an_alert(), SCHEMA)
    header = raw[: raw.rindex(raw[-16:], 0, -16) + 16]
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, SCHEMA, an_alert())
    data = stream.getvalue() + b"\0\0"
    size = io.BytesIO()
    fastavro.schemaless_writer(size, "long", len(data))
    error = refusal(header + b"\x02" + size.getvalue() + data + raw[-16:])
    assert error.code == "trailing_bytes"
    assert "2 bytes" in str(error)


def test_a_wrong_sync_marker_is_refused_even_when_the_record_is_whole() -> None:
    raw = bytearray(packet(an_alert(), SCHEMA))
    raw[-1] ^= 1
    assert refusal(bytes(raw)).code == "bad_sync"
    assert [getattr(one, "code", "good") for one in Decoder().decode_all(bytes(raw))] == ["bad_sync"]


def test_a_snappy_block_is_checked_by_its_checksum() -> None:
    raw = bytearray(packet(an_alert(), SCHEMA, "snappy"))
    raw[-17] ^= 1
    assert refusal(bytes(raw)).code == "bad_checksum"


def test_a_block_that_would_fill_the_memory_is_refused() -> None:
    raw = packet(an_alert(), SCHEMA, "deflate")
    header = raw[: raw.rindex(raw[-16:], 0, -16) + 16]
    bomb = zlib.compress(bytes(container.MAX_BLOCK + 1), wbits=-15)
    size = io.BytesIO()
    fastavro.schemaless_writer(size, "long", len(bomb))
    assert refusal(header + b"\x02" + size.getvalue() + bomb + raw[-16:]).code == "too_large"


def test_files_with_different_schemas_do_not_disturb_each_other() -> None:
    decoder = Decoder()
    schemas = [schema(null_first=first, forced=forced) for first in (True, False) for forced in ("fp_hists", "none")]
    for _ in range(3):
        for written_by in schemas:
            record = an_alert() if len(written_by["fields"]) == 8 else an_alert() | {"fp_hists": None}
            assert_same(decoder.decode(packet(record, written_by)), record)


def test_a_stream_of_ever_new_schemas_does_not_fill_the_memory() -> None:
    decoder = Decoder()
    for number in range(MAX_SCHEMAS + 10):
        written_by = SCHEMA | {"fields": [*SCHEMA["fields"], {"name": f"extra{number}", "type": ["null", "int"]}]}
        assert isinstance(decoder.decode(packet(an_alert(), written_by)), Alert)
    assert len(decoder._readers._by_header) == MAX_SCHEMAS


def test_one_bad_message_does_not_harm_its_neighbours() -> None:
    good = packet(an_alert(), SCHEMA)
    results = Decoder().decode_many([good, b"", good[:500], b"JUNK" + good[4:], good])
    assert [getattr(one, "code", "good") for one in results] == ["good", "empty", "truncated", "bad_magic", "good"]


def test_many_threads_share_one_decoder() -> None:
    decoder = Decoder()
    packets = [
        packet(an_alert(magpsf=15.0 + number / 8), schema(null_first=number % 2 == 0, nullable=number % 3 == 0))
        for number in range(24)
    ]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            alerts = list(pool.map(decoder.decode, packets))
            assert [float(alert.light_curve.points["mag"][-1]) for alert in alerts] == [
                15.0 + number / 8 for number in range(24)
            ]


# --- framed messages -------------------------------------------------------------------------------------------------


@pytest.fixture
def schema_folder(tmp_path: Path) -> SchemaFolder:
    (tmp_path / "711.avsc").write_text(json.dumps(SCHEMA))
    (tmp_path / "712.avsc").write_text("{")
    return SchemaFolder(tmp_path)


def test_a_framed_message_is_read_with_the_schema_it_names(schema_folder: SchemaFolder) -> None:
    decoder = Decoder(schema_folder)
    assert_same(decoder.decode(framed(an_alert(), SCHEMA, 711)), an_alert())
    assert_same(decoder.decode(packet(an_alert(), SCHEMA)), an_alert())  # and container files still are


def test_what_is_wrong_with_a_framed_message_is_named(schema_folder: SchemaFolder) -> None:
    decoder = Decoder(schema_folder)
    raw = framed(an_alert(), SCHEMA, 711)
    assert refusal(raw + b"\0", decoder).code == "trailing_bytes"
    assert refusal(framed(an_alert(), SCHEMA, 5), decoder).code == "unknown_schema"
    assert refusal(framed(an_alert(), SCHEMA, 712), decoder).code == "bad_schema"
    assert "registry" in str(refusal(raw, Decoder()))
    for size in range(5, len(raw)):
        assert refusal(raw[:size], decoder).code in ("record_overrun", "bad_length", "bad_count")


class _Registry(BaseHTTPRequestHandler):
    requests: list[str] = []  # noqa: RUF012  shared on purpose: the server makes a handler per request

    def do_GET(self) -> None:
        self.requests.append(self.path)
        known = self.path.startswith("/schemas/ids/711")
        broken = self.path.startswith("/schemas/ids/500")
        body = {"schema": json.dumps(SCHEMA)} if known else {"error_code": 40403, "message": "Schema not found"}
        self.send_response(200 if known else 500 if broken else 404)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    """A registry that speaks the protocol and knows schema 711."""
    server = HTTPServer(("127.0.0.1", 0), _Registry)
    _Registry.requests.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_registry_is_asked_once_per_schema(registry: str) -> None:
    decoder = Decoder(SchemaRegistry(registry))
    for _ in range(5):
        assert_same(decoder.decode(framed(an_alert(), SCHEMA, 711)), an_alert())
    assert len(_Registry.requests) == 1
    assert refusal(framed(an_alert(), SCHEMA, 12), decoder).code == "unknown_schema"


def test_a_registry_that_is_down_is_not_the_message_s_fault(registry: str) -> None:
    with pytest.raises(SchemaSourceUnavailableError):
        Decoder(SchemaRegistry(registry)).decode_many([framed(an_alert(), SCHEMA, 500)])
    with pytest.raises(SchemaSourceUnavailableError):
        Decoder(SchemaRegistry("http://127.0.0.1:9")).decode(framed(an_alert(), SCHEMA, 711))


def test_a_bare_record_is_read_by_the_schema_of_the_folder_that_it_fits(schema_folder: SchemaFolder) -> None:
    bare = framed(an_alert(), SCHEMA, 711)[5:]
    decoder = Decoder(schema_folder)
    assert_same(decoder.decode(bare), an_alert())
    (one,) = decoder.decode_all(bare)
    assert isinstance(one, Alert)
    assert refusal(bare[:-1], decoder).code == "bad_magic"
    assert refusal(bare).code == "bad_magic"


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy"])
@pytest.mark.parametrize("sync_interval", [1, 10**6])
def test_a_container_is_split_into_its_records_whatever_is_damaged(codec: str, sync_interval: int) -> None:
    """Decoding the pieces one by one gives what `decode_all` gives: the good alerts, and an error where one is."""
    stream = io.BytesIO()
    records = [an_alert(), an_alert(fid=7), an_alert(jd=2460501.5), an_alert(jd=2460502.5)]
    fastavro.writer(stream, SCHEMA, records, codec=codec, sync_interval=sync_interval)
    whole = stream.getvalue()
    decoder = Decoder()
    assert decoder.holds_many(whole)
    rng = random.Random(5)
    for damage in range(120):
        raw = bytearray(whole)
        if damage % 3 == 1:
            raw = raw[: rng.randrange(len(raw))]
        elif damage % 3 == 2:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        together = list(decoder.decode_all(bytes(raw)))
        apart = decoder.decode_many(piece.alone() for piece in decoder.split(bytes(raw)))
        good = [(one.candid, one.light_curve, str(one)) for one in together if isinstance(one, Alert)]
        assert [(one.candid, one.light_curve, str(one)) for one in apart if isinstance(one, Alert)] == good
        assert all(not decoder.holds_many(piece.alone()) for piece in decoder.split(bytes(raw)) if len(good) == 3)
        assert any(isinstance(one, AlertError) for one in apart) == any(isinstance(one, AlertError) for one in together)


def test_one_record_is_not_taken_for_many() -> None:
    for raw in (
        packet(an_alert(), SCHEMA),
        packet([], SCHEMA),
        b"",
        b"Obj\x01",
        b"text",
        packet(an_alert(), SCHEMA)[:-9],
    ):
        assert not Decoder().holds_many(raw)


@pytest.mark.parametrize(
    ("said", "there", "told"), [(2, 3, "trailing_bytes"), (1, 2, "trailing_bytes"), (3, 2, "bad_count")]
)
def test_a_block_that_says_a_wrong_count_is_never_silent(said: int, there: int, told: str) -> None:
    """Given a block with more or fewer records than it says, then its pieces are those alerts and an error."""
    raw = packet(an_alert(), schema())
    header = container.read_header(raw)
    [block] = container.blocks(raw, header)
    record, sync = block.data[block.start : block.end], raw[-container.SYNC_SIZE :]
    lying = container.with_one_record(header, sync, record * there, count=said)
    decoder = Decoder()
    pieces = decoder.decode_many(piece.alone() for piece in decoder.split(lying))
    together = list(decoder.decode_all(lying))
    for results in (pieces, together):
        assert [isinstance(each, AlertError) for each in results] == [False] * min(said, there) + [True]
    assert pieces[-1].code == told


def test_files_put_one_behind_the_other_are_all_read() -> None:
    """As `cat a.avro b.avro` makes them: other schemas and codecs, files without a record, several records."""
    a, b = an_alert(), an_alert(jd=2460501.5)
    other = schema(null_first=False)
    files = [packet(a, SCHEMA), packet([], SCHEMA), packet([b, a], other, "deflate"), packet(b, SCHEMA, "xz")]
    for count in (2, 3, 4):
        raw = b"".join(files[:count])
        together = list(Decoder().decode_all(raw))
        assert [isinstance(one, Alert) for one in together] == [True] * (1, 1, 3, 4)[count - 1]
        decoder = Decoder()
        if count == 2:  # one record: neither needs to be split, nor is it refused
            assert [str(one) for one in decoder.decode_many(piece.alone() for piece in decoder.split(raw))] == [
                str(one) for one in together
            ]
            continue
        assert decoder.holds_many(raw)
        assert refusal(raw).code == "many_records"
        apart = decoder.decode_many(piece.alone() for piece in decoder.split(raw))
        assert [str(one) for one in apart] == [str(one) for one in together]
    assert Decoder().holds_many(b"".join(files[:2]))


@pytest.mark.parametrize("damage", ["cut", "flip", "text behind", "header behind"])
def test_damage_of_files_put_one_behind_the_other_is_told_once(damage: str) -> None:
    whole = packet(an_alert(), SCHEMA) + packet([an_alert()] * 2, SCHEMA, "deflate")
    raw = {
        "cut": whole[:-5],
        "flip": whole[:-1] + bytes([whole[-1] ^ 1]),
        "text behind": whole + b"text",
        "header behind": whole + whole[:900],
    }[damage]
    decoder = Decoder()
    together = decoder.decode_all(raw)
    apart = decoder.decode_many(piece.alone() for piece in decoder.split(raw))
    assert [isinstance(one, Alert) for one in together] == [isinstance(one, Alert) for one in apart]
    assert len([one for one in together if isinstance(one, AlertError)]) == 1
    assert isinstance(together[0], Alert)


def test_records_are_found_behind_blocks_without_any() -> None:
    """Given blocks of 1, 0 and 1 records (or 0, 1, 0), then each record is read."""
    header = container.read_header(packet(an_alert(), SCHEMA))
    raw = packet(an_alert(), SCHEMA)
    start = len(header.prefix) + container.SYNC_SIZE
    one, none = raw[start:], b"\0\0" + raw[-16:]
    decoder = Decoder()
    for blocks, count in ((one + none + one, 2), (none + one + none, 1), (none * 3 + one * 3, 3)):
        raw = raw[:start] + blocks
        assert decoder.holds_many(raw) is (count > 1)
        assert [isinstance(alert, Alert) for alert in decoder.decode_all(raw)] == [True] * count
        assert len(decoder.split(raw)) == count
    assert isinstance(decoder.decode(raw[:start] + none + one + none), Alert)
