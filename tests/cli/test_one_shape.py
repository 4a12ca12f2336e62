"""A classification looks the same wherever it comes out as JSON: same fields, same types, null where not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from service.api import create_app
from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.output.classification import FIELDS
from service.output.files import ARROW_SCHEMA
from service.store import open_store

FORMER = {"n_detections_per_band", "n_upper_limits_per_band"}  # old names in `classify --format jsonl`


def test_one_shape_per_name(run: Any, night: Path, tmp_path: Path) -> None:
    url, out = f"sqlite:///{tmp_path}/store.db", tmp_path / "answers.jsonl"
    classified = [json.loads(line) for line in run("classify", night, "--format", "jsonl").stdout.splitlines()]
    run("replay", night, "--store", url, "--out", out)
    replayed = [json.loads(line) for line in out.read_text().splitlines()]
    store = open_store(url)
    with TestClient(create_app(Settings(), ModelRegistry(load_bundle(), threads=1), store)) as client:

        def json_of(answer: httpx.Response) -> Any:
            assert answer.status_code == 200, answer.text
            return answer.json()

        points = {"points": [{"mjd": 60000.1, "band": "r", "mag": 19.0}]}
        packet = next(night.glob("*.avro")).read_bytes()
        asked = [
            json_of(client.post("/v1/classify", json=points)),
            *json_of(client.post("/v1/classify", json=[points]))["classifications"],
            json_of(client.post("/v1/classify/alert", content=packet)),
            *json_of(client.get("/v1/objects"))["objects"],
        ]
        names = [each["object_id"] for each in json_of(client.get("/v1/objects"))["objects"]]
        asked.append(json_of(client.get(f"/v1/objects/{names[0]}"))["classification"])
        newest = json_of(client.get("/v1/pulse"))["newest"]
    store.close()
    assert len(classified) > 1
    assert len(replayed) > 1
    kinds: dict[str, set[type]] = {name: set() for name in FIELDS}
    for document in classified + replayed + asked:
        assert document.keys() - FORMER == set(FIELDS), document.keys() ^ set(FIELDS)
        for name in FIELDS:
            if document[name] is not None:
                kinds[name].add(type(document[name]))
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}
    assert kinds["n_detections"] == {dict}
    assert all(isinstance(each["n_detections"], dict) for each in newest)
    assert all(each["n_detections"] == each["n_detections_per_band"] for each in classified)
    assert list(FIELDS) == ARROW_SCHEMA.names
