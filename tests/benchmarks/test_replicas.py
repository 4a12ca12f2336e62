"""Several replicas are measured as they run: all of them at work, nothing lost, and who spent what."""

from __future__ import annotations

import json
import time

import pytest

from benchmarks import report
from benchmarks.replicas import cpu_seconds, main
from deploy.kafka.broker import missing_tools
from tests.integration.postgres import binaries, own_server

pytestmark = pytest.mark.postgres


@pytest.mark.skipif(binaries() is None, reason="no PostgreSQL server binaries here")
def test_the_work_of_a_server_is_counted_for_all_its_processes() -> None:
    psycopg = pytest.importorskip("psycopg")
    with own_server() as server:
        before = cpu_seconds(server)
        with psycopg.connect(server.dsn) as connection:
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                connection.execute("SELECT sum(sqrt(i)) FROM generate_series(1, 100000) AS i")
            during = cpu_seconds(server)
        time.sleep(0.2)  # the process behind that connection ends, and is counted all the same
        assert before < during <= cpu_seconds(server)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.skipif(binaries() is None or missing_tools() is not None, reason="no PostgreSQL or no Kafka here")
@pytest.mark.timeout(900)
def test_two_replicas_share_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--alerts", "800", "--replicas", "1", "2", "--turns", "1"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    for way in ("together", "apart"):
        one, two = result[way]["1"], result[way]["2"]
        assert one["ratio_to_one"] == one["smallest_share"] == 1
        assert 0.1 < two["smallest_share"] <= 0.5
        for row in (one, two):
            assert min(row[f"{who}_cpu_ms_per_alert"] for who in ("service", "store", "broker")) > 0
    assert result["apart"]["2"]["ratio_to_one"] > 1.2
    assert "| apart | 2 |" in report.replicas({"replicas": result})
