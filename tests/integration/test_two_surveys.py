"""Alerts of ZTF and photometry of ATLAS from topics of their own, through a real Apache Kafka."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from service.alerts import Decoder
from service.alerts.atlas import encode
from service.config import Delivery
from service.inference.registry import ModelRegistry
from service.photometry import merge
from service.simulate import SimulatedAlert, simulate
from tests.alerts.atlas_tables import exposures
from tests.integration.streams import Cluster, eventually, streaming

pytestmark = pytest.mark.kafka

MODES = pytest.mark.parametrize("delivery", list(Delivery), ids=str)


def photometry(alerts: list[SimulatedAlert], seed: int) -> list[bytes]:
    """Of the position of every object, and of some where there is none; each a little beside the alert's."""
    chance = random.Random(seed)
    messages = []
    objects = {alert.object_id: Decoder().decode(alert.packet) for alert in alerts}
    for known in objects.values():
        rows = [(known.mjd + chance.uniform(-20, 5), chance.choice("co"), chance.gauss(100, 100)) for _ in range(8)]
        messages.append(encode("", known.ra, known.dec + chance.uniform(-1, 1) / 3600, exposures(*rows)))
    alone = exposures((60000.5, "o", 200.0))
    return messages + [encode(f"alone-{number}", 10.0 + number, -80.0, alone) for number in range(10)]


@MODES
def test_both_surveys_are_classified_and_every_object_has_all_of_its_points(
    cluster: Cluster, models: ModelRegistry, store_url: str, delivery: Delivery
) -> None:
    """Given alerts and photometry of the same positions in two topics, in any order, redelivered and with messages
    that can't be used among them, then each is answered once, refused or filtered, the accounting closes, and every
    object ends with the union.
    """
    alerts = list(simulate(200, seed=8))
    messages = photometry(alerts, seed=1)
    topic = cluster.make_topic(f"atlas-{cluster.name}", 3)
    cluster.make_topic(cluster.alerts)
    bad = [
        encode("nowhere", 400.0, 20.0, exposures((60000.5, "o", 1.0))),
        messages[0][:-9],
        encode("alone-0", 10.0, 0.0, exposures((60000.5, "o", 200.0))),
    ]
    cloudy = encode("cloudy", 10.0, 20.0, exposures((60000.5, "o", 1.0), sky=[15.0]))
    half = len(messages) // 2
    settings = cluster.settings(
        store_url, delivery=delivery, transactional_id=f"replica-{cluster.name}", photometry_topics=[topic]
    )
    answered = len(alerts) + len(messages)
    with streaming(settings, models) as (service, store):
        cluster.send(messages[:half], topic)
        cluster.send(alert.packet for alert in alerts)
        cluster.send([*messages[half:], cloudy], topic)
        eventually(lambda: service.accounting.total().published == answered)
        cluster.send(bad, topic)
        cluster.send(messages[:5], topic)  # a producer that repeats itself
        eventually(lambda: service.accounting.total().settled == answered + 5 + len(bad) + 1)
        total = service.accounting.total()
        assert service.health().ready, service.health()

        curves = [Decoder().decode(message) for message in messages]
        alert_curves = [Decoder().decode(alert.packet) for alert in alerts]
        stored = store.load(sorted({alert.object_id for alert in alerts}))
        for name, thing in stored.items():
            own = [known for known in alert_curves if known.object_id == name]
            near = [p for p in curves if abs(p.dec - own[-1].dec) < 2 / 3600 and abs(p.ra - own[-1].ra) < 2 / 3600]
            assert near
            assert thing.light_curve == merge([each.light_curve for each in [*own, *near]])
        assert store.load(["alone-3"])["alone-3"].object_id == "alone-3"
    assert service.accounting.view()["closes"]
    assert service.accounting.in_flight == 0
    assert (total.published, total.filtered) == (answered + 5, Counter(no_usable_photometry=1))
    assert total.dead_lettered.total() == 3
    letters = cluster.refused()
    assert {letter.topic for letter in letters} == {topic}
    assert {letter.value for letter in letters} == set(bad)
    assert any("ra is 400" in letter.message for letter in letters)
    assert any("a name stands for one position" in letter.message for letter in letters)

    answers = cluster.classifications()
    assert len(answers) == answered + 5
    by_survey = Counter(answer["survey"] for answer in answers)
    assert by_survey == {"ztf": len(alerts), "atlas": len(messages) + 5}
    assert {answer["candid"] for answer in answers} == {each.candid for each in [*alert_curves, *curves]}
    joint = [answer for answer in answers if answer["survey"] == "atlas" and answer["object_id"].startswith("ZTF")]
    assert joint
    assert all({"g", "r", "i"} & answer["n_detections"].keys() for answer in joint)
    assert any({"c", "o"} & answer["n_detections"].keys() for answer in joint)
    assert any({"c", "o"} & answer["n_detections"].keys() for answer in answers if answer["survey"] == "ztf")
    keys = {key.decode() for key, _ in cluster.read(cluster.output)}
    assert keys == {answer["object_id"] for answer in answers}
