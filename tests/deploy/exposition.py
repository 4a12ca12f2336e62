"""Show every metric of the service, with something counted in each, on a port of loopback that is printed.

Run as a program by test_grafana.py: in a process of its own the counts do not mix with those of other tests.
"""

from __future__ import annotations

import time

from prometheus_client import REGISTRY, start_http_server

from service import metrics


def count_something() -> None:
    """One batch of two alerts: one classified, one filtered; one message dead-lettered, one returned."""
    place = ("", "ztf", "0")
    for name in metrics.STAGES:
        with metrics.stage(name):
            time.sleep(0.001)
    for counter in (metrics.OUT_OF_DISTRIBUTION, metrics.LOW_QUALITY, metrics.DECODER_FALLBACKS):
        counter.inc()
    metrics.STORE_RETRIES.inc()
    metrics.PUBLISH_RETRIES.inc()
    metrics.END_TO_END_SECONDS.labels("").observe(0.04)
    metrics.OBSERVATION_SECONDS.labels("").observe(700)
    metrics.BATCH_ALERTS.observe(2)
    metrics.HTTP_REQUEST_SECONDS.labels("POST", "/v1/classify", "200").observe(0.01)
    metrics.CONSUMED.labels(*place).inc(4)
    metrics.RETURNED.labels(*place).inc()
    metrics.ACCOUNTING_GAP.labels("").set(0)
    metrics.PUBLISHED.labels(*place).inc()
    metrics.FILTERED.labels(*place, "real_bogus").inc()
    metrics.DEAD_LETTERED.labels(*place, "truncated").inc()
    metrics.SKIPPED.labels(*place, "expired").inc()
    metrics.IMPOSSIBLE_TIMESTAMPS.inc()
    metrics.CLASSIFIED.labels("SNIa").inc()
    metrics.CONSUMER_LAG.labels(*place).set(7)
    metrics.CONSUMER_LAG_SECONDS.labels("").set(1.5)
    metrics.IN_FLIGHT.labels("").set(0)
    metrics.READY.set(1)
    metrics.STORE_OBJECTS.set(2)
    metrics.STORE_BYTES.set(4096)
    metrics.MODEL.info({"name": "alert-clr", "version": "1", "provider": "CPUExecutionProvider"})


if __name__ == "__main__":
    server, thread = start_http_server(0, addr="127.0.0.1", registry=REGISTRY)
    print(server.server_port, flush=True)
    while thread.is_alive():
        count_something()
        time.sleep(0.2)
