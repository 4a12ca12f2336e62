"""What the runner asks of where messages come from and of where answers go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from service.errors import AlertClassifierError
from service.stream.batch import Batch, Message


class Source(Protocol):
    """Where messages come from. Called from the poll thread alone, but for `acknowledge`."""

    def poll(self, maximum: int, linger_s: float) -> Sequence[Message]:
        """Up to `maximum` messages; returns within some 0.1 s when there are none, within `linger_s` of the first."""
        ...

    @property
    def exhausted(self) -> bool:
        """Nothing will come any more."""
        ...

    def pause(self) -> None:
        """Bring nothing new until `resume`; `poll` goes on being called."""
        ...

    def resume(self) -> None: ...

    def acknowledge(self, batch: Batch) -> None:
        """Everything that came of `batch` is safe. Called in the order of the batches, from the publish thread."""
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Where outcomes go. Called from the publish thread alone."""

    def open(self, given_up: Callable[[], bool]) -> None:
        """Make ready; waits for an absent broker until `given_up()`. Raises StreamError on what no waiting mends."""
        ...

    def send(self, batch: Batch) -> None:
        """Publish classifications and dead letters; may return before they are acknowledged."""
        ...

    def acknowledged(self, timeout_s: float) -> list[Batch]:
        """Batches that are safe, in order; waits for one at most `timeout_s`."""
        ...

    @property
    def pending(self) -> int:
        """Batches sent and not yet acknowledged."""
        ...

    @property
    def trouble(self) -> str | None:
        """What keeps the sink from publishing, in words, or None."""
        ...

    def close(self) -> None: ...


class StreamError(AlertClassifierError, RuntimeError):
    """The stream can't go on and must be started anew; the message says why and what to do."""
