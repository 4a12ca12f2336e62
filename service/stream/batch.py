"""What walks the corridor: a message from a source, and the batch of items that it becomes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from service.alerts.alert import Alert
from service.inference.prediction import Prediction
from service.photometry import LightCurve

# (topic, partition); for an archive (its path, 0)
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes as they came, and from where.

    `timestamp` is the broker's (None where there is none), `received` ours, both in seconds since 1970. `offset` counts
    within (topic, partition). `epoch` tells apart successive assignments of a partition to this
    replica: what an earlier assignment brought must not be committed under a later one.
    """

    topic: str
    partition: int
    offset: int
    value: bytes
    key: bytes | None = None
    timestamp: float | None = None
    received: float = 0.0
    epoch: int = 0

    @property
    def place(self) -> Place:
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Published:
    """A classification, ready to be sent: `value` is the encoded message, `key` the object's identifier."""

    key: bytes
    value: bytes
    prediction: Prediction
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filtered:
    """Left out on purpose."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """Can't be decoded or classified: `code` is a short constant, `message` says what is wrong."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Returned:
    """Given back unanswered because the partition went to another replica, which reads the message again."""


Outcome = Published | Filtered | DeadLettered | Returned


@dataclass(slots=True)
class Item:
    """One message on its way; each step fills in the next field, and `outcome` ends the way."""

    message: Message
    alert: Alert | None = None
    flags: tuple[str, ...] = ()
    light_curve: LightCurve | None = None
    prediction: Prediction | None = None
    shadows: tuple[Prediction, ...] = ()
    outcome: Outcome | None = None


@dataclass(slots=True)
class Batch:
    """Messages that walk together, in the order in which they came."""

    items: list[Item]
    begun: float = field(default_factory=perf_counter)

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Batch:
        return cls([Item(message) for message in messages])

    def open(self) -> list[Item]:
        """Those that still have a step to take."""
        return [item for item in self.items if item.outcome is None]

    def published(self) -> Iterator[tuple[Item, Published]]:
        for item in self.items:
            if isinstance(item.outcome, Published):
                yield item, item.outcome

    def count(self) -> Counter[Place]:
        """Messages per place."""
        return Counter(item.message.place for item in self.items)

    def next_offsets(self) -> dict[tuple[Place, int], int]:
        """(place, epoch) -> the offset behind the last message."""
        ends: dict[tuple[Place, int], int] = defaultdict(int)
        for item in self.items:
            message = item.message
            which = message.place, message.epoch
            ends[which] = max(ends[which], message.offset + 1)
        return dict(ends)

    def __len__(self) -> int:
        return len(self.items)
