"""What is known of a partition while it is ours: how far it is read, how far settled, and of which log.

A log is one life of a topic: deleted and made again, a topic has a new id, and its offsets begin again. Clients don't
notice: librdkafka reads on in the new log at the old position. The topic ids tell, some seconds later; until then it is
open which log the newest messages came from. So their fingerprints are kept, and when the new log is read from its
start, those that were answered already are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic, time


@dataclass(slots=True)
class FormerLog:
    """What was read of a partition's log before it was found to be another: `settled` of it for certain, up to `end`.

    `open` are (offset -> fingerprint) of messages that may have been of either log.
    """

    settled: int
    end: int
    open: dict[int, int]

    def has_answered(self, offset: int, fingerprint: int) -> bool:
        """Whether this message of the new log was taken for one of the former log, and answered."""
        if self.open.get(offset) != fingerprint:
            return False
        del self.open[offset]
        return True

    def unread(self) -> int:
        """Offsets of the former log that were never read. Known when the new log is read past all `open` ones."""
        return max(0, self.end - max([self.settled, *(offset + 1 for offset in self.open)]))


@dataclass(slots=True)
class Known:
    """What this process knows of a partition that it had: before `position` in the log `topic_id` all is settled."""

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
    """A partition while it is ours. `position`, `polled`, `done` and `committed` are next offsets; None: none yet.

    `position` is the next to be read, past markers and whatever else is no message; `polled` is behind the last message
    taken, `done` behind the last one settled.
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
    since: float = field(default_factory=time)
    since_monotonic: float = field(default_factory=monotonic)
    finished: bool = False  # a bounded reading has passed its end here
    displaced: bool = False  # its position is not in the log any more: to be found again once drained
    former: FormerLog | None = None
    end: int = 0  # of the log, as far as is known
    recent: dict[int, tuple[int, float]] = field(default_factory=dict)  # offset -> fingerprint, when taken
    _ends: tuple[int, float] = (0, 0.0)  # the newest end and when it was measured; `end` is confirmed

    @property
    def drained(self) -> bool:
        return self.polled is None or self.polled == self.done

    @property
    def settled(self) -> int | None:
        """Everything before this offset is answered, or was nothing to answer."""
        return self.position if self.drained else self.done

    def pass_to(self, offset: int) -> int:
        """Go on to `offset`; how many offsets without a message lay between."""
        passed = 0 if self.position is None else max(0, offset - self.position)
        self.position = offset
        return passed

    def take(self, offset: int, fingerprint: int) -> bool:
        """Whether the message at `offset` is to be answered; False: it was, before its log was known to be new."""
        if self.former is not None and self.former.has_answered(offset, fingerprint):
            return False
        self.polled = offset + 1
        if self.topic_id is not None:
            self.recent[offset] = fingerprint, monotonic()
        return True

    def unread_of_former(self, at_end: bool) -> int:
        """Offsets of the former log that were never read, told once: when this one is read as far as it matters."""
        if self.former is None or not (at_end or (self.position or 0) > max(self.former.open, default=-1)):
            return 0
        unread, self.former = self.former.unread(), None
        return unread

    def measure_end(self, end: int) -> None:
        self._ends = end, monotonic()

    def confirm(self, asked: float) -> None:
        """At `asked` the topic was still the one we know: what was read before that came from its log."""
        self.recent = {offset: what for offset, what in self.recent.items() if what[1] >= asked}
        if self._ends[1] < asked:
            self.end = max(self.end, self._ends[0])

    def known(self) -> Known | None:
        """To be remembered when the partition goes, for the case that it comes back."""
        if self.settled is None:
            return None
        # what is not settled by then is given back, and to be answered when it is read again
        recent = {o: fingerprint for o, (fingerprint, _) in self.recent.items() if self.drained or o < self.settled}
        return Known(self.topic_id, self.settled, self.end, recent)
