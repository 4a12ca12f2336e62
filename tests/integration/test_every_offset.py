"""Every offset that ever existed has its account, whatever happens to a topic: random sequences of events."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.config import Delivery, QualitySettings
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.stream.kafka.topics import Span
from service.stream.service import StreamService
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(900)]

EVENTS = 14


class Story:
    """A topic, the service that reads it, and how many offsets each partition has had in all its lives."""

    def __init__(self, seed: int, cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery) -> None:
        self.random = random.Random(seed)
        self.cluster = cluster
        self.models = models
        self.settings = cluster.settings(
            store_url,
            delivery=delivery,
            transactional_id=f"replica-{cluster.name}",
            librdkafka_consumer={"group.protocol": "consumer" if seed % 2 else "classic"},
        )
        self.settings.quality = QualitySettings(action="drop")
        self.packets = simulate(100_000, seed=seed)
        self.partitions = 2
        self.taken_up = False  # what expires before a group has ever had a partition is nothing that it missed
        self.former: Counter[int] = Counter()
        self.accounts: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.begun = datetime.now(UTC)
        self.stack = ExitStack()
        self.service: StreamService | None = None
        cluster.make_topic(cluster.alerts, self.partitions)
        self.start()

    def start(self) -> None:
        self.service, _ = self.stack.enter_context(streaming(self.settings, self.models))

    def stop(self) -> None:
        self.stack.close()
        assert self.service is not None
        view = self.service.accounting.view()
        assert view["closes"]
        for partition in view["partitions"]:
            self.accounts[partition["partition"]] += _accounted(partition)
        total = self.service.accounting.total()
        self.outcomes.update(
            published=total.published, filtered=total.filtered.total(), dead_lettered=total.dead_lettered.total()
        )
        self.outcomes.update(total.skipped)
        self.service = None

    def existed(self) -> Counter[int]:
        return self.former + Counter(self.cluster.ends(self.cluster.alerts))

    def accounted(self) -> Counter[int]:
        now = Counter(self.accounts)
        if self.service is not None:
            for partition in self.service.accounting.view()["partitions"]:
                now[partition["partition"]] += _accounted(partition)
        return now

    def settle(self) -> None:
        if self.service is None:
            self.start()
        try:
            eventually(lambda: self.accounted() == self.existed(), within_s=60, every_s=0.3)
        except AssertionError:
            raise AssertionError(f"{self.accounted()} of {self.existed()}: {self.service.accounting.view()}") from None  # type: ignore[union-attr]

        self.taken_up = True

    # -- what may happen

    def produce(self) -> None:
        packets = [next(self.packets).packet for _ in range(self.random.randint(1, 8))]
        if self.random.random() < 0.3:
            packets.append(b"not an alert")
        moments = [self.begun - timedelta(minutes=self.random.randint(0, 600)) for _ in packets]
        self.cluster.send_at(
            ((packet, int(at.timestamp() * 1000)) for packet, at in zip(packets, moments, strict=True)),
            self.random.randrange(self.partitions),
        )

    def transact(self) -> None:
        packets = [next(self.packets).packet for _ in range(self.random.randint(1, 4))]
        self.cluster.transaction(packets, self.random.random() < 0.5, self.random.randrange(self.partitions))

    def expire(self) -> None:
        if not self.taken_up:
            self.settle()
        partition = self.random.randrange(self.partitions)
        self.cluster.expire(
            self.cluster.alerts, partition, self.random.randint(0, self.cluster.ends(self.cluster.alerts)[partition])
        )

    def make_again(self) -> None:
        """What is never seen by anybody can't be counted: so all is read before, and filled at once behind."""
        self.settle()
        self.former = self.existed()
        self.taken_up = False
        self.cluster.make_topic_again(self.cluster.alerts, self.partitions)
        for _ in range(3):
            self.produce()

    def add_partition(self) -> None:
        self.partitions += 1
        self.taken_up = False
        self.cluster.add_partitions(self.cluster.alerts, self.partitions)

    def stop_or_start(self) -> None:
        if self.service is None:
            self.start()
        else:
            self.stop()


def _accounted(partition: dict[str, Any]) -> int:
    settled = partition["published"] + sum(partition["filtered"].values()) + sum(partition["dead_lettered"].values())
    return int(settled + sum(partition["skipped"].values()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("delivery", list(Delivery), ids=str)
def test_every_offset_has_its_account(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery, seed: int
) -> None:
    """Given any sequence of messages, transactions, retention, new logs, new partitions and restarts, then answered +
    filtered + dead-lettered + skipped are all offsets that ever existed, per partition; and a span that is read again
    has as many messages as the log holds of its time.
    """
    story = Story(seed, cluster, models, store_url, delivery)
    happens = [story.produce, story.transact, story.expire, story.make_again, story.add_partition, story.stop_or_start]
    for event in story.random.choices(happens, weights=[6, 4, 3, 1, 1, 3], k=EVENTS):
        event()
    story.settle()
    story.stop()
    assert story.accounts == story.existed()

    span = Span(story.begun - timedelta(hours=7), story.begun - timedelta(hours=2))
    inside = sum(span.holds(moment) for moment in cluster.timestamps(cluster.alerts))
    with streaming(story.settings, models, span=span) as (backfill, _):
        assert backfill.wait(60)
    assert backfill.accounting.total().consumed == inside
