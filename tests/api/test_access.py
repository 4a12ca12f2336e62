"""Who may ask what, how often, how much; and that every refusal says why."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.responses import Response

from service.api import ApiKeyError, create_app
from service.api.access import MOST_CLIENTS, RateLimit
from service.api.middleware import Admission
from service.api.problems import ProblemError
from service.api.uploads import CHARGE, Uploads
from service.config import ApiSettings, Settings
from tests.api.examples import KEYS, READ, WRITE, MakeClient

BODY = {"points": [{"mjd": 60310.0, "band": "r", "mag": 19.0}]}


def is_problem(response: Any, status: int, code: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:alert-classifier:problem:{code}"
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]


def test_without_keys_reading_is_open_and_changing_is_not(client: TestClient) -> None:
    assert client.post("/v1/classify", json=BODY).status_code == 200
    is_problem(client.post("/v1/models/rollback"), 403, "forbidden")


def test_with_keys_only_health_and_the_page_are_open(make_client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = make_client(api={"api_keys": KEYS})
    for path in ("/health/live", "/health/ready", "/", "/docs", "/static/main.js"):
        assert client.get(path).status_code == 200
    for path in ("/metrics", "/v1/models", "/openapi.json", "/v1/objects", "/nowhere"):
        refused = client.get(path)
        is_problem(refused, 401, "unauthorized")
        assert refused.headers["www-authenticate"].startswith("Bearer")
    is_problem(client.post("/v1/classify", json=BODY, headers={"x-api-key": "guess"}), 401, "unauthorized")
    assert client.post("/v1/classify", json=BODY, headers={"x-api-key": READ}).status_code == 200
    assert client.get("/metrics", headers={"authorization": f"Bearer {READ}"}).status_code == 200
    assert not any(key in caplog.text for key in (READ, WRITE, *KEYS))


def test_only_a_write_key_changes_what_is_served(make_client: MakeClient) -> None:
    client = make_client(api={"api_keys": KEYS})
    is_problem(client.post("/v1/models/rollback", headers={"x-api-key": READ}), 403, "forbidden")
    write = {"x-api-key": WRITE}
    is_problem(client.post("/v1/models/rollback", headers=write), 409, "nothing-to-roll-back")
    [model] = client.get("/v1/models", headers=write).json()["models"]
    again = client.post(f"/v1/models/{model['name']}/{model['version']}/activate", headers=write)
    assert again.json()["role"] == "active"
    is_problem(client.post("/v1/models/none/1/activate", headers=write), 404, "unknown-model")


@pytest.mark.parametrize("entry", ["my-key", "admin:" + "0" * 64, "read:" + "g" * 64])
def test_a_key_that_is_not_a_hash_is_refused_and_not_shown(entry: str, models: Any, store: Any) -> None:
    with pytest.raises(ApiKeyError, match=r"api_keys\.1 must be") as caught:
        create_app(Settings(api={"api_keys": [KEYS[0], entry]}), models, store)
    assert entry not in str(caught.value)


def test_above_the_rate_a_client_is_told_when_to_come_back(make_client: MakeClient) -> None:
    client = make_client(api={"rate_limit_per_s": 2})
    statuses = [client.get("/v1/models").status_code for _ in range(6)]
    assert statuses[:4] == [200] * 4
    assert 429 in statuses[4:]
    refused = client.get("/v1/models")
    is_problem(refused, 429, "too-many-requests")
    assert refused.headers["retry-after"] == "1"
    assert client.get("/health/live").status_code == 200


def test_the_rate_is_kept_per_client_and_saved_up_to_a_burst() -> None:
    now = 0.0
    limit = RateLimit(5, clock=lambda: now)

    def allowed(client: str) -> int:
        for count in range(1000):
            try:
                limit.take(client)
            except ProblemError:
                return count
        raise AssertionError("there is no limit")

    assert allowed("a") == 10
    assert allowed("b") == 10
    now = 1.0
    assert allowed("a") == 5
    now = 100.0
    assert allowed("a") == 10
    for number in range(MOST_CLIENTS):  # others come: "a" is forgotten, memory stays bounded
        limit.take(str(number))
    assert allowed("a") == 10


def test_a_body_is_bounded_whatever_it_announces(make_client: MakeClient) -> None:
    client = make_client(api={"max_body_bytes": 5000})
    headers = {"content-type": "application/json"}
    is_problem(client.post("/v1/classify", content=b" " * 5001, headers=headers), 413, "body-too-large")

    def unannounced() -> Any:  # sent in chunks, without a Content-Length
        for _ in range(10):
            yield b" " * 1000

    refused = client.post("/v1/classify", content=unannounced(), headers=headers)
    is_problem(refused, 413, "body-too-large")
    assert "5,000 bytes" in refused.json()["detail"]


def test_an_oversized_body_is_not_read_to_its_end(make_client: MakeClient) -> None:
    """A client that never stops sending is answered as soon as the bound is passed."""
    app = make_client(api={"max_body_bytes": 5000}).app
    taken, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b" " * 1000, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/classify", "raw_path": b"/v1/classify", "scheme": "http",
             "query_string": b"", "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1),
             "server": ("test", 80), "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0"}}  # fmt: skip
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert taken == 6


def test_json_of_more_values_than_points_need_is_refused_before_it_is_parsed(make_client: MakeClient) -> None:
    """A body of empty lists takes twenty times its size in memory."""
    client = make_client(api={"max_points": 1000, "max_light_curves": 10})
    json = {"content-type": "application/json"}
    is_problem(
        client.post("/v1/classify", content=b"[" + b"[]," * 11_000 + b"[]]", headers=json), 413, "too-many-values"
    )
    full = {"mjd": 60000.0, "band": "r", "mag": 19.0, "magerr": 0.1, "diffmaglim": 20.0, "sign": 1, "magnr": 18.0,
            "kind": "detection", "candid": 7, "survey": "ztf", "unit": "mag"}  # fmt: skip
    points = [full | {"mjd": 60000.0 + number, "candid": number} for number in range(1000)]
    assert client.post("/v1/classify", json={"points": points}).status_code == 200
    is_problem(client.post("/v1/classify", json={"points": [*points, full]}), 413, "too-many-points")


def test_a_body_counts_as_it_is_unpacked_until_its_request_is_answered() -> None:
    async def story() -> None:
        charged: list[int] = []

        async def unpacks(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            for size in (900, 900, 900):
                scope[CHARGE](size)
                charged.append(size)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b" " * 100, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            raise AssertionError(message)

        uploads = Uploads(unpacks, ApiSettings(max_body_bytes=1000, max_bodies_bytes=1000))
        for _ in range(3):  # what one request held is free for the next
            charged.clear()
            scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
            with pytest.raises(ProblemError, match="too many large bodies"):
                await uploads(scope, receive, send)  # type: ignore[arg-type]
            assert charged == [900, 900]

    asyncio.run(story())


def test_what_would_only_wait_is_refused_and_told_to_come_back() -> None:
    """With two requests under way a third is not let in, but health still is; afterwards all is as before."""
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await release.wait()
        await Response("done")(scope, receive, send)

    async def story() -> None:
        transport = httpx.ASGITransport(Admission(slow, most=2))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            waiting = [asyncio.create_task(client.get("/slow")) for _ in range(2)]
            await asyncio.sleep(0.05)
            refused = await client.get("/v1/models")
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert (await client.get("/health/live")).status_code == 200
            release.set()
            assert [(await each).status_code for each in waiting] == [200, 200]
            assert (await client.get("/v1/models")).status_code == 200

    asyncio.run(story())


def test_every_answer_has_an_id_and_safe_headers(client: TestClient) -> None:
    for path in ("/", "/v1/models", "/nowhere", "/health/live", "/docs"):
        headers = client.get(path).headers
        assert len(headers["x-request-id"]) == 16
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    mine = {"x-request-id": "night-7.42"}
    assert client.get("/nowhere", headers=mine).json()["request_id"] == "night-7.42"
    for odd in ("a b", "x" * 65, "<script>"):
        assert client.get("/v1/models", headers={"x-request-id": odd}).headers["x-request-id"] != odd


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    is_problem(client.get("/v1/nowhere"), 404, "not-found")
    is_problem(client.get("/static/nowhere.js"), 404, "not-found")
    refused = client.get("/v1/classify")
    is_problem(refused, 405, "method-not-allowed")
    assert "POST" in refused.headers["allow"]


def test_what_nobody_expected_is_a_problem_too_and_finds_its_way_into_the_log(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, store: Any
) -> None:
    client = make_client()
    monkeypatch.setattr(type(store), "load", lambda *_: 1 / 0)
    refused = client.get("/v1/objects/ZTF21abcdefg", headers={"x-request-id": "fails"})
    is_problem(refused, 500, "internal-error")
    assert "ZeroDivisionError" not in refused.text
    assert "ZeroDivisionError" in caplog.text
    assert "fails" in caplog.text


def test_other_origins_are_let_in_by_configuration_alone(make_client: MakeClient) -> None:
    origin = {"origin": "https://portal.example"}
    assert "access-control-allow-origin" not in make_client().get("/v1/models", headers=origin).headers
    client = make_client(api={"cors_origins": ["https://portal.example"]})
    assert client.get("/v1/models", headers=origin).headers["access-control-allow-origin"] == origin["origin"]
    asked = origin | {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    assert client.options("/v1/classify", headers=asked).status_code == 200
    other = client.get("/v1/models", headers={"origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in other.headers


def test_large_answers_are_compressed_for_those_who_can_read_it(client: TestClient) -> None:
    assert client.get("/openapi.json", headers={"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in client.get("/openapi.json", headers={"accept-encoding": "identity"}).headers


def test_docs_and_metrics_can_be_closed(make_client: MakeClient) -> None:
    client = make_client(api={"docs": False, "metrics": False})
    for path in ("/docs", "/openapi.json", "/metrics"):
        assert client.get(path).status_code == 404
    assert client.get("/").status_code == 200
