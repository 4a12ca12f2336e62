"""A message that ends or hangs the whole service ends no night: the real command, a real Kafka, and a supervisor."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from service.config import Delivery
from service.simulate import SimulatedAlert, simulate
from tests.integration.postgres import postgres_server_dsn, postgres_url
from tests.integration.streams import ROOT, Cluster, eventually
from tests.integration.trapped import trap

__all__ = ["postgres_server_dsn", "postgres_url"]

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(600)]

MODES = pytest.mark.parametrize("delivery", list(Delivery), ids=str)
END_WITHIN_S = 8.0  # of trapped.py


class Serve:
    """`serve` as a supervisor keeps it: started anew whenever it ends."""

    def __init__(self, cluster: Cluster, folder: Path, store_url: str, delivery: Delivery, name: str = "one") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        settings = {
            "STORE__URL": store_url,
            "KAFKA__BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "KAFKA__TOPICS": f'["{cluster.alerts}"]',
            "KAFKA__GROUP_ID": f"group-{cluster.name}",
            "KAFKA__GROUP_INSTANCE_ID": name,
            "KAFKA__TRANSACTIONAL_ID": f"{name}-{cluster.name}",
            "KAFKA__OUTPUT_TOPIC": cluster.output,
            "KAFKA__DEAD_LETTER_TOPIC": cluster.dead_letters,
            "KAFKA__DELIVERY": delivery,
            "KAFKA__LIBRDKAFKA_CONSUMER": '{"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}',
            "API__PORT": self.url.rpartition(":")[2],
            "PIPELINE__STANDSTILL_S": "1",
            "PIPELINE__GIVE_UP_S": "4",
        }
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ALERT_CLASSIFIER_")}
        self._environment = {
            **clean,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            **{f"ALERT_CLASSIFIER_{key}": value for key, value in settings.items()},
        }
        self._folder = folder
        self._log = folder / f"log-{name}"
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "integration" / "trapped.py"), "serve"],
                env=self._environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )

    def supervise(self) -> None:
        """Start it where it has ended."""
        if self.process is None or self.process.poll() is not None:
            self.start()

    def reasons(self) -> str:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).text
        except httpx.HTTPError:
            return ""

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit status, and how long it took [s]."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), time.monotonic() - began

    def said(self) -> str:
        return self._log.read_text(errors="replace")


def filled(cluster: Cluster, kind: str) -> list[SimulatedAlert]:
    """Forty alerts in one partition, and amid them a trap."""
    alerts = list(simulate(40, seed=70))
    cluster.make_topic(cluster.alerts, 1)
    cluster.send([*(alert.packet for alert in alerts[:25]), trap(kind), *(alert.packet for alert in alerts[25:])])
    return alerts


def check(cluster: Cluster, alerts: list[SimulatedAlert], delivery: Delivery) -> None:
    (letter,) = cluster.refused()
    assert (letter.place, letter.code) == (f"{cluster.alerts}/0/25", "ends_the_service")
    assert letter.value == trap(letter.value[:4].decode())
    published = cluster.published_candids()
    assert set(published) == {alert.candid for alert in alerts}
    if delivery is Delivery.EXACTLY_ONCE:
        assert set(published.values()) == {1}


@pytest.mark.parametrize("kind", ["kill", "hang", "hold"])
@MODES
def test_a_loop_on_one_message_ends_by_itself(
    cluster: Cluster, tmp_path: Path, store_url: str, delivery: Delivery, kind: str
) -> None:
    """Given a message that kills the process, or hangs it with or without Python's lock, then it is in the dead letters
    after three ends at most, every other alert is answered, and the next message of that kind finds the service whole.
    """
    alerts = filled(cluster, kind)
    serve = Serve(cluster, tmp_path, store_url, delivery)

    def done() -> bool:
        serve.supervise()
        return len(cluster.published_candids()) == len(alerts) and len(cluster.refused()) == 1

    eventually(done, within_s=240, every_s=0.3)
    assert serve.starts <= 4, serve.said()
    assert serve.stop()[0] == 0, serve.said()
    check(cluster, alerts, delivery)
    assert not list(tmp_path.glob("*in-flight*"))


@pytest.mark.postgres
def test_two_replicas_on_one_postgres(cluster: Cluster, tmp_path: Path, postgres_url: str) -> None:
    """Given two replicas without a store of their own, between which the partition moves at each death, then the loop
    ends as well.
    """
    alerts = filled(cluster, "kill")
    both = [Serve(cluster, tmp_path, postgres_url, Delivery.EXACTLY_ONCE, name) for name in ("one", "two")]

    def done() -> bool:
        for serve in both:
            serve.supervise()
        return len(cluster.published_candids()) == len(alerts) and len(cluster.refused()) == 1

    eventually(done, within_s=300, every_s=0.3)
    assert sum(serve.starts for serve in both) <= 8
    for serve in both:
        assert serve.stop()[0] == 0, serve.said()
    check(cluster, alerts, Delivery.EXACTLY_ONCE)


@pytest.mark.parametrize("kind", ["hang", "hold"])
def test_a_standstill_is_told_and_sigterm_ends_it_in_time(
    cluster: Cluster, tmp_path: Path, store_url: str, kind: str
) -> None:
    """Given a stage that never returns, then readiness names it while Python still runs, and SIGTERM ends the process
    within its deadline.
    """
    filled(cluster, kind)
    serve = Serve(cluster, tmp_path, store_url, Delivery.AT_LEAST_ONCE)
    serve._environment["ALERT_CLASSIFIER_PIPELINE__GIVE_UP_S"] = "600"
    serve.start()
    if kind == "hang":
        eventually(lambda: "the stage decode has been working on the same batch" in serve.reasons(), within_s=60)
        gauge = httpx.get(f"{serve.url}/metrics").text
        seconds = gauge.partition('alert_classifier_standstill_seconds{stage="decode"} ')[2].partition("\n")[0]
        assert float(seconds) > 1
    else:
        eventually(lambda: "assigned" in serve.said(), within_s=60)
    status, took = serve.stop()
    assert status == 1
    assert took < END_WITHIN_S + 5
    assert "with_traps" in serve.said(), "where it hangs"
