"""Avro object container files: magic, metadata, then blocks of records between sync markers (Avro 1.11 specification).

Reads only the frame, and checks every length in it; `interpreter` and `oddities` read the records. A message may hold
several files, one behind the other.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from cramjam import DecompressionError, snappy, zstd

from service.alerts.alert import AlertError

MAGIC: Final = b"Obj\x01"
_ONE: Final = b"\x02"  # 1 as a zigzag varint
SYNC_SIZE: Final = 16

# A ZTF packet is 70 KB, one of Rubin's about 100 KB, their schemas below 100 KB. What claims to be hundreds of times
# that is an attack on memory or time. A block is unpacked as a whole, those of a message one after the other.
MAX_BLOCK: Final = 8 << 20
MAX_HEADER: Final = 1 << 20
MAX_ENTRIES: Final = 256  # of a header: schema, codec, and a few that writers add
# Of a message, however many files it holds. A night's file may have many blocks of 16 KB and many small records; each
# costs some 5 microseconds to find, and each record about a millisecond to classify.
MAX_BLOCKS: Final = 5_000
MAX_RECORDS: Final = 10_000
MAX_UNPACKED: Final = 16 << 20  # or four times the message
MAX_ROWS: Final = 1_000_000  # of history, of all its records
# A record that is refused is kept with a header of its own, so many records with a long header would make gigabytes.
MAX_HEADERS: Final = 128 << 20
_SLOWNESS: Final = {"bzip2": 16}  # times as slow as the other codecs, so that much less is unpacked
_XZ_MEMORY: Final = 80 << 20  # xz -9 takes 65 MB, of which as much is used as there are data


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


@dataclass(slots=True)
class Work:
    """What the files of a message have cost so far, and where the latest ends: with the message, if it is damaged."""

    size: int  # of the message
    blocks: int = 0
    records: int = 0
    unpacked: int = 0
    headers: int = 0
    rows: int = 0
    behind: int = 0

    def add(self, count: int, header: Header) -> None:
        """A block of `count` records. Raises AlertError too_large."""
        self.blocks += 1
        self.records += count
        self.headers += count * len(header.prefix)
        if self.blocks > MAX_BLOCKS:
            raise _too_large(f"more than {MAX_BLOCKS:,} blocks")
        if self.records > MAX_RECORDS:
            raise _too_large(f"more than {MAX_RECORDS:,} records")
        if self.headers > MAX_HEADERS and self.records > 1:
            raise _too_large(f"so many records with so long a header that each alone would take {MAX_HEADERS:,} bytes")

    def room(self, slowness: int) -> int:
        """How many bytes the next block may have."""
        return min(MAX_BLOCK, (max(MAX_UNPACKED, 4 * self.size) - self.unpacked) // slowness)

    def add_rows(self, rows: int) -> None:
        """A record with that much history. Raises AlertError too_large."""
        self.rows += rows
        if self.rows > MAX_ROWS:
            raise _too_large(f"more than {MAX_ROWS:,} rows of history")


@dataclass(frozen=True, slots=True)
class Piece:
    """A record of a file; or, with `count` 0, bytes of a block that belong to none, and with -1 the rest of a file."""

    header: Header
    sync: bytes
    data: bytes
    count: int = 1

    def alone(self) -> bytes:
        """It as a file of its own."""
        if self.count < 0:
            return b"".join((self.header.prefix, self.sync, self.data))
        return with_one_record(self.header, self.sync, self.data, self.count)


def read_header(raw: bytes, begin: int = 0) -> Header:
    """The header of the file at `begin`. Raises AlertError: empty, bad_magic, truncated, bad_header."""
    if not raw:
        raise AlertError("empty", "the message has no bytes")
    if not raw.startswith(MAGIC, begin):
        said = raw[begin : begin + 4].hex(" ")
        raise AlertError("bad_magic", f"not an Avro container file: begins with {said}, not 4f 62 6a 01")
    metadata: dict[bytes, bytes] = {}
    position = begin + len(MAGIC)
    entries = 0
    while True:
        count, position = read_long(raw, position, "header metadata count")
        if count == 0:
            break
        if count < 0:
            count = -count
            _, position = read_long(raw, position, "header metadata size")
        entries += count
        if entries > MAX_ENTRIES:
            raise AlertError("bad_header", f"header claims {entries} metadata entries; at most {MAX_ENTRIES} are read")
        for _ in range(count):
            key, position = _read_bytes(raw, position, "header metadata key", begin)
            value, position = _read_bytes(raw, position, "header metadata value", begin)
            if key in (b"avro.schema", b"avro.codec"):
                metadata[key] = value
            elif not key.isascii() and not _is_text(key):
                raise AlertError("bad_header", f"header metadata key {key[:40]!r} is not UTF-8")
    if b"avro.schema" not in metadata:
        raise AlertError("bad_header", "header has no avro.schema")
    codec = metadata.get(b"avro.codec", b"null")[:40].decode("ascii", "backslashreplace")
    if codec not in _UNPACK:
        raise AlertError("unsupported_codec", f"avro.codec is {codec!r}; supported are {', '.join(_UNPACK)}")
    return Header(raw[begin:position], metadata[b"avro.schema"], codec)


def blocks(raw: bytes, header: Header, begin: int = 0, work: Work | None = None) -> Iterator[Block]:
    """The blocks of the file at `begin`, which has `header`, in order; one with a `fault` (truncated, bad_sync) is the
    last. They are counted in `work`, if given, which says afterwards where the file ends.

    Raises AlertError: truncated, bad_block, bad_count, bad_compression, bad_checksum, too_large.
    """
    if work is not None:
        work.behind = len(raw)  # unless all goes well
    position = begin + len(header.prefix)
    sync = raw[position : position + SYNC_SIZE]
    if len(sync) < SYNC_SIZE:
        raise AlertError("truncated", f"file ends at byte {len(raw)}, inside the header's sync marker")
    position += SYNC_SIZE
    while position < len(raw) and not raw.startswith(MAGIC, position):  # which is no block: as a count it is negative
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
            work = work or Work(len(raw))
            slowness = _SLOWNESS.get(header.codec, 1)
            data = _UNPACK[header.codec](raw[position:end], _block(begin), work.room(slowness))
            start, stop = 0, len(data)
            work.unpacked += stop * slowness
        if count > stop - start:
            raise AlertError("bad_count", f"{_block(begin)} claims {count} records in {stop - start} bytes")
        if work is not None:
            work.add(count, header)
        yield Block(count, data, start, stop, begin, end + SYNC_SIZE, fault)
        if fault is not None:
            return
        position = end + SYNC_SIZE
        work = work or Work(len(raw), blocks=1)  # not for the one block of every packet of a survey
    if work is not None:
        work.behind = position


def holds_many(raw: bytes, header: Header) -> bool:
    """Whether a message that begins with `header` declares more than one record, or more blocks than are read."""
    position = len(header.prefix) + SYNC_SIZE
    if _is_one_record(raw, position):
        return False
    sync = raw[position - SYNC_SIZE : position]
    records = 0
    for _ in range(MAX_BLOCKS):
        if raw.startswith(MAGIC, position):
            return True
        count, position = read_long(raw, position, "a block's record count")
        size, position = read_long(raw, position, "a block's size")
        if count < 0 or size < 0:
            return False
        records += count
        position += size
        if records > 1 or not raw.startswith(sync, position):
            return records > 1
        position += SYNC_SIZE
        if position == len(raw):
            return False
    return True


def _is_one_record(raw: bytes, begin: int) -> bool:
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


def _too_large(what: str) -> AlertError:
    return AlertError("too_large", f"the message holds {what}; send it in several")


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_bytes(raw: bytes, position: int, place: str, begin: int) -> tuple[bytes, int]:
    size, position = read_long(raw, position, place)
    if size < 0:
        raise AlertError("bad_header", f"{place} claims {size} bytes")
    if size > len(raw) - position:
        raise AlertError("truncated", f"{place} claims {size} bytes, the file has {len(raw) - position}")
    if position + size - begin > MAX_HEADER:
        raise AlertError("bad_header", f"header is longer than {MAX_HEADER} bytes")
    return raw[position : position + size], position + size


def _inflate(packed: bytes, place: str, room: int) -> bytes:
    inflater = zlib.decompressobj(wbits=-15)  # raw deflate without zlib header, as specified
    try:
        data = inflater.decompress(packed, room + 1)
    except zlib.error as error:
        raise AlertError("bad_compression", f"{place} does not inflate: {error}") from error
    if len(data) > room:
        raise _no_room(place)
    if not inflater.eof:
        raise AlertError("bad_compression", f"{place} does not inflate: its deflate stream is incomplete")
    return data


def _unsnap(packed: bytes, place: str, room: int) -> bytes:
    packed, checksum = packed[:-4], packed[-4:]  # a block ends with the big-endian CRC-32 of its unpacked bytes
    size = 0
    for index, byte in enumerate(packed[:5]):  # snappy's preamble: the unpacked size as a plain varint
        size |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            break
    else:
        raise AlertError("bad_compression", f"{place} does not unsnap: no size")
    if size > room:
        raise _no_room(place)
    try:
        data = bytes(snappy.decompress_raw(packed))
    except DecompressionError as error:
        raise AlertError("bad_compression", f"{place} does not unsnap: {error}") from error
    if zlib.crc32(data).to_bytes(4, "big") != checksum:
        raise AlertError("bad_checksum", f"{place}: CRC-32 of the unpacked bytes differs from the stored one")
    return data


def _unbzip2(packed: bytes, place: str, room: int) -> bytes:
    return _bounded(bz2.BZ2Decompressor(), packed, f"{place} does not decompress as bzip2", place, room)


def _unxz(packed: bytes, place: str, room: int) -> bytes:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
    return _bounded(unpacker, packed, f"{place} does not decompress as xz", place, room)


def _bounded(
    unpacker: bz2.BZ2Decompressor | lzma.LZMADecompressor, packed: bytes, failed: str, place: str, room: int
) -> bytes:
    try:
        data = unpacker.decompress(packed, room + 1)
    except (OSError, ValueError, lzma.LZMAError) as error:
        raise AlertError("bad_compression", f"{failed}: {error}") from error
    if len(data) > room:
        raise _no_room(place)
    if not unpacker.eof:
        raise AlertError("bad_compression", f"{failed}: it is incomplete")
    return data


def _unzstd(packed: bytes, place: str, room: int) -> bytes:
    unpacked = np.empty(room, np.uint8)  # its memory is only used as far as it is written
    try:
        size = zstd.decompress_into(packed, unpacked.data)
    except DecompressionError as error:
        if "whole buffer" in str(error):
            raise _no_room(place) from error
        raise AlertError("bad_compression", f"{place} does not decompress as zstandard: {error}") from error
    return unpacked[:size].tobytes()


def _as_is(packed: bytes, place: str, room: int) -> bytes:
    return packed


def _no_room(place: str) -> AlertError:
    bounds = f"four times the message's bytes, and {MAX_UNPACKED:,} (bzip2: a sixteenth)"
    return AlertError(
        "too_large", f"{place} unpacks to more than {MAX_BLOCK:,} bytes, or all of them to more than {bounds}"
    )


_UNPACK: Final = {
    "null": _as_is,
    "deflate": _inflate,
    "snappy": _unsnap,
    "zstandard": _unzstd,
    "bzip2": _unbzip2,
    "xz": _unxz,
}
