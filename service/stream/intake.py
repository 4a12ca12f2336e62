"""The poll thread: messages from the source become batches; backpressure; suspects one by one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile
from queue import SimpleQueue
from time import monotonic
from typing import Final

from service.config import PipelineSettings
from service.stream.accounting import Accounting
from service.stream.batch import Batch, DeadLettered, Item, Message
from service.stream.interfaces import Source
from service.stream.journal import Journal, Suspects, stretches
from service.stream.pipeline import Pipeline
from service.stream.progress import Progress

# During a drain the first queue is full most of the time, each time for milliseconds. Pausing partitions discards what
# the client has prefetched, so pause only after this long; but poll again well before the group's 5 minutes are over.
PATIENCE_S: Final = 0.25
# The accounts are checked this often; a check walks all batches in flight.
AUDIT_S: Final = 10.0


class Intake:
    """Polls until the source is exhausted or `stopping` is set, and puts batches into `taken`.

    `room` is set by others when a batch was taken from `taken` or settled.
    """

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        settings: PipelineSettings,
        accounting: Accounting,
        progress: Progress,
        journal: Journal | None,
        stopping: threading.Event,
    ) -> None:
        # unbounded, because the poll thread must never block: it checks the length and pauses the source
        self.taken: SimpleQueue[Batch | None] = SimpleQueue()
        self.room = threading.Event()
        self._source = source
        self._pipeline = pipeline
        self._settings = settings
        self._accounting = accounting
        self._progress = progress
        self._journal = journal
        self._stopping = stopping
        self._held: deque[Message] = deque()  # polled and not yet in a batch
        self._waiting = False

    def run(self) -> None:
        audit = monotonic() + AUDIT_S
        while not self._stopping.is_set() and not self._source.exhausted:
            self._take(self._source.poll(self._settings.max_batch, self._settings.linger_s))
            if monotonic() > audit:
                self._accounting.closes()
                audit = monotonic() + AUDIT_S

    def _take(self, messages: Sequence[Message]) -> None:
        self._held.extend(messages)
        if not self._waiting:
            self._begin_what_is_held()

    def _begin_what_is_held(self) -> None:
        """Batches of what is held, as the queue has room for them; a suspect alone, while nothing else is in flight."""
        while self._held and not self._stopping.is_set():
            suspects = self._suspicion(self._held[0])
            if suspects is None:
                self._begin_harmless()
                self._wait_until(lambda: not self._is_full())
            else:
                self._begin_suspect(suspects)

    def _suspicion(self, message: Message) -> Suspects | None:
        if self._journal is None or not self._journal.suspects:
            return None
        return self._journal.suspect(message)

    def _begin_harmless(self) -> None:
        """One batch of the messages before the first suspect. Those that hold many alerts fill it early; what is left
        stays held.
        """
        messages = list(takewhile(lambda message: self._suspicion(message) is None, self._held))
        for _ in range(self._begin(messages)):
            self._held.popleft()

    def _begin_suspect(self, suspects: Suspects) -> None:
        assert self._journal is not None
        self._wait_until(lambda: not self._accounting.in_flight)
        if self._stopping.is_set():
            return
        message = self._held.popleft()
        if suspects.refused:
            self._hand_on(Batch([Item(message, outcome=_refusal(suspects))]))
        else:
            self._begin([message])
        self._wait_until(lambda: not self._accounting.in_flight)
        if not self._accounting.in_flight:
            self._journal.passed(message)

    def _begin(self, messages: Sequence[Message]) -> int:
        """Begin a batch of the first of these messages; returns how many."""
        places = stretches(messages) if self._journal is not None else b""
        with self._progress.hold("poll", places[1:-1]):
            batch, count = self._pipeline.take(messages, self._settings.max_batch)
        batch.places = places if count == len(messages) else b""  # empty: found again from the batch
        self._hand_on(batch)
        return count

    def _hand_on(self, batch: Batch) -> None:
        self._accounting.take(batch)
        self.taken.put(batch)

    def _wait_until(self, holds: Callable[[], bool]) -> None:
        """Backpressure: wait a moment, then pause the source but keep polling it; what comes then is held."""
        paused = False
        self._waiting = True
        patience = monotonic() + PATIENCE_S
        while not holds() and not self._stopping.is_set():
            if not paused and monotonic() > patience:
                self._source.pause()
                paused = True
            if paused:
                self._take(self._source.poll(self._settings.max_batch, 0.0))
            self.room.wait(0.02)
            self.room.clear()
        self._waiting = False
        if paused:
            self._source.resume()

    def _is_full(self) -> bool:
        return self.taken.qsize() >= self._settings.queue_depth


def _refusal(suspects: Suspects) -> DeadLettered:
    return DeadLettered(
        "ends_the_service",
        f"{suspects.strikes} times in a row the service died or stood still with this message alone in hand,"
        f" the last time in the stage {suspects.stage}: it was not read again",
    )
