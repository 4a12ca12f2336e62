"""The interfaces of source and sink, as the runner uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from service.errors import AlertClassifierError
from service.stream.batch import Batch, Message


class Source(Protocol):
    """Where messages come from. Only `acknowledge` is called from a thread other than the poll thread."""

    def poll(self, maximum: int, linger_s: float) -> Sequence[Message]:
        """Up to `maximum` messages; returns within some 0.1 s when there are none, within `linger_s` of the first."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether no more messages will come."""
        ...

    def pause(self) -> None:
        """Return no new messages until `resume`; `poll` is still called meanwhile."""
        ...

    def resume(self) -> None: ...

    def acknowledge(self, batch: Batch) -> None:
        """All outcomes of `batch` are stored safely. Called in the order of the batches, from the publish thread."""
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Where outcomes go. Called only from the publish thread."""

    def open(self, given_up: Callable[[], bool]) -> None:
        """Get ready; wait for an absent broker until `given_up()`. Raises StreamError if waiting can't help."""
        ...

    def send(self, batch: Batch) -> None:
        """Publish classifications and dead letters; may return before they are acknowledged."""
        ...

    def acknowledged(self, timeout_s: float) -> list[Batch]:
        """Batches acknowledged since the last call, in order; waits for one at most `timeout_s`."""
        ...

    @property
    def pending(self) -> int:
        """Batches sent and not yet acknowledged."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why the sink can't publish, as text, or None."""
        ...

    def close(self) -> None: ...


class StreamError(AlertClassifierError, RuntimeError):
    """The stream can't continue and must be restarted; the message says why and what to do."""
