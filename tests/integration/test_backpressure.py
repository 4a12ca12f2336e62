"""A drain through a real Apache Kafka with a batch window, and a model or output that can't keep up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from service.config import PipelineSettings
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.stream.accounting import Accounting
from service.stream.batch import Batch
from service.stream.kafka.sink import KafkaSink
from service.stream.kafka.source import KafkaSource
from service.stream.pipeline import Pipeline
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = pytest.mark.kafka

BATCH, DEPTH, TOGETHER = 8, 2, 64
SLOW_S = 0.5  # beyond the quarter of a second that a full intake is borne before the partitions are paused


@pytest.mark.parametrize("slow", [(Pipeline, "classify"), (KafkaSink, "acknowledged")], ids=["model", "output"])
def test_partitions_are_paused_and_resumed_and_nothing_is_lost(
    cluster: Cluster,
    models: ModelRegistry,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    slow: tuple[type, str],
) -> None:
    """Given 300 alerts in a topic, when the model or the output takes half a second each time, then the partitions are
    paused and resumed, what is under way has a bound far below the topic, and every alert is classified once.
    """
    monkeypatch.setattr("service.stream.runner.ENOUGH_TOGETHER", TOGETHER)
    under_way: list[int] = []
    told: list[str] = []
    take, step = Accounting.take, getattr(*slow)

    def watched(accounting: Accounting, batch: Batch) -> None:
        take(accounting, batch)
        under_way.append(accounting.in_flight)

    def slowly(*arguments: Any) -> Any:
        time.sleep(SLOW_S)
        return step(*arguments)

    def noting(name: str) -> Callable[[KafkaSource], None]:
        call: Callable[[KafkaSource], None] = getattr(KafkaSource, name)

        def noted(source: KafkaSource) -> None:
            told.append(name)
            call(source)

        return noted

    for name in ("pause", "resume"):
        monkeypatch.setattr(KafkaSource, name, noting(name))
    monkeypatch.setattr(Accounting, "take", watched)
    monkeypatch.setattr(*slow, slowly)

    alerts = list(simulate(300, seed=34))
    cluster.make_topic(cluster.alerts)
    cluster.send(alert.packet for alert in alerts)
    settings = cluster.settings(store_url)
    settings.pipeline = PipelineSettings(max_batch=BATCH, queue_depth=DEPTH, batch_window_s=0.1)
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().settled == len(alerts), within_s=120)
    assert service.accounting.view()["closes"]
    # three queues, an output that takes one batch above its depth, one being prepared, and what the model has
    assert max(under_way) <= BATCH * (4 * DEPTH + 2) + TOGETHER + BATCH - 1
    assert told.count("pause") == told.count("resume") > 1
    assert cluster.published_candids() == Counter(alert.candid for alert in alerts)
