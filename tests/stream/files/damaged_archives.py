"""Archives in every packing, and what must be found in them after damage."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import zstandard

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes, ".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
    ".tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress,  # as the command `zstd` does
}  # fmt: skip


def tar(files: Sequence[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, value in files:
            member = tarfile.TarInfo(name)
            member.size = len(value)
            archive.addfile(member, io.BytesIO(value))
    return buffer.getvalue()


def is_whole(data: bytes, archive: bytes) -> bool:
    """Whether `data` was cut right behind its first `archive`, or behind the end marker of that one if it is plain:
    nobody can tell that from a whole archive.
    """
    marker = len(data) >= 1024 and len(data) % 512 == 0 and not archive[len(data) - 1024 : len(data)].strip(b"\0")
    return archive.startswith(data) and (len(data) == len(archive) or marker)


def lenient(path: Path) -> dict[str, bytes]:
    """What Python's own reader finds when told to go on past end markers and damaged headers."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*", ignore_zeros=True) as archive:
            for member in archive:
                if member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None
                    found[member.name] = file.read()
    except Exception:  # it ends at damage of the packing, with what it has
        pass
    return found
