"""A stock client of the Open Inference Protocol gets the answers that everybody gets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.api import create_app
from service.api.oip_tensors import DTYPES, Tensor, decode_request, encode_response
from service.api.server import Server
from service.config import Settings
from service.inference.registry import ModelRegistry
from service.store import open_store
from tests.api.examples import COLUMNS, POINTS

triton = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")

MODEL = "alert-clr"


@pytest.fixture(scope="module")
def address(models: ModelRegistry) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    store = open_store("sqlite://")
    server = Server(create_app(Settings(), models, store), Settings().api, drain_s=5)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    yield f"127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    store.close()


@pytest.fixture
def stock(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client


def columns(binary: bool = True, copies: int = 1) -> list[Any]:
    """POINTS as inputs of the stock client, `copies` times as so many light curves."""
    nan = [np.nan if value is None else value for value in COLUMNS["mag"]]
    errors = [np.nan if value is None else value for value in COLUMNS["magerr"]]
    limits = [np.nan if value is None else value for value in COLUMNS["diffmaglim"]]
    arrays = {
        "mjd": ("FP64", np.array(COLUMNS["mjd"], np.float64)),
        "band": ("BYTES", np.array(COLUMNS["band"], object)),
        "mag": ("FP32", np.array(nan, np.float32)),
        "magerr": ("FP32", np.array(errors, np.float32)),
        "diffmaglim": ("FP32", np.array(limits, np.float32)),
        "sign": ("INT8", np.array(COLUMNS["sign"], np.int8)),
    }
    inputs = []
    for name, (datatype, array) in arrays.items():
        array = np.tile(array, copies)
        inputs.append(triton.InferInput(name, array.shape, datatype))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    if copies > 1:
        which = np.repeat(np.arange(copies, dtype=np.int32), len(POINTS))
        inputs.append(triton.InferInput("light_curve", which.shape, "INT32"))
        inputs[-1].set_data_from_numpy(which)
    return inputs


def test_a_stock_client_finds_the_server_and_its_model(stock: Any) -> None:
    assert stock.is_server_live()
    assert stock.is_server_ready()
    assert stock.is_model_ready(MODEL)
    assert not stock.is_model_ready("none")
    assert stock.get_server_metadata()["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "statistics",
    ]
    metadata = stock.get_model_metadata(MODEL)
    assert metadata["platform"] == "onnxruntime_onnx"
    assert {each["name"] for each in metadata["inputs"]} >= {"mjd", "band", "mag"}
    [version] = metadata["versions"]
    assert stock.is_model_ready(MODEL, version)
    assert stock.get_model_metadata(MODEL, version) == metadata


def test_a_stock_client_gets_the_same_answer_as_everybody(stock: Any, client: TestClient) -> None:
    expected = client.post("/v1/classify?embedding=true", json={"points": POINTS}).json()
    result = stock.infer(MODEL, columns(), request_id="seven")
    response = result.get_response()
    assert response["id"] == "seven"
    classes = response["parameters"]["classes"].split(",")
    assert dict(zip(classes, result.as_numpy("probabilities")[0].tolist(), strict=True)) == expected["probabilities"]
    assert result.as_numpy("top_class").tolist() == [expected["top_class"].encode()]
    members = [name for name, member in zip(classes, result.as_numpy("conformal_set")[0], strict=True) if member]
    assert members == expected["conformal_set"]
    assert result.as_numpy("ood_score")[0] == pytest.approx(expected["ood_score"])
    assert result.as_numpy("flags").tolist() == [",".join(expected["flags"]).encode()]
    np.testing.assert_allclose(result.as_numpy("embedding")[0], expected["embedding"], rtol=1e-6)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_bytes_and_json_compressed_or_not_are_the_same(stock: Any, compression: str | None) -> None:
    answers = []
    for binary_out in (True, False):
        outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "top_class")]
        result = stock.infer(
            MODEL,
            columns(),
            outputs=outputs,
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
        )
        assert [each["name"] for each in result.get_response()["outputs"]] == ["probabilities", "top_class"]
        answers.append((result.as_numpy("probabilities"), result.as_numpy("top_class").tolist()))
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    assert [text.decode() for text in answers[0][1]] == [
        text.decode() if isinstance(text, bytes) else text for text in answers[1][1]
    ]


def test_many_light_curves_travel_in_one_request(stock: Any) -> None:
    result = stock.infer(MODEL, columns(copies=3))
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape[0] == 3
    np.testing.assert_allclose(probabilities, probabilities[[0, 0, 0]], atol=1e-6)


def test_the_best_classes_can_be_asked_for_as_texts(stock: Any) -> None:
    result = stock.infer(MODEL, columns(), outputs=[triton.InferRequestedOutput("probabilities", class_count=3)])
    best = [text.decode().split(":") for text in result.as_numpy("probabilities")[0]]
    assert [len(parts) for parts in best] == [3, 3, 3]
    values = [float(value) for value, _, _ in best]
    assert values == sorted(values, reverse=True)


def test_a_stock_client_reads_configuration_index_and_statistics(stock: Any) -> None:
    """What Triton's performance tools ask for before and after a run."""
    metadata, config = stock.get_model_metadata(MODEL), stock.get_model_config(MODEL)
    assert config["max_batch_size"] == 0
    for each, declared in zip(config["input"], metadata["inputs"], strict=True):
        assert (each["name"], each["dims"]) == (declared["name"], declared["shape"])
    assert {each["name"]: each["optional"] for each in config["input"]}["magerr"] is True
    assert {each["name"]: each["data_type"] for each in config["input"]}["band"] == "TYPE_STRING"
    assert [(each["name"], each["dims"]) for each in config["output"]] == [
        (each["name"], each["shape"]) for each in metadata["outputs"]
    ]
    [version] = metadata["versions"]
    assert stock.get_model_config(MODEL, version) == config
    assert stock.get_model_repository_index() == [{"name": MODEL, "version": version, "state": "READY", "reason": ""}]

    def statistics() -> dict[str, Any]:
        [found] = stock.get_inference_statistics(MODEL, version)["model_stats"]
        assert stock.get_inference_statistics()["model_stats"] == [found]
        assert stock.get_inference_statistics(MODEL)["model_stats"] == [found]
        return dict(found)

    before = statistics()
    stock.infer(MODEL, columns(copies=3))
    with pytest.raises(triton.InferenceServerException):
        stock.infer(MODEL, columns()[:2])
    after = statistics()
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 1
    counts = [each["inference_stats"]["fail"]["count"] for each in (before, after)]
    assert counts[1] - counts[0] == 1
    spent = {
        name: each["ns"] - before["inference_stats"][name]["ns"] for name, each in after["inference_stats"].items()
    }
    assert 0 < spent["compute_input"] + spent["compute_infer"] + spent["compute_output"] <= spent["success"]
    assert after["last_inference"] > before["last_inference"]
    for ask in (stock.get_model_config, stock.get_inference_statistics):
        with pytest.raises(triton.InferenceServerException, match="no model none is resident"):
            ask("none")


def test_columns_as_mlserver_writes_them_are_the_same(client: TestClient) -> None:
    """Its codecs give a column of N values the shape [N, 1]."""
    kinds = {"mjd": "FP64", "band": "BYTES", "mag": "FP32", "light_curve": "INT32"}
    values = COLUMNS | {"light_curve": [0] * len(POINTS)}

    def ask(shape: list[int]) -> Any:
        inputs = [{"name": n, "datatype": kind, "shape": shape, "data": values[n]} for n, kind in kinds.items()]
        return client.post(f"/v2/models/{MODEL}/infer", json={"inputs": inputs})

    flat, tall, wide = (ask(shape) for shape in ([len(POINTS)], [len(POINTS), 1], [1, len(POINTS)]))
    assert flat.status_code == 200
    assert tall.json() == flat.json()
    assert wide.status_code == 422


def test_what_is_wrong_reaches_the_stock_client(stock: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="input mag is missing"):
        stock.infer(MODEL, columns()[:2])
    with pytest.raises(triton.InferenceServerException, match="no model none is resident"):
        stock.infer("none", columns())
    wrong = triton.InferInput("mag", [2], "FP32").set_data_from_numpy(np.zeros(2, np.float32))
    with pytest.raises(triton.InferenceServerException, match="shape"):
        stock.infer(MODEL, [*columns()[:2], wrong])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "mjd", "shape": [2], "datatype": "FP64", "data": [1.0]}, "2 values"),
        ({"name": "mjd", "shape": [1], "datatype": "FP8", "data": [1.0]}, "must be one of"),
        ({"name": "mjd", "shape": [1], "datatype": "FP64", "data": ["x"]}, "values of FP64"),
        ({"name": "mjd", "shape": [1], "datatype": "FP64", "data": [2460310.0]}, "modified Julian"),
        ({"name": "mjd", "shape": [-1], "datatype": "FP64", "data": [1.0]}, "list of sizes"),
        ({"name": "mjd", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}, "not there"),
        ({"name": "flux", "shape": [1], "datatype": "FP64", "data": [1.0]}, "no input flux"),
        ({"name": "band", "shape": [1], "datatype": "BYTES", "data": ["x"]}, "unknown values x; known are g, r"),
        ({"name": "band", "shape": [1], "datatype": "INT8", "data": [1]}, "datatype BYTES"),
        ({"name": "sign", "shape": [1], "datatype": "INT8", "data": [3]}, "between -1 and 1"),
        ({"name": "sign", "shape": [1], "datatype": "INT8", "data": [300]}, "INT8"),
        ({"name": "mag", "shape": [1], "datatype": "FP32", "data": [-20.0]}, "between -5 and 50"),
        ({"name": "magerr", "shape": [1], "datatype": "FP32", "data": [-0.1]}, "between 0 and"),
        ({"name": "light_curve", "shape": [1], "datatype": "INT32", "data": [-1]}, "from 0"),
        ({"name": "light_curve", "shape": [1], "datatype": "INT32", "data": [1]}, "0 has no point"),
        ({"name": "light_curve", "shape": [1], "datatype": "INT64", "data": [10**15]}, "light curves in one request"),
    ],
)
def test_a_wrong_tensor_is_named(client: TestClient, change: dict[str, Any], says: str) -> None:
    inputs = {
        "mjd": {"name": "mjd", "shape": [1], "datatype": "FP64", "data": [60310.0]},
        "band": {"name": "band", "shape": [1], "datatype": "BYTES", "data": ["r"]},
        "mag": {"name": "mag", "shape": [1], "datatype": "FP32", "data": [19.0]},
    }
    inputs[change["name"]] = change
    response = client.post(f"/v2/models/{MODEL}/infer", json={"inputs": list(inputs.values())})
    assert response.status_code in (413, 422)
    assert says in response.json()["error"]
    assert response.json()["detail"] == response.json()["error"] or says in response.json()["detail"]


def test_no_points_are_refused_and_limits_alone_name_no_class(client: TestClient) -> None:
    def infer(*mag: float | None) -> Any:
        columns = (
            ("mjd", "FP64", [60310.0] * len(mag)),
            ("band", "BYTES", ["r"] * len(mag)),
            ("mag", "FP32", list(mag)),
        )
        inputs = [{"name": n, "shape": [len(mag)], "datatype": kind, "data": data} for n, kind, data in columns]
        asked = [{"name": "top_class"}, {"name": "flags"}]
        return client.post(f"/v2/models/{MODEL}/infer", json={"inputs": inputs, "outputs": asked})

    refused = infer()
    assert (refused.status_code, "at least one point" in refused.json()["error"]) == (422, True)
    top_class, flags = infer(None).json()["outputs"]
    assert top_class["data"] == [""]
    assert "no_detection" in flags["data"][0]


def test_an_upper_limit_has_no_sign(client: TestClient) -> None:
    def answer(sign: list[int]) -> list[float]:
        inputs = [
            {"name": "mjd", "shape": [3], "datatype": "FP64", "data": [60310.2, 60313.3, 60316.2]},
            {"name": "band", "shape": [3], "datatype": "BYTES", "data": ["r", "r", "g"]},
            {"name": "mag", "shape": [3], "datatype": "FP32", "data": [None, 19.8, 19.1]},
            {"name": "sign", "shape": [3], "datatype": "INT8", "data": sign},
        ]
        body = {"inputs": inputs, "outputs": [{"name": "probabilities"}]}
        found: list[float] = client.post(f"/v2/models/{MODEL}/infer", json=body).json()["outputs"][0]["data"]
        return found

    assert answer([1, 1, 1]) == answer([0, 1, 1])


numbers = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(DTYPES[name], hnp.array_shapes(max_dims=3, max_side=4)).map(lambda a: Tensor("t", name, a))
)
texts = hnp.arrays(
    object, hnp.array_shapes(max_dims=2, max_side=4), elements=st.text(st.characters(codec="utf-8"))
).map(lambda array: Tensor("t", "BYTES", array))


@given(st.lists(st.one_of(numbers, texts), min_size=1, max_size=4))
def test_tensors_survive_the_wire_as_bytes(tensors: list[Tensor]) -> None:
    named = [Tensor(f"t{number}", tensor.datatype, tensor.values) for number, tensor in enumerate(tensors)]
    body, length = encode_response({}, [(tensor, True) for tensor in named])
    assert length is not None
    head = json.loads(body[:length])
    request = json.dumps({"inputs": head["outputs"]}).encode()
    back = decode_request(request + body[length:], str(len(request)))
    for tensor in named:
        assert back.inputs[tensor.name].datatype == tensor.datatype
        np.testing.assert_array_equal(back.inputs[tensor.name].values, tensor.values)
