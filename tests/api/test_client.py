"""The client gives back what the service says, in the tables people work with, and asks again when that can help."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import httpx
import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from service.alerts import Decoder
from service.client import AsyncClient, Client, ServiceError, ServiceUnreachableError
from service.photometry import BAND_CODES, SURVEY_CODES, LightCurve
from service.simulate import SimulatedAlert
from service.store import Increment, Store
from tests.alerts.atlas_tables import exposures
from tests.api.examples import COLUMNS, KEYS, POINTS, READ, MakeClient
from tests.exports.samples import ATLAS, IRSA, NAME, SAMPLES

PLAIN = {name: COLUMNS[name] for name in ("mjd", "band", "mag", "magerr", "diffmaglim", "sign")}


@pytest.fixture
def connect(make_client: MakeClient) -> Callable[..., Client]:
    """A client that talks to the application without a socket between."""

    def connect(api_key: str | None = None, **settings: Any) -> Client:
        app = make_client(**settings)
        client = Client("http://testserver", api_key, retries=0)
        client._http = app if api_key is None else _with_key(app, api_key)
        return client

    return connect


def _with_key(app: TestClient, key: str) -> TestClient:
    app.headers["X-API-Key"] = key
    return app


def test_columns_arrays_and_light_curves_are_the_same(connect: Callable[..., Client], client: TestClient) -> None:
    expected = client.post("/v1/classify", json={"points": POINTS}).json()
    mine = connect()
    light_curve = LightCurve.from_columns(
        PLAIN["mjd"],
        [BAND_CODES[name] for name in PLAIN["band"]],
        **{name: np.array(PLAIN[name], float) for name in ("mag", "magerr")},
        limit=np.array(PLAIN["diffmaglim"], float),
        sign=PLAIN["sign"],
        kind=[1, 0, 0, 0, 0],
    )
    arrays = PLAIN | {name: np.array(PLAIN[name], float) for name in ("mjd", "mag", "magerr", "diffmaglim")}
    for answer in (mine.classify(**PLAIN), mine.classify(**arrays), mine.classify(light_curve, object_id="x")):
        assert answer.probabilities == expected["probabilities"]
        assert answer.flags == tuple(expected["flags"])
        assert answer.top_class == expected["top_class"]
    many = mine.classify_many({"a": light_curve, "b": light_curve}, embedding=True)
    assert list(many) == ["a", "b"]
    assert many["a"].embedding == many["b"].embedding
    with pytest.raises(TypeError, match="not both"):
        mine.classify(light_curve, mjd=[1.0])


def test_where_nothing_was_looked_at_no_class_is_named(connect: Callable[..., Client]) -> None:
    mine = connect()
    unread = mine.classify(**PLAIN, survey=["lsst"] * 5)
    assert (unread.top_class, "no_detection" in unread.flags) == (None, True)
    points = pa.table(PLAIN | {"object_id": ["limits", "seen", "seen", "seen", "seen"]})
    assert mine.classify_table(points)["top_class"].to_pylist()[0] is None
    assert mine.classify_table(points.to_pandas())["top_class"].isna().tolist() == [True, False]
    with pytest.raises(ServiceError) as refused:
        mine.classify(LightCurve.empty())
    assert (refused.value.status, [field for field, _ in refused.value.errors]) == (422, ["mjd"])
    astropy = pytest.importorskip("astropy.table").Table.from_pandas(points.to_pandas())
    assert mine.classify_table(astropy)["top_class"][0] is None


def test_an_object_names_that_of_another_survey_at_its_place(
    connect: Callable[..., Client], documents: list[dict[str, Any]], store: Store
) -> None:
    mine = connect()
    there = mine.object(documents[-1]["object_id"])
    assert there.counterparts == ()
    points = LightCurve.from_columns([61000.5], [4], mag=22.0, sign=1, survey=SURVEY_CODES["lsst"])
    store.merge([Increment("313900000000000001", there.ra, there.dec + 0.5 / 3600, points)])
    ((name, survey, apart),) = mine.object(there.object_id).counterparts
    assert (name, survey) == ("313900000000000001", "lsst")
    assert apart == pytest.approx(0.5, abs=1e-3)
    ((back, of, _),) = mine.object(name).counterparts
    assert (back, of) == (there.object_id, "ztf")


def test_an_object_of_two_surveys_comes_and_goes_whole(
    connect: Callable[..., Client], documents: list[dict[str, Any]], store: Store
) -> None:
    mine = connect()
    before = mine.object(documents[0]["object_id"])
    assert before.sources == ()
    photometry = exposures((60000.5, "o", 200.0), (60001.5, "c", 10.0)).light_curve()
    store.join([Increment("here", before.ra, before.dec, photometry)])
    now = mine.object("here")  # by the name of what has joined it
    assert (now.object_id, now.sources) == (before.object_id, ("here",))
    assert now.light_curve == before.light_curve.merge(photometry)
    answer = mine.classify(now.light_curve)
    assert answer.n_detections["o"] == 1
    assert answer.raw["flags"].count("unknown_band") == 1
    plain = PLAIN | {
        "mag": [None] * 5,
        "flux": [100.0] * 5,
        "fluxerr": [10.0] * 5,
        "unit": ["uJy"] * 5,
        "survey": ["atlas"] * 5,
    }
    assert sum(mine.classify(**plain).n_detections.values()) == 5


def test_a_packet_is_classified_from_bytes_or_file(
    connect: Callable[..., Client], night: list[SimulatedAlert], tmp_path: Any
) -> None:
    path = tmp_path / "packet.avro"
    path.write_bytes(night[0].packet)
    mine = connect()
    assert mine.classify_alert(path).probabilities == mine.classify_alert(night[0].packet).probabilities
    assert mine.classify_alert(path).candid == night[0].candid


def test_a_file_of_several_alerts_comes_back_as_a_list(
    connect: Callable[..., Client], client: TestClient, night: list[SimulatedAlert]
) -> None:
    readers = [fastavro.reader(io.BytesIO(alert.packet)) for alert in night[:3]]
    several = io.BytesIO()
    fastavro.writer(several, readers[0].writer_schema, [next(reader) for reader in readers])
    expected = [alert.candid for alert in night[:3]]
    found = connect().classify_alert(several.getvalue())
    assert isinstance(found, list)
    assert [each.candid for each in found] == expected

    async def same() -> Any:
        async with AsyncClient("http://testserver", transport=httpx.ASGITransport(client.app)) as mine:  # type: ignore[arg-type]
            return await mine.classify_alert(several.getvalue())

    assert asyncio.run(same()) == found


def test_one_survey_may_be_that_of_all_points(connect: Callable[..., Client]) -> None:
    atlas = {"mjd": [60315.4, 60316.4], "band": ["o", "c"], "mag": [18.0, 18.2], "magerr": [0.1, 0.1]}
    mine = connect()
    assert mine.classify(**atlas, survey="atlas") == mine.classify(**atlas, survey=["atlas", "atlas"])
    with pytest.raises(ServiceError, match="band"):
        mine.classify(**atlas | {"band": "o"})


def test_tables_come_back_as_they_went(connect: Callable[..., Client]) -> None:
    pd = pytest.importorskip("pandas")
    table_module = pytest.importorskip("astropy.table")
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"object_id": ["b", "a", "a"], "mjd": [60313.3, 60316.2, 60310.2], "band": ["r", "g", "r"],
         "mag": [19.8, 19.1, np.nan], "limit": [20.5, 20.5, 20.4]}
    )  # fmt: skip
    mine = connect()
    answer = mine.classify_table(frame)
    assert isinstance(answer, pd.DataFrame)
    assert answer["object_id"].tolist() == ["a", "b"]
    assert answer["n_upper_limits"].tolist() == [1, 0]
    probabilities = answer[[name for name in answer if name.startswith("p_")]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)

    masked = table_module.Table.from_pandas(frame)
    masked["mag"] = table_module.MaskedColumn(
        np.where(np.isnan(frame["mag"]), 0, frame["mag"]), mask=frame["mag"].isna()
    )
    back = mine.classify_table(masked)
    assert isinstance(back, table_module.Table)
    assert list(back["top_class"]) == answer["top_class"].tolist()
    arrow = mine.classify_table(pa.Table.from_pandas(frame))
    assert arrow.to_pandas().equals(answer)


def test_objects_are_found_page_after_page(
    connect: Callable[..., Client], documents: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.client.clients.PAGE", 10)
    mine = connect()
    names = [each.object_id for each in mine.objects()]
    assert sorted(names) == sorted({document["object_id"] for document in documents})
    some = mine.object(names[0])
    assert some.classification is not None
    again = mine.classify(some.light_curve, context=some.context)
    assert again.probabilities == pytest.approx(some.classification.probabilities, abs=1e-6)
    assert mine.history(names[0])[-1]["top_class"] == some.classification.top_class
    assert len(mine.similar(names[0], limit=3)) == 3
    assert some.ra is not None
    assert some.dec is not None
    assert names[0] in {each.object_id for each in mine.objects(cone=(some.ra, some.dec, 1.0))}
    assert mine.models()[0]["role"] == "active"


def test_refusals_are_errors_that_say_why(connect: Callable[..., Client]) -> None:
    with pytest.raises(ServiceError, match="not in the store") as caught:
        connect(READ, api={"api_keys": KEYS}).object("ZTF99 zzzzzzz?")
    assert caught.value.status == 404
    assert caught.value.type.endswith("unknown-object")
    with pytest.raises(ServiceError) as refused:
        connect().classify(mjd=[1.0], band=["q"], mag=[19.0])
    assert refused.value.status == 422
    assert refused.value.errors[0][0] == "band.0"
    assert len(refused.value.request_id) == 16


class Server:
    """Answers as told, one after the other, and remembers when it was asked."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        content = {"models": []} if answer == 200 else {"detail": "come back later"}
        return httpx.Response(answer, json=content, headers={"retry-after": "2"} if answer == 429 else {})


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("answers", "outcome", "asked"),
    [
        ([200], None, 1),
        ([503, 429, httpx.ConnectError("refused"), 200], None, 4),
        ([500], ServiceError, 1),
        ([422], ServiceError, 1),
        ([503] * 5, ServiceError, 5),
        ([httpx.ReadTimeout("slow")] * 5, ServiceUnreachableError, 5),
    ],
)
def test_it_asks_again_when_that_can_help(
    monkeypatch: pytest.MonkeyPatch,
    asynchronous: bool,
    answers: list[Any],
    outcome: type[Exception] | None,
    asked: int,
) -> None:
    waits: list[float] = []
    server = Server(*answers)
    transport = httpx.MockTransport(server)
    monkeypatch.setattr("time.sleep", waits.append)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def ask_async() -> None:
        async with AsyncClient("http://test", transport=transport) as client:
            await client.models()

    def ask() -> None:
        if asynchronous:
            with monkeypatch.context() as patch:
                patch.setattr("asyncio.sleep", sleep)
                asyncio.run(ask_async())
        else:
            with Client("http://test", transport=transport) as client:
                client.models()

    if outcome is None:
        ask()
    else:
        with pytest.raises(outcome):
            ask()
    assert server.asked == asked
    assert len(waits) == asked - 1
    if 429 in answers:
        assert waits[1] == 2.0, "the service said when to come back"


def test_the_asynchronous_client_answers_alike(client: TestClient, documents: list[dict[str, Any]], night: Any) -> None:
    pd = pytest.importorskip("pandas")

    async def everything() -> None:
        async with AsyncClient("http://testserver", transport=httpx.ASGITransport(client.app)) as mine:  # type: ignore[arg-type]
            alert = Decoder().decode(night[0].packet)
            light_curve, context = alert.light_curve, alert.context.known() if alert.context else None
            expected = client.post("/v1/classify/alert", content=night[0].packet).json()["probabilities"]
            assert (await mine.classify(light_curve, context=context)).probabilities == expected
            assert (await mine.classify_many({"a": light_curve}, contexts={"a": context}))[
                "a"
            ].probabilities == expected
            assert (await mine.classify_alert(night[0].packet)).probabilities == expected
            frame = pd.DataFrame(PLAIN | {"object_id": "a"})
            assert len(await mine.classify_table(frame)) == 1
            names = [each.object_id async for each in mine.objects()]
            assert len(names) == len({document["object_id"] for document in documents})
            assert (await mine.object(names[0])).object_id == names[0]
            assert await mine.history(names[0])
            assert await mine.similar(names[0])
            assert await mine.models()

    asyncio.run(everything())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_of_another_broker_is_classified_as_it_is(
    connect: Callable[..., Client], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(SAMPLES[name][0])
    [answer] = connect().classify_file(tmp_path / name)
    assert answer.object_id == NAME


def test_atlas_photometry_is_read_by_name_and_total_magnitudes_are_refused(
    connect: Callable[..., Client], tmp_path: Path
) -> None:
    (tmp_path / "sn.txt").write_bytes(ATLAS)
    with pytest.warns(UserWarning, match="row 2: ujy is many"):
        [answer] = connect().classify_file(tmp_path / "sn.txt")
    assert (answer.object_id, answer.top_class) == ("sn", None)  # the shipped model reads no ATLAS
    (tmp_path / "irsa.csv").write_bytes(IRSA)
    with pytest.raises(ServiceError, match="all the light of a source"):
        connect().classify_file(tmp_path / "irsa.csv")


def test_rows_left_out_of_a_file_are_warned_of(connect: Callable[..., Client], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("oid,mjd,fid,magpsf\na,61000,1,19\na,61001,1,bright\n")
    with pytest.warns(UserWarning, match="row 2: magpsf is bright"):
        connect().classify_file(tmp_path / "a.csv")
