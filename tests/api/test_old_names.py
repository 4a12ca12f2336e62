"""Fields are read by their old names for one version more: same answer, and a header that says so."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.examples import COLUMNS, POINTS

ATLAS = {"mjd": 60315.4, "band": "o", "survey": "atlas"}
FLUX = ATLAS | {"flux": 150.0, "fluxerr": 15.0, "unit": "uJy"}
OLD_FLUX = ATLAS | {"flux_ujy": 150.0, "flux_error_ujy": 15.0}


def columns(points: list[dict[str, Any]], *names: str) -> dict[str, Any]:
    found: dict[str, Any] = {name: [point.get(name) for point in points] for name in ("mjd", "band", "mag", *names)}
    return found | {"survey": [point.get("survey", "ztf") for point in points]}


OLD_LIMIT = {"mjd": 60310.2, "band": "r", "limit": 20.4}


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"points": POINTS}, {"points": [OLD_LIMIT, *POINTS[1:]]}),
        ({"points": [*POINTS, FLUX]}, {"points": [*POINTS, OLD_FLUX]}),
        (
            columns([*POINTS, FLUX], "diffmaglim", "flux", "fluxerr", "unit"),
            columns([OLD_LIMIT, *POINTS[1:], OLD_FLUX], "limit", "flux_ujy", "flux_error_ujy"),
        ),
    ],
)
def test_old_names_are_answered_alike_with_a_deprecation(
    client: TestClient, new: dict[str, Any], old: dict[str, Any]
) -> None:
    of_now = client.post("/v1/classify?light_curve=true", json=new)
    of_before = client.post("/v1/classify?light_curve=true", json=old)
    assert of_now.status_code == of_before.status_code == 200, of_before.text
    assert of_now.json() == of_before.json()
    assert "deprecation" not in of_now.headers
    assert of_before.headers["deprecation"].startswith("@")
    assert 'rel="deprecation"' in of_before.headers["link"]
    many = client.post("/v1/classify", json=[new, old])
    assert "deprecation" in many.headers
    points = of_now.json()["light_curve"]
    assert points["limit"] == points["diffmaglim"]


@pytest.mark.parametrize(
    ("point", "field"),
    [
        ({"limit": 20.4, "diffmaglim": 20.5}, "points.0.limit"),
        ({"flux_ujy": 1.0, "flux": 2.0, "fluxerr": 1.0, "unit": "uJy"}, "points.0.flux_ujy"),
        ({"flux_ujy": 1.0, "flux_error_ujy": 1.0, "unit": "nJy"}, "points.0.flux_ujy"),
    ],
)
def test_two_names_that_say_different_things_are_refused(client: TestClient, point: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/classify", json={"points": [{"mjd": 60310.2, "band": "r"} | point]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert "old name" in answer.json()["errors"][0]["message"]


def test_an_error_names_the_field_as_it_was_sent(client: TestClient) -> None:
    for name in ("limit", "diffmaglim"):
        light_curves = [{"points": POINTS}, {"points": [POINTS[1], {"mjd": 60310.2, "band": "r", name: 99.0}]}]
        answer = client.post("/v1/classify", json=light_curves).json()
        assert [each["field"] for each in answer["errors"]] == [f"1.points.1.{name}"]
        assert answer["detail"].startswith(f"1.points.1.{name}")


def post_csv(client: TestClient, text: str, query: str = "") -> Any:
    return client.post(f"/v1/classify{query}", content=text, headers={"content-type": "text/csv"})


def test_tables_take_both_names_but_not_at_once(client: TestClient) -> None:
    rows = "\n60310.2,r,,20.4\n60313.3,r,19.8,\n"
    new, old = (post_csv(client, f"mjd,band,mag,{name}{rows}", "?light_curve=true") for name in ("diffmaglim", "limit"))
    assert new.json() == old.json()
    assert "deprecation" in old.headers
    assert "deprecation" not in new.headers
    assert new.json()["classifications"][0]["light_curve"]["diffmaglim"][0] == pytest.approx(20.4)
    both = post_csv(client, "mjd,band,mag,limit,diffmaglim\n60310.2,r,,20.4,20.4\n")
    assert both.status_code == 422
    assert "old name of diffmaglim" in both.json()["detail"]


def test_a_table_that_lacks_a_column_is_told_its_own_columns(client: TestClient) -> None:
    answer = post_csv(client, "mjd,flux,fluxerr\n60310.2,3.0,1.0\n", "?unit=uJy").json()
    assert answer["detail"].endswith("has no column band; it has mjd, flux, fluxerr")


def test_the_inference_protocol_takes_both_names_but_not_at_once(client: TestClient) -> None:
    def ask(*names: str) -> Any:
        tensors = {"mjd": "FP64", "band": "BYTES", "mag": "FP32"} | dict.fromkeys(names, "FP32")
        inputs = [
            {"name": name, "datatype": kind, "shape": [len(POINTS)],
             "data": COLUMNS["diffmaglim" if name == "limit" else name]}
            for name, kind in tensors.items()
        ]  # fmt: skip
        return client.post("/v2/models/alert-clr/infer", json={"inputs": inputs})

    new, old, both = ask("diffmaglim"), ask("limit"), ask("limit", "diffmaglim")
    assert new.status_code == old.status_code == 200, old.text
    assert new.json() == old.json()
    assert "deprecation" in old.headers
    assert "deprecation" not in new.headers
    assert both.status_code == 422
    assert "old name of diffmaglim" in both.json()["detail"]
