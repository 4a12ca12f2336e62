"""Which stage each thread of the runner is in, and since when: for readiness, the watchdog and the journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from service.stream.batch import Batch
from service.stream.journal import Journal, stretches

# stage -> the number of the thread that it runs in; `poll` is the splitting of messages into alerts
SLOTS: Final = {
    "poll": 0, "decode": 1, "cut": 1, "merge": 1, "inference": 2, "encode": 3, "record": 3,
}  # fmt: skip


class Progress:
    """A stage that works on the same batch for long makes no progress. Waiting for a store or a broker is none of this:
    it is told by itself. So the stage `publish` is not here.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._now: list[tuple[str, float] | None] = [None] * (max(SLOTS.values()) + 1)

    @contextmanager
    def stage(self, stage: str, batches: Iterable[Batch]) -> Iterator[None]:
        """Run a stage on batches. If it fails by a defect, the journal keeps them in hand as if it had crashed."""
        with self.hold(stage, b",".join(_places(batch)[1:-1] for batch in batches) if self._journal else b""):
            yield

    @contextmanager
    def hold(self, stage: str, places: bytes) -> Iterator[None]:
        """The same for places without brackets, as `stretches` gives them."""
        slot = SLOTS[stage]
        if self._journal is not None:
            self._journal.begin(slot, stage, b"[%s]" % places)
        self._now[slot] = stage, monotonic()
        try:
            yield
        finally:
            self._now[slot] = None
        if self._journal is not None:
            self._journal.end(slot)

    def longest(self, stage: str | None = None) -> tuple[str, float] | None:
        """The stage (or this one) that has been working on the same batch for longest, and for how long [s]."""
        now = monotonic()
        found = [(now - each[1], each[0]) for each in self._now if each is not None and stage in (None, each[0])]
        if not found:
            return None
        seconds, name = max(found)
        return name, seconds


def _places(batch: Batch) -> bytes:
    if not batch.places:
        batch.places = stretches(item.message for item in batch.items)
    return batch.places
