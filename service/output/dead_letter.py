"""Dead letters: refused messages with bytes, place and reason, as records of a topic or lines of a file."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Final

import orjson

from service import __version__
from service.errors import AlertClassifierError
from service.output.avro import SingleObject
from service.output.classification import MICROSECONDS

DEAD_LETTER: Final = SingleObject("dead_letter", ("timestamp", "refused"))


class DeadLetterError(AlertClassifierError, ValueError):
    """A line of a dead-letter file is invalid; the message names the line."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused message. `value` holds its bytes, all of them unless `truncated`; times in seconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: float | None
    code: str
    message: str
    key: bytes | None
    size: int
    value: bytes
    service_version: str = __version__
    refused: float = field(default_factory=time)
    record: int = 1

    @property
    def truncated(self) -> bool:
        return len(self.value) < self.size

    @property
    def place(self) -> str:
        """`topic/partition/offset`, from a message's second record on with `#2` etc.: unique, and used in commands."""
        return f"{self.topic}/{self.partition}/{self.offset}" + (f"#{self.record}" if self.record > 1 else "")

    def encode(self, keep: int | None = None) -> bytes:
        """The message for the dead-letter topic, with at most the first `keep` bytes of the value."""
        return DEAD_LETTER.encode(
            {
                "topic": self.topic,
                "partition": self.partition,
                "offset": self.offset,
                "timestamp": None if self.timestamp is None else round(self.timestamp * MICROSECONDS),
                "code": self.code,
                "message": self.message,
                "service_version": self.service_version,
                "refused": round(self.refused * MICROSECONDS),
                "key": self.key,
                "size": self.size,
                "value": self.value[:keep],
                "record": self.record,
            }
        )

    @classmethod
    def decode(cls, message: bytes) -> DeadLetter:
        """Inverse of `encode`. Raises SchemaMismatchError."""
        fields = DEAD_LETTER.decode(message)
        timestamp: datetime | None = fields["timestamp"]
        fields["timestamp"] = None if timestamp is None else timestamp.timestamp()
        fields["refused"] = fields["refused"].timestamp()
        return cls(**fields)

    def as_json(self) -> dict[str, object]:
        """For people and files: times in ISO 8601, bytes in base64."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": None if self.timestamp is None else _iso(self.timestamp),
            "code": self.code,
            "message": self.message,
            "service_version": self.service_version,
            "refused": _iso(self.refused),
            "key": None if self.key is None else self.key.decode("utf-8", "backslashreplace"),
            "size": self.size,
            "value": base64.b64encode(self.value).decode(),
            "record": self.record,
        }

    @classmethod
    def from_json(cls, fields: dict[str, object]) -> DeadLetter:
        """Inverse of `as_json`. Raises DeadLetterError."""
        try:
            timestamp, key = fields["timestamp"], fields["key"]
            return cls(
                **{  # type: ignore[arg-type]
                    **fields,
                    "timestamp": None if timestamp is None else datetime.fromisoformat(str(timestamp)).timestamp(),
                    "refused": datetime.fromisoformat(str(fields["refused"])).timestamp(),
                    "key": None if key is None else str(key).encode(),
                    "value": base64.b64decode(str(fields["value"])),
                }
            )
        except (KeyError, TypeError) as error:
            raise DeadLetterError(f"not a dead letter: {error!r}") from error


def read_dead_letter_file(path: Path) -> Iterator[DeadLetter]:
    """The dead letters of a JSON-lines file, oldest first. Raises DeadLetterError naming the line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield DeadLetter.from_json(orjson.loads(line))
            except ValueError as error:
                raise DeadLetterError(f"line {number} of {path}: {error}") from error


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
