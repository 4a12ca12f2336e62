"""Positions are those of the log: what is left to read, what was never there, what went before it was read."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service import metrics
from service.config import Delivery, Settings
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.stream.interfaces import StreamError
from service.stream.kafka.topics import Span
from service.stream.pipeline import Pipeline
from service.stream.service import StreamService
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = pytest.mark.kafka

MODES = pytest.mark.parametrize("delivery", list(Delivery), ids=str)
PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def in_mode(cluster: Cluster, store_url: str, delivery: Delivery, **changes: Any) -> Settings:
    return cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}", **changes)


def published(service: StreamService, count: int) -> bool:
    return service.accounting.total().published == count


@MODES
def test_nothing_is_left_behind_markers_and_aborted_messages(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given a committed and an aborted transaction, when both are passed, then the lag is 0, the committed offset the
    true end, and every offset has its account.
    """
    alerts = [alert.packet for alert in simulate(6, seed=40)]
    cluster.make_topic(cluster.alerts, 1)
    with streaming(in_mode(cluster, store_url, delivery), models) as (service, _):
        cluster.transaction(alerts[:3])
        eventually(lambda: published(service, 3))
        eventually(lambda: cluster.committed(cluster.alerts) == {0: 4})
        cluster.transaction(alerts[3:], commit=False)
        eventually(lambda: cluster.committed(cluster.alerts) == cluster.ends(cluster.alerts) == {0: 8})
        eventually(lambda: service.health().lag_messages == 0)
        assert service.health().lag_seconds == 0
        assert service.accounting.total().skipped == {"no_message": 5}
    with streaming(in_mode(cluster, store_url, delivery), models) as (again, _):
        eventually(lambda: again.health().ready)
        assert again.accounting.total().consumed == 0


@MODES
def test_nothing_is_left_behind_a_compacted_tail(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given a group whose next offset is compacted away, and a tail of which one message is left before the end, then
    that one is answered, the lag is 0, the committed offset the true end, and every offset has its account.
    """
    alerts = [alert.packet for alert in simulate(7, seed=50)]
    cluster.make_topic(
        cluster.alerts, 1, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.001",
        max_compaction_lag_ms="100",
    )  # fmt: skip
    cluster.send_keyed([(b"a", alerts[0]), (b"k", alerts[1]), (b"k", alerts[2])])
    with streaming(in_mode(cluster, store_url, delivery), models) as (service, _):
        eventually(lambda: published(service, 3))
    cluster.send_keyed((b"k", packet) for packet in alerts[3:6])
    time.sleep(0.2)  # the next write begins a new segment: the newest is never compacted
    cluster.transaction(alerts[6:], commit=False, key=b"k")
    eventually(lambda: [value for _, value in cluster.read(cluster.alerts)] == [alerts[0], alerts[5]], every_s=0.5)
    with streaming(in_mode(cluster, store_url, delivery), models) as (again, _):
        eventually(lambda: published(again, 1))
        eventually(lambda: cluster.committed(cluster.alerts) == cluster.ends(cluster.alerts) == {0: 8})
        eventually(lambda: again.health().lag_messages == 0)
        assert again.health().lag_seconds == 0
        assert again.accounting.total().skipped == {"no_message": 4}


def test_a_span_asks_each_message_for_its_time(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    """Given timestamps in no order, when an hour is read again while more comes in, then the alerts of that hour are
    answered and no others, and the reading ends at the end that the topic had when it began.
    """
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
    minutes = [5, 10, -200, 60, 120, 20, 0, 30, 200]
    inside = [number for number, minute in enumerate(minutes) if 0 <= minute < 60]
    alerts = list(simulate(len(minutes), seed=41))
    cluster.make_topic(cluster.alerts, 1)

    def at(minute: int) -> int:
        return int((start + timedelta(minutes=minute)).timestamp() * 1000)

    cluster.send_at((alert.packet, at(minute)) for alert, minute in zip(alerts, minutes, strict=True))
    span = Span(start, start + timedelta(hours=1))
    with streaming(cluster.settings(store_url), models, span=span) as (service, _):
        assert service.wait(40)
    assert cluster.published_candids() == {alerts[number].candid: 1 for number in inside}
    total = service.accounting.total()
    assert (total.consumed, total.skipped) == (len(inside), {"outside_span": len(minutes) - len(inside)})


@PROTOCOLS
@MODES
def test_a_topic_made_again_is_read_from_its_start_once(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery, protocol: str
) -> None:
    """Given a topic that is deleted, made again and filled past the old position within a moment, then every message of
    the new log is answered once, those below the old position too.
    """
    old, new = list(simulate(5, seed=42)), list(simulate(12, seed=43))
    cluster.make_topic(cluster.alerts, 1)
    cluster.send(alert.packet for alert in old)
    settings = in_mode(cluster, store_url, delivery, librdkafka_consumer={"group.protocol": protocol})
    with streaming(settings, models) as (service, _):
        eventually(lambda: published(service, 5))
        cluster.make_topic_again(cluster.alerts, 1)
        cluster.send(alert.packet for alert in new)
        eventually(lambda: published(service, 17), within_s=60)
        time.sleep(3)  # for anything that would come twice
        assert published(service, 17)
        eventually(lambda: cluster.committed(cluster.alerts) == {0: 12})
        eventually(lambda: service.health().lag_messages == 0)
    assert cluster.published_candids() == {alert.candid: 1 for alert in old + new}


def test_a_topic_made_again_with_fewer_partitions_is_read_from_its_start(
    cluster: Cluster, models: ModelRegistry, store_url: str
) -> None:
    """Given a topic that is made again without some of its partitions, then the others are read from their start."""
    old, new = list(simulate(6, seed=42)), list(simulate(12, seed=43))
    cluster.make_topic(cluster.alerts, 3)
    for partition in range(3):
        cluster.send_at(((alert.packet, 1_700_000_000_000) for alert in old[partition::3]), partition)
    with streaming(cluster.settings(store_url), models) as (service, _):
        eventually(lambda: published(service, 6))
        cluster.make_topic_again(cluster.alerts, 1)
        cluster.send(alert.packet for alert in new)
        eventually(lambda: published(service, 18), within_s=60)
    assert cluster.published_candids() == {alert.candid: 1 for alert in old + new}


@MODES
def test_a_topic_made_again_while_the_service_was_away(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given an offset committed for a log that is gone, then the new log is read from its start, even where a group's
    offsets outlive the topic.
    """
    old, new = list(simulate(5, seed=42)), list(simulate(12, seed=43))
    cluster.make_topic(cluster.alerts, 1)
    cluster.send(alert.packet for alert in old)
    settings = in_mode(cluster, store_url, delivery)
    with streaming(settings, models) as (service, _):
        eventually(lambda: published(service, 5))
    cluster.make_topic_again(cluster.alerts, 1)
    cluster.send(alert.packet for alert in new)
    with streaming(settings, models) as (service, _):
        eventually(lambda: published(service, 12))
    assert cluster.published_candids() == {alert.candid: 1 for alert in old + new}


def test_a_topic_that_is_gone_is_no_readiness(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    """Given a topic that is deleted, then the service is not ready and names it, until it is made again and read."""
    alerts = [alert.packet for alert in simulate(10, seed=44)]
    cluster.make_topic(cluster.alerts, 1)
    other = cluster.make_topic(f"other-{cluster.name}", 1)
    cluster.send(alerts[:5])
    settings = cluster.settings(store_url, topics=[cluster.alerts, other])
    with streaming(settings, models) as (service, _):
        eventually(lambda: published(service, 5))
        cluster.delete_topic(cluster.alerts)
        eventually(lambda: any(cluster.alerts in reason for reason in service.health().reasons), within_s=15)
        cluster.make_topic(cluster.alerts, 1)
        cluster.send(alerts)
        eventually(lambda: published(service, 15))
        eventually(lambda: service.health().ready)


@MODES
def test_alerts_that_expired_before_they_were_read_are_told(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given retention that passes the group by while nobody reads, then accounts, metric and readiness say how many
    offsets nobody will read.
    """
    alerts = [alert.packet for alert in simulate(25, seed=45)]
    cluster.make_topic(cluster.alerts, 1)
    cluster.send(alerts[:5])
    settings = in_mode(cluster, store_url, delivery)
    with streaming(settings, models) as (service, _):
        eventually(lambda: published(service, 5))
    cluster.send(alerts[5:])
    cluster.expire(cluster.alerts, 0, 17)
    with streaming(settings, models) as (service, _):
        eventually(lambda: published(service, 8))
        assert service.accounting.total().skipped == {"expired": 12}
        assert any(f"12 of {cluster.alerts}/0 (expired)" in reason for reason in service.health().reasons)
    counted = metrics.SKIPPED.labels("", cluster.alerts, "0", "expired")
    assert counted._value.get() == 12


def test_alerts_that_expire_while_the_service_is_too_slow(
    cluster: Cluster, models: ModelRegistry, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a model that stands still, when retention passes by what waits, then it is counted and the rest is read."""
    classify, slow = Pipeline.classify, [True]

    def slowly(*arguments: Any) -> None:
        while slow[0]:
            time.sleep(0.05)
        classify(*arguments)

    monkeypatch.setattr(Pipeline, "classify", slowly)
    alerts = [alert.packet for alert in simulate(300, seed=46)]
    cluster.make_topic(cluster.alerts, 1)
    cluster.send(alerts)
    settings = cluster.settings(store_url)
    settings.pipeline = settings.pipeline.model_copy(update={"max_batch": 8})
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.in_flight > 20)
        time.sleep(1)  # the intake is full, and the partitions are paused
        taken = service.accounting.total().consumed
        cluster.expire(cluster.alerts, 0, 280)
        slow[0] = False
        eventually(lambda: published(service, taken + 20))
        assert service.accounting.total().skipped == {"expired": 280 - taken}


def test_added_partitions_are_read_within_half_a_minute(
    cluster: Cluster, models: ModelRegistry, store_url: str
) -> None:
    alerts = [alert.packet for alert in simulate(8, seed=47)]
    cluster.make_topic(cluster.alerts, 1)
    with streaming(cluster.settings(store_url), models) as (service, _):
        eventually(lambda: service.health().ready)
        cluster.add_partitions(cluster.alerts, 3)
        now = int(time.time() * 1000)
        for partition in (1, 2):
            cluster.send_at(((packet, now) for packet in alerts[4 * partition - 4 : 4 * partition]), partition)
        eventually(lambda: published(service, 8), within_s=30)


@pytest.mark.parametrize("bounds", ["exit_at_end", "span"])
def test_a_bounded_reading_of_a_missing_topic_is_an_error(
    cluster: Cluster, models: ModelRegistry, store_url: str, bounds: str
) -> None:
    """Given one mistyped name of two, then the other topic is read, and the reading ends with an error that names it;
    given nothing but mistyped names, it ends at once.
    """
    alerts = [alert.packet for alert in simulate(5, seed=48)]
    cluster.make_topic(cluster.alerts, 1)
    cluster.send(alerts)
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    options: dict[str, Any] = {"exit_at_end": True} if bounds == "exit_at_end" else {"span": Span(now - hour, now)}
    with streaming(cluster.settings(store_url, topics=[cluster.alerts, "mistyped"]), models, **options) as (service, _):
        with pytest.raises(StreamError, match="not there: the topics mistyped"):
            eventually(lambda: service.wait(0.1))
    assert service.accounting.total().published == 5
    assert cluster.committed(cluster.alerts) == {0: 5} or bounds == "span"
    with streaming(cluster.settings(store_url, topics=["mistyped"]), models, **options) as (service, _):
        with pytest.raises(StreamError, match="mistyped"):
            eventually(lambda: service.wait(0.1))


def test_the_command_ends_with_a_status_that_tells_a_mistyped_name(cluster: Cluster, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        "serve",
        "--topic",
        "mistyped",
        "--port",
        "0",
    ]
    options = [
        "--exit-at-end",
        "--bootstrap-servers",
        cluster.bootstrap_servers,
        "--store",
        f"sqlite:///{tmp_path}/s.db",
    ]
    done = subprocess.run(command + options, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "the reading is not complete: not there: the topics mistyped" in done.stderr


def test_a_span_of_expired_daily_topics_is_an_error(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=20)
    pattern = f"ztf{cluster.name}_{{date:%Y%m%d}}"
    settings = cluster.settings(store_url, topics=[], daily_pattern=pattern)
    with streaming(settings, models, span=Span(day, day + timedelta(days=1))) as (service, _):
        with pytest.raises(StreamError, match=f"the topics ztf{cluster.name}_{day:%Y%m%d}$"):
            eventually(lambda: service.wait(0.1))


def test_broker_timestamps_that_can_not_be_are_counted_and_measure_nothing(
    cluster: Cluster, models: ModelRegistry, store_url: str
) -> None:
    """Given seconds for milliseconds, 1970 and next year, then the alerts are answered, and no latency is told."""
    alerts = [alert.packet for alert in simulate(4, seed=49)]
    now = time.time()
    cluster.make_topic(cluster.alerts, 1, message_timestamp_after_max_ms="9223372036854775807")
    moments = [int(now), 1, int((now + 3e7) * 1000), int(now * 1000)]
    measured, counted = metrics.END_TO_END_SECONDS.labels("")._sum.get(), metrics.IMPOSSIBLE_TIMESTAMPS._value.get()
    with streaming(cluster.settings(store_url), models) as (service, _):
        cluster.send_at(zip(alerts, moments, strict=True))
        eventually(lambda: published(service, 4))
    assert metrics.IMPOSSIBLE_TIMESTAMPS._value.get() == counted + 3
    assert 0 <= metrics.END_TO_END_SECONDS.labels("")._sum.get() - measured < 60
