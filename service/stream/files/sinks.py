"""A sink without a broker: classifications to a file or only the store, dead letters to a JSON-lines file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import orjson

from service.output.dead_letter import DeadLetter
from service.output.files import Writer
from service.stream.batch import Batch


class FileSink:
    """Writes each batch at once. Without `writer`, classifications are only in the store; without `dead_letters`,
    refused messages are only counted.
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
        """Nothing to wait for."""

    def send(self, batch: Batch) -> None:
        if self._writer is not None:
            self._writer.write([outcome.classification.document for _, outcome in batch.published()])
        for letter in batch.dead_letters():
            self._keep(letter)
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
        if self._dead_letters is None:  # make no empty file
            self._dead_letters = self._dead_letter_path.open("ab")
        self._dead_letters.write(orjson.dumps(letter.as_json(), option=orjson.OPT_APPEND_NEWLINE))
        self._dead_letters.flush()
