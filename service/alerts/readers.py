"""Readers of records: a writer schema compiled once, kept for the messages that come with it again."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from service import metrics
from service.alerts import container, interpreter, oddities, schema
from service.alerts.alert import AlertError
from service.alerts.compiler import compile_schema
from service.alerts.interpreter import Program
from service.alerts.projection import Cells
from service.alerts.surveys import Survey, survey_of

log = logging.getLogger(__name__)

# How many writer schemas and headers are kept, and how many bytes of either. A stream has one or two of 25 KB, all
# archives together some twenty; the bounds only protect the memory from a hostile stream.
MAX_SCHEMAS: Final = 64
MAX_BYTES: Final = 8 << 20
_MOST_WARNED: Final = 20  # schemas; a stream may bring a new one with every message

K = TypeVar("K")
T = TypeVar("T")


class Fallbacks:
    """How many writer schemas have fields of types that surveys don't use for them, and how many such records were
    read, which is slow.
    """

    def __init__(self) -> None:
        self.schemas = 0
        self.records = 0
        self._lock = threading.Lock()

    def count(self, *, schemas: int = 0, records: int = 0) -> None:
        with self._lock:
            self.schemas += schemas
            self.records += records
        metrics.DECODER_FALLBACKS.inc(records)


class Reader:
    """Reads the records of one writer schema."""

    def __init__(self, program: Program, survey: Survey, counts: Fallbacks) -> None:
        self._program = program
        self._odd = bool(program.odd)
        self._counts = counts
        self.alert = survey.alert
        self.nbytes = program.nbytes

    def read(self, data: bytes, start: int, end: int) -> tuple[Cells, int]:
        """The needed values of the record at `start`, and the position after it. Raises AlertError."""
        if self._odd:
            self._counts.count(records=1)
            return oddities.read(data, start, end, self._program)
        return interpreter.read(data, start, end, self._program)


class Readers:
    """The readers of messages with a header or a schema id. Safe to use from many threads.

    A schema that is refused is remembered too: a topic of another survey brings it with every message.
    """

    def __init__(self) -> None:
        self.fallbacks = Fallbacks()
        self._by_header: tuple[tuple[container.Header, Reader], ...] = ()
        self._by_schema: _Kept[bytes, Reader | tuple[str, str]] = _Kept()
        self._by_id: _Kept[int, Reader] = _Kept()
        self._lock = threading.Lock()

    def of_file(self, raw: bytes, begin: int) -> tuple[container.Header, Reader]:
        """Header and reader of the container file at `begin`.

        A header contains its own end, so a message that begins with the bytes of a known header has that header.
        """
        for known in self._by_header:
            if raw.startswith(known[0].prefix, begin):
                if known is not self._by_header[0]:
                    self._remember(known)
                return known
        header = container.read_header(raw, begin)
        known = (header, self.of_schema(header.schema))
        self._remember(known)
        return known

    def of_id(self, schema_id: int, fetch: Callable[[int], bytes]) -> Reader:
        reader = self._by_id.get(schema_id)
        if reader is None:
            reader = self.of_schema(fetch(schema_id))
            self._by_id.keep(schema_id, reader, reader.nbytes)
        return reader

    def of_schema(self, text: bytes) -> Reader:
        """The reader for the records of a writer schema.

        Raises AlertError: bad_schema, unsupported_schema, unsupported_survey.
        """
        digest = hashlib.blake2b(text, digest_size=16).digest()
        known = self._by_schema.get(digest)
        if isinstance(known, tuple):
            raise AlertError(*known)
        if known is None:
            try:
                known = self._compiled(text)
            except AlertError as error:
                self._by_schema.keep(digest, (error.code, str(error)), len(str(error)))
                raise
            self._by_schema.keep(digest, known, known.nbytes)
        return known

    def header_of(self, raw: bytes) -> container.Header:
        """The header of a message. Raises AlertError."""
        for header, _ in self._by_header:
            if raw.startswith(header.prefix):
                return header
        return container.read_header(raw)

    def _compiled(self, text: bytes) -> Reader:
        survey, tree = survey_of(schema.load(text))
        program = compile_schema(tree, survey.projection)
        if program.odd:
            names = ", ".join(sorted({odd.field.path for odd in program.odd}))
            if self.fallbacks.schemas < _MOST_WARNED:
                log.warning("a writer schema has types that no survey uses for some fields, read slowly: %s", names)
            self.fallbacks.count(schemas=1)
        return Reader(program, survey, self.fallbacks)

    def _remember(self, entry: tuple[container.Header, Reader]) -> None:
        with self._lock:
            room = MAX_BYTES
            kept: list[tuple[container.Header, Reader]] = []
            for known in (entry, *(other for other in self._by_header if other[0].prefix != entry[0].prefix)):
                room -= len(known[0].prefix) + len(known[0].schema)
                if kept and (room < 0 or len(kept) == MAX_SCHEMAS):
                    break
                kept.append(known)
            self._by_header = tuple(kept)


class _Kept(Generic[K, T]):
    """The latest things by key, as many as fit the bounds."""

    def __init__(self) -> None:
        self._things: OrderedDict[K, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> T | None:
        with self._lock:
            if key not in self._things:
                return None
            self._things.move_to_end(key)
            return self._things[key][0]

    def keep(self, key: K, thing: T, nbytes: int) -> None:
        with self._lock:
            self._bytes += nbytes - self._things.pop(key, (None, 0))[1]
            self._things[key] = (thing, nbytes)
            while len(self._things) > MAX_SCHEMAS or (self._bytes > MAX_BYTES and len(self._things) > 1):
                self._bytes -= self._things.popitem(last=False)[1][1]
