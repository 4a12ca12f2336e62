"""Light curves in every form that people have them in are classified alike, and what is wrong with one is named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from service.alerts import Decoder
from service.alerts.atlas import encode
from service.api.answers import json_response, of_light_curve
from service.api.light_curves import parse_light_curves
from service.config import ApiSettings
from service.photometry import Kind, LightCurve
from service.photometry.flux import flux_error_from_magnitude, flux_from_magnitude
from service.simulate import SimulatedAlert
from tests.alerts.atlas_tables import exposures
from tests.api.examples import COLUMNS, POINTS, MakeClient
from tests.exports.samples import ATLAS, IRSA, NAME, SAMPLES


def probabilities(client: TestClient, body: Any, **more: Any) -> dict[str, float]:
    response = client.post("/v1/classify", json=body, **more)
    assert response.status_code == 200, response.text
    found: dict[str, float] = response.json()["probabilities"]
    return found


def parse(value: Any) -> LightCurve:
    [(_, light_curve, _)] = parse_light_curves(value, ApiSettings())
    return light_curve


def test_a_light_curve_is_answered_with_everything_the_model_says(client: TestClient) -> None:
    answer = client.post("/v1/classify", json={"object_id": "mine", "unit": "mag", "points": POINTS}).json()
    assert answer["object_id"] == "mine"
    assert answer["n_detections"] == {"g": 1, "r": 2, "i": 1}
    assert answer["n_upper_limits"] == {"r": 1}
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert sum(answer["superclass_probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["top_probability"] == max(answer["probabilities"].values())
    assert answer["probabilities"][answer["top_class"]] == answer["top_probability"]
    assert "embedding" not in answer
    asked = client.post("/v1/classify?embedding=true", json={"points": POINTS}).json()
    assert np.linalg.norm(asked["embedding"]) > 0


def test_points_columns_and_any_order_are_the_same_light_curve(client: TestClient) -> None:
    answers = [
        probabilities(client, {"points": POINTS}),
        probabilities(client, {"points": POINTS[::-1]}),
        probabilities(client, COLUMNS),
    ]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(("unit", "per_microjansky"), [("uJy", 1.0), ("nJy", 1000.0)])
def test_fluxes_are_the_magnitudes_they_stand_for(unit: str, per_microjansky: float) -> None:
    points = []
    for point in POINTS[1:]:
        flux = float(flux_from_magnitude(point["mag"], point["sign"])) * per_microjansky
        error = float(flux_error_from_magnitude(point["mag"], point["magerr"])) * per_microjansky
        points.append({"mjd": point["mjd"], "band": point["band"], "flux": flux, "fluxerr": error})
    from_flux = parse({"unit": unit, "points": points}).points
    from_mag = parse({"points": POINTS[1:]}).points
    for name in ("mjd", "band", "sign", "kind"):
        np.testing.assert_array_equal(from_flux[name], from_mag[name])
    for name in ("mag", "magerr"):
        np.testing.assert_allclose(from_flux[name], from_mag[name], rtol=1e-6)


def test_a_flux_below_five_sigma_is_an_upper_limit_of_that_depth() -> None:
    columns = {"unit": "uJy", "mjd": [1.0, 2.0, 3.0], "band": ["g"] * 3, "flux": [4.9, -5.1, 9.0]}
    light_curve = parse(columns | {"fluxerr": [1.0, 1.0, None]})
    assert light_curve.kind.tolist() == [Kind.UPPER_LIMIT, Kind.DETECTION, Kind.DETECTION]
    assert light_curve.points["sign"].tolist() == [0, -1, 1]
    assert light_curve.points["limit"][0] == pytest.approx(23.9 - 2.5 * np.log10(5.0))
    assert np.isnan(light_curve.points["mag"][0])


ATLAS_POINTS = [
    {"mjd": 60311.4, "band": "o", "survey": "atlas", "unit": "uJy", "flux": 40.0, "fluxerr": 20.0},
    {"mjd": 60315.4, "band": "c", "survey": "atlas", "unit": "uJy", "flux": 150.0, "fluxerr": 15.0},
    {"mjd": 60317.4, "band": "o", "survey": "atlas", "unit": "uJy", "flux": -150.0, "fluxerr": 15.0},
]


def test_points_of_two_surveys_stand_in_one_light_curve(client: TestClient) -> None:
    """Given ZTF's magnitudes and ATLAS's fluxes in one light curve, then both are counted, those of bands that the
    model does not know are flagged and change nothing, and the answer gives each point its survey.
    """
    body = {"object_id": "both", "points": POINTS + ATLAS_POINTS}
    answer = client.post("/v1/classify?light_curve=true", json=body).json()
    assert answer["n_detections"] == {"g": 1, "r": 2, "i": 1, "c": 1, "o": 1}
    assert answer["n_upper_limits"] == {"r": 1, "o": 1}
    assert "unknown_band" in answer["flags"]
    assert answer["probabilities"] == probabilities(client, {"points": POINTS})
    columns = answer["light_curve"]
    assert Counter(zip(columns["survey"], columns["band"], strict=True))["atlas", "o"] == 2
    by_epoch = dict(
        zip(columns["mjd"], zip(columns["mag"], columns["diffmaglim"], columns["sign"], strict=True), strict=True)
    )
    assert by_epoch[60311.4] == (None, pytest.approx(18.9, abs=1e-5), 0)
    assert by_epoch[60317.4] == (pytest.approx(18.4598, abs=1e-4), pytest.approx(19.2123, abs=1e-4), -1)
    again = client.post("/v1/classify?light_curve=true", json=columns | {"object_id": "both"}).json()
    assert again == answer

    names = sorted({name for point in body["points"] for name in point} - {"sign"})
    by_column = {name: [point.get(name) for point in body["points"]] for name in names}
    by_column["survey"] = [point.get("survey", "ztf") for point in body["points"]]
    by_column["sign"] = [point.get("sign", 0) for point in body["points"]]
    assert parse(by_column) == parse(body)
    assert parse({"survey": "atlas", "points": ATLAS_POINTS}) == parse({"points": ATLAS_POINTS})


def test_an_object_of_atlas_alone_is_answered(client: TestClient) -> None:
    answer = client.post("/v1/classify", json={"survey": "atlas", "points": ATLAS_POINTS}).json()
    assert set(answer["flags"]) >= {"no_detection", "unknown_band"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["n_detections"] == {"c": 1, "o": 1}
    assert answer["top_class"] is None


def test_points_of_a_survey_that_the_model_does_not_read_name_no_class(client: TestClient) -> None:
    """Given ZTF's points called LSST's, then they get no answer of ZTF's; beside ZTF's own they change nothing."""
    lsst = client.post("/v1/classify", json={"survey": "lsst", "points": POINTS}).json()
    assert lsst["flags"] == ["no_detection", "too_few_points", "unknown_survey", "no_model_for_survey"]
    assert lsst["top_class"] is None
    assert lsst["n_detections"] == {"g": 1, "r": 2, "i": 1}
    ztf = client.post("/v1/classify", json={"points": POINTS}).json()
    later = [point | {"survey": "lsst", "mjd": point["mjd"] + 0.5} for point in POINTS]
    both = client.post("/v1/classify", json={"points": POINTS + later}).json()
    assert set(both["flags"]) == {*ztf["flags"], "unknown_survey"}
    same = ("top_class", "probabilities", "superclass_probabilities", "conformal_set", "ood_score")
    assert [both[name] for name in same] == [ztf[name] for name in same]
    assert ztf["top_class"] in ztf["probabilities"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"points": []}, "points"),
        ({"mjd": [], "band": [], "mag": []}, "mjd"),
        ([{"points": POINTS}, {"points": []}], "1.points"),
        ({"light_curves": [{"mjd": [], "band": []}]}, "light_curves.0.mjd"),
    ],
)
def test_a_light_curve_without_points_is_refused(client: TestClient, body: Any, field: str) -> None:
    response = client.post("/v1/classify", json=body)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("point", "field", "says"),
    [
        ({"flux_ujy": 3.0}, "points.1.flux_error_ujy", "flux_ujy needs its error"),
        ({"flux_error_ujy": 3.0}, "points.1.flux_ujy", "without flux_ujy"),
        ({"flux_ujy": 3.0, "flux_error_ujy": 1.0, "mag": 19.0}, "points.1.flux_ujy", "mag is given too"),
        ({"flux_ujy": 3.0, "flux_error_ujy": 0.0}, "points.1.flux_error_ujy", "greater than 0"),
        ({"survey": "gaia", "mag": 19.0}, "points.1.survey", "'ztf', 'lsst' or 'atlas'"),
    ],
)
def test_a_flux_or_survey_that_is_none_is_named(
    client: TestClient, point: dict[str, Any], field: str, says: str
) -> None:
    body = {"points": [POINTS[1], {"mjd": 60320.0, "band": "o", **point}]}
    response = client.post("/v1/classify", json=body)
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert says in error["message"]


def test_a_posted_photometry_message_is_read_like_a_packet(client: TestClient) -> None:
    message = encode("here", 10.0, 20.0, exposures((60000.5, "o", 200.0), (60001.5, "c", 10.0)))
    response = client.post("/v1/classify/alert", content=message, headers={"Content-Type": "application/avro"})
    answer = response.json()
    assert (answer["survey"], answer["object_id"], answer["mjd"]) == ("atlas", "here", 60001.5)
    assert (answer["n_detections"], answer["n_upper_limits"]) == ({"o": 1}, {"c": 1})


def test_many_light_curves_are_answered_in_their_order(client: TestClient) -> None:
    light_curves = [{"object_id": f"o{number}", "points": POINTS[: number + 1]} for number in range(5)]
    answers = client.post("/v1/classify", json=light_curves).json()["classifications"]
    assert [answer["object_id"] for answer in answers] == ["o0", "o1", "o2", "o3", "o4"]
    assert "no_detection" in answers[0]["flags"]
    assert answers == client.post("/v1/classify", json={"light_curves": light_curves}).json()["classifications"]
    alone = probabilities(client, light_curves[4])
    for name, probability in answers[4]["probabilities"].items():
        assert probability == pytest.approx(alone[name], abs=1e-6)


def tables() -> list[tuple[str, str, bytes]]:
    table = pa.table({"object_id": ["a"] * len(POINTS)} | COLUMNS)
    flux = flux_from_magnitude(np.array(COLUMNS["mag"][1:], float), np.array(COLUMNS["sign"][1:]))
    error = flux_error_from_magnitude(np.array(COLUMNS["mag"][1:], float), np.array(COLUMNS["magerr"][1:], float))
    fluxes = pa.table({"mjd": COLUMNS["mjd"], "band": COLUMNS["band"], "diffmaglim": COLUMNS["diffmaglim"],
                       "flux": [None, *flux], "fluxerr": [None, *error]})  # fmt: skip
    found = []
    for name, each in (("mag", table), ("uJy", fluxes)):
        csv, parquet = io.BytesIO(), io.BytesIO()
        pyarrow.csv.write_csv(each, csv)
        pq.write_table(each, parquet)
        found += [(name, "text/csv", csv.getvalue()), (name, "application/vnd.apache.parquet", parquet.getvalue())]
    return found


@pytest.mark.parametrize(("unit", "media_type", "body"), tables())
def test_an_uploaded_table_is_the_same_light_curve(client: TestClient, unit: str, media_type: str, body: bytes) -> None:
    response = client.post(f"/v1/classify?unit={unit}", content=body, headers={"content-type": media_type})
    assert response.status_code == 200, response.text
    [answer] = response.json()["classifications"]
    assert answer["object_id"] == ("a" if unit == "mag" else "")
    assert answer["n_detections"] == {"g": 1, "r": 2, "i": 1}
    expected = probabilities(client, {"points": POINTS})
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-4)


def test_a_limit_with_a_sign_is_the_same_in_a_table_as_in_json(client: TestClient) -> None:
    signs = [1] * len(POINTS)
    table = io.BytesIO()
    pq.write_table(pa.table(COLUMNS | {"sign": signs}), table)
    headers = {"content-type": "application/x-parquet"}
    [answer] = client.post("/v1/classify", content=table.getvalue(), headers=headers).json()["classifications"]
    expected = probabilities(client, {"points": [point | {"sign": 1} for point in POINTS]})
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("query", "table", "named"),
    [
        ("", "object_id,mjd,band,mag\na,60000,g,19\nb,60001,g,99\n", "column mag .*: row 2 has 99"),
        ("", "mjd,band,mag\n2460000.5,g,19\n", "column mjd .*: row 1 has 2460000.5"),
        ("", "mjd,band,mag,mag\n60000,g,19,19\n", "column mag twice"),
        ("?unit=uJy", "mjd,band,flux,fluxerr\n60000,g,1e99,2\n", "column flux .*: row 1 has 1e.99"),
        ("?unit=uJy", "mjd,band,flux,fluxerr\n60000,g,90,-2\n", "column fluxerr .*: row 1 has -2"),
        ("?unit=uJy", "mjd,band,flux,flux,fluxerr\n60000,g,90,90,2\n", "column flux twice"),
    ],
)
def test_a_value_that_json_would_refuse_is_refused_in_a_table(
    client: TestClient, query: str, table: str, named: str
) -> None:
    response = client.post(f"/v1/classify{query}", content=table, headers={"content-type": "text/csv"})
    assert response.status_code == 422, response.text
    assert re.search(named, response.json()["detail"])


def test_a_compressed_body_is_read_and_bounded_by_what_it_unpacks_to(make_client: MakeClient) -> None:
    client = make_client(api={"max_body_bytes": 10_000})
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    body = json.dumps({"points": POINTS}).encode()
    assert client.post("/v1/classify", content=gzip.compress(body), headers=headers).status_code == 200
    bomb = client.post("/v1/classify", content=gzip.compress(body + b" " * 1_000_000), headers=headers)
    assert bomb.status_code == 413
    assert client.post("/v1/classify", content=body, headers=headers).status_code == 400
    assert client.post("/v1/classify", content=gzip.compress(body)[:-9], headers=headers).status_code == 400
    headers["content-encoding"] = "br"
    assert client.post("/v1/classify", content=body, headers=headers).status_code == 415


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"points": [{"mjd": 2460310.2, "band": "g", "mag": 19.0}]}, "points.0.mjd", "100000"),
        ({"points": [{"mjd": 60310.2, "band": "q", "mag": 19.0}]}, "points.0.band", "'g', 'r', 'i'"),
        ({"points": [{"mjd": 60310.2, "band": "g", "mag": "bright"}]}, "points.0.mag", "number"),
        ({"points": [{"mjd": 60310.2, "band": "g", "magnitude": 19.0}]}, "points.0.magnitude", "no field of this name"),
        ({"points": [{"band": "g", "mag": 19.0}]}, "points.0.mjd", "required"),
        ({"points": [{"mjd": 60310.2, "band": "g", "flux": 19.0}]}, "unit", "set unit to uJy or nJy"),
        ({"unit": "mag", "points": [{"mjd": 60310.2, "band": "g", "flux": 1.0}]}, "points.0.flux", "unit is mag"),
        ({"unit": "nJy", "points": [{"mjd": 60310.2, "band": "g", "mag": 19.0}]}, "points.0.mag", "unit is nJy"),
        ({"points": [{"mjd": 1.0, "band": "g", "mag": 19.0, "kind": "upper_limit"}]}, "points.0.kind", "has no mag"),
        ({"points": [{"mjd": 1.0, "band": "g", "kind": "forced"}]}, "points.0.kind", "needs a mag"),
        ({"mjd": [1.0, 2.0], "band": ["g"]}, "body", "band has 1 values, mjd has 2"),
        ({"light_curves": []}, "light_curves", "at least one"),
        (
            {"light_curves": [{"points": POINTS}, {"points": [{"mjd": 1.0}]}]},
            "light_curves.1.points.0.band",
            "required",
        ),
        ([3], "0", "must be a light curve"),
        ("text", "body", "must be a light curve"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(client: TestClient, body: Any, field: str, says: str) -> None:
    response = client.post("/v1/classify", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    [error] = response.json()["errors"]
    assert (
        error["field"].removeprefix("light_curves.") == field.removeprefix("light_curves.") or error["field"] == field
    )
    assert says in error["message"]
    assert not error["message"].startswith("Value error")
    assert says in response.json()["detail"]


def test_bounds_on_light_curves_and_points_are_kept(make_client: MakeClient) -> None:
    client = make_client(api={"max_light_curves": 2, "max_points": 12})
    one = {"points": POINTS}
    assert client.post("/v1/classify", json=[one, one]).status_code == 200
    for body in ([one] * 3, [{"points": POINTS * 2}, one], {"points": POINTS * 3}):
        assert client.post("/v1/classify", json=body).status_code == 413
    csv = "mjd,band,mag\n" + "60310.2,r,19.0\n" * 13
    assert client.post("/v1/classify", content=csv, headers={"content-type": "text/csv"}).status_code == 413


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"mjd,band\n1,g\n", 422),
        (b"object_id,mjd,band,mag\na,one,g,19\n", 422),
        (b"object_id,mjd,band,mag\na,1,q,19\n", 422),
        (b"\xff\xfe\x00", 400),
        (b"", 400),
    ],
)
def test_a_table_that_is_none_is_refused(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/v1/classify", content=body, headers={"content-type": "text/csv"})
    assert response.status_code == status, response.text
    assert response.json()["detail"]
    response = client.post("/v1/classify", content=body, headers={"content-type": "application/x-parquet"})
    assert response.status_code == 400


def test_json_that_is_none_says_where_it_breaks(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    response = client.post("/v1/classify", content=b'{"points": [{"mjd": NaN}]}', headers=headers)
    assert response.status_code == 400
    assert "column" in response.json()["detail"]
    assert "send null" in response.json()["detail"]


def test_a_posted_packet_gets_the_answer_that_the_stream_publishes(
    client: TestClient, night: list[SimulatedAlert], documents: list[dict[str, Any]]
) -> None:
    """The stream saw the same packets, each merged with what came before: so does `stored_history`."""
    clocks = ("received", "published", "broker_timestamp")
    first, last = {}, {}
    for alert, document in zip(night, documents, strict=True):
        first.setdefault(alert.object_id, (alert, document))
        last[alert.object_id] = (alert, document)
    assert len(first) > 10
    for history, chosen in (("false", first), ("true", last)):
        for alert, document in chosen.values():
            response = client.post(f"/v1/classify/alert?stored_history={history}", content=alert.packet)
            answer = response.json()
            assert {k: v for k, v in answer.items() if k not in clocks} == {
                k: v for k, v in document.items() if k not in clocks
            }


def test_a_packet_and_its_light_curve_as_json_get_the_same_probabilities(
    client: TestClient, night: list[SimulatedAlert]
) -> None:
    packet = night[-1].packet
    alert = Decoder().decode(packet)
    sent = json.loads(bytes(json_response(of_light_curve(alert.light_curve)).body))
    assert parse(sent) == alert.light_curve
    posted = client.post("/v1/classify/alert", content=packet).json()
    assert alert.context is not None
    assert probabilities(client, sent | {"context": alert.context.known()}) == posted["probabilities"]


@pytest.mark.real_data
def test_every_real_packet_is_answered_and_every_bad_one_named(client: TestClient, real_data: Path) -> None:
    with (real_data / "alerts" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    decoder = Decoder()
    for row in rows:
        packet = (real_data / "alerts" / row["file"]).read_bytes()
        answer = client.post("/v1/classify/alert", content=packet)
        if row["valid"].lower() != "true":
            assert answer.status_code == 422, row["file"]
            continue
        assert answer.status_code == 200, (row["file"], answer.text)
        light_curve = decoder.decode(packet).light_curve
        assert parse(json.loads(bytes(json_response(of_light_curve(light_curve)).body))) == light_curve


def test_a_file_of_several_alerts_gets_an_answer_for_each(client: TestClient, night: list[SimulatedAlert]) -> None:
    readers = [fastavro.reader(io.BytesIO(alert.packet)) for alert in night[:3]]
    records: list[Any] = [next(reader) for reader in readers]
    several = io.BytesIO()
    fastavro.writer(several, readers[0].writer_schema, records)
    answers = client.post("/v1/classify/alert", content=several.getvalue()).json()["classifications"]
    for alert, answer in zip(night[:3], answers, strict=True):
        alone = client.post("/v1/classify/alert", content=alert.packet).json()
        probabilities = answer.pop("probabilities")
        assert probabilities == pytest.approx(alone.pop("probabilities"), abs=1e-6)
        assert answer["candid"] == alert.candid
    records[1]["candidate"]["fid"] = 7
    several = io.BytesIO()
    fastavro.writer(several, readers[0].writer_schema, records)
    refused = client.post("/v1/classify/alert", content=several.getvalue())
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "body#2"


def test_a_damaged_packet_is_named(client: TestClient, night: list[SimulatedAlert]) -> None:
    packet = night[0].packet
    for broken, code in ((packet[:5000], "alert-"), (b"not avro", "alert-"), (b"", "alert-")):
        response = client.post("/v1/classify/alert", content=broken)
        assert response.status_code == 422
        assert response.json()["type"].startswith(f"urn:alert-classifier:problem:{code}")
        assert response.json()["errors"][0]["field"] == "body"
    response = client.post("/v1/classify/alert", content=packet, headers={"content-type": "application/json"})
    assert response.status_code == 415


def test_a_gzip_body_of_several_members_is_read_whole(make_client: MakeClient) -> None:
    """As `cat a.gz b.gz` makes it; what is behind the last member is refused, not dropped."""
    client = make_client(api={"max_body_bytes": 30_000})
    headers = {"content-type": "text/csv", "content-encoding": "gzip"}
    lines = b"object_id,mjd,band,mag\n", b"a,60000,g,19\n", b"b,60001,g,19\n"
    body = b"".join(map(gzip.compress, lines))
    answers = client.post("/v1/classify", content=body, headers=headers).json()["classifications"]
    assert [answer["object_id"] for answer in answers] == ["a", "b"]
    for wrong in (body + b"text", body[:-9], body + gzip.compress(b"")[:5]):
        assert client.post("/v1/classify", content=wrong, headers=headers).status_code == 400
    padding = b"c,60001,g,19\n" * 100
    assert client.post("/v1/classify", content=body + gzip.compress(padding), headers=headers).status_code == 200
    too_large = client.post("/v1/classify", content=body + gzip.compress(padding) * 24, headers=headers)
    assert too_large.status_code == 413
    members = gzip.compress(b"") * 1_001 + body
    assert client.post("/v1/classify", content=members, headers=headers).status_code == 400
    headers["content-encoding"] = "deflate"
    packed = zlib.compress(b"".join(lines))
    assert client.post("/v1/classify", content=packed, headers=headers).status_code == 200
    assert client.post("/v1/classify", content=packed + b"x", headers=headers).status_code == 400


def test_an_uploaded_table_is_bounded_before_it_is_unpacked(make_client: MakeClient) -> None:
    client = make_client(api={"max_points": 1_000})
    headers = {"content-type": "application/x-parquet"}

    def answer(rows: int, name: str, **options: Any) -> Any:
        table = io.BytesIO()
        columns = {"object_id": [name] * rows, "mjd": [60000.0] * rows, "band": ["g"] * rows, "mag": [19.0] * rows}
        pq.write_table(pa.table(columns | {"other": [list(range(100))] * rows}), table, **options)
        return client.post("/v1/classify", content=table.getvalue(), headers=headers)

    assert answer(1_000, "x" * 200).status_code == 200
    assert answer(1_001, "x").json()["type"].endswith("too-many-points")
    for name in ("x" * 201, "x" * 400):
        assert answer(1_000, name).status_code == 422
    assert answer(1_000, "x", row_group_size=1, use_dictionary=False).status_code == 200
    assert "200 are read" in answer(10, "x" * 201).json()["detail"]
    many = ",".join(f"c{number}" for number in range(1_001)).encode() + b"\n"
    response = client.post("/v1/classify", content=many, headers={"content-type": "text/csv"})
    assert (response.status_code, "more than 1000 columns" in response.json()["detail"]) == (422, True)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_export_of_another_broker_is_read_as_it_is(client: TestClient, name: str) -> None:
    data, read_as = SAMPLES[name]
    answer = client.post("/v1/classify/table", params={"name": name}, content=data).json()
    assert answer["read_as"] == read_as
    [classified] = answer["classifications"]
    assert classified["object_id"] == NAME
    assert sum(classified["n_detections"].values()) == 3


def test_a_bad_row_of_an_export_is_told_and_with_strict_refuses_it(client: TestClient) -> None:
    data = b"oid,mjd,fid,magpsf,sigmapsf\na,61000,1,19,0.1\na,61001,1,bright,0.1\n"
    answer = client.post("/v1/classify/table", content=data).json()
    assert answer["first_skipped"] == [{"row": 2, "column": "magpsf", "value": "bright", "reason": "not a number"}]
    refused = client.post("/v1/classify/table?strict=true", content=data)
    assert refused.status_code == 422
    assert "row 2: magpsf is bright, not a number" in refused.json()["detail"]


def test_another_kind_of_file_gets_a_sentence(client: TestClient) -> None:
    refused = client.post("/v1/classify/table?name=m31.fits", content=b"SIMPLE  =                    T".ljust(2880))
    assert refused.status_code == 422
    assert "m31.fits is a FITS image" in refused.json()["detail"]


def test_total_magnitudes_are_refused_with_the_reason(client: TestClient) -> None:
    refused = client.post("/v1/classify/table?name=irsa.csv", content=IRSA)
    assert refused.status_code == 422
    assert "all the light of a source" in refused.json()["detail"]


def test_a_table_of_the_atlas_server_is_read(client: TestClient) -> None:
    answer = client.post("/v1/classify/table?name=sn.txt", content=ATLAS).json()
    assert answer["read_as"] == "a table of the ATLAS forced photometry server"
    [classified] = answer["classifications"]
    assert (classified["object_id"], classified["top_class"]) == ("sn", None)  # the shipped model reads no ATLAS
