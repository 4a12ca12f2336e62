"""Lists of objects: what they are filtered by, and that no page does more than its share of work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.store import Cone, Store, StoredClassification, listing
from tests.store.test_contract import classification, increment

SUPERCLASSES = {"SNIa": "Transient", "SNII": "Transient", "AGN": "Stochastic", "RR": "Periodic"}


def answer(object_id: str, number: int = 1, **said: Any) -> StoredClassification:
    """A classification whose document holds what lists are filtered by."""
    top_class = said.pop("top_class", "SNIa")
    parent = SUPERCLASSES.get(top_class)
    document = {
        "object_id": object_id,
        "top_class": top_class,
        "survey": "ztf",
        "superclass_probabilities": {name: 0.9 if name == parent else 0.05 for name in set(SUPERCLASSES.values())},
        "probabilities": dict.fromkeys(SUPERCLASSES, 0.25),
        "n_detections": {"g": number, "r": 1},
        "flags": [],
        "ra": 10.0,
        "dec": 20.0,
    } | said
    columns = {name: document[name] for name in ("top_probability", "mjd", "published_at") if name in said}
    return classification(object_id, number, top_class=top_class, document=document, **columns)


def names(store: Store, **asked: Any) -> list[str]:
    return [each.object_id for each in store.query(**asked)[0]]


def everything(store: Store, **asked: Any) -> list[str]:
    """The names on all pages; each page has some limit."""
    found: list[str] = []
    cursor = None
    for _ in range(10_000):
        page, cursor = store.query(**asked, cursor=cursor)
        assert len(page) <= asked["limit"]
        found += [each.object_id for each in page]
        if cursor is None:
            return found
    raise AssertionError("the pages don't end")


def test_lists_are_filtered_by_what_the_answer_says(store: Store) -> None:
    store.record(
        [
            answer("A", 1, flags=["too_few_points", "low_quality"]),
            answer("B", 5, top_class="AGN", flags=["low_quality"]),
            answer("C", 30, top_class="RR", survey="atlas"),
            answer("D", 40, top_class=None),
        ]
    )
    assert names(store, superclass="Transient") == ["A"]
    assert names(store, survey="ztf") == ["D", "B", "A"]
    assert names(store, survey="atlas", superclass="Periodic") == ["C"]
    assert names(store, flags=["low_quality"]) == ["B", "A"]
    assert names(store, flags=["low_quality", "too_few_points"]) == ["A"]
    assert names(store, flags=["low_quality"], without_flags=["too_few_points"]) == ["B"]
    assert names(store, without_flags=["low_quality"]) == ["D", "C"]
    assert names(store, min_detections=6) == ["D", "C", "B"]
    assert names(store, min_detections=3, max_detections=31, sort="most_probable") == ["C", "B"]
    assert names(store, seen_since=60005.0, seen_before=60030.0) == ["B"]
    assert names(store, superclass="nothing of the kind") == []


def test_what_an_object_is_filtered_by_follows_its_latest_answer(store: Store) -> None:
    store.record([answer("A", 1, flags=["too_few_points"])])
    store.record([answer("A", 2, top_class="AGN")])
    assert names(store, flags=["too_few_points"]) == names(store, superclass="Transient") == []
    assert names(store, superclass="Stochastic", min_detections=3) == ["A"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ZTF21ab", ["ZTF21abaaaaa", "ZTF21abzzzzz"]),
        ("ztf21AB", ["ZTF21abaaaaa", "ZTF21abzzzzz"]),
        ("atlas_j10", ["ATLAS_J100028"]),
        ("mine", ["MINE 2", "mine"]),
        ("MINE", ["MINE 2", "mine"]),
        ("1697", ["169760235333506112"]),
        ("ZTF21aba", ["ZTF21abaaaaa"]),
        ("ZTF22", []),
        ("%", []),
        ("\0", []),
    ],
)
def test_objects_are_found_by_how_their_names_begin(store: Store, typed: str, found: list[str]) -> None:
    known = ["ZTF21abaaaaa", "ZTF21abzzzzz", "ZTF21acaaaaa", "ATLAS_J100028", "mine", "MINE 2", "169760235333506112"]
    store.record([answer(name, number) for number, name in enumerate(known)])
    assert names(store, prefix=typed) == found
    assert everything(store, prefix=typed, limit=1) == found


def test_names_are_a_filter_among_others(store: Store) -> None:
    store.merge([increment("ZTF21a", 1.0, ra=10.0, dec=20.0), increment("ZTF21b", 1.0, ra=50.0, dec=20.0)])
    store.record([answer("ZTF21a", 1, top_class="AGN"), answer("ZTF21b", 2, ra=50.0)])
    assert names(store, prefix="ztf", top_class="AGN") == ["ZTF21a"]
    assert names(store, prefix="ztf", cone=Cone(50, 20, 1)) == ["ZTF21b"]
    assert names(store, sort="name") == ["ZTF21a", "ZTF21b"]


@pytest.mark.parametrize("most", [5, 100_000])
@pytest.mark.parametrize("sort", ["newest", "most_probable", "name"])
@pytest.mark.parametrize(
    "filters",
    [{}, {"superclass": "Stochastic"}, {"max_detections": 20, "survey": "ztf"}, {"min_probability": 0.8},
     {"since": 1.7e9 + 10, "seen_before": 60040.0}, {"survey": "none"}, {"top_class": "RR", "min_detections": 30}],
    ids=str,
)  # fmt: skip
def test_all_pages_together_hold_what_passes_however_little_each_looks_at(
    store: Store, sort: str, filters: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    known = [
        answer(
            f"Z{i:03d}", i, top_class=str(rng.choice(list(SUPERCLASSES))), top_probability=float(rng.integers(10) / 10)
        )
        for i in rng.permutation(60)
    ]
    store.record(known)
    whole = store.query(**filters, sort=sort, limit=1000)[0]
    monkeypatch.setattr(listing, "MOST_LOOKED_AT", most)
    monkeypatch.setattr(listing, "MOST_ROWS", most)
    found = everything(store, **filters, sort=sort, limit=3)
    assert found == [each.object_id for each in whole]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("large", [1, 2000])
def test_a_cone_is_the_same_listed_first_or_found_along_the_list(
    store: Store, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given more objects in a cone than are listed first, then they are found all the same, and none beside it."""
    monkeypatch.setattr(listing, "LARGE_CONE", large)
    rng = np.random.default_rng(3)
    places = {f"P{i:02d}": (10 + 3 * rng.random(), 19 + 2 * rng.random()) for i in range(60)}
    store.merge([increment(name, 1.0, ra=ra, dec=dec) for name, (ra, dec) in places.items()])
    store.record([answer(name, i, ra=ra, dec=dec) for i, (name, (ra, dec)) in enumerate(places.items())])
    cone = Cone(11.0, 20.0, 0.7)
    inside = [name for name in places if cone.holds(*places[name])]
    assert 10 < len(inside) < 50
    assert everything(store, cone=cone, limit=4) == inside[::-1]


def test_the_newest_are_found_over_any_stretch_of_time(store: Store) -> None:
    store.record(
        [answer(f"N{i}", i, published_at=1.7e9 - 10.0 ** (i + 2), embedding=None) for i in range(6)]
        + [classification("E", 1, published_at=1.6e9, embedding=np.ones(3))]
    )
    assert store.embeddings("alert-clr", "1.0.0", limit=7)[0] == ["E"]
    assert store.embeddings("alert-clr", "1.0.0", limit=6)[0] == []
