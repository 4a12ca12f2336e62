"""Operators are told the truth: alive, ready or why not, what was counted, what is published."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest
from fastapi.testclient import TestClient

from service import metrics
from service.api import create_app
from service.api.pulse import Pulse
from service.api.server import Server
from service.config import Settings
from service.inference.bundle import default_bundle_folder, load_bundle, seal_bundle
from service.inference.registry import ModelRegistry
from service.output.avro import CLASSIFICATION
from service.store import Store, StoreUnavailableError
from service.stream.accounting import Accounting
from service.stream.batch import Batch, Message
from service.stream.health import StreamHealth
from tests.api.examples import KEYS, WRITE, MakeClient


class StillStream:
    """A stream that stands still: its books and health are set by the test."""

    def __init__(self, **health: Any) -> None:
        self.accounting = Accounting()
        self._health = replace(StreamHealth(True, (), ("night/0",), 0, 0, 0.0, time.time()), **health)

    def health(self) -> StreamHealth:
        return self._health


def test_alive_and_ready(client: TestClient) -> None:
    assert client.get("/health/live").json()["alive"] is True
    ready = client.get("/health/ready").json()
    assert ready["ready"] is True
    assert [check["name"] for check in ready["checks"]] == ["model", "store"]


def test_not_ready_says_what_is_missing(make_client: MakeClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = StillStream(ready=False, reasons=("no partition is assigned yet",), partitions=())
    answer = make_client(waiting).get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["errors"] == [{"field": "stream", "message": "no partition is assigned yet"}]

    def away(self: object) -> None:
        raise StoreUnavailableError("disk full")

    monkeypatch.setattr(type(store), "check", away)
    answer = make_client().get("/health/ready")
    assert answer.json()["detail"] == "store: disk full"


def test_a_store_that_is_away_makes_503_with_a_time_to_come_back(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailableError("connection refused")

    monkeypatch.setattr(type(store), "query", away)
    answer = client.get("/v1/objects")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "connection refused" in answer.json()["detail"]


def test_health_and_pulse_tell_each_input_by_its_name(make_client: MakeClient) -> None:
    """Given two inputs one of which waits for its brokers, then readiness names it, and the pulse shows both."""
    ztf = StreamHealth(True, (), ("night/0",), 0, 0, 0.0, 0.0, name="ztf")
    rubin = StreamHealth(False, ("the brokers do not answer",), (), 3, 7, 1.5, 0.0, name="of-the-pulse")
    metrics.PUBLISHED.labels("of-the-pulse", "night", "0").inc(5)
    client = make_client(StillStream(ready=False, reasons=("rubin: the brokers do not answer",), inputs=(ztf, rubin)))
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["errors"] == [{"field": "stream of-the-pulse", "message": "the brokers do not answer"}]
    first, second = client.get("/v1/pulse").json()["inputs"]
    assert (first["name"], first["ready"], first["partitions"]) == ("ztf", True, 1)
    assert (second["name"], second["ready"], second["lag_messages"], second["published"]) == (
        "of-the-pulse",
        False,
        7,
        5,
    )


def test_accounting_is_the_streams_own(make_client: MakeClient) -> None:
    assert make_client().get("/v1/accounting").json() == {
        "streaming": False, "closes": True, "consumed": 0, "published": 0, "filtered": {}, "dead_lettered": {},
        "returned": 0, "in_flight": 0, "skipped": {}, "inputs": [], "partitions": [],
    }  # fmt: skip
    stream = StillStream()
    stream.accounting.take(Batch.of([Message("night", 0, offset, b"") for offset in range(3)]))
    books = make_client(stream).get("/v1/accounting").json()
    assert (books["streaming"], books["closes"], books["consumed"], books["in_flight"]) == (True, True, 3, 3)
    assert books["partitions"][0]["topic"] == "night"


def test_the_served_schema_reads_what_the_stream_publishes(client: TestClient, documents: list[dict[str, Any]]) -> None:
    by_name = {each["name"]: each for each in client.get("/schemas").json()["schemas"]}
    listed, photometry = by_name["classification"], by_name["atlas_photometry"]
    schema = client.get(listed["url"]).json()
    message = CLASSIFICATION.encode(documents[0])
    assert message[:10].hex() == listed["header"]
    read = fastavro.schemaless_reader(io.BytesIO(message[10:]), schema, None)
    assert isinstance(read, dict)
    assert read["object_id"] == documents[0]["object_id"]
    assert read["candid"] == documents[0]["candid"]
    assert client.get("/schemas/none.avsc").status_code == 404
    assert photometry == {
        "name": "atlas_photometry", "url": "/schemas/atlas_photometry.avsc", "header": None, "version": None,
    }  # fmt: skip
    assert client.get(photometry["url"]).json()["name"] == "AtlasPhotometry"


def listed_by_version(listing: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [each for each in listing if each["name"] == f"{name}_{each['version']}"]


def test_every_published_version_of_a_schema_is_served(client: TestClient, documents: list[dict[str, Any]]) -> None:
    """A reader of another language finds the schema of any message by its first ten bytes."""
    listing = client.get("/schemas").json()["schemas"]
    by_header = {each["header"]: each for each in listed_by_version(listing, CLASSIFICATION.name)}
    assert [each["version"] for each in listed_by_version(listing, CLASSIFICATION.name)] == [1, 2, 3, 4]
    for version in CLASSIFICATION.versions.values():
        message = version.encode(documents[0])
        listed = by_header[message[:10].hex()]
        read = fastavro.schemaless_reader(io.BytesIO(message[10:]), client.get(listed["url"]).json(), None)
        assert isinstance(read, dict)
        assert read["candid"] == documents[0]["candid"]


def test_models_are_described_without_where_they_lie(client: TestClient) -> None:
    [summary] = client.get("/v1/models").json()["models"]
    assert summary["role"] == "active"
    assert "folder" not in summary
    model = client.get(f"/v1/models/{summary['name']}/{summary['version']}").json()
    assert model["card"].startswith("#")
    assert model["taxonomy"]["SNIa"] == "Transient"
    assert client.get("/v1/models/none/1").status_code == 404


def test_metrics_count_requests_by_template_and_not_by_id(client: TestClient) -> None:
    client.get("/v1/objects/ZTF21abcdefg")
    text = client.get("/metrics").text
    assert (
        'alert_classifier_http_request_seconds_count{method="GET",path="/v1/objects/{object_id}",status="404"}' in text
    )
    assert "ZTF21abcdefg" not in text


def test_the_pulse_tells_rate_latency_mix_and_newest(make_client: MakeClient, documents: list[dict[str, Any]]) -> None:
    now = 0.0
    client = make_client(StillStream(lag_seconds=2.5, lag_messages=40))
    pulse = Pulse(client.app.state.context, clock=lambda: now)  # type: ignore[attr-defined]
    for now in range(1, 11):  # noqa: B007 (the clock reads it)
        metrics.PUBLISHED.labels("", "pulse", "0").inc(30)
        for _ in range(99):
            metrics.END_TO_END_SECONDS.labels("").observe(0.04)
        metrics.END_TO_END_SECONDS.labels("").observe(0.9)
        pulse.beat()
    view = pulse.view()
    assert view["alerts_per_s"] == pytest.approx(30)
    assert view["rates"][-3:] == [30, 30, 30]
    assert 30 <= view["latency_ms"]["p50"] <= 50
    assert view["lag_s"] == 2.5
    assert sum(view["class_mix"].values()) == len({document["object_id"] for document in documents})
    taxonomy = client.get("/v1/models").json()["models"][0]["taxonomy"]
    assert view["newest"], "the simulated night holds clear transients"
    assert all(taxonomy[each["top_class"]] == "Transient" for each in view["newest"])
    assert all(each["top_probability"] >= 0.7 for each in view["newest"])
    times = [each["published"] for each in view["newest"]]
    assert times == sorted(times, reverse=True)
    assert client.get("/v1/pulse").json()["streaming"] is True


def test_events_flow_over_a_socket_and_end_with_the_server(models: Any, store: Store) -> None:
    import socket

    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(create_app(Settings(), models, store), Settings().api, drain_s=30)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    times, ended = [], None
    try:
        with httpx.stream("GET", f"{base}/v1/events", timeout=20) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith("data: "):
                    times.append(json.loads(line[6:])["time"])
                    if len(times) == 3:
                        server.should_exit = True
                        ended = time.monotonic()
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
    assert ended is not None
    assert time.monotonic() - ended < 5, "a follower must not hold up the end"
    assert 0.5 < times[2] - times[1] < 2.0


def test_more_followers_than_can_be_told_are_refused(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.pulse.MOST_FOLLOWERS", 0)
    refused = make_client().get("/v1/events")
    assert refused.status_code == 503
    assert refused.json()["type"].endswith("too-many-followers")


def test_the_way_back_is_there_after_a_bundle_was_replaced_in_its_folder(
    make_client: MakeClient, tmp_path: Path
) -> None:
    """Given a bundle that was overwritten in place and reloaded, when the version before is asked for, then it, and not
    what lies in the folder now, answers again.
    """
    folder = tmp_path / "bundle"
    shutil.copytree(default_bundle_folder(), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    registry = ModelRegistry(load_bundle(folder), threads=1)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": "99.0.0"}))
    seal_bundle(folder)
    registry.activate(folder)
    client = make_client(registry=registry, api={"api_keys": KEYS})
    client.headers["x-api-key"] = WRITE
    former = f"/v1/models/{manifest['name']}/{manifest['version']}"
    assert client.get(former).json()["role"] == "previous"
    assert client.post(f"{former}/activate").json()["role"] == "active"
    assert registry.active.version == manifest["version"]
    roles = [(model["version"], model["role"]) for model in client.get("/v1/models").json()["models"]]
    assert roles == [(manifest["version"], "active"), ("99.0.0", "previous")]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            'store db.internal/alerts: connection to server at "db.internal" (10.0.0.7), port 5432 failed',
            "store ...: connection to server at ... (...), port ... failed",
        ),
        ("store /var/lib/x/alerts.db: the disk is full (3 MB left)", "store ...: the disk is full (3 MB left)"),
        (
            "the brokers kafka-0:9093,kafka-1:9093 do not answer: ssl://[fd00::7]:9093/bootstrap failed",
            "the brokers ...,... do not answer: ... failed",
        ),
        ("topic ztf_20260101_programid1 is gone", "topic ztf_20260101_programid1 is gone"),
        ("2/3 partitions wait, 7:30 is late", "2/3 partitions wait, 7:30 is late"),
    ],
)
def test_readiness_names_no_hosts_and_paths_to_whoever_asks(make_client: MakeClient, reason: str, told: str) -> None:
    waiting = StillStream(ready=False, reasons=(reason,), partitions=())
    client = make_client(waiting)
    assert client.get("/health/ready").json()["errors"] == [{"field": "stream", "message": told}]
    assert client.get("/v1/pulse").json()["reasons"] == [f"stream: {reason}"]
