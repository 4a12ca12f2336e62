"""Nonsense gets the right 4xx, what is damaged at rest a 503: never a 500, and no trace in the log."""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

import cramjam
import pytest
from fastapi.testclient import TestClient

from service.photometry import LightCurve
from service.store import SqliteStore, Store

JSON = {"content-type": "application/json"}
DIGITS = "9" * 5000  # more than Python reads as a number
DEEP = 1000  # orjson reads a little more, Python's own recursion ends before


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


POINT = '"mjd": 60000.1, "band": "r", "mag": 19.0'
TENSORS = (
    '{"name": "mjd", "shape": [1], "datatype": "FP64", "data": [60000.1]},'
    '{"name": "band", "shape": [1], "datatype": "BYTES", "data": ["r"]},'
    '{"name": "mag", "shape": [1], "datatype": "FP32", "data": [19.0]}'
)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/classify", nested(DEEP), {}, 422),
        ("/v1/classify", nested(5 * DEEP), {}, 400),
        ("/v1/classify", '{"a":' * DEEP + "1" + "}" * DEEP, {}, 422),
        ("/v1/classify", f'{{"points": [{{"mjd": {nested(DEEP)}}}]}}', {}, 422),
        ("/v1/classify", f'{{"points": [{{{POINT}, "limit": {nested(DEEP)}, "diffmaglim": {nested(DEEP)}}}]}}', {},
         400),
        ("/v1/classify", f'{{"points": [{{{POINT}, "candid": {DIGITS}}}]}}', {}, 400),
        ("/v2/models/alert-clr/infer", f'{{"id": {nested(DEEP)}, "inputs": [{TENSORS}]}}', {}, 422),
        ("/v2/models/alert-clr/infer", f'{{"inputs": [{TENSORS}]}}', {"inference-header-content-length": DIGITS}, 422),
        (
            "/v2/models/alert-clr/infer",
            f'{{"inputs": [{{"name": "mjd", "shape": {[1] * 65}, "datatype": "FP64", "data": [1]}}]}}', {}, 422,
        ),
        ("/v1/classify", "{}", {"content-length": DIGITS}, 413),
        ("/v1/classify", "{}", {"content-encoding": "gzip," * 1000}, 415),
    ],
)  # fmt: skip
def test_nonsense_in_a_request_is_the_sender_s(
    make_client: Any, caplog: pytest.LogCaptureFixture, path: str, body: str, headers: dict[str, str], status: int
) -> None:
    answer = make_client(raise_errors=False).post(path, content=body, headers=JSON | headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", ["limit", "since", "min_probability", "ra", "radius", "cursor"])
@pytest.mark.parametrize("value", [DIGITS, f"-{DIGITS}", "1e999", "nan", "9223372036854775808", "\0", "²"])
def test_nonsense_in_a_query_is_the_sender_s(client: TestClient, name: str, value: str) -> None:
    others = {"ra": "1", "dec": "1", "radius": "1"} if name in ("ra", "radius") else {}
    assert client.get("/v1/objects", params=others | {name: value}).status_code == 422


def _damaged(light_curve: LightCurve) -> dict[str, bytes]:
    points = light_curve.points.copy()
    points["band"] = 99
    return {
        "not LZ4": b"nonsense",
        "another format": bytes(cramjam.lz4.compress_block(b"\7" + light_curve.pack()[1:])),
        "cut": bytes(cramjam.lz4.compress_block(light_curve.pack()[:-5])),
        "a band that is none": bytes(cramjam.lz4.compress_block(light_curve.pack()[:1] + points.tobytes())),
        "nothing": b"",
    }


@pytest.mark.parametrize("damage", ["not LZ4", "another format", "cut", "a band that is none", "nothing"])
def test_a_damaged_light_curve_is_told_and_the_others_are_answered(
    make_client: Any, documents: list[dict[str, Any]], store: Store, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(raise_errors=False)
    hurt = documents[0]["object_id"]
    whole = next(each["object_id"] for each in documents if each["object_id"] != hurt)
    stored = store.load([hurt])[hurt].light_curve
    assert isinstance(store, SqliteStore)
    with sqlite3.connect(store.path) as direct:
        direct.execute("UPDATE objects SET light_curve = ? WHERE object_id = ?", (_damaged(stored)[damage], hurt))
    direct.close()
    answer = client.get(f"/v1/objects/{hurt}")
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":stored-data-damaged")
    assert answer.json()["instance"] == f"/v1/objects/{hurt}"
    assert client.get(f"/v1/objects/{whole}").status_code == 200
    assert client.get("/v1/objects").status_code == 200
    assert [record.exc_info for record in caplog.records if record.levelno >= logging.WARNING] == [None]
