"""Given a bundle that asks for passes, then stream, API, client and files all carry how far the passes agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from service.api import create_app
from service.cli import cli
from service.client import Classification
from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.output.avro import CLASSIFICATION, decode_classification
from service.output.files import Parquet
from service.simulate import SimulatedAlert
from service.store import open_store
from tests.api.examples import COLUMNS, POINTS, stream_through
from tests.inference.tiny_bundle import EMBEDDING_SIZE, TAXONOMY, TinyGraph, manifest_values

STOCHASTIC = {"method": "head-dropout", "passes": 8, "noise": [{"input": "mask", "kind": "dropout", "rate": 0.3}]}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    graph = TinyGraph.drawn().model(mask_size=EMBEDDING_SIZE)
    folder = tmp_path / "stochastic"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph)
    (folder / "manifest.json").write_text(json.dumps(manifest_values(graph, stochastic=STOCHASTIC)))
    (folder / "MODEL_CARD.md").write_text("# tiny\n")
    (folder / "metrics.json").write_text("{}")
    return folder


@pytest.fixture
def stochastic(bundle: Path) -> ModelRegistry:
    return ModelRegistry(load_bundle(bundle), threads=1)


@pytest.fixture
def client(stochastic: ModelRegistry) -> Iterator[TestClient]:
    store = open_store("sqlite://")
    with TestClient(create_app(Settings(), stochastic, store, None)) as client:
        yield client
    store.close()


def test_the_stream_publishes_variance_and_bald(
    night: list[SimulatedAlert], stochastic: ModelRegistry, tmp_path: Path
) -> None:
    store = open_store("sqlite://")
    documents = stream_through(night[:20], store, stochastic)
    assert len(documents) == 20
    for document in documents:
        found = decode_classification(CLASSIFICATION.encode(document))
        assert found["bald"] == pytest.approx(document["bald"], rel=1e-6)
        assert found["bald"] > 0
        assert found["variance"] == pytest.approx(document["variance"], rel=1e-6)
        assert found["variance"].keys() == TAXONOMY.keys()
        assert (kept := store.latest(document["object_id"])) is not None
        assert kept.document["bald"] > 0
    rows = Parquet(tmp_path / "night.parquet")
    rows.write(documents)
    rows.close()
    table = pq.read_table(tmp_path / "night.parquet")
    assert table["bald"].to_pylist() == pytest.approx([document["bald"] for document in documents], rel=1e-6)
    assert dict(table["variance"][0].as_py()) == pytest.approx(documents[0]["variance"], rel=1e-6)
    store.close()


def test_the_plain_model_publishes_neither_and_is_read_as_null(
    night: list[SimulatedAlert], models: ModelRegistry
) -> None:
    store = open_store("sqlite://")
    (document,) = stream_through(night[:1], store, models)
    assert (document["variance"], document["mutual_information"], document["bald"]) == (None, None, None)
    found = decode_classification(CLASSIFICATION.encode(document))
    assert found["variance"] is None
    assert found["bald"] is None
    store.close()


def test_messages_from_before_are_read_with_the_schema_of_now(documents: list[dict[str, object]]) -> None:
    """Avro's own resolution: fields that the writer did not know take their default."""
    found = decode_classification(CLASSIFICATION.versions[1].encode(documents[0]))
    assert found["object_id"] == documents[0]["object_id"]
    assert (found["variance"], found["bald"]) == (None, None)


def test_the_api_and_its_client_carry_them(client: TestClient) -> None:
    asked = {"object_id": "mine", "points": POINTS}
    first, second = (client.post("/v1/classify", json=asked).json() for _ in range(2))
    assert first == second  # the passes are the same every time
    assert first["bald"] > 0
    assert first["variance"].keys() == first["probabilities"].keys()
    assert Classification.of(first).mutual_information == first["mutual_information"] == first["bald"]


def test_the_inference_protocol_names_them_where_there_are_any(client: TestClient) -> None:
    told = client.get("/v2/models/tiny").json()
    assert {"variance", "mutual_information", "bald"} <= {output["name"] for output in told["outputs"]}
    inputs = [
        {"name": name, "datatype": kind, "shape": [len(POINTS)], "data": COLUMNS[name]}
        for name, kind in (("mjd", "FP64"), ("band", "BYTES"), ("sign", "INT32"))
    ]
    inputs.append(
        {"name": "mag", "datatype": "FP64", "shape": [len(POINTS)], "data": [m if m else None for m in COLUMNS["mag"]]}
    )
    answer = client.post("/v2/models/tiny/infer", json={"inputs": inputs, "outputs": [{"name": "bald"}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"][0] > 0


def test_a_table_of_the_command_line_has_a_column_of_it(bundle: Path, tmp_path: Path) -> None:
    columns = {name: COLUMNS[name] for name in ("mjd", "band", "mag", "magerr", "diffmaglim", "sign")}
    pq.write_table(pa.table({"object_id": ["mine"] * len(POINTS), **columns}), tmp_path / "points.parquet")
    arguments = ["classify", str(tmp_path / "points.parquet"), "--bundle", str(bundle), "--format", "csv"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    head, row = (line.split(",") for line in result.stdout.splitlines()[:2])
    assert float(row[head.index("mutual_information")]) == float(row[head.index("bald")]) > 0
