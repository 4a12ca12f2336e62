"""Saved filters: what passes one is noticed with the record itself, and waits until it has been told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.store import Cone, Store, open_store
from service.store import watches as module
from service.store.filters import Filters, Watch
from service.store.watches import Answer, condition, decode_filters, encode_filters
from tests.store.test_contract import increment
from tests.store.test_listing import answer

AGN = Filters(top_class="AGN", min_probability=0.5)


def watch(name: str = "agn", filters: Filters = AGN, url: str | None = "https://hooks.test/a") -> Watch:
    return Watch(name, filters, 1.7e9, url, None if url is None else "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=")


def test_an_object_is_noticed_when_it_first_passes(store: Store) -> None:
    assert store.add_watch(watch())
    store.record([answer("A", 1, top_class="RR"), answer("B", 2, top_class="AGN")])
    store.record([answer("A", 3, top_class="AGN"), answer("B", 4, top_class="AGN"), answer("C", 5)])
    noticed = store.notices("agn")
    assert [each.object_id for each in noticed] == ["A", "B"]
    assert [each.document["n_detections"]["g"] for each in noticed] == [3, 2], "the answer that passed first"
    assert store.notices("agn", limit=1)[0].object_id == "A"
    assert store.watches()[0].waiting == 2


def test_a_shadows_answer_is_not_noticed(store: Store) -> None:
    store.add_watch(watch())
    store.record([replace(answer("A", 1, top_class="AGN"), active=False)])
    assert store.notices("agn") == []


def test_names_are_taken_once_and_what_is_removed_is_gone(store: Store, store_url: str) -> None:
    assert store.add_watch(watch())
    assert not store.add_watch(watch(filters=Filters(survey="ztf")))
    assert store.add_watch(watch("all-ztf", Filters(survey="ztf"), None))
    store.record([answer("A", 1, top_class="AGN")])
    with_others = open_store(store_url)
    assert [each.name for each in with_others.watches()] == ["agn", "all-ztf"]
    assert with_others.watches()[0].filters == AGN
    with_others.close()
    assert store.watches()[1].waiting == 0, "a feed alone has nothing to tell"
    assert store.remove_watch("agn")
    assert not store.remove_watch("agn")
    assert store.notices("agn") == []
    assert len(store.notices("all-ztf")) == 1


def test_notices_wait_until_they_are_delivered_and_one_alone_has_them(store: Store) -> None:
    store.add_watch(watch())
    store.record([answer(name, i, top_class="AGN") for i, name in enumerate("ABC")])
    taken = store.lease_notices("agn", now=100.0, lease_s=60.0, limit=2)
    assert [each.object_id for each in taken] == ["A", "B"]
    assert store.lease_notices("agn", now=159.0, lease_s=60.0, limit=2) == []
    again = store.lease_notices("agn", now=161.0, lease_s=60.0, limit=2)
    assert again == taken, "whoever had them has died"
    store.notices_failed("agn", "no answer", next_try=500.0)
    assert store.lease_notices("agn", now=499.0, lease_s=60.0, limit=2) == []
    assert (store.watches()[0].failures, store.watches()[0].last_error) == (1, "no answer")
    assert store.lease_notices("agn", now=501.0, lease_s=60.0, limit=2) == taken
    store.notices_delivered("agn", [each.number for each in taken], now=502.0)
    assert [each.object_id for each in store.lease_notices("agn", 503.0, 60.0, 2)] == ["C"]
    known = store.watches()[0]
    assert (known.failures, known.last_error, known.last_delivery, known.waiting) == (0, None, 502.0, 1)


def test_what_is_old_or_too_much_is_forgotten_and_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add_watch(watch())
    store.record([answer(f"A{i}", i, top_class="AGN") for i in range(5)])
    assert store.prune_notices(before=1e9) == 0
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    assert store.prune_notices(before=1e9) == 2
    assert [each.object_id for each in store.notices("agn")] == ["A4", "A3", "A2"]
    assert store.prune_notices(before=1e12) == 3
    store.record([answer("A4", 9, top_class="AGN")])
    assert [each.object_id for each in store.notices("agn")] == ["A4"], "forgotten, it is noticed anew"


@pytest.mark.parametrize(
    "filters",
    [
        Filters(top_class="AGN"), Filters(superclass="Transient"), Filters(min_probability=0.75),
        Filters(min_detections=10), Filters(max_detections=9), Filters(flags=("low_quality",)),
        Filters(without_flags=("low_quality",)), Filters(survey="atlas"), Filters(cone=Cone(12.0, 20.0, 1.0)),
        Filters(top_class="AGN", min_probability=0.6, without_flags=("low_quality",)),
    ],
    ids=str,
)  # fmt: skip
def test_a_watch_notices_what_a_list_would_show(store: Store, filters: Filters) -> None:
    store.add_watch(watch(filters=filters))
    given = [
        answer(
            f"O{i:02d}", i, top_class=["AGN", "SNIa", "RR", None][i % 4], top_probability=0.5 + i / 60,
            flags=["low_quality"] if i % 3 else [], survey="ztf" if i % 5 else "atlas", ra=10.0 + i / 5,
        )
        for i in range(24)
    ]  # fmt: skip
    store.merge([increment(c.object_id, 1.0, ra=c.document["ra"], dec=20.0) for c in given])
    store.record(given)
    shown = {c.object_id for c in store.query(**{name: getattr(filters, name) for name in module.LASTING})[0]}
    assert {each.object_id for each in store.notices("agn")} == shown
    assert 0 < len(shown) < len(given)
    assert decode_filters(encode_filters(filters)) == filters
    assert {c.object_id for c in given if condition(filters)(Answer.of(c))} == shown


@pytest.mark.parametrize("filters", [Filters(), Filters(top_class="AGN", since=1.0), Filters(prefix="ZTF")], ids=str)
def test_a_filter_that_is_none_or_no_property_of_an_answer_is_refused(filters: Filters) -> None:
    with pytest.raises(ValueError, match="watch"):
        encode_filters(filters)
