"""Messages made to cost more than they are worth, at the bounds of what is read and a little beyond, and their cost."""

from __future__ import annotations

import bz2
import json
import lzma
import random
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cramjam import snappy, zstd

from service.alerts import container
from service.alerts.container import MAGIC, write_long

MEGABYTE = 1 << 20
_STATUS = Path("/proc/self/status")


class Cost:
    """CPU seconds of this thread, and the most memory [bytes] above that at the beginning."""

    def __enter__(self) -> Cost:
        if _STATUS.exists():
            Path("/proc/self/clear_refs").write_text("5")  # forget the process's highest use of memory
        self._memory = _status("VmRSS")
        self._time = time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.thread_time() - self._time
        self.memory = _status("VmHWM") - self._memory


def _status(name: str) -> int:
    text = _STATUS.read_text() if _STATUS.exists() else f"{name}: 0"  # elsewhere than on Linux memory isn't looked at
    return int(text.partition(f"{name}:")[2].split()[0]) << 10


def file(schema: object, data: Iterable[tuple[int, bytes]], codec: bytes = b"null", **entries: bytes) -> bytes:
    """A container file of the given blocks (count, packed bytes), however wrong they are."""
    text = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    metadata = {b"avro.schema": text, b"avro.codec": codec, **{key.encode(): value for key, value in entries.items()}}
    parts = [MAGIC, write_long(len(metadata))]
    for key, value in metadata.items():
        parts += [write_long(len(key)), key, write_long(len(value)), value]
    sync = bytes(range(16))
    parts += [b"\0", sync]
    for count, block in data:
        parts += [write_long(count), write_long(len(block)), block, sync]
    return b"".join(parts)


def record(*fields: tuple[str, Any], name: str = "ztf.alert") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields]}


def doubling(levels: int) -> dict[str, Any]:
    """A short schema in which each record holds the one before twice: 2^levels types."""
    inner = record(("x", "string"), name="r0")
    for level in range(1, levels + 1):
        inner = record(("a", inner), ("b", f"r{level - 1}"), name=f"r{level}")
    return record(("a", inner))


def referring(levels: int, kind: str = "array") -> dict[str, Any]:
    """Records side by side, each of which holds an array (or a map) of the one before: as deep as there are levels."""
    key = "items" if kind == "array" else "values"
    above = [
        (f"r{level}", record(("a", {"type": kind, key: f"n{level - 1}"}), name=f"n{level}"))
        for level in range(1, levels + 1)
    ]
    return record(("r0", record(("x", "string"), name="n0")), *above)


class Schemas:
    """Random schemas of named types, nested and wide, with references to what is there and to what is not."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._names: list[str] = []
        self._left = 0

    def message(self) -> bytes:
        rng = self._rng
        self._names = []
        self._left = rng.choice((10, 100, 1000, 3000, 12_000))
        width = rng.choice((2, 10, 200, 12_000))
        wanted = rng.sample(("candidate", "prv_candidates", "objectId", "candid", "fp_hists"), rng.randrange(5))
        fields = [(name, self._type(rng.choice((2, 8, 70)), width)) for name in wanted]
        while self._left > 0 and len(fields) < width:
            fields.append((f"f{len(fields)}", self._type(rng.choice((1, 8, 70)), width)))
        schema = rng.choice((record(*fields), doubling(rng.randrange(30)), referring(rng.randrange(90)))
                            if rng.random() < 0.2 else (record(*fields),))  # fmt: skip
        if rng.random() < 0.1:
            schema["doc"] = "x" * rng.randrange(MEGABYTE)
        data = rng.choice((bytes(rng.randrange(100_000)), rng.randbytes(rng.randrange(100_000)), b"\x02" * 100_000))
        return file(schema, [(1, data)])

    def _type(self, depth: int, width: int) -> Any:
        rng = self._rng
        self._left -= 1
        kind = rng.randrange(10) if depth > 0 and self._left > 0 else 0
        if kind <= 2:
            return rng.choice(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
        if kind == 3 and self._names:
            return rng.choice(self._names)
        if kind == 4:
            return {"type": "array", "items": self._type(depth - 1, width)}
        if kind == 5:
            return {"type": "map", "values": self._type(depth - 1, width)}
        if kind == 6:
            return ["null", *(self._type(depth - 1, width) for _ in range(rng.randrange(min(width, 20))))]
        if kind == 7:
            return {"type": "fixed", "name": self._name(), "size": rng.choice((0, 1, 2**31 - 1))}
        if kind == 8:
            return {"type": "enum", "name": self._name(), "symbols": ["A"] * rng.choice((1, width))}
        name = self._name()
        members = rng.randrange(1, rng.choice((2, 4, width + 1)) + 1)
        names = ("jd", "fid", "magpsf", "isdiffpos", "candid", *(f"m{number}" for number in range(members)))
        return record(*((key, self._type(depth - 1, width)) for key in names[:members]), name=name)

    def _name(self) -> str:
        name = self._rng.choice(("", "n.", "deep.er.")) + f"t{len(self._names)}" + "y" * self._rng.choice((0, 0, 200))
        self._names.append(name)
        return name


PACKED = {
    b"null": bytes,
    b"deflate": lambda data: zlib.compress(data, 9, wbits=-15),
    b"snappy": lambda data: bytes(snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(4, "big"),
    b"zstandard": lambda data: bytes(zstd.compress(data)),
    b"bzip2": bz2.compress,
    b"xz": lzma.compress,
}


class Containers:
    """Files with up to a little more of everything than is read: blocks, records, entries, unpacked bytes, files."""

    def __init__(self, seed: int, packet: bytes, largest: int = 9 * MEGABYTE) -> None:
        self._rng = random.Random(seed)
        header = container.read_header(packet)
        self._schema = header.schema
        [block] = container.blocks(packet, header)
        record = block.data[block.start : block.end]
        records = [record * (size // len(record)) for size in (500, 1000, 20_000, largest)]
        noise = self._rng.randbytes(min(largest // 4, 1 << 19))  # so that messages have no more than megabytes
        self._data = [b"", bytes(20), bytes(largest), noise, record[:-9], *records]
        self._blocks = {codec: [(len(data), pack(data)) for data in self._data] for codec, pack in PACKED.items()}

    def message(self) -> bytes:
        rng = self._rng
        files = [self._file() for _ in range(rng.choice((1, 1, 1, 2, 40)))]
        while len(files) > 1 and sum(map(len, files)) > 8_000_000:
            files.pop()
        return b"".join(files)[:8_000_000]

    def _file(self) -> bytes:
        rng = self._rng
        codec = rng.choice(list(PACKED))
        few = rng.choices(self._blocks[codec], k=3)
        blocks = [self._counted(*rng.choice(few)) for _ in range(rng.randrange(rng.choice((2, 4, 60, 5_100))))]
        while len(blocks) > 1 and sum(len(data) for _, data in blocks) > 8_000_000:
            del blocks[len(blocks) // 2 :]
        entries = {f"key{number}": rng.randbytes(rng.choice((0, 4000))) for number in range(rng.choice((0, 0, 300)))}
        schema = rng.choice((self._schema, self._schema, json.dumps(record()).encode()))
        raw = file(schema, blocks, codec, **entries)
        return raw if rng.random() < 0.7 else raw[: rng.randrange(len(raw))]

    def _counted(self, size: int, data: bytes) -> tuple[int, bytes]:
        return self._rng.choice((0, 1, 1, 2, size, 20_000)), data
