"""Every message is accounted for: consumed = published + filtered + dead-lettered (+ returned + in flight).

Offsets without a message are counted as `skipped`, by reason, so that every offset is accounted for.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service import metrics
from service.stream.batch import Batch, DeadLettered, Filtered, Partition, Published, Returned

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Account:
    """Outcomes of one partition's messages since it was assigned to this process."""

    consumed: int = 0
    published: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    dead_lettered: Counter[str] = field(default_factory=Counter)
    returned: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, other: Account) -> None:
        self.consumed += other.consumed
        self.published += other.published
        self.filtered += other.filtered
        self.dead_lettered += other.dead_lettered
        self.returned += other.returned
        self.skipped += other.skipped

    @property
    def settled(self) -> int:
        return self.published + self.filtered.total() + self.dead_lettered.total() + self.returned


class Accounting:
    """The accounts of one input, per partition; every method may be called from any thread.

    Messages in flight are counted from the open batches, not as the difference of the other numbers, so a message that
    a stage loses shows as a gap.
    """

    def __init__(self, input_name: str = "") -> None:
        self.input = input_name
        self._lock = threading.Lock()
        self._accounts: dict[Partition, Account] = {}
        self._under_way: dict[int, Batch] = {}
        self._in_flight_gauge = metrics.IN_FLIGHT.labels(input_name)
        self._gap_gauge = metrics.ACCOUNTING_GAP.labels(input_name)

    def take(self, batch: Batch) -> None:
        """Count a new batch as consumed and in flight."""
        with self._lock:
            self._under_way[id(batch)] = batch
            for place, count in batch.count().items():
                self._accounts.setdefault(place, Account()).consumed += count
                metrics.CONSUMED.labels(*self._labels(place)).inc(count)
        metrics.BATCH_ALERTS.observe(len(batch))
        self._in_flight_gauge.inc(len(batch))

    def settle(self, batch: Batch) -> None:
        """Count the outcomes of a batch, all of them acknowledged."""
        outcomes = Counter((item.message.topic_partition, _outcome(item.outcome)) for item in batch.items)
        with self._lock:
            del self._under_way[id(batch)]
            for (place, (kind, reason)), count in outcomes.items():
                account = self._accounts[place]
                labels = self._labels(place)
                if kind is Published:
                    account.published += count
                    metrics.PUBLISHED.labels(*labels).inc(count)
                elif kind is Filtered:
                    account.filtered[reason] += count
                    metrics.FILTERED.labels(*labels, reason).inc(count)
                elif kind is DeadLettered:
                    account.dead_lettered[reason] += count
                    metrics.DEAD_LETTERED.labels(*labels, reason).inc(count)
                elif kind is Returned:
                    account.returned += count
                    metrics.RETURNED.labels(*labels).inc(count)
        self._in_flight_gauge.dec(len(batch))

    def skip(self, place: Partition, reason: str, count: int) -> None:
        """Count offsets passed over; `reason` is a constant of `service.stream.kafka.skipped`."""
        with self._lock:
            self._accounts.setdefault(place, Account()).skipped[reason] += count
            metrics.SKIPPED.labels(*self._labels(place), reason).inc(count)

    def closes(self) -> bool:
        """Whether every consumed message is settled or in flight; logs an error for each partition with a gap."""
        with self._lock:
            gaps = {place: gap for place, gap in self._gaps().items() if gap}
        self._gap_gauge.set(sum(gaps.values()))
        for (topic, partition), gap in gaps.items():
            log.error("accounting does not close: %s/%d has %+d messages without an outcome", topic, partition, gap)
        return not gaps

    @property
    def in_flight(self) -> int:
        with self._lock:
            return sum(len(batch) for batch in self._under_way.values())

    def total(self) -> Account:
        """All partitions together."""
        whole = Account()
        with self._lock:
            for account in self._accounts.values():
                whole.add(account)
        return whole

    def view(self) -> dict[str, Any]:
        """The accounts as JSON-able values: the total, then every partition."""
        closes = self.closes()
        with self._lock:
            in_flight = self._in_flight()
            partitions = [
                {"topic": place[0], "partition": place[1], **_numbers(account, in_flight[place])}
                for place, account in sorted(self._accounts.items())
            ]
        return {"closes": closes, **_numbers(self.total(), sum(in_flight.values())), "partitions": partitions}

    def _labels(self, place: Partition) -> tuple[str, str, str]:
        return self.input, place[0], str(place[1])

    def _in_flight(self) -> Counter[Partition]:
        counts: Counter[Partition] = Counter()
        for batch in self._under_way.values():
            counts += batch.count()
        return counts

    def _gaps(self) -> dict[Partition, int]:
        in_flight = self._in_flight()
        return {
            place: account.consumed - account.settled - in_flight[place] for place, account in self._accounts.items()
        }


class Accounts:
    """Those of all inputs of a process, in the form of one; the unnamed input's are told as they are."""

    def __init__(self, inputs: Sequence[Accounting]) -> None:
        self._inputs = tuple(inputs)

    def closes(self) -> bool:
        closed = [each.closes() for each in self._inputs]  # each, because it logs its gaps
        return all(closed)

    @property
    def in_flight(self) -> int:
        return sum(each.in_flight for each in self._inputs)

    def total(self) -> Account:
        """All inputs together."""
        whole = Account()
        for each in self._inputs:
            whole.add(each.total())
        return whole

    def view(self) -> dict[str, Any]:
        """As JSON-able values: the total, then every input, then every partition with its input's name."""
        if [each.input for each in self._inputs] == [""]:
            return self._inputs[0].view()
        views = {each.input: each.view() for each in self._inputs}
        partitions = [
            {"input": name, **partition} for name, view in views.items() for partition in view.pop("partitions")
        ]
        return {
            "closes": all(view["closes"] for view in views.values()),
            **_numbers(self.total(), sum(view["in_flight"] for view in views.values())),
            "inputs": [{"input": name, **view} for name, view in views.items()],
            "partitions": partitions,
        }


def _outcome(outcome: object) -> tuple[type | None, str]:
    if isinstance(outcome, Filtered):
        return Filtered, outcome.reason
    if isinstance(outcome, DeadLettered):
        return DeadLettered, outcome.code
    return (type(outcome) if outcome is not None else None), ""


def _numbers(account: Account, in_flight: int) -> dict[str, Any]:
    return {
        "consumed": account.consumed,
        "published": account.published,
        "filtered": dict(account.filtered),
        "dead_lettered": dict(account.dead_lettered),
        "returned": account.returned,
        "skipped": dict(account.skipped),
        "in_flight": in_flight,
    }
