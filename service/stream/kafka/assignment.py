"""The state of an assigned partition: how far it is read and settled, and in which log.

A topic that is deleted and made again has a new id and a new log, with offsets from 0. Clients don't notice: librdkafka
reads on in the new log at the old position. The topic ids reveal it some seconds later; until then it is unknown which
log the newest messages came from. So their fingerprints are kept, and when the new log is read from its start, messages
that were already answered are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic


@dataclass(slots=True)
class FormerLog:
    """What was read of a partition's deleted log: everything before `settled` for certain; the log reached `end`.

    `open` maps offset -> fingerprint of the messages that may have come from either log.
    """

    settled: int
    end: int
    open: dict[int, int]

    def has_answered(self, offset: int, fingerprint: int) -> bool:
        """Whether this message of the new log was already answered, while it was thought to be of the former log."""
        if self.open.get(offset) != fingerprint:
            return False
        del self.open[offset]
        return True

    def unread(self) -> int:
        """Number of offsets of the former log never read. Final when the new log is read past all `open` ones."""
        return max(0, self.end - max([self.settled, *(offset + 1 for offset in self.open)]))


@dataclass(slots=True)
class FormerAssignment:
    """State kept of a partition after it was revoked: all before `position` in the log `topic_id` is settled."""

    topic_id: str | None
    position: int
    end: int
    recent: dict[int, int]

    def is_of_another_log(self, topic_id: str | None) -> bool:
        return self.topic_id is not None and topic_id is not None and self.topic_id != topic_id

    def as_former(self) -> FormerLog:
        return FormerLog(min(self.recent, default=self.position), self.end, dict(self.recent))


@dataclass(slots=True)
class Assignment:
    """An assigned partition. `position`, `polled`, `done` and `committed` are next offsets; None: none yet.

    `position` is the next to be read, past markers and other offsets without a message; `polled` follows the last
    message read, `done` the last one settled.
    """

    epoch: int
    topic_id: str | None = None
    position: int | None = None
    polled: int | None = None
    done: int | None = None
    committed: int | None = None
    until: int | None = None  # a bounded reading ends before this offset
    newest_done: float | None = None  # broker timestamp up to which messages are settled
    start: int | None = None
    since: float = field(default_factory=monotonic)
    finished: bool = False  # a bounded reading has passed its end here
    displaced: bool = False  # its position is no longer in the log: a new one is chosen once drained
    former: FormerLog | None = None
    end: int = 0  # of the log, as far as is known
    recent: dict[int, tuple[int, float]] = field(default_factory=dict)  # offset -> fingerprint, when taken
    _ends: tuple[int, float] = (0, 0.0)  # the newest end and when it was measured; `end` is confirmed

    @property
    def drained(self) -> bool:
        return self.polled is None or self.polled == self.done

    @property
    def settled(self) -> int | None:
        """Everything before this offset is answered, or held no message."""
        return self.position if self.drained else self.done

    def pass_to(self, offset: int) -> int:
        """Advance to `offset`; returns how many offsets in between held no message."""
        passed = 0 if self.position is None else max(0, offset - self.position)
        self.position = offset
        return passed

    def take(self, offset: int, fingerprint: int) -> bool:
        """Whether to answer the message at `offset`; False: it was answered before its log was known to be new."""
        if self.former is not None and self.former.has_answered(offset, fingerprint):
            return False
        self.polled = offset + 1
        if self.topic_id is not None:
            self.recent[offset] = fingerprint, monotonic()
        return True

    def unread_of_former(self, at_end: bool) -> int:
        """Number of offsets of the former log never read; returned once, when it is final, and 0 otherwise."""
        if self.former is None or not (at_end or (self.position or 0) > max(self.former.open, default=-1)):
            return 0
        unread, self.former = self.former.unread(), None
        return unread

    def measure_end(self, end: int) -> None:
        self._ends = end, monotonic()

    def confirm(self, asked: float) -> None:
        """The topic id was unchanged at `asked`: messages read before then came from its log."""
        self.recent = {offset: what for offset, what in self.recent.items() if what[1] >= asked}
        if self._ends[1] < asked:
            self.end = max(self.end, self._ends[0])

    def to_remember(self) -> FormerAssignment | None:
        """The state to keep when the partition is revoked, in case it is assigned again."""
        if self.settled is None:
            return None
        # unsettled messages are returned, and must be answered when they are read again
        recent = {o: fingerprint for o, (fingerprint, _) in self.recent.items() if self.drained or o < self.settled}
        return FormerAssignment(self.topic_id, self.settled, self.end, recent)
