"""A source in memory: small batches as fast as they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from service.simulate import SimulatedAlert
from service.stream.batch import Batch, Message


class Source:
    """`acknowledged` tells in which order alerts came through, `pauses` and `resumes` how often it was told to."""

    def __init__(self, alerts: Sequence[SimulatedAlert], size: int) -> None:
        self._waiting = [
            Message("alerts", 0, offset, alert.packet, timestamp=time.time(), received=time.time())
            for offset, alert in enumerate(alerts)
        ]
        self._size = size
        self.acknowledged: list[int] = []
        self.paused = False
        self.pauses = self.resumes = 0
        self.on_resume: Callable[[], None] = lambda: None

    def poll(self, maximum: int, linger_s: float) -> list[Message]:
        if self.paused:
            return []
        taken, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        return taken

    @property
    def exhausted(self) -> bool:
        return not self._waiting

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.resumes += 1
        self.on_resume()
        self.paused = False

    def acknowledge(self, batch: Batch) -> None:
        self.acknowledged += [item.message.offset for item in batch.items]

    def close(self) -> None: ...
