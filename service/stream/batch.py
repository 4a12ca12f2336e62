"""The data of the pipeline: messages from a source, and the batch of items made of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from service.alerts.alert import Alert
from service.alerts.container import Piece
from service.inference.prediction import Prediction
from service.output.classification import Subject
from service.output.dead_letter import DeadLetter
from service.output.outputs import Outgoing
from service.photometry import Context, LightCurve
from service.store.interface import Counterpart, StoredClassification

# (topic, partition); for an archive (its path, 0)
Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Message:
    """The bytes of a message as received, with its origin.

    `timestamp` is the broker's (None if it has none), `received` ours, both in seconds since 1970. `offset` counts
    within (topic, partition). `epoch` numbers the successive assignments of a partition to this replica: a message of
    an earlier assignment must not be committed under a later one. Where a message holds several records, each becomes
    a Message: `record` is its number, from 1, and `piece` what it is of the message, with `value` its bytes.
    """

    topic: str
    partition: int
    offset: int
    value: bytes
    key: bytes | None = None
    timestamp: float | None = None
    received: float = 0.0
    epoch: int = 0
    record: int = 1
    piece: Piece | None = None

    @property
    def packet(self) -> bytes:
        """What to decode: the message, or a container file of this record alone.

        Made anew each time, because the header of every record would take more memory than the message.
        """
        return self.value if self.piece is None else self.piece.alone()

    @property
    def topic_partition(self) -> Partition:
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Published:
    """A classification, and the messages that carry it: that of the output topic, then those of further topics.

    Their key is the object's id, so that Kafka keeps the classifications of one object in order; a format may need
    another.
    """

    classification: StoredClassification
    messages: tuple[Outgoing, ...]

    @property
    def key(self) -> bytes:
        """Of the message in the output topic."""
        return self.messages[0].key

    @property
    def value(self) -> bytes:
        """The message of the output topic."""
        return self.messages[0].value


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
    """Not answered: the partition was assigned to another replica, which reads the message again."""


Outcome = Published | Filtered | DeadLettered | Returned


@dataclass(slots=True)
class Item:
    """One message in the pipeline: each stage fills in the next field; one with an `outcome` is finished.

    `alert` is never changed; `subject` is what the classification is about; `light_curve` and `context` are those of
    its object as known at this alert, and `kept` what models have kept of it (`Store.kept_blocks`).
    """

    message: Message
    alert: Alert | None = None
    failed_cuts: tuple[str, ...] = ()
    subject: Subject | None = None
    light_curve: LightCurve | None = None
    context: Context | None = None
    counterparts: list[Counterpart] | None = None
    kept: Mapping[str, bytes] = field(default_factory=dict)
    prediction: Prediction | None = None
    shadows: tuple[Prediction, ...] = ()
    outcome: Outcome | None = None


@dataclass(slots=True)
class Batch:
    """Messages that go through the pipeline together, in the order of arrival.

    `places` are those of its messages as the journal notes them; made when they are first asked for.
    """

    items: list[Item]
    places: bytes = b""

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Batch:
        return cls([Item(message) for message in messages])

    def open(self) -> list[Item]:
        """The items without an outcome."""
        return [item for item in self.items if item.outcome is None]

    def published(self) -> Iterator[tuple[Item, Published]]:
        for item in self.items:
            if isinstance(item.outcome, Published):
                yield item, item.outcome

    def dead_letters(self) -> Iterator[DeadLetter]:
        """A dead letter for each message that could not be decoded or classified."""
        for item in self.items:
            if isinstance(item.outcome, DeadLettered):
                yield dead_letter(item.message, item.outcome)

    def count(self) -> Counter[Partition]:
        """Messages per partition."""
        return Counter(item.message.topic_partition for item in self.items)

    def next_offsets(self) -> dict[tuple[Partition, int], int]:
        """(partition, epoch) -> the offset behind the last message."""
        ends: dict[tuple[Partition, int], int] = defaultdict(int)
        for item in self.items:
            message = item.message
            which = message.topic_partition, message.epoch
            ends[which] = max(ends[which], message.offset + 1)
        return dict(ends)

    def __len__(self) -> int:
        return len(self.items)


def dead_letter(message: Message, why: DeadLettered) -> DeadLetter:
    """The dead letter of a refused message."""
    packet = message.packet
    return DeadLetter(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        record=message.record,
        timestamp=message.timestamp,
        code=why.code,
        message=why.message,
        key=message.key,
        size=len(packet),
        value=packet,
    )
