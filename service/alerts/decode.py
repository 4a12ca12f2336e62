"""Bytes -> Alert, for the survey that the writer schema belongs to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Final

from service import jit
from service.alerts import container, interpreter, schema, ztf
from service.alerts.alert import Alert, AlertError
from service.alerts.compiler import compile_schema
from service.alerts.container import Piece
from service.alerts.lsst import alert as lsst
from service.alerts.readers import Reader, Readers
from service.alerts.schemas import SchemaFolder, SchemaSource

log = logging.getLogger(__name__)

FRAME_MAGIC: Final = 0
FRAME_SIZE: Final = 5


class Decoder:
    """Decodes alert packets: Avro container files; with `schemas` also Confluent-framed messages; and if that is a
    folder, also bare records of one of its schemas. Safe to use from many threads; decoding releases the GIL.

    `fallbacks` counts what is read slowly.
    """

    def __init__(self, schemas: SchemaSource | None = None) -> None:
        self._schemas = schemas
        self._readers = Readers()
        self._bare: tuple[Reader, ...] | None = None
        self.fallbacks = self._readers.fallbacks

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
            header, reader = self._readers.of_file(raw, 0)
        except AlertError as error:
            if error.code != "bad_magic":
                raise
            if (alert := self._decode_bare(raw)) is None:
                raise self._not_framed(raw, error) from None
            return alert
        found = None
        behind = len(raw)
        for block in container.blocks(raw, header):
            if block.count > (1 if found is None else 0):
                raise block.fault or _many()
            if block.count:
                found, end = reader.read(block.data, block.start, block.end)
            else:
                end = block.start
            if end != block.end:
                raise _trailing(block, end)
            if block.fault:
                raise block.fault
            behind = block.behind
        if behind != len(raw):
            raise _many()
        if found is None:
            raise AlertError("no_record", "the file holds no record")
        return reader.alert(found)

    def decode_many(self, raws: Iterable[bytes]) -> list[Alert | AlertError]:
        """Alert or error per message; a bad message does not affect others. Raises SchemaSourceUnavailableError."""
        return [self._alert_or_error(raw) for raw in raws]

    def decode_all(self, raw: bytes) -> list[Alert | AlertError]:
        """Every alert of a message with any number of them, or its error.

        An alert with a bad value gives one error. After damaged bytes the rest of their block (or of the message, if
        its frame is damaged) is skipped after one error. A message that costs too much (`container.Work`) gives its
        error alone.
        """
        if self._schemas is not None and not raw.startswith(container.MAGIC):
            return [self._alert_or_error(raw)]
        results: list[Alert | AlertError] = []
        work = container.Work(len(raw))
        try:
            while work.behind < len(raw) or not raw:
                begin = work.behind
                header, reader = self._readers.of_file(raw, begin)
                for block in container.blocks(raw, header, begin, work):
                    if block.fault is None:
                        results += _alerts(reader, block, work)
                    else:
                        errors = (result for result in _alerts(reader, block, work) if isinstance(result, AlertError))
                        results.append(next(errors, block.fault))
        except AlertError as error:
            if error.code == "too_large":
                return [error]
            results.append(self._not_framed(raw, error) if error.code == "bad_magic" else error)
        return results

    def holds_many(self, raw: bytes) -> bool:
        """Whether a message declares more than one record, so that `split` is for it; takes some microseconds."""
        try:
            return container.holds_many(raw, self._readers.header_of(raw))
        except AlertError:
            return False

    def split(self, raw: bytes) -> list[Piece]:
        """The records of a message; decoding them one by one gives the same as `decode_all`.

        Damaged bytes, with what is skipped after them, are one piece, which can't be decoded.

        Raises AlertError too_large if the message costs too much.
        """
        pieces: list[Piece] = []
        work = container.Work(len(raw))
        while work.behind < len(raw):
            begin = position = work.behind
            header, sync = _NOTHING, b""
            try:
                header, reader = self._readers.of_file(raw, begin)
                position += len(header.prefix) + container.SYNC_SIZE
                sync = raw[position - container.SYNC_SIZE : position]
                for block in container.blocks(raw, header, begin, work):
                    if block.fault is not None:
                        break
                    pieces += _split(header, sync, reader, block, work)
                    position = block.behind
                else:
                    continue
            except AlertError as error:  # raised again when the rest is decoded
                if error.code == "too_large":
                    raise
            pieces.append(Piece(header, sync, raw[position:], count=-1))
            break
        return pieces

    def warm_up(self) -> None:
        """Compile everything that decoding uses, so that the first alert is as fast as the next: ZTF's, and with writer
        schemas, which framed messages need, Rubin's.
        """
        with jit.compiled():
            self.try_out()

    def try_out(self) -> None:
        """Call what `warm_up` compiles, so that `jit.compile_in_background` knows of it."""
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

    def _not_framed(self, raw: bytes, error: AlertError) -> AlertError:
        if raw[:1] != b"\0" or self._schemas is not None:
            return error
        return AlertError(
            error.code,
            "begins with 00: if it is a framed message, set kafka.schema_folder or kafka.schema_registry_url",
        )

    def _framed_reader(self, raw: bytes) -> Reader:
        assert self._schemas is not None
        return self._readers.of_id(int.from_bytes(raw[1:FRAME_SIZE], "big"), self._schemas.schema)

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

    def _bare_readers(self) -> tuple[Reader, ...]:
        readers = []
        for text in self._schemas.all() if isinstance(self._schemas, SchemaFolder) else ():
            try:
                readers.append(self._readers.of_schema(text))
            except AlertError as error:
                log.warning("a writer schema in the folder can't be used: %s", error)
        return tuple(readers)


_NOTHING: Final = container.Header(b"", b"", "null")


def _alerts(reader: Reader, block: container.Block, work: container.Work) -> Iterator[Alert | AlertError]:
    position = block.start
    for _ in range(block.count):
        try:
            cells, position = reader.read(block.data, position, block.end)
        except AlertError as error:
            work.add_rows(interpreter.MAX_ROWS if error.code == "too_many_rows" else 0)
            yield error
            return
        work.add_rows(cells.n_rows)
        try:
            yield reader.alert(cells)
        except AlertError as error:
            yield error
    if position != block.end:
        yield _trailing(block, position)


def _split(
    header: container.Header, sync: bytes, reader: Reader, block: container.Block, work: container.Work
) -> Iterator[Piece]:
    position = block.start
    for _ in range(block.count):
        try:
            cells, end = reader.read(block.data, position, block.end)
        except AlertError as error:
            work.add_rows(interpreter.MAX_ROWS if error.code == "too_many_rows" else 0)
            yield Piece(header, sync, block.data[position : block.end])
            return
        work.add_rows(cells.n_rows)
        yield Piece(header, sync, block.data[position:end])
        position = end
    if position != block.end:
        yield Piece(header, sync, block.data[position : block.end], count=0)


def _trailing(block: container.Block, end: int) -> AlertError:
    return AlertError(
        "trailing_bytes", f"records of the block at byte {block.position} end {block.end - end} bytes early"
    )


def _many() -> AlertError:
    return AlertError("many_records", "the file holds more than one record, and one alert is asked for")
