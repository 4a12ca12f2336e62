"""Which topics are followed: the window of daily topics, new days, deleted days, and stretches of time read again."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.stream.interfaces import StreamError
from service.stream.kafka.topics import Span
from service.stream.service import StreamService
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = pytest.mark.kafka


def test_a_new_day_is_picked_up_and_an_old_one_let_go(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    """Given the window of today and yesterday, then a topic that appears is read from its first alert, before any
    other existed; one outside the window is not; one that is deleted does not disturb the others.
    """
    today = datetime.now(UTC).date()
    names = {days: f"ztf{cluster.name}_{today - timedelta(days=days):%Y%m%d}_programid1" for days in (-1, 0, 1, 2)}
    settings = cluster.settings(
        store_url, topics=[], daily_pattern=f"ztf{cluster.name}_{{date:%Y%m%d}}_programid{{programid}}"
    )
    alerts = list(simulate(40, seed=9))
    with streaming(settings, models) as (service, _):
        eventually(lambda: any("exists" in reason for reason in service.health().reasons))
        cluster.make_topic(names[1], 2)
        cluster.make_topic(names[2], 2)
        for name in (names[1], names[2]):
            cluster.send((alert.packet for alert in alerts[:20]), name)
        eventually(lambda: service.accounting.total().published == 20)
        cluster.make_topic(names[0], 2)
        cluster.send((alert.packet for alert in alerts[20:]), names[0])
        eventually(lambda: service.accounting.total().published == 40)
        cluster.delete_topic(names[1])
        eventually(lambda: len(service.health().partitions) == 2)
        cluster.send((alert.packet for alert in alerts[20:]), names[0])
        eventually(lambda: service.accounting.total().published == 60)
        assert service.health().ready, service.health()
    read = {partition["topic"] for partition in service.accounting.view()["partitions"]}
    assert read == {names[0], names[1]}


def test_a_span_is_read_again_in_a_group_of_its_own(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    """Given three bursts of alerts, when the second is backfilled beside the running stream, then it alone is read
    again, production keeps its partitions, and the backfill ends by itself.
    """
    alerts = list(simulate(90, seed=10))
    cluster.make_topic(cluster.alerts)
    times = []
    for begin in (0, 30, 60):
        times.append(datetime.now(UTC))
        cluster.send(alert.packet for alert in alerts[begin : begin + 30])
        time.sleep(0.2)
    settings = cluster.settings(store_url)
    with streaming(settings, models) as (production, _):
        eventually(lambda: production.accounting.total().published == 90)
        kept = production.health().partitions
        with streaming(settings, models, span=Span(times[1], times[2])) as (backfill, _):
            assert backfill.wait(30)
        assert backfill.accounting.total().published == 30
        assert production.health().partitions == kept
        assert production.accounting.total().consumed == 90
    published = cluster.published_candids()
    again = {candid for candid, count in published.items() if count == 2}
    assert again == {alert.candid for alert in alerts[30:60]}


def test_exit_at_end(cluster: Cluster, models: ModelRegistry, store_url: str) -> None:
    """Given a topic of 50 alerts, when asked to end at its end, then all are published and the stream ends."""
    alerts = list(simulate(50, seed=11))
    cluster.make_topic(cluster.alerts)
    cluster.send(alert.packet for alert in alerts)
    with streaming(cluster.settings(store_url), models, exit_at_end=True) as (service, _):
        assert isinstance(service, StreamService)
        assert service.wait(30)
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}


def test_exit_at_end_of_daily_topics_needs_those_that_are_there(
    cluster: Cluster, models: ModelRegistry, store_url: str
) -> None:
    """Given yesterday's topic alone, as before a night's first alert, then it is read and the reading is complete;
    given none, it ends with an error that names them.
    """
    today = datetime.now(UTC).date()
    settings = cluster.settings(store_url, topics=[], daily_pattern=f"ztf{cluster.name}_{{date:%Y%m%d}}")
    with streaming(settings, models, exit_at_end=True) as (service, _):
        with pytest.raises(StreamError, match=f"not there: the topics ztf{cluster.name}_.*, ztf{cluster.name}_"):
            eventually(lambda: service.wait(0.1))
    name = cluster.make_topic(f"ztf{cluster.name}_{today - timedelta(days=1):%Y%m%d}", 2)
    alerts = list(simulate(12, seed=12))
    cluster.send((alert.packet for alert in alerts), name)
    with streaming(settings, models, exit_at_end=True) as (service, _):
        assert service.wait(30)
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}
