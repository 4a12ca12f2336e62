"""Bytes -> Alert, for the survey that the writer schema belongs to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from service import metrics
from service.alerts import container, fallback, interpreter, schema, ztf
from service.alerts.alert import Alert, AlertError
from service.alerts.compiler import NotCompilableError, compile_schema
from service.alerts.interpreter import Program
from service.alerts.lsst import alert as lsst
from service.alerts.projection import Cells
from service.alerts.schemas import SchemaFolder, SchemaSource
from service.alerts.surveys import Survey, survey_of

log = logging.getLogger(__name__)

# Number of compiled writer schemas kept. A stream has one or two, all archives together some twenty; the limit only
# protects the memory from a hostile stream.
MAX_SCHEMAS: Final = 64

FRAME_MAGIC: Final = 0
FRAME_SIZE: Final = 5


class Fallbacks:
    """How often fastavro was used instead of the compiler: number of writer schemas, and of records decoded."""

    def __init__(self) -> None:
        self.schemas = 0
        self.records = 0
        self._lock = threading.Lock()

    def count(self, *, schemas: int = 0, records: int = 0) -> None:
        with self._lock:
            self.schemas += schemas
            self.records += records
        metrics.DECODER_FALLBACKS.inc(records)


class Decoder:
    """Decodes alert packets: Avro container files; with `schemas` also Confluent-framed messages; and if that is a
    folder, also bare records of one of its schemas. Safe to use from many threads; decoding releases the GIL.

    `fallbacks` counts what the compiler did not understand.
    """

    def __init__(self, schemas: SchemaSource | None = None) -> None:
        self._schemas = schemas
        self._by_header: tuple[tuple[container.Header, _Reader], ...] = ()
        self._by_id: dict[int, _Reader] = {}
        self._bare: tuple[_Reader, ...] | None = None
        self._lock = threading.Lock()
        self.fallbacks = Fallbacks()

    def decode(self, raw: bytes) -> Alert:
        """The alert in a message that holds exactly one.

        Raises AlertError, and SchemaSourceUnavailableError if the writer schema can't be fetched.
        """
        if self._is_framed(raw):
            reader = self._framed_reader(raw)
            cells, end = reader.read(raw, FRAME_SIZE, len(raw))
            if end != len(raw):
                raise AlertError("trailing_bytes", f"record ends at byte {end} of {len(raw)}")
            return reader.alert(cells)
        try:
            header, reader = self._container_reader(raw)
        except AlertError as error:
            if error.code != "bad_magic" or (alert := self._decode_bare(raw)) is None:
                raise
            return alert
        found = None
        for block in container.blocks(raw, header):
            if block.count > (1 if found is None else 0):
                raise block.fault or AlertError(
                    "many_records", "the file holds more than one record, and one alert is asked for"
                )
            if block.count:
                found, end = reader.read(block.data, block.start, block.end)
            else:
                end = block.start
            if end != block.end:
                raise _trailing(block, end)
            if block.fault:
                raise block.fault
        if found is None:
            raise AlertError("no_record", "the file holds no record")
        return reader.alert(found)

    def decode_many(self, raws: Sequence[bytes]) -> list[Alert | AlertError]:
        """Alert or error per message; a bad message does not affect others. Raises SchemaSourceUnavailableError."""
        return [self._alert_or_error(raw) for raw in raws]

    def decode_all(self, raw: bytes) -> Iterator[Alert | AlertError]:
        """Every alert of a container file with any number of them, or its error.

        An alert with a bad value gives one error. After damaged bytes the rest of their block (or of the file, if its
        frame is damaged) is skipped after one error.
        """
        if self._schemas is not None and not raw.startswith(container.MAGIC):
            yield self._alert_or_error(raw)
            return
        try:
            header, reader = self._container_reader(raw)
            for block in container.blocks(raw, header):
                if block.fault is None:
                    yield from _alerts(reader, block)
                else:
                    errors = (result for result in _alerts(reader, block) if isinstance(result, AlertError))
                    yield next(errors, block.fault)
        except AlertError as error:
            yield error

    def holds_many(self, raw: bytes) -> bool:
        """Whether a message is a container file that declares more than one record; takes some microseconds."""
        try:
            for header, _ in self._by_header:
                if raw.startswith(header.prefix):
                    break
            else:
                header = container.read_header(raw)
            begin = len(header.prefix) + container.SYNC_SIZE
            if container.is_one_record(raw, begin):
                return False
            count, behind = container.block_frame(raw, begin, header)
            return count > 1 or (0 < behind < len(raw) and container.block_frame(raw, behind, header)[0] > 0)
        except AlertError:
            return False

    def split(self, raw: bytes) -> Iterator[bytes]:
        """The records of a container file, each as a container file; decoding them gives the same as `decode_all`.
        Damaged bytes, with what is skipped after them, are one piece, which can't be decoded.
        """
        try:
            header, reader = self._container_reader(raw)
        except AlertError:
            yield raw
            return
        position = len(header.prefix) + container.SYNC_SIZE
        sync = raw[len(header.prefix) : position]
        try:
            for block in container.blocks(raw, header):
                if block.fault is not None:
                    break
                yield from _split(header, sync, reader, block)
                position = block.behind
            else:
                return
        except AlertError:
            pass  # raised again when the rest is decoded
        yield header.prefix + sync + raw[position:]

    def warm_up(self) -> None:
        """Compile everything that decoding uses, so that the first alert is as fast as the next: ZTF's, and with writer
        schemas, which framed messages need, Rubin's.
        """
        program = compile_schema(schema.Record("nothing", (), is_empty=True), ztf.PROJECTION)
        interpreter.read(b"", 0, 0, program)
        ztf.warm_up()
        if self._schemas is not None:  # another three seconds, once per machine
            lsst.warm_up()

    def _alert_or_error(self, raw: bytes) -> Alert | AlertError:
        try:
            return self.decode(raw)
        except AlertError as error:
            return error

    def _is_framed(self, raw: bytes) -> bool:
        return self._schemas is not None and len(raw) >= FRAME_SIZE and raw[0] == FRAME_MAGIC

    def _container_reader(self, raw: bytes) -> tuple[container.Header, _Reader]:
        """Header and reader of a container file; the reader is made once per distinct header.

        A header contains its own end, so a message that begins with the bytes of a known header has that header.
        """
        for known in self._by_header:
            if raw.startswith(known[0].prefix):
                if known is not self._by_header[0]:
                    self._remember(known)
                return known
        if raw[:1] == b"\0" and self._schemas is None:
            raise AlertError(
                "bad_magic",
                "begins with 00: if it is a framed message, set kafka.schema_folder or kafka.schema_registry_url",
            )
        header = container.read_header(raw)
        known = (header, self._reader(header.schema))
        self._remember(known)
        return known

    def _remember(self, entry: tuple[container.Header, _Reader]) -> None:
        with self._lock:
            others = [other for other in self._by_header if other[0].prefix != entry[0].prefix]
            self._by_header = (entry, *others[: MAX_SCHEMAS - 1])

    def _framed_reader(self, raw: bytes) -> _Reader:
        schema_id = int.from_bytes(raw[1:FRAME_SIZE], "big")
        reader = self._by_id.get(schema_id)
        if reader is None:
            assert self._schemas is not None
            reader = self._reader(self._schemas.schema(schema_id))
            with self._lock:
                while len(self._by_id) >= MAX_SCHEMAS:
                    del self._by_id[next(iter(self._by_id))]
                self._by_id[schema_id] = reader
        return reader

    def _decode_bare(self, raw: bytes) -> Alert | None:
        """The alert of a record without header or id, by the folder's first schema that fits to the last byte."""
        if self._bare is None:
            self._bare = self._bare_readers()
        for reader in self._bare:
            try:
                cells, end = reader.read(raw, 0, len(raw))
            except AlertError:
                continue
            if end == len(raw):
                return reader.alert(cells)
        return None

    def _bare_readers(self) -> tuple[_Reader, ...]:
        readers = []
        for text in self._schemas.all() if isinstance(self._schemas, SchemaFolder) else ():
            try:
                readers.append(self._reader(text))
            except AlertError as error:
                log.warning("a writer schema in the folder can't be used: %s", error)
        return tuple(readers)

    def _reader(self, text: bytes) -> _Reader:
        """The reader for the records of a writer schema.

        Raises AlertError: bad_schema, unsupported_schema, unsupported_survey.
        """
        loaded = schema.load(text)
        survey = survey_of(loaded)
        try:
            return _CompiledReader(compile_schema(schema.resolve(loaded), survey.projection), survey)
        except NotCompilableError as reason:
            log.warning("fastavro reads the records of a writer schema that can't be compiled: %s", reason)
            self.fallbacks.count(schemas=1)
            return _FallbackReader(fallback.parse(loaded), survey, self.fallbacks)


class _CompiledReader:
    def __init__(self, program: Program, survey: Survey) -> None:
        self._program = program
        self.alert = survey.alert

    def read(self, data: bytes, start: int, end: int) -> tuple[Cells, int]:
        return interpreter.read(data, start, end, self._program)


class _FallbackReader:
    def __init__(self, parsed: Any, survey: Survey, counts: Fallbacks) -> None:
        self._parsed = parsed
        self._projection = survey.projection
        self._counts = counts
        self.alert = survey.alert

    def read(self, data: bytes, start: int, end: int) -> tuple[Cells, int]:
        self._counts.count(records=1)
        return fallback.read(data, start, end, self._parsed, self._projection)


_Reader = _CompiledReader | _FallbackReader


def _alerts(reader: _Reader, block: container.Block) -> Iterator[Alert | AlertError]:
    position = block.start
    for _ in range(block.count):
        try:
            cells, position = reader.read(block.data, position, block.end)
        except AlertError as error:
            yield error
            return
        try:
            yield reader.alert(cells)
        except AlertError as error:
            yield error
    if position != block.end:
        yield _trailing(block, position)


def _split(header: container.Header, sync: bytes, reader: _Reader, block: container.Block) -> Iterator[bytes]:
    position = block.start
    for _ in range(block.count):
        try:
            _, end = reader.read(block.data, position, block.end)
        except AlertError:
            yield container.with_one_record(header, sync, block.data[position : block.end])
            return
        yield container.with_one_record(header, sync, block.data[position:end])
        position = end
    if position != block.end:
        yield container.with_one_record(header, sync, block.data[position : block.end], count=0)


def _trailing(block: container.Block, end: int) -> AlertError:
    return AlertError(
        "trailing_bytes", f"records of the block at byte {block.position} end {block.end - end} bytes early"
    )
