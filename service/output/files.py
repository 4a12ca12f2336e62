"""Classifications in files: JSON lines or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq


class Writer(Protocol):
    """Writes classifications, given as the fields of the published message."""

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

    # Small row groups compress badly, large ones need memory: 16k classifications are some 10 MB.
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


_COUNTS = pa.map_(pa.string(), pa.int32())
_PROBABILITIES = pa.map_(pa.string(), pa.float32())
_COUNTERPART = pa.struct({"object_id": pa.string(), "survey": pa.string(), "separation_arcsec": pa.float64()})
_CLOCK = pa.timestamp("us", tz="UTC")
ARROW_SCHEMA = pa.schema(
    {
        "object_id": pa.string(), "candid": pa.int64(), "survey": pa.string(), "mjd": pa.float64(),
        "ra": pa.float64(), "dec": pa.float64(), "classifier": pa.string(), "version": pa.string(),
        "top_class": pa.string(), "top_probability": pa.float32(), "probabilities": _PROBABILITIES,
        "superclass_probabilities": _PROBABILITIES, "conformal_set": pa.list_(pa.string()), "ood_score": pa.float32(),
        "variance": _PROBABILITIES, "mutual_information": pa.float32(), "bald": pa.float32(),
        "n_detections": _COUNTS, "n_upper_limits": _COUNTS, "flags": pa.list_(pa.string()),
        "counterparts": pa.list_(_COUNTERPART),
        "observed": _CLOCK, "broker_timestamp": _CLOCK, "received": _CLOCK, "published": _CLOCK,
    }
)  # fmt: skip
