"""The partitions that this replica has, shared by the poll thread, the publish thread and the health check."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic, time

from confluent_kafka import TopicPartition

from service.stream.batch import Batch, Item, Message, Partition
from service.stream.kafka.assignment import Assignment
from service.stream.kafka.topic_watch import TopicIds


class Assigned:
    """`of` maps partitions to their assignments. Only the poll thread changes it, through the methods here."""

    def __init__(self) -> None:
        self.of: dict[Partition, Assignment] = {}
        self.lock = threading.Condition()
        self._ids_compared = 0.0

    def update(self, begun: Mapping[Partition, Assignment]) -> None:
        with self.lock:
            self.of.update(begun)

    def drop(self, places: Iterable[Partition]) -> dict[Partition, Assignment]:
        """Forget partitions; returns those that were there."""
        with self.lock:
            return {place: self.of.pop(place) for place in places if place in self.of}

    @property
    def places(self) -> list[Partition]:
        with self.lock:
            return sorted(self.of)

    @property
    def drained(self) -> bool:
        """Whether all that was polled is settled."""
        return all(part.drained for part in self.of.values())

    def wait_until_drained(self, places: set[Partition], seconds: float) -> None:
        deadline = monotonic() + seconds
        with self.lock:
            while monotonic() < deadline and not all(self.of[place].drained for place in places & self.of.keys()):
                self.lock.wait(deadline - monotonic())

    def owns(self, message: Message) -> bool:
        """Whether the partition of `message` has been ours continuously since it was polled."""
        with self.lock:
            assignment = self.of.get(message.topic_partition)
            return assignment is not None and assignment.epoch == message.epoch

    def settle(self, batch: Batch, committed: bool) -> None:
        """All outcomes of `batch` are stored safely; `committed`: and its offsets with them."""
        newest: dict[Partition, float] = {}
        for item in batch.items:
            if item.message.timestamp is not None:
                newest[item.message.topic_partition] = item.message.timestamp
        with self.lock:
            for (place, epoch), offset in batch.next_offsets().items():
                assignment = self.of.get(place)
                if assignment is not None and assignment.epoch == epoch:
                    assignment.done = offset
                    if committed:
                        assignment.committed = offset
                    assignment.newest_done = newest.get(place, assignment.newest_done)
            self.lock.notify_all()

    def offsets_behind(self, items: Sequence[Item]) -> list[TopicPartition]:
        """The offsets to commit once `items` are answered."""
        offsets: dict[Partition, int] = {}
        for item in items:
            place = item.message.topic_partition
            offsets[place] = max(offsets.get(place, 0), item.message.offset + 1)
        with self.lock:
            return [self._to_commit(place, offset) for place, offset in offsets.items()]

    def compare_ids(self, ids: TopicIds) -> None:
        """Check that the logs are still those that were assigned: see `assignment`. For the poll thread."""
        if ids.asked == self._ids_compared:
            return
        self._ids_compared = ids.asked
        for place, part in self.of.items():
            topic_id = ids.of.get(place[0])
            if topic_id is None or part.displaced or ids.asked < part.since:
                continue
            if part.topic_id is None:
                part.topic_id = topic_id
            elif topic_id == part.topic_id:
                part.confirm(ids.asked)
            else:
                part.displaced = True

    def uncommitted(self) -> list[TopicPartition]:
        """Settled offsets that are not committed."""
        with self.lock:
            return [
                self._to_commit(place, part.settled)
                for place, part in self.of.items()
                if part.settled is not None and part.settled != part.committed and not part.displaced
            ]

    def committed(self, partitions: Iterable[TopicPartition]) -> None:
        """The broker has these."""
        with self.lock:
            for part in partitions:
                assignment = self.of.get((part.topic, part.partition))
                if assignment is not None and part.error is None:
                    assignment.committed = part.offset

    def positions(self) -> dict[Partition, int | None]:
        """Everything before is answered, or held no message; where nothing is yet, the start of the reading."""
        with self.lock:
            return {place: part.start if part.settled is None else part.settled for place, part in self.of.items()}

    def lag_seconds(self, lag: Mapping[Partition, int]) -> float:
        """Largest age of a partition's newest settled alert, over the partitions with waiting messages; where nothing
        is settled, the time since the partition was assigned."""
        with self.lock:
            ages = [
                monotonic() - part.since if part.newest_done is None else max(0.0, time() - part.newest_done)
                for place, part in self.of.items()
                if lag.get(place)
            ]
        return max(ages, default=0.0)

    def _to_commit(self, place: Partition, offset: int) -> TopicPartition:
        """With the topic id as metadata: the offset is only valid for a topic with that id."""
        assignment = self.of.get(place)
        return TopicPartition(*place, offset, (assignment.topic_id if assignment else None) or "")
