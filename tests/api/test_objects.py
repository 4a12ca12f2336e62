"""What the stream has stored can be found, paged through, followed and compared."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.api import neighbours as neighbours_module
from service.api.neighbours import Neighbours
from service.exports import read_export
from service.store import Store

Documents = list[dict[str, Any]]


def latest(documents: Documents) -> dict[str, dict[str, Any]]:
    newest: dict[str, dict[str, Any]] = {}
    for document in documents:
        known = newest.get(document["object_id"])
        if known is None or (document["mjd"], document["candid"]) >= (known["mjd"], known["candid"]):
            newest[document["object_id"]] = document
    return newest


def test_an_object_shows_its_light_curve_and_its_latest_classification(
    client: TestClient, documents: Documents, store: Store
) -> None:
    object_id, document = next(iter(latest(documents).items()))
    answer = client.get(f"/v1/objects/{object_id}").json()
    assert answer["classification"] == document
    assert answer["ra"] == document["ra"]
    known = store.load([object_id])[object_id].light_curve
    columns = answer["light_curve"]
    assert {len(values) for values in columns.values() if isinstance(values, list)} == {len(known)}
    assert columns["mjd"] == known.mjd.tolist()
    assert columns["candid"] == known.points["candid"].tolist()
    mag = np.array([np.nan if value is None else value for value in columns["mag"]], np.float32)
    np.testing.assert_array_equal(mag, known.points["mag"])
    assert answer["links"]["ALeRCE"].endswith(object_id)
    assert f"{answer['ra']:.6f}" in answer["links"]["Legacy Survey"]
    assert client.get(f"/v1/objects/{object_id}?embedding=true").json()["classification"]["embedding"]


def test_the_light_curve_of_an_object_can_be_posted_back(client: TestClient, documents: Documents) -> None:
    for object_id, document in list(latest(documents).items())[:20]:
        known = client.get(f"/v1/objects/{object_id}").json()
        answer = client.post("/v1/classify", json=known["light_curve"] | {"context": known["context"]}).json()
        assert answer["probabilities"] == pytest.approx(document["probabilities"], abs=1e-6)


def test_pages_show_every_object_once_in_order(client: TestClient, documents: Documents) -> None:
    for sort, key in (("newest", "published"), ("most_probable", "top_probability")):
        seen: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(100):
            page = client.get("/v1/objects", params={"limit": 7, "sort": sort} | ({"cursor": cursor} if cursor else {}))
            seen += page.json()["objects"]
            cursor = page.json()["next"]
            if cursor is None:
                break
        assert Counter(each["object_id"] for each in seen) == Counter(list(latest(documents)))
        assert [each[key] for each in seen] == sorted((each[key] for each in seen), reverse=True)


def test_queries_narrow_by_class_probability_time_and_place(client: TestClient, documents: Documents) -> None:
    known = latest(documents)
    some = next(iter(known.values()))

    def found(**asked: Any) -> set[str]:
        answer = client.get("/v1/objects", params={"limit": 1000} | asked)
        assert answer.status_code == 200, answer.text
        return {each["object_id"] for each in answer.json()["objects"]}

    top, median = some["top_class"], float(np.median([each["top_probability"] for each in known.values()]))
    assert found(**{"class": top}) == {name for name, each in known.items() if each["top_class"] == top}
    assert found(min_probability=median) == {n for n, each in known.items() if each["top_probability"] >= median}
    when = sorted(each["published"] for each in known.values())[len(known) // 2] / 1e6
    assert found(since=when) == {n for n, each in known.items() if each["published"] / 1e6 >= when}
    assert found(since="2100-01-01") == set()
    cone = found(ra=some["ra"], dec=some["dec"], radius=0.1)
    assert some["object_id"] in cone
    assert len(cone) < len(known)


def test_queries_narrow_by_what_the_answer_says(client: TestClient, documents: Documents) -> None:
    known = latest(documents)

    def found(**asked: Any) -> set[str]:
        answer = client.get("/v1/objects", params={"limit": 1000} | asked)
        assert answer.status_code == 200, answer.text
        return {each["object_id"] for each in answer.json()["objects"]}

    def those(passes: Callable[[dict[str, Any]], bool]) -> set[str]:
        chosen = {name for name, each in known.items() if passes(each)}
        assert 0 < len(chosen) < len(known), "the night must tell the filter from none"
        return chosen

    def detections(each: dict[str, Any]) -> int:
        return sum(each["n_detections"].values())

    def parent(each: dict[str, Any]) -> str:
        return max(each["superclass_probabilities"], key=each["superclass_probabilities"].__getitem__)

    assert found(superclass="Transient") == those(lambda each: parent(each) == "Transient")
    assert found(survey="ztf") == set(known)
    assert found(survey="atlas") == set()
    assert found(min_detections=4, max_detections=9) == those(lambda each: 4 <= detections(each) <= 9)
    assert found(flag="too_few_points") == those(lambda each: "too_few_points" in each["flags"])
    assert found(without_flag=["too_few_points", "low_quality"]) == those(
        lambda each: not {"too_few_points", "low_quality"} & set(each["flags"])
    )
    day = sorted(each["mjd"] for each in known.values())[len(known) // 2]
    assert found(seen_since=day) == those(lambda each: each["mjd"] >= day)
    moment = datetime.fromtimestamp((day - 40587) * 86400 + 1, UTC).isoformat()
    assert found(seen_before=moment) == those(lambda each: each["mjd"] <= day)
    name = next(iter(known))
    assert name in found(prefix=name[:6].lower()) == {each for each in known if each.startswith(name[:6])}


def test_the_nights_best_candidates_are_a_table_to_take_away(client: TestClient, documents: Documents) -> None:
    known = latest(documents)
    answer = client.get("/v1/candidates", params={"limit": 7, "min_detections": 2})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith('attachment; filename="candidates-')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    passing = [each for each in known.values() if sum(each["n_detections"].values()) >= 2]
    best = sorted(passing, key=lambda each: (each["top_probability"], each["object_id"]), reverse=True)
    assert [row["object_id"] for row in rows] == [each["object_id"] for each in best[:7]]
    assert [float(row["top_probability"]) for row in rows] == [each["top_probability"] for each in best[:7]]
    assert rows[0]["last_seen"][:4].isdigit()
    rest = client.get(
        "/v1/candidates",
        params={"format": "json", "limit": 10000, "min_detections": 2, "cursor": answer.headers["x-next-cursor"]},
    ).json()
    assert [each["object_id"] for each in rest["candidates"]] == [each["object_id"] for each in best[7:]]
    assert rest["next"] is None
    assert client.get("/v1/candidates?since=2100-01-01").text.count("\n") == 1


def test_a_name_is_no_formula_in_a_spreadsheet(client: TestClient, documents: Documents, store: Store) -> None:
    some = store.query(limit=1)[0][0]
    store.record([replace(some, object_id="=1+1", published_at=time.time())])
    assert "'=1+1" in client.get("/v1/candidates?prefix==1").text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("class=Nova", "class"),
        ("min_probability=2", "min_probability"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
        ("cursor=abc", "cursor"),
        ("sort=oldest", "sort"),
        ("ra=10&dec=5", "radius"),
        ("ra=10&dec=95&radius=1", "dec"),
        ("superclass=Supernova", "superclass"),
        ("survey=2mass", "survey"),
        ("seen_since=yesterday", "seen_since"),
        ("seen_before=2460000000", "seen_before"),
        ("min_detections=-1", "min_detections"),
        ("min_detections=5&max_detections=4", "max_detections"),
        ("flag=a+b", "flag"),
        ("without_flag=", "without_flag"),
        ("prefix=", "prefix"),
    ],
)
def test_a_query_that_makes_no_sense_is_told_why(client: TestClient, query: str, field: str) -> None:
    response = client.get(f"/v1/objects?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


def test_the_history_tells_how_the_answer_grew(client: TestClient, documents: Documents) -> None:
    counts = Counter(document["object_id"] for document in documents)
    [(object_id, number)] = counts.most_common(1)
    assert number > 1, "the simulated night must see some object twice"
    answers = client.get(f"/v1/objects/{object_id}/history").json()["classifications"]
    published = [document for document in documents if document["object_id"] == object_id]
    assert [each["candid"] for each in answers] == [each["candid"] for each in published]
    for answer, document in zip(answers, published, strict=True):
        assert answer["probabilities"] == pytest.approx(document["probabilities"], abs=1e-6)
    assert len(client.get(f"/v1/objects/{object_id}/history?limit=1").json()["classifications"]) == 1


def test_the_most_similar_are_those_of_the_greatest_cosine(
    client: TestClient, documents: Documents, store: Store
) -> None:
    object_id = next(iter(latest(documents)))
    answer = client.get(f"/v1/objects/{object_id}/similar?limit=5").json()
    ids, embeddings = store.embeddings(answer["classifier"], answer["version"])
    assert answer["compared"] == len(ids) == len(latest(documents))
    vectors = embeddings.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors @ vectors[ids.index(object_id)]
    order = [ids[row] for row in np.argsort(-cosine) if ids[row] != object_id]
    assert [each["object_id"] for each in answer["neighbours"]] == order[:5]
    assert answer["neighbours"][0]["similarity"] == pytest.approx(cosine[ids.index(order[0])], abs=1e-5)


@pytest.mark.parametrize("many", [1, 10_000])
def test_neighbours_are_read_again_after_a_while(
    documents: Documents, store: Store, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours_module, "MANY", many)
    now = 0.0
    neighbours = Neighbours(store, clock=lambda: now)
    stored = store.latest(documents[0]["object_id"])
    assert stored is not None
    before = neighbours.of(stored, 3).compared
    store.prune(1e9)
    assert neighbours.of(stored, 3).compared == before
    now = 61.0
    if many == 1:
        assert neighbours.of(stored, 3).compared == before, "nobody waits where reading takes long"
        neighbours.renewed()
    assert neighbours.of(stored, 3).compared == 0


@pytest.mark.parametrize("path", ["", "/history", "/similar"])
def test_an_unknown_object_is_told_so(client: TestClient, path: str) -> None:
    response = client.get(f"/v1/objects/ZTF99zzzzzzz{path}")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:alert-classifier:problem:unknown-object"
    assert client.get(f"/v1/objects/%00{path}").status_code == 422


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_a_light_curve_that_was_downloaded_is_read_back(
    client: TestClient, store: Store, documents: Documents, form: str
) -> None:
    object_id = next(iter(latest(documents)))
    answer = client.get(f"/v1/objects/{object_id}/light-curve", params={"format": form})
    assert answer.headers["content-disposition"] == f'attachment; filename="{object_id}.{form}"'
    if form == "json":
        assert answer.json()["light_curve"] == client.get(f"/v1/objects/{object_id}").json()["light_curve"]
    read = read_export(answer.content, f"{object_id}.{form}").light_curves
    known = store.load([object_id])[object_id].light_curve
    for name in ("mjd", "band", "mag", "magerr", "limit", "sign", "candid"):
        np.testing.assert_array_equal(read[object_id].points[name], known.points[name])


def test_an_unknown_object_may_be_known_elsewhere(client: TestClient) -> None:
    answer = client.get("/v1/objects/ZTF99zzzzzzz").json()
    assert answer["links"]["ALeRCE"] == "https://alerce.online/object/ZTF99zzzzzzz"
    assert "links" not in client.get("/v1/objects/mine").json()
    rubin = client.get("/v1/objects/170059286935240883").json()["links"]
    assert rubin["Lasair"] == "https://lasair.lsst.ac.uk/objects/170059286935240883/"
    assert "links" not in client.get("/v1/objects/sso170059286935240883").json()
    assert client.get("/v1/objects/ZTF99zzzzzzz/light-curve").status_code == 404


@pytest.mark.parametrize("since", ["-100.0", "-1", "1e12", "nan"])
def test_a_number_out_of_bounds_is_no_time_either(client: TestClient, since: str) -> None:
    assert client.get("/v1/objects", params={"since": since}).status_code == 422


@pytest.mark.parametrize("since", ["2026-01-01", "2026-01-01T00:00:00Z", "1767225600", "0.5"])
def test_a_time_is_a_date_or_seconds(client: TestClient, since: str) -> None:
    assert client.get("/v1/objects", params={"since": since}).status_code == 200
