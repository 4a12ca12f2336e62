"""What can't be classified is kept with its bytes, its place and the reason, and can be put through again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from service.config import Delivery
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.stream.kafka.dead_letter_topic import read_dead_letters, replay_dead_letters
from tests.integration.poison import poison
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("delivery", list(Delivery), ids=str)
def test_poison_harms_nobody_else(cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery) -> None:
    """Given broken messages of every kind among good ones, then each is a dead letter once, and every good one is
    classified once.
    """
    alerts = list(simulate(120, seed=6))
    bad = poison(alerts[0].packet)
    stream = [alert.packet for alert in alerts]
    for number, (message, _) in enumerate(bad.values()):
        stream.insert(10 * number, message)
    cluster.make_topic(cluster.alerts, max_message_bytes="20000000")
    cluster.send(stream)
    settings = cluster.settings(store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}")
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().settled == len(stream))
    assert service.accounting.total().dead_lettered.total() == len(bad)
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}
    letters = cluster.refused()
    assert len(letters) == len(bad)
    places = {letter.value: letter for letter in letters}
    for name, (message, codes) in bad.items():
        letter = places[message]
        assert letter.code in codes, f"{name}: {letter.code}: {letter.message}"
        assert letter.message
        assert letter.topic == cluster.alerts
        assert not letter.truncated


def test_a_dead_letter_topic_with_a_small_limit_gets_the_first_bytes(
    cluster: Cluster, models: ModelRegistry, store_url: str
) -> None:
    """Given a dead-letter topic that takes 1 MB, when a message of 10 MB is refused, then its beginning and its true
    size are kept, and the stream goes on.
    """
    alerts = list(simulate(20, seed=7))
    huge, _ = poison(alerts[0].packet)["10 MB"]
    cluster.make_topic(cluster.alerts, max_message_bytes="20000000")
    cluster.make_topic(cluster.dead_letters, 1, max_message_bytes="1000000")
    cluster.send([huge, *(alert.packet for alert in alerts)])
    with streaming(cluster.settings(store_url), models) as (service, _):
        eventually(lambda: service.accounting.total().settled == 21)
    (letter,) = cluster.refused()
    assert letter.truncated
    assert letter.size == len(huge)
    assert huge.startswith(letter.value)
    assert len(cluster.published_candids()) == 20


def test_replay_puts_them_through_again(cluster: Cluster, models: ModelRegistry, tmp_path: Path) -> None:
    """Given alerts refused by a limit that was set too low, when it is mended and they are replayed, then they are
    classified, and what is broken by itself is refused again.
    """
    alerts = list(simulate(30, seed=8))
    cluster.make_topic(cluster.alerts)
    cluster.send([*(alert.packet for alert in alerts), b"not an alert"])
    settings = cluster.settings(f"sqlite:///{tmp_path}/store.db")
    strict = settings.model_copy(
        update={"pipeline": settings.pipeline.model_copy(update={"max_message_bytes": 10_000})}
    )
    with streaming(strict, models) as (service, _):
        eventually(lambda: service.accounting.total().settled == 31)
    letters = list(read_dead_letters(settings.kafka))
    assert Counter(letter.code for letter in letters) == {"too_large": 30, "bad_magic": 1}

    result = replay_dead_letters(settings, lambda letter: letter.code == "too_large")
    assert (result.sent, result.incomplete) == (30, ())
    with streaming(settings, models) as (service, _):
        eventually(lambda: service.accounting.total().settled == 30)
    assert cluster.published_candids() == {alert.candid: 1 for alert in alerts}
