"""Avro object container files: magic, metadata, then blocks of records between sync markers (Avro 1.11 specification).

Reads only the frame, and checks every length in it; `interpreter` and `fallback` read the records.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cramjam import DecompressionError, snappy, zstd

from service.alerts.alert import AlertError

MAGIC: Final = b"Obj\x01"
_ONE: Final = b"\x02"  # 1 as a zigzag varint
SYNC_SIZE: Final = 16

# A ZTF packet is 70 KB, one of Rubin's about 100 KB, their schemas below 30 KB. A file that claims to unpack to
# hundreds of times that is an attack on memory.
MAX_BLOCK: Final = 64 << 20
MAX_HEADER: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """`prefix` is everything up to the sync marker, byte for byte: equal prefixes mean equal schema and codec."""

    prefix: bytes
    schema: bytes
    codec: str


@dataclass(slots=True)
class Block:
    """`count` records, unpacked, in `data[start:end]`; the block begins at byte `position`, the next at `behind`.

    `fault` is an error found after the block. It is not raised at once, because if bytes are missing inside the block,
    the error of the record with missing bytes is more specific.
    """

    count: int
    data: bytes
    start: int
    end: int
    position: int
    behind: int
    fault: AlertError | None


def read_header(raw: bytes) -> Header:
    """Raises AlertError: empty, bad_magic, truncated, bad_header."""
    if not raw:
        raise AlertError("empty", "the message has no bytes")
    if not raw.startswith(MAGIC):
        raise AlertError("bad_magic", f"not an Avro container file: begins with {raw[:4].hex(' ')}, not 4f 62 6a 01")
    metadata: dict[str, bytes] = {}
    position = len(MAGIC)
    while True:
        count, position = read_long(raw, position, "header metadata count")
        if count == 0:
            break
        if count < 0:
            count = -count
            _, position = read_long(raw, position, "header metadata size")
        if count > len(raw):
            raise AlertError("bad_header", f"header claims {count} metadata entries in {len(raw)} bytes")
        for _ in range(count):
            key, position = _read_bytes(raw, position, "header metadata key")
            try:
                name = key.decode()
            except UnicodeDecodeError:
                raise AlertError("bad_header", f"header metadata key {key[:40]!r} is not UTF-8") from None
            metadata[name], position = _read_bytes(raw, position, "header metadata value")
        if position > MAX_HEADER:
            raise AlertError("bad_header", f"header is longer than {MAX_HEADER} bytes")
    if "avro.schema" not in metadata:
        raise AlertError("bad_header", "header has no avro.schema")
    codec = metadata.get("avro.codec", b"null").decode("ascii", "backslashreplace")
    if codec not in _UNPACK:
        raise AlertError("unsupported_codec", f"avro.codec is {codec!r}; supported are {', '.join(_UNPACK)}")
    return Header(raw[:position], metadata["avro.schema"], codec)


def blocks(raw: bytes, header: Header) -> Iterator[Block]:
    """The blocks behind `header`, in order; one with a `fault` (truncated, bad_sync) is the last.

    Raises AlertError: truncated, bad_block, bad_count, bad_compression, bad_checksum, too_large.
    """
    position = len(header.prefix)
    sync = raw[position : position + SYNC_SIZE]
    if len(sync) < SYNC_SIZE:
        raise AlertError("truncated", f"file ends at byte {len(raw)}, inside the header's sync marker")
    position += SYNC_SIZE
    while position < len(raw):
        begin = position
        count, position = read_long(raw, position, "a block's record count")
        size, position = read_long(raw, position, "a block's size")
        if count < 0 or size < 0:
            raise AlertError("bad_block", f"{_block(begin)} claims {count} records in {size} bytes")
        end = position + size
        if end > len(raw):
            raise AlertError("truncated", f"{_block(begin)} claims {size} bytes, the file has {len(raw) - position}")
        fault = None if raw.startswith(sync, end) else _sync_fault(raw, end, sync, begin)
        if header.codec == "null":
            data, start, stop = raw, position, end
        else:
            data = _UNPACK[header.codec](raw[position:end], _block(begin))
            start, stop = 0, len(data)
        if count > stop - start:
            raise AlertError("bad_count", f"{_block(begin)} claims {count} records in {stop - start} bytes")
        yield Block(count, data, start, stop, begin, end + SYNC_SIZE, fault)
        if fault is not None:
            return
        position = end + SYNC_SIZE


def block_frame(raw: bytes, begin: int, header: Header) -> tuple[int, int]:
    """The number of records that the block at `begin` declares, and the byte after it, 0 if it is incomplete.

    Raises AlertError.
    """
    count, position = read_long(raw, begin, "a block's record count")
    size, position = read_long(raw, position, "a block's size")
    end = position + max(size, 0)
    sync = raw[len(header.prefix) : len(header.prefix) + SYNC_SIZE]
    return (count, end + SYNC_SIZE) if raw.startswith(sync, end) else (0, 0)


def is_one_record(raw: bytes, begin: int) -> bool:
    """Whether the block at `begin` declares one record and ends with the file, as in every packet of a survey."""
    if raw[begin : begin + 1] != _ONE:
        return False
    size, position = read_long(raw, begin + 1, "a block's size")
    return position + size + SYNC_SIZE == len(raw)


def with_one_record(header: Header, sync: bytes, record: bytes, count: int = 1) -> bytes:
    """A container file without codec that holds the bytes of one record; with `count` 0, bytes that belong to none."""
    prefix = header.prefix
    if header.codec != "null":
        metadata = (b"avro.schema", header.schema, b"avro.codec", b"null")
        prefix = MAGIC + write_long(2) + b"".join(write_long(len(part)) + part for part in metadata) + b"\0"
    return b"".join((prefix, sync, write_long(count), write_long(len(record)), record, sync))


def write_long(value: int) -> bytes:
    """A zigzag varint of a number that is not negative."""
    value <<= 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_long(raw: bytes, position: int, place: str) -> tuple[int, int]:
    """A zigzag varint of at most 10 bytes, and the position behind it. Raises AlertError: truncated, bad_varint."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(raw):
            raise AlertError("truncated", f"file ends at byte {len(raw)}, inside {place}")
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return (value >> 1) ^ -(value & 1), position
    raise AlertError("bad_varint", f"{place} is a number of more than 64 bits")


def _sync_fault(raw: bytes, position: int, sync: bytes, begin: int) -> AlertError:
    if sync.startswith(raw[position:]):
        return AlertError("truncated", f"file ends at byte {len(raw)}, inside the sync marker of the {_block(begin)}")
    said = f"sync marker at byte {position}, behind the {_block(begin)}, differs from the header's"
    return AlertError("bad_sync", said)


def _block(begin: int) -> str:
    return f"block at byte {begin}"


def _read_bytes(raw: bytes, position: int, place: str) -> tuple[bytes, int]:
    size, position = read_long(raw, position, place)
    if size < 0:
        raise AlertError("bad_header", f"{place} claims {size} bytes")
    if size > len(raw) - position:
        raise AlertError("truncated", f"{place} claims {size} bytes, the file has {len(raw) - position}")
    return raw[position : position + size], position + size


def _inflate(packed: bytes, place: str) -> bytes:
    inflater = zlib.decompressobj(wbits=-15)  # raw deflate without zlib header, as specified
    try:
        data = inflater.decompress(packed, MAX_BLOCK)
    except zlib.error as error:
        raise AlertError("bad_compression", f"{place} does not inflate: {error}") from error
    if inflater.unconsumed_tail:
        raise AlertError("too_large", f"{place} inflates to more than {MAX_BLOCK} bytes")
    if not inflater.eof:
        raise AlertError("bad_compression", f"{place} does not inflate: its deflate stream is incomplete")
    return data


def _unsnap(packed: bytes, place: str) -> bytes:
    packed, checksum = packed[:-4], packed[-4:]  # a block ends with the big-endian CRC-32 of its unpacked bytes
    size = 0
    for index, byte in enumerate(packed[:5]):  # snappy's preamble: the unpacked size as a plain varint
        size |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            break
    else:
        raise AlertError("bad_compression", f"{place} does not unsnap: no size")
    if size > MAX_BLOCK:
        raise AlertError("too_large", f"{place} unsnaps to {size} bytes; at most {MAX_BLOCK} are read")
    try:
        data = bytes(snappy.decompress_raw(packed))
    except DecompressionError as error:
        raise AlertError("bad_compression", f"{place} does not unsnap: {error}") from error
    if zlib.crc32(data).to_bytes(4, "big") != checksum:
        raise AlertError("bad_checksum", f"{place}: CRC-32 of the unpacked bytes differs from the stored one")
    return data


def _unbzip2(packed: bytes, place: str) -> bytes:
    return _bounded(bz2.BZ2Decompressor(), packed, f"{place} does not decompress as bzip2", place)


def _unxz(packed: bytes, place: str) -> bytes:
    return _bounded(lzma.LZMADecompressor(), packed, f"{place} does not decompress as xz", place)


def _bounded(unpacker: bz2.BZ2Decompressor | lzma.LZMADecompressor, packed: bytes, failed: str, place: str) -> bytes:
    try:
        data = unpacker.decompress(packed, MAX_BLOCK + 1)
    except (OSError, ValueError, lzma.LZMAError) as error:
        raise AlertError("bad_compression", f"{failed}: {error}") from error
    if len(data) > MAX_BLOCK:
        raise AlertError("too_large", f"{place} unpacks to more than {MAX_BLOCK} bytes")
    if not unpacker.eof:
        raise AlertError("bad_compression", f"{failed}: it is incomplete")
    return data


def _unzstd(packed: bytes, place: str) -> bytes:
    unpacked = bytearray(MAX_BLOCK)  # memory is only used as far as it is written
    try:
        size = zstd.decompress_into(packed, unpacked)
    except DecompressionError as error:
        raise AlertError("bad_compression", f"{place} does not decompress within {MAX_BLOCK} bytes: {error}") from error
    return bytes(memoryview(unpacked)[:size])


def _as_is(packed: bytes, place: str) -> bytes:
    return packed


_UNPACK: Final = {
    "null": _as_is,
    "deflate": _inflate,
    "snappy": _unsnap,
    "zstandard": _unzstd,
    "bzip2": _unbzip2,
    "xz": _unxz,
}
