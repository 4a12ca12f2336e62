"""Bounds for whoever connects, against a real server: how much, how long, how many, and that others do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.api import connections, create_app
from service.api.connections import MOST_HEAD_BYTES
from service.api.server import Server
from service.config import Settings
from service.inference.registry import ModelRegistry
from service.store import Store
from tests.api.examples import KEYS, POINTS
from tests.api.slow_clients import SlowClients

Serve = Callable[..., int]

HEAD = b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture
def serve(models: ModelRegistry, store: Store) -> Iterator[Serve]:
    """`serve(**settings of api)` starts a server and returns its port."""
    ends: list[Callable[[], None]] = []

    def start(send_buffer: int = 0, **api: Any) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        if send_buffer:  # accepted sockets inherit it; else the kernel takes megabytes for a client that reads nothing
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        settings = Settings(api=api)
        server = Server(create_app(settings, models, store), settings.api, drain_s=1)
        answering = threading.Event()
        server.on_answering = answering.set
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
        thread.start()
        assert answering.wait(30)

        def end() -> None:
            server.should_exit = True
            thread.join(10)

        ends.append(end)
        return int(listening.getsockname()[1])

    yield start
    for end in ends:
        end()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5.0)


def rest_of(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    told = b""
    try:
        while part := client.recv(65536):
            told += part
    except ConnectionResetError:
        pass
    return told


def test_a_head_is_bounded_in_one_piece_and_in_many(serve: Serve) -> None:
    port = serve()
    filler = b"x-more: " + b"y" * (MOST_HEAD_BYTES - 200) + b"\r\n\r\n"
    with connect(port) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + filler)
        assert rest_of(client).startswith(b"HTTP/1.1 200")
    over = b"x-more: " + b"y" * MOST_HEAD_BYTES
    with connect(port) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n" + over + b"\r\n\r\n")
        told = rest_of(client)
    assert told.startswith(b"HTTP/1.1 431")
    assert b"urn:alert-classifier:problem:head-too-large" in told
    for begin in (b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx-more: "):  # a line that does not end
        with connect(port) as client:
            told = b""
            client.sendall(begin)
            for _ in range(MOST_HEAD_BYTES // 1000 + 1):
                client.sendall(b"y" * 1000)
                time.sleep(0.001)
            assert rest_of(client).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("framing", [b"1;%b\r\n", b"0\r\nx-trailer: %b\r\n"], ids=["chunk extension", "trailer"])
def test_what_stands_between_chunks_is_bounded(serve: Serve, framing: bytes) -> None:
    with connect(serve()) as client:
        client.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        begin, _, end = framing.partition(b"%b")
        with contextlib.suppress(ConnectionError):
            client.sendall(begin)
            for _ in range(2 * MOST_HEAD_BYTES // 1000):
                client.sendall(b"y" * 1000)
                time.sleep(0.001)
            client.sendall(end)
        assert rest_of(client).startswith(b"HTTP/1.1 400")


def test_a_head_has_its_time_and_silence_ends(serve: Serve) -> None:
    port = serve(head_timeout_s=0.5)
    with connect(port) as slow, connect(port) as silent, connect(port) as again:
        slow.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
        again.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert again.recv(65536).startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        assert rest_of(slow).startswith(b"HTTP/1.1 408")
        assert rest_of(silent) == b""
        again.sendall(b"GET /health/live")  # the second request of a connection has the same time
        assert rest_of(again).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun < 4.0


def test_an_idle_connection_is_closed(serve: Serve) -> None:
    with connect(serve(idle_timeout_s=1)) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert rest_of(client) == b""


def test_a_body_that_comes_too_slowly_is_given_up(serve: Serve) -> None:
    """Given a time limit of half a second, when a byte comes now and then, it ends; a steady 200 kB/s goes on."""
    port = serve(body_timeout_s=0.5)
    with connect(port) as slow:
        slow.sendall(HEAD + b"content-length: 1000\r\n\r\n")
        begun = time.monotonic()
        slow.settimeout(0.1)
        told = b""
        while not told and time.monotonic() - begun < 4.0:
            slow.sendall(b" ")
            try:
                told = slow.recv(65536)
            except TimeoutError:
                continue
    assert told.startswith(b"HTTP/1.1 408")
    assert b"body-too-slow" in told
    with connect(port) as steady:
        steady.sendall(HEAD + b"connection: close\r\ncontent-length: 200000\r\n\r\n")
        for _ in range(20):
            steady.sendall(b" " * 10_000)
            time.sleep(0.05)
        assert rest_of(steady).startswith(b"HTTP/1.1 400")  # it was read: blanks are no JSON


def test_the_largest_body_gives_way_when_all_are_too_much(serve: Serve) -> None:
    port = serve(max_body_bytes=300_000, max_bodies_bytes=500_000)
    head = HEAD + b"content-length: 290000\r\n\r\n"
    with connect(port) as large, connect(port) as other:
        large.sendall(head + b" " * 280_000)
        other.sendall(head + b" " * 200_000)
        time.sleep(0.3)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/classify", json={"object_id": "x" * 100, "points": POINTS})
        assert answer.status_code == 200
        other.sendall(b" " * 50_000)
        told = rest_of(large)
        assert told.startswith(b"HTTP/1.1 503")
        assert b"bodies-too-many" in told
        other.sendall(b" " * 40_000)
        assert other.recv(65536).startswith(b"HTTP/1.1 400")


def test_who_has_waited_longest_makes_room(serve: Serve) -> None:
    port = serve(max_connections=20)
    silent = [connect(port) for _ in range(40)]
    assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
    assert rest_of(silent[0]) == b""
    silent[-1].sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
    assert silent[-1].recv(65536).startswith(b"HTTP/1.1 200")
    for each in silent:
        each.close()


def test_a_body_behind_a_refusal_is_not_read_for_ever(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LINGER_S", 0.3)
    with connect(serve(api_keys=KEYS)) as client:
        client.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 401")
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 4.0:
                client.sendall(b"3e8\r\n" + b" " * 1000 + b"\r\n")
                time.sleep(0.01)
        assert time.monotonic() - begun < 3.0


def test_requests_are_not_sent_far_ahead_of_their_answers(serve: Serve) -> None:
    port = serve()
    request = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with connect(port) as client:
        client.sendall(request * 20)
        told = b""
        while told.count(b"HTTP/1.1 200") < 20:
            told += client.recv(65536)
    with connect(port) as client:
        client.sendall(request * 2000)
        assert rest_of(client).count(b"HTTP/1.1 200") < 2000


@pytest.mark.slow  # waits for seconds
def test_a_client_that_takes_no_answer_is_let_go(serve: Serve) -> None:
    port = serve(send_buffer=4096, idle_timeout_s=1)
    size = len(httpx.get(f"http://127.0.0.1:{port}/openapi.json").content)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(5.0)
        client.connect(("127.0.0.1", port))
        asked = 30
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * asked)
        time.sleep(2.5)
        assert len(rest_of(client)) < asked * size


def test_a_client_that_leaves_is_one_line(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with connect(serve()) as client:
        client.sendall(HEAD + b"content-length: 1000\r\n\r\n ")
        time.sleep(0.2)
        caplog.clear()
    time.sleep(0.3)
    [record] = caplog.records
    assert record.levelno == logging.INFO
    assert "POST /v1/classify: the client left before its body was complete" in record.getMessage()
    assert record.exc_info is None


@pytest.mark.parametrize(("trusted", "statuses"), [([], {200, 429}), (["127.0.0.0/8"], {200})])
def test_a_forwarded_address_is_believed_of_known_proxies_only(
    serve: Serve, trusted: list[str], statuses: set[int]
) -> None:
    port = serve(rate_limit_per_s=1, trusted_proxies=trusted)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [client.get("/v1/models", headers={"x-forwarded-for": f"10.0.0.{n}"}) for n in range(6)]
    assert {answer.status_code for answer in answers} == statuses


def test_a_neighbour_of_slow_clients_is_answered(serve: Serve) -> None:
    """More unfinished bodies than requests may be under way (`tests/integration/test_slow_clients.py` measures)."""
    port = serve()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    slow = SlowClients(port)
    try:
        asyncio.run_coroutine_threadsafe(slow.start(1010, 50, 5), loop).result(30)
        took = []
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(15):
                begun = time.perf_counter()
                assert client.post("/v1/classify", json={"points": POINTS}).status_code == 200
                took.append(time.perf_counter() - begun)
                assert client.get("/health/live").status_code == 200
    finally:
        asyncio.run_coroutine_threadsafe(slow.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
    assert np.median(took) < 0.5
