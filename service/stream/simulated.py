"""A simulated sky as a stream, for the demo."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from time import monotonic, time
from typing import Final

from service.simulate import SimulatedAlert
from service.stream.accounting import Accounting
from service.stream.batch import Batch, Message
from service.stream.health import StreamHealth
from service.stream.runner import StreamRunner

TOPIC: Final = "simulated-night"


class SkySource:
    """A simulated sky as a source of alerts, at a steady rate [alerts/s]."""

    def __init__(self, alerts: Iterator[SimulatedAlert], rate: float) -> None:
        self._alerts = alerts
        self._rate = rate
        self._begun = monotonic()
        self._given = 0
        self._paused = threading.Event()
        self.exhausted = False

    def poll(self, maximum: int, linger_s: float) -> Sequence[Message]:
        due = int((monotonic() - self._begun) * self._rate) - self._given
        if due < 1 or self._paused.is_set():
            self._paused.wait(max(linger_s, 0.02))
            return []
        alerts = list(islice(self._alerts, min(due, maximum)))
        self.exhausted = not alerts
        now = time()
        messages = [
            Message(TOPIC, 0, self._given + number, alert.packet, timestamp=now, received=now)
            for number, alert in enumerate(alerts)
        ]
        self._given += len(messages)
        return messages

    def pause(self) -> None:
        self._paused.set()

    def resume(self) -> None:
        self._paused.clear()

    def acknowledge(self, batch: Batch) -> None:
        """Nothing to commit: a simulated night is not read again."""

    def close(self) -> None:
        self.exhausted = True


class SimulatedStream:
    """Health and accounts of a simulated night, in the form that the API expects of a stream."""

    def __init__(self, runner: StreamRunner, source: SkySource) -> None:
        self._runner = runner
        self._source = source

    @property
    def accounting(self) -> Accounting:
        return self._runner.accounting

    def health(self) -> StreamHealth:
        reasons = [str(problem) for problem in (self._runner.failure, self._runner.trouble) if problem]
        return StreamHealth(
            ready=not reasons,
            reasons=tuple(reasons),
            partitions=() if self._source.exhausted else (f"{TOPIC}/0",),
            in_flight=self.accounting.in_flight,
            lag_messages=0,  # a simulated alert is made when it is due
            lag_seconds=0.0,
            idle_s=self._runner.idle_s,
        )
