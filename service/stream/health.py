"""What the stream says of itself, apart from it: the API asks without loading the Kafka client."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """Whether alerts flow; `reasons` are the obstacles, as text; `idle_s` is the time since a batch was settled.

    `inputs` are those of the named inputs, whose names stand before the reasons.
    """

    ready: bool
    reasons: tuple[str, ...]
    partitions: tuple[str, ...]
    in_flight: int
    lag_messages: int
    lag_seconds: float
    idle_s: float
    name: str = ""
    inputs: tuple[StreamHealth, ...] = ()
