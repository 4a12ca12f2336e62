"""Packets of files decoded by all cores, in the order of the files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from service.alerts import Alert, AlertError, Decoder
from service.stream.files.archives import Damage, PacketFile

Decoded = tuple[PacketFile | Damage, list[Alert | AlertError]]

# A thread takes so many files, or bytes, at once: handing over costs a third of decoding one packet, and what waits to
# be decoded stays within some tens of MB.
FILES: Final = 32
BYTES: Final = 4_000_000


def decoded(files: Iterable[PacketFile | Damage], decoder: Decoder, threads: int) -> Iterator[Decoded]:
    """Each file with its alerts and errors, in order; a Damage with none.

    Threads, not processes: reading a file and the decoder's loop release the interpreter's lock, and nothing has to be
    handed over between memories.
    """

    def decode(some: list[PacketFile | Damage]) -> list[Decoded]:
        return [(one, list(decoder.decode_all(one.value)) if isinstance(one, PacketFile) else []) for one in some]

    waiting: deque[Future[list[Decoded]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for some in _portions(files):
            waiting.append(pool.submit(decode, some))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _portions(files: Iterable[PacketFile | Damage]) -> Iterator[list[PacketFile | Damage]]:
    some: list[PacketFile | Damage] = []
    size = 0
    for one in files:
        some.append(one)
        size += len(one.value) if isinstance(one, PacketFile) else 0
        if len(some) == FILES or size >= BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some
