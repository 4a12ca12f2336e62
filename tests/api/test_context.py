"""What is known of an object's surroundings goes with its light curve, by every door, to a model that takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.alerts import Decoder
from service.client import AsyncClient, Client, ServiceError
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.photometry import Context, LightCurve
from service.simulate import SimulatedAlert
from service.store import Store
from tests.api.examples import COLUMNS, POINTS, MakeClient, stream_through
from tests.inference.tiny_bundle import CONTEXT, TinyGraph, write_bundle_with_context, write_files

KNOWN = {"sgscore1": 0.9, "distnr": 1.5, "gal_b": -21.5}
PLAIN = {name: COLUMNS[name] for name in ("mjd", "band", "mag", "magerr", "diffmaglim", "sign")}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    folder = tmp_path_factory.mktemp("bundles") / "with_context"
    return ModelRegistry(load_bundle(write_bundle_with_context(folder)), threads=1)


@pytest.fixture(scope="module")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """Of a model that takes no context."""
    folder = write_files(tmp_path_factory.mktemp("bundles") / "plain", TinyGraph.drawn().model())
    return ModelRegistry(load_bundle(folder), threads=1)


@pytest.fixture
def plain(make_client: MakeClient, plain_registry: ModelRegistry) -> TestClient:
    return make_client(registry=plain_registry)


@pytest.fixture
def with_context(make_client: MakeClient, registry: ModelRegistry) -> TestClient:
    return make_client(registry=registry)


@pytest.fixture
def expected(registry: ModelRegistry, client: TestClient) -> Callable[..., dict[str, float]]:
    """`expected(context)`: what the model says of POINTS in these surroundings."""
    sent = client.post("/v1/classify?light_curve=true", json={"points": POINTS}).json()["light_curve"]
    columns = {name: np.array(sent[name], float) for name in ("mag", "magerr", "limit", "magnr")}
    light_curve = LightCurve.from_columns(
        sent["mjd"], ["gri".index(band) for band in sent["band"]], **columns, sign=sent["sign"],
        kind=[("detection", "upper_limit").index(kind) for kind in sent["kind"]],
    )  # fmt: skip

    def say(known: dict[str, float] | None = None) -> dict[str, float]:
        context = None if known is None else Context.of(known)
        (prediction,) = registry.active.classify([light_curve], [context])
        probabilities: dict[str, float] = prediction.fields()["probabilities"]
        return pytest.approx(probabilities, abs=1e-6)

    return say


def test_a_light_curve_is_sent_with_its_surroundings(
    with_context: TestClient, expected: Callable[..., dict[str, float]]
) -> None:
    def asked(**more: Any) -> dict[str, float]:
        response = with_context.post("/v1/classify", json={"points": POINTS} | more)
        assert response.status_code == 200, response.text
        found: dict[str, float] = response.json()["probabilities"]
        return found

    assert asked(context=KNOWN) == expected(KNOWN)
    assert asked(context=KNOWN) != expected()
    assert asked() == asked(context=None) == asked(context={}) == expected()
    nothing = {"sgscore1": 0.5, "distnr": -999, "gal_b": None, "magnr": 17.25}
    assert asked(context=nothing) == expected()
    assert asked(context={"gal_b": 21.5}) == asked(context={"gal_b": -21.5}) == expected({"gal_b": 21.5})
    body = {"light_curves": [{"points": POINTS, "context": KNOWN}, {"points": POINTS}, PLAIN | {"context": KNOWN}]}
    answers = with_context.post("/v1/classify", json=body).json()["classifications"]
    assert [answer["probabilities"] for answer in answers] == [expected(KNOWN), expected(), expected(KNOWN)]


@pytest.mark.parametrize(
    ("context", "field", "said"),
    [
        ({"sgscore1": 0.1, "sgscore4": 0.1}, "context", "context has no sgscore4; it has gal_b, distnr"),
        ({"redshift": None}, "context", "context has no redshift"),
        ({"sgscore1": "0.1"}, "context.sgscore1", "number"),
        ([0.1], "context", "dict"),
    ],
)
def test_surroundings_that_can_not_be_meant_are_refused_by_their_name(
    with_context: TestClient, plain: TestClient, context: Any, field: str, said: str
) -> None:
    for server in (with_context, plain):  # whether its model takes them or not
        response = server.post("/v1/classify", json={"light_curves": [{"points": POINTS, "context": context}]})
        assert response.status_code == 422, response.text
        [error] = response.json()["errors"]
        assert error["field"] == f"light_curves.0.{field}"
        assert said in error["message"]


def test_a_model_says_what_it_takes(with_context: TestClient, plain: TestClient) -> None:
    for server, columns in ((with_context, list(CONTEXT)), (plain, [])):
        assert [model["context"] for model in server.get("/v1/models").json()["models"]] == [columns]


def test_a_model_that_takes_none_answers_as_before(plain: TestClient) -> None:
    answers = [plain.post("/v1/classify", json={"points": POINTS} | more) for more in ({}, {"context": KNOWN})]
    assert answers[0].content == answers[1].content


def test_a_packet_is_judged_in_its_own_surroundings_and_its_object_shows_them(
    make_client: MakeClient, registry: ModelRegistry, night: list[SimulatedAlert], store: Store
) -> None:
    documents = stream_through(night, store, registry)
    server = make_client(registry=registry)
    object_id = max(sorted({alert.object_id for alert in night}), key=[a.object_id for a in night].count)
    last = [number for number, alert in enumerate(night) if alert.object_id == object_id][-1]
    alert = Decoder().decode(night[last].packet)

    (alone,) = registry.active.classify([alert.light_curve], [alert.context])
    answer = server.post("/v1/classify/alert", content=night[last].packet).json()
    assert answer["probabilities"] == pytest.approx(alone.fields()["probabilities"], abs=1e-6)
    stored = server.post("/v1/classify/alert?stored_history=true", content=night[last].packet).json()
    assert stored["probabilities"] == pytest.approx(documents[last]["probabilities"], abs=1e-6)

    found = server.get(f"/v1/objects/{object_id}").json()
    assert found["context"] == pytest.approx(alert.context.known(), rel=1e-6)
    sent = found["light_curve"] | {"context": found["context"]}
    for name in ("limit",):
        del sent[name]
    again = server.post("/v1/classify", json=sent).json()
    assert again["probabilities"] == pytest.approx(documents[last]["probabilities"], abs=1e-6)


def test_the_client_sends_and_gets_surroundings(
    make_client: MakeClient,
    registry: ModelRegistry,
    night: list[SimulatedAlert],
    store: Store,
    expected: Callable[..., dict[str, float]],
) -> None:
    documents = stream_through(night[:5], store, registry)
    mine = Client("http://testserver", retries=0)
    mine._http = make_client(registry=registry)
    given = {name: np.float32(value) for name, value in KNOWN.items()} | {"magnr": np.nan}
    assert mine.classify(**PLAIN, context=given).probabilities == expected(KNOWN)
    assert mine.classify(**PLAIN).probabilities == expected()
    stored = mine.object(documents[0]["object_id"])
    assert stored.context is not None
    assert set(CONTEXT) <= stored.context.keys()
    many = mine.classify_many({"a": stored.light_curve, "b": stored.light_curve}, contexts={"b": stored.context})
    assert many["b"].probabilities == mine.classify(stored.light_curve, context=stored.context).probabilities
    assert many["a"].probabilities == mine.classify(stored.light_curve).probabilities != many["b"].probabilities
    with pytest.raises(ValueError, match="contexts has c"):
        mine.classify_many({"a": stored.light_curve}, contexts={"c": KNOWN})
    with pytest.raises(ServiceError, match="context has no parallax"):
        mine.classify(**PLAIN, context={"parallax": 1.0})


def test_the_asynchronous_client_sends_surroundings_too(
    with_context: TestClient, expected: Callable[..., dict[str, float]]
) -> None:
    import httpx

    async def ask() -> dict[str, float]:
        mine = AsyncClient("http://testserver", retries=0)
        mine._http = httpx.AsyncClient(transport=httpx.ASGITransport(with_context.app), base_url="http://testserver")
        async with mine:
            return (await mine.classify(**PLAIN, context=KNOWN)).probabilities

    assert asyncio.run(ask()) == expected(KNOWN)


# --- Open Inference Protocol


def tensors(copies: int = 1, context: Any = None) -> dict[str, Any]:
    datatypes = {"mjd": "FP64", "band": "BYTES", "sign": "INT8"}
    inputs = [
        {"name": name, "datatype": datatypes.get(name, "FP32"), "shape": [len(POINTS) * copies],
         "data": list(PLAIN[name]) * copies}
        for name in PLAIN
    ]  # fmt: skip
    which = [number for number in range(copies) for _ in POINTS]
    inputs.append({"name": "light_curve", "datatype": "INT32", "shape": [len(which)], "data": which})
    if context is not None:
        inputs.append({"name": "context", "datatype": "FP32", "shape": list(np.shape(context)), "data": context})
    return {"inputs": inputs, "outputs": [{"name": "probabilities"}]}


def test_the_inference_protocol_has_an_input_of_surroundings_for_models_that_take_them(
    with_context: TestClient, plain: TestClient, expected: Callable[..., dict[str, float]]
) -> None:
    described = with_context.get("/v2/models/tiny-context").json()
    assert {"name": "context", "datatype": "FP32", "shape": [-1, 3]} in described["inputs"]
    assert described["parameters"]["context"] == "distnr,gal_b,sgscore1"
    config = with_context.get("/v2/models/tiny-context/config").json()
    assert {"name": "context", "data_type": "TYPE_FP32", "dims": [-1, 3], "optional": True} in config["input"]
    rows = [[KNOWN[name] for name in CONTEXT], [None, -999, 0.5]]
    answer = with_context.post("/v2/models/tiny-context/infer", json=tensors(2, rows)).json()
    classes = described["parameters"]["classes"].split(",")
    (output,) = answer["outputs"]
    found = np.reshape(output["data"], output["shape"])
    assert dict(zip(classes, found[0], strict=True)) == expected(KNOWN)
    assert dict(zip(classes, found[1], strict=True)) == expected()

    refused = with_context.post("/v2/models/tiny-context/infer", json=tensors(2, rows[:1]))
    assert refused.status_code == 422
    assert "must have the shape [2, 3] of light curves and columns (distnr, gal_b, sgscore1)" in refused.text

    assert "context" not in [each["name"] for each in plain.get("/v2/models/tiny").json()["inputs"]]
    refused = plain.post("/v2/models/tiny/infer", json=tensors(2, rows))
    assert "there is no input context" in refused.text
