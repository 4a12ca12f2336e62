"""What each thread has in hand, in a small file that outlives the process: a crash loop on one message ends by itself.

A message that kills the process (a crash in native code, memory that runs out, a stage that never returns) is read
again after the restart, and kills it again. So each thread notes in a memory-mapped file which messages it works on.
After an end without a word they are suspects, and are taken one by one; one that was alone in hand at two ends in a row
goes to the dead letters by its place, unread.

A note is a copy in memory, without a system call: it survives the process, not the machine, whose failure is no
message's fault. One file per process, held by a lock.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson

from service.config import Settings
from service.store import sqlite_path
from service.stream.batch import Message, Partition
from service.stream.interfaces import StreamError

log = logging.getLogger(__name__)

# The threads of the runner; each has one slot.
THREADS: Final = ("poll", "prepare", "classify", "publish")
# A batch is noted as one stretch per partition, some 50 bytes; those beyond the slot are not noted.
SLOT_BYTES: Final = 8192
LENGTH_BYTES: Final = 8
FILE_BYTES: Final = (len(THREADS) + 1) * SLOT_BYTES
# A message that was alone in hand at so many ends in a row is refused: one may be chance, as when memory runs out.
STRIKES: Final = 2
# Processes that share a folder without a store of their own each take the first file that nobody holds.
MOST_FILES: Final = 64
WITHOUT_SQLITE: Final = Path("var/alert-classifier-in-flight")


@dataclass(frozen=True, slots=True)
class Suspects:
    """The messages of a partition from `first` to `last` that were in hand at an end without a word.

    `strikes` counts the ends in a row at which it was the only message in hand; `stage` is that of the last end.
    """

    topic: str
    partition: int
    first: int
    last: int
    stage: str = ""
    strikes: int = 0

    def hold(self, place: Partition, offset: int) -> bool:
        return (self.topic, self.partition) == place and self.first <= offset <= self.last

    @property
    def refused(self) -> bool:
        return self.strikes >= STRIKES


def stretches(messages: Iterable[Message]) -> bytes:
    """The places of messages as they are noted: [topic, partition, first, last] for each partition."""
    found: dict[Partition, list[int]] = {}
    for message in messages:
        ends = found.get(message.topic_partition)
        if ends is None:
            found[message.topic_partition] = [message.offset, message.offset]
        elif message.offset > ends[1]:
            ends[1] = message.offset
    return orjson.dumps([[*place, *ends] for place, ends in found.items()])


class Journal:
    """`begin` and `end` are called by the thread whose slot it is; everything else by the poll thread."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file at `path`, or the next one (`path-2`, ...) where another process holds it.

        Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._file = _first_free(path)
        os.posix_fallocate(self._file, 0, FILE_BYTES)  # a disk that is full later must not fail a write in memory
        self._map = mmap.mmap(self._file, FILE_BYTES)
        self.suspects = self._suspects_of_last_end()
        self._keep()
        for slot in range(len(THREADS)):
            self.end(slot)

    def begin(self, slot: int, stage: str, places: bytes) -> None:
        """Note that a thread takes these messages in hand."""
        note = b'["%s",%s]' % (stage.encode(), places)
        if len(note) <= SLOT_BYTES - LENGTH_BYTES:
            self._write(slot, note)

    def end(self, slot: int) -> None:
        self._map[slot * SLOT_BYTES : slot * SLOT_BYTES + LENGTH_BYTES] = bytes(LENGTH_BYTES)

    def suspect(self, message: Message) -> Suspects | None:
        """The suspects that `message` is one of. Those of its partition before it have been passed."""
        for suspects in self.suspects:
            if suspects.hold(message.topic_partition, message.offset):
                return suspects
        return None

    def passed(self, message: Message) -> None:
        """Everything of its partition up to this message is answered."""
        kept = []
        for each in self.suspects:
            if (each.topic, each.partition) == message.topic_partition and each.first <= message.offset:
                if each.last <= message.offset:
                    continue
                each = replace(each, first=message.offset + 1, strikes=0)
            kept.append(each)
        if kept != self.suspects:
            self.suspects = kept
            self._keep()

    def close(self) -> None:
        """What is still in hand stays noted. A file that says nothing is removed."""
        nothing = not self.suspects and not any(self._read(slot) for slot in range(len(THREADS)))
        self._map.close()
        if nothing:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def _suspects_of_last_end(self) -> list[Suspects]:
        former = [Suspects(*each) for each in self._read(len(THREADS))]
        in_hand = [
            Suspects(topic, partition, first, last, stage)
            for note in map(self._read, range(len(THREADS)))
            for stage, places in ([note] if note else [])
            for topic, partition, first, last in places
        ]
        number = sum(each.last - each.first + 1 for each in in_hand)
        if number == 0:
            return former
        stages = ", ".join(sorted({each.stage for each in in_hand}))
        log.warning(
            "the last process ended without a word, with up to %d messages in hand (stage %s): these go one by one",
            number,
            stages,
        )
        if number > 1:
            return [*former, *in_hand]
        alone = in_hand[0]
        place = alone.topic, alone.partition
        strikes = max((each.strikes for each in former if each.hold(place, alone.first)), default=0) + 1
        others = [each for each in former if not each.hold(place, alone.first) or each.last > each.first]
        return [replace(alone, strikes=strikes), *others]

    def _keep(self) -> None:
        """Write the suspects down, as many as fit: those that were alone in hand first."""
        rows = [
            [each.topic, each.partition, each.first, each.last, each.stage, each.strikes]
            for each in sorted(self.suspects, key=lambda each: -each.strikes)
        ]
        while len(text := orjson.dumps(rows)) > SLOT_BYTES - LENGTH_BYTES:
            rows.pop()
        self._write(len(THREADS), text)

    def _write(self, slot: int, note: bytes) -> None:
        """The length comes last and goes first, so that a process that dies in between leaves nothing half said."""
        at = slot * SLOT_BYTES
        body = at + LENGTH_BYTES
        self._map[at:body] = bytes(LENGTH_BYTES)
        self._map[body : body + len(note)] = note
        self._map[at:body] = len(note).to_bytes(LENGTH_BYTES, "little")

    def _read(self, slot: int) -> list[Any]:
        at = slot * SLOT_BYTES
        length = int.from_bytes(self._map[at : at + LENGTH_BYTES], "little")
        if not 0 < length <= SLOT_BYTES - LENGTH_BYTES:
            return []
        try:
            note: list[Any] = orjson.loads(self._map[at + LENGTH_BYTES : at + LENGTH_BYTES + length])
        except orjson.JSONDecodeError:
            return []
        return note


def open_journal(settings: Settings, input_name: str = "") -> Journal | None:
    """The journal of this process for one input: the file `pipeline.journal`, else beside the SQLite store, else in
    `var`. Each named input has a file of its own, so that a restart finds what it had in hand.

    None for a store that is temporary, and, with a warning, where the default place can't be written. Raises
    StreamError if the configured one can't.
    """
    chosen = settings.pipeline.journal
    path = chosen or _beside_store(settings.store.url.get_secret_value())
    if path is None:
        return None
    if input_name:
        path = path.with_name(f"{path.name}-{input_name}")
    try:
        return Journal(path)
    except OSError as error:
        why = f"pipeline.journal: {path} can't be written ({error.strerror or error})"
        if chosen is not None:
            raise StreamError(why) from error
        log.warning("%s: a message that crashes the service again and again will not be put aside", why)
        return None


def _beside_store(url: str) -> Path | None:
    if not url.startswith("sqlite://"):
        return WITHOUT_SQLITE
    path = sqlite_path(url)
    return path and path.with_name(f"{path.name}-in-flight")


def _first_free(path: Path) -> tuple[Path, int]:
    for number in count(1):
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        file = os.open(candidate, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            if number == MOST_FILES:
                raise
        else:
            # the holder may have removed the file between our opening and locking it
            if candidate.exists() and os.fstat(file).st_ino == candidate.stat().st_ino:
                return candidate, file
            os.close(file)
    raise AssertionError
