"""Streams of bytes from files and archive members: plain, or unpacked from gzip, bzip2, xz and zstd, damaged or not."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Final, Protocol

import zstandard

_CHUNK: Final = 1 << 16
# After damage, only gzip can give the good data of the same piece again, so the others' pieces are small, and bzip2 and
# xz unpack one tar block at a time: a checksum is only checked after the data it covers. Four bytes of zstd may become
# 128 KB, so a piece of it at most 8 MB.
_PIECE: Final = {"gzip": _CHUNK, "bzip2": 256, "xz": 256, "zstd": 256}
_TAKEN: Final = {"gzip": _CHUNK, "bzip2": 1 << 12, "xz": 1 << 12, "zstd": 1 << 12}
_MAGIC: Final[dict[str, tuple[bytes, ...]]] = {
    "gzip": (b"\x1f\x8b\x08",),
    "bzip2": (b"BZh",),
    "xz": (b"\xfd7zXZ\0",),
    "zstd": (
        b"\x28\xb5\x2f\xfd",
        *(bytes([0x50 + kind]) + b"\x2a\x4d\x18" for kind in range(16)),
    ),  # a frame, or one to skip
}
_TAR_MAGIC: Final = 257  # where a tar archive's first header says "ustar"
_FED: Final = 1 << 20
_LONGEST_START: Final = 10
_START: Final = {  # of a member, searched for after damage: as long as possible, or packed data would match by chance
    "gzip": re.compile(rb"\x1f\x8b\x08[\x00-\x1f].{5}[\x00-\x0d\xff]", re.DOTALL),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
_ENDINGS: Final = {".gz": "gzip", ".tgz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_UNPACKED_AT_ONCE: Final = {"gzip": 1 << 18, "bzip2": 512, "xz": 512, "zstd": 0}
_XZ_MEMORY: Final = 1 << 28  # xz -9 takes 65 MB
_ZSTD_WINDOW: Final = 1 << 27  # what `zstd --ultra -22` and `--long` take


class Stream(Protocol):
    """Bytes in undamaged stretches: damage ends one, `resume` finds the next."""

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only where the stretch ends."""
        ...

    def resume(self) -> bool:
        """Continue after damage, at the next possible place; False at the end of the file."""
        ...

    @property
    def faults(self) -> list[str]:
        """The damage found so far, with its place."""
        ...


class Raw:
    """The bytes of a file, or the next `size` bytes of another stream."""

    def __init__(self, read: Callable[[int], bytes], size: int | None = None) -> None:
        self._read = read
        self.left = size
        self._ahead = b""
        self.faults: list[str] = []

    def read(self, size: int) -> bytes:
        parts = [self._ahead[:size]]
        self._ahead = self._ahead[size:]
        missing = size - len(parts[0])
        while missing:
            part = self._read(min(missing, _CHUNK) if self.left is None else min(missing, _CHUNK, self.left))
            if not part:
                break
            if self.left is not None:
                self.left -= len(part)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def peek(self, size: int) -> bytes:
        """The next bytes, without consuming them."""
        self._ahead = self.read(size)
        return self._ahead

    def resume(self) -> bool:
        return False


def unpacked(raw: Raw, name: str) -> Stream:
    """What `raw` holds, unpacked where its first bytes, or else the ending of its name, tell that it is packed."""
    first = raw.peek(_TAR_MAGIC + 5)
    if first[_TAR_MAGIC:] == b"ustar" or first.startswith(b"Obj\x01"):
        return raw  # whatever its name says: downloads may arrive unpacked under their packed name
    kinds = [kind for kind, magics in _MAGIC.items() if first.startswith(magics)]
    kinds += [kind for ending, kind in _ENDINGS.items() if name.lower().endswith(ending)]
    return Unpacked(raw, kinds[0]) if kinds else raw


class Unpacked:
    """A packed stream of one or more members (a night may be several files, concatenated).

    If the packing is damaged, everything before the damage is returned, and `resume` continues at the next member.
    """

    def __init__(self, raw: Raw, kind: str) -> None:
        self.faults: list[str] = []
        self._raw = raw
        self._kind = kind
        self._packed = b""  # read from `raw`, not yet unpacked
        self._at = 0  # position of `_packed` in `raw`
        self._fed = bytearray()  # the last bytes given to the unpacker: if this member is cut, the next may begin there
        self._unpacker: _Unpacker | None = None
        self._data = bytearray()
        self._ended = False
        self._empty = True

    def read(self, size: int) -> bytes:
        while len(self._data) < size and not self._ended:
            if self._unpacker is None:
                self._begin_member()
            else:
                self._unpack(self._unpacker)
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def resume(self) -> bool:
        self._skip(1)  # not where it failed before
        while True:
            found = _START[self._kind].search(self._packed)
            if found:
                self._skip(found.start())
                self._ended = False
                return True
            self._skip(max(len(self._packed) - _LONGEST_START + 1, 0))
            if not self._take():
                return False

    def _begin_member(self) -> None:
        magics = _MAGIC[self._kind]
        while True:
            if not self._empty:
                self._skip(len(self._packed) - len(self._packed.lstrip(b"\0")))  # members may be padded
            if len(self._packed) >= max(map(len, magics)) or not self._take():
                break
        if self._packed.startswith(magics):
            self._unpacker = _new(self._kind)
            self._fed.clear()
            self._empty = False
            return
        self._ended = True
        if self._packed or self._empty:
            self.faults.append(f"no {self._kind} data at byte {self._at}")

    def _unpack(self, unpacker: _Unpacker) -> None:
        piece = b""
        if unpacker.needs_input:
            if not self._packed and not self._take():
                self._fail(f"{self._kind} data end at byte {self._at}, before their own end")
                return
            piece = self._packed[: _PIECE[self._kind]]
        before = unpacker.copy() if isinstance(unpacker, _Gzip) else None
        try:
            self._data += unpacker.decompress(piece, _UNPACKED_AT_ONCE[self._kind])
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError) as error:
            if before is not None:
                self._data += before.rescue(piece)
            self._fail(f"{self._kind} data are damaged before byte {self._at + len(piece)}: {error}")
            return
        self._skip(len(piece))
        self._fed += piece
        del self._fed[: -2 * _FED if len(self._fed) > 3 * _FED else 0]
        if unpacker.eof:
            self._packed = unpacker.unused_data + self._packed
            self._at -= len(unpacker.unused_data)
            self._unpacker = None

    def _fail(self, fault: str) -> None:
        self.faults.append(fault)
        self._ended, self._unpacker = True, None
        self._packed = bytes(self._fed) + self._packed
        self._at -= len(self._fed)
        self._fed.clear()

    def _take(self) -> bool:
        more = self._raw.read(_TAKEN[self._kind])
        self._packed += more
        return bool(more)

    def _skip(self, size: int) -> None:
        size = min(size, len(self._packed))
        self._packed = self._packed[size:]
        self._at += size


class _Gzip:
    """zlib's unpacker with the interface of the other two."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)

    def copy(self) -> _Gzip:
        copied = _Gzip()
        copied._inflate = self._inflate.copy()
        return copied

    def rescue(self, data: bytes) -> bytes:
        """The bytes that `data` holds before its damage; call it on a copy that was not fed `data` yet."""
        rescued = bytearray()
        try:
            for byte in self._inflate.unconsumed_tail + data:
                rescued += self._inflate.decompress(bytes([byte]))
        except zlib.error:
            pass
        return bytes(rescued)


class _Zstd:
    """zstandard's unpacker with the interface of bz2's and lzma's."""

    def __init__(self) -> None:
        self._unpack = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._unpack.eof

    @property
    def unused_data(self) -> bytes:
        return self._unpack.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._unpack.decompress(data)


_Unpacker = _Gzip | _Zstd | bz2.BZ2Decompressor | lzma.LZMADecompressor


def _new(kind: str) -> _Unpacker:
    if kind == "gzip":
        return _Gzip()
    if kind == "zstd":
        return _Zstd()
    return bz2.BZ2Decompressor() if kind == "bzip2" else lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
