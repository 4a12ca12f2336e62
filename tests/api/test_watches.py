"""Saved filters over HTTP: who may save them, what is refused, and the feeds."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from service.store import Store
from tests.api.examples import KEYS, READ, WRITE, MakeClient
from tests.store.test_listing import answer

ATOM = "{http://www.w3.org/2005/Atom}"
AGN = {"name": "agn", "filters": {"class": "AGN", "min_probability": 0.5}}
HOOKS = {"webhook_origins": ["https://hooks.example.org"]}


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    client = make_client(api={"api_keys": KEYS}, watch=HOOKS)
    client.headers["x-api-key"] = WRITE
    return client


def test_a_watch_is_saved_listed_and_removed(client: TestClient) -> None:
    made = client.post("/v1/watches", json=AGN | {"url": "https://hooks.example.org/T0/secret"})
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    [listed] = client.get("/v1/watches", headers={"x-api-key": READ}).json()["watches"]
    assert listed["filters"] == AGN["filters"]
    assert listed["webhook"] == "https://hooks.example.org"
    assert "secret" not in str(listed), "neither the key nor the address is told again"
    assert client.post("/v1/watches", json=AGN).status_code == 409
    assert client.delete("/v1/watches/agn").status_code == 204
    assert client.delete("/v1/watches/agn").status_code == 404
    assert client.get("/v1/watches/agn/feed.atom").status_code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Not a name"}, "name"),
        ({"filters": {}}, "filters"),
        ({"filters": {"class": "Nova"}}, "class"),
        ({"filters": {"clas": "AGN"}}, "filters"),
        ({"filters": {"since": "2026-01-01"}}, "filters"),
        ({"filters": {"ra": 10, "dec": 20}}, "radius"),
        ({"filters": {"min_detections": 5, "max_detections": 4}}, "max_detections"),
        ({"url": "https://elsewhere.example.org/"}, "url"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "http://localhost:8000/v1/models/rollback"}, "url"),
    ],
)
def test_what_makes_no_sense_is_refused(client: TestClient, changes: dict[str, Any], field: str) -> None:
    refused = client.post("/v1/watches", json=AGN | changes)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == field


def test_reading_is_not_saving(client: TestClient, make_client: MakeClient) -> None:
    reader = {"x-api-key": READ}
    assert client.post("/v1/watches", json=AGN, headers=reader).status_code == 403
    assert client.delete("/v1/watches/agn", headers=reader).status_code == 403
    open_to_all = make_client()
    assert open_to_all.post("/v1/watches", json=AGN).status_code == 403
    assert open_to_all.get("/v1/watches").json() == {"watches": []}


def test_what_is_noticed_stands_in_both_feeds(client: TestClient, store: Store) -> None:
    client.post("/v1/watches", json=AGN)
    said = {"top_class": "AGN", "top_probability": 0.7}
    store.record([answer("ZTF21aaaaaaa", 1, **said), answer("<&\x07>", 2, **said), answer("no", 3)])
    feed = client.get("/v1/watches/agn/feed.json")
    assert feed.headers["content-type"] == "application/feed+json"
    items = feed.json()["items"]
    assert [item["_classification"]["object_id"] for item in items] == ["ZTF21aaaaaaa", "<&\x07>"]
    assert items[0]["url"] == "http://testserver/#/object/ZTF21aaaaaaa"
    assert items[0]["title"] == "ZTF21aaaaaaa: AGN 70 %"
    assert feed.json()["version"] == "https://jsonfeed.org/version/1.1"
    answered = client.get("/v1/watches/agn/feed.atom")
    assert answered.headers["content-type"].startswith("application/atom+xml")
    atom = ElementTree.fromstring(answered.content)
    entries = atom.findall(f"{ATOM}entry")
    assert [entry.findtext(f"{ATOM}id") for entry in entries] == [item["id"] for item in items]
    assert entries[1].findtext(f"{ATOM}title") == "<&\ufffd>: AGN 70 %"
    for element in (atom, *entries):
        for needed in ("id", "title", "updated"):
            assert element.findtext(f"{ATOM}{needed}")
    assert len(client.get("/v1/watches/agn/feed.json?limit=1").json()["items"]) == 1


def test_an_empty_feed_is_a_feed(client: TestClient) -> None:
    client.post("/v1/watches", json=AGN)
    assert client.get("/v1/watches/agn/feed.json").json()["items"] == []
    assert ElementTree.fromstring(client.get("/v1/watches/agn/feed.atom").content).findtext(f"{ATOM}updated")
