"""Sinks without a broker: JSON lines, Parquet, or the store alone; dead letters go to a file of JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from service.output.dead_letter import DeadLetter
from service.stream.batch import Batch, DeadLettered


class Writer(Protocol):
    """Keeps classifications, given as the fields of the published message."""

    def write(self, documents: list[dict[str, Any]]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One line per classification; timestamps in microseconds since 1970, as in the published message."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @classmethod
    def to(cls, path: Path) -> Self:
        return cls(path.open("wb"))

    def write(self, documents: list[dict[str, Any]]) -> None:
        self._file.write(b"".join(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE) for document in documents))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class Parquet:
    """One row per classification; the schema of the published message in Arrow's types."""

    # Small row groups cost compression, large ones memory: 16k classifications are some 10 MB.
    _ROWS = 16_384

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, ARROW_SCHEMA, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def write(self, documents: list[dict[str, Any]]) -> None:
        self._waiting += documents
        if len(self._waiting) >= self._ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=ARROW_SCHEMA))
            self._waiting = []


class FileSink:
    """Writes what it is sent at once. Without a writer only the store keeps the classifications; without
    `dead_letters` the counts alone tell of refused messages.
    """

    trouble: str | None = None

    def __init__(self, writer: Writer | None = None, dead_letters: Path | None = None) -> None:
        self._writer = writer
        self._dead_letter_path = dead_letters
        self._dead_letters: BinaryIO | None = None
        self._arrived: list[Batch] = []

    @property
    def pending(self) -> int:
        return len(self._arrived)

    def open(self, given_up: Callable[[], bool]) -> None:
        """There is nothing to wait for."""

    def send(self, batch: Batch) -> None:
        if self._writer is not None:
            self._writer.write([outcome.document for _, outcome in batch.published()])
        for item in batch.items:
            if isinstance(item.outcome, DeadLettered):
                self._keep(DeadLetter.of(item.message, item.outcome))
        self._arrived.append(batch)

    def acknowledged(self, timeout_s: float) -> list[Batch]:
        arrived, self._arrived = self._arrived, []
        return arrived

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._dead_letters is not None:
            self._dead_letters.close()

    def _keep(self, letter: DeadLetter) -> None:
        if self._dead_letter_path is None:
            return
        if self._dead_letters is None:  # no file unless there is something to put into it
            self._dead_letters = self._dead_letter_path.open("ab")
        self._dead_letters.write(orjson.dumps(letter.as_json(), option=orjson.OPT_APPEND_NEWLINE))
        self._dead_letters.flush()


_COUNTS = pa.map_(pa.string(), pa.int32())
_PROBABILITIES = pa.map_(pa.string(), pa.float32())
_CLOCK = pa.timestamp("us", tz="UTC")
ARROW_SCHEMA = pa.schema(
    {
        "object_id": pa.string(), "candid": pa.int64(), "survey": pa.string(), "mjd": pa.float64(),
        "ra": pa.float64(), "dec": pa.float64(), "classifier": pa.string(), "version": pa.string(),
        "top_class": pa.string(), "top_probability": pa.float32(), "probabilities": _PROBABILITIES,
        "superclass_probabilities": _PROBABILITIES, "conformal_set": pa.list_(pa.string()), "ood_score": pa.float32(),
        "variance": _PROBABILITIES, "bald": pa.float32(),
        "n_detections": _COUNTS, "n_upper_limits": _COUNTS, "flags": pa.list_(pa.string()),
        "observed": _CLOCK, "broker_timestamp": _CLOCK, "received": _CLOCK, "published": _CLOCK,
    }
)  # fmt: skip
