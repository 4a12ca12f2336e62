"""A misspelt query parameter is refused wherever it stands: the answer would be that to another question."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.api.examples import POINTS


def test_a_misspelt_filter_is_refused_and_the_right_one_named(client: TestClient) -> None:
    answer = client.get("/v1/objects?clas=SNIa")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "clas", "message": "is no parameter: did you mean class?"}]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/v1/objects/ZTF21abcdefg"),
        ("get", "/v1/objects/ZTF21abcdefg/history"),
        ("get", "/v1/models"),
        ("get", "/v1/accounting"),
        ("get", "/v2"),
        ("post", "/v1/classify"),
        ("post", "/v1/classify/alert"),
    ],
)
def test_every_route_refuses_what_it_does_not_know(client: TestClient, method: str, path: str) -> None:
    content = {"json": {"points": POINTS}} if method == "post" else {}
    answer = client.request(method, f"{path}?nonsense=1", **content)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == "nonsense"


def test_known_parameters_still_work(client: TestClient) -> None:
    assert client.get("/v1/objects?class=SNIa&limit=3").status_code == 200
    assert client.post("/v1/classify?embedding=true", json={"points": POINTS}).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_takes_what_a_probe_adds(client: TestClient, path: str) -> None:
    assert client.get(f"{path}?x=1&cache=no").json() == client.get(path).json()
    assert client.get(f"{path}?x=1").status_code == 200
