"""What any store must do, as told in `service/store/interface.py`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.photometry import Context, Kind, LightCurve, merge
from service.store import Cone, Increment, Store, StoredClassification, open_store
from service.store.encoding import decode_context, encode_context

CLASSES = ("SNIa", "SNII", "AGN", "RR")


def light_curve(*epochs: float, band: int = 0, mag: float = 19.0, candid: int = 0) -> LightCurve:
    return LightCurve.from_columns(epochs, band, mag=mag, magerr=0.1, limit=20.5, sign=1, candid=candid)


def increment(object_id: str, *epochs: float, ra: float = 10.0, dec: float = 20.0, **columns: float) -> Increment:
    return Increment(object_id, ra, dec, light_curve(*epochs, **columns))


def classification(
    object_id: str, candid: int = 1, *, top_class: str | None = "SNIa", **fields: object
) -> StoredClassification:
    probabilities = {name: (0.7 if name == top_class else 0.1) for name in CLASSES}
    given = StoredClassification(
        object_id,
        candid,
        classifier="alert-clr",
        version="1.0.0",
        mjd=60000.0 + candid,
        published_at=1.7e9 + candid,
        top_class=top_class,
        top_probability=0.7,
        document={
            "object_id": object_id,
            "candid": candid,
            "probabilities": probabilities,
            "flags": ["too_few_points"],
        },
    )
    return replace(given, **fields)


def test_an_alert_of_a_new_object_is_stored_as_it_came(store: Store) -> None:
    alert = increment("ZTF21abiuvdk", 59000.1, 59003.2, ra=211.5, dec=-12.25)
    merged = store.merge([alert])
    stored = store.load(["ZTF21abiuvdk", "ZTF00unknown"])
    assert list(stored.values()) == merged
    assert stored["ZTF21abiuvdk"].light_curve == alert.light_curve
    assert (stored["ZTF21abiuvdk"].ra, stored["ZTF21abiuvdk"].dec) == (211.5, -12.25)
    assert stored["ZTF21abiuvdk"].last_mjd == 59003.2


def test_each_increment_sees_what_was_known_when_it_came(store: Store) -> None:
    store.merge([increment("A", 1.0)])
    known = store.merge([increment("A", 3.0), increment("B", 7.0), increment("A", 2.0), increment("A", 3.0)])
    assert [each.object_id for each in known] == ["A", "B", "A", "A"]
    assert [each.light_curve.mjd.tolist() for each in known] == [[1, 3], [7], [1, 2, 3], [1, 2, 3]]
    assert store.load(["A"])["A"].light_curve.mjd.tolist() == [1, 2, 3]


def test_a_redelivered_batch_changes_nothing(store: Store) -> None:
    batch = [increment("A", 1.0, 2.0), increment("B", 5.0), increment("A", 4.0)]
    store.merge(batch)
    before = store.load(["A", "B"])
    store.merge(batch)
    assert store.load(["A", "B"]) == before
    assert store.statistics().objects == 2


def test_the_position_is_that_of_the_latest_epoch_whatever_the_order(store: Store) -> None:
    store.merge([increment("A", 5.0, ra=15.0)])
    merged = store.merge([increment("A", 3.0, ra=13.0)])
    assert [(each.ra, each.last_mjd) for each in merged] == [(15.0, 5.0)]
    assert store.load(["A"])["A"].ra == 15.0
    assert store.load(["A"])["A"].last_mjd == 5.0


def test_a_position_that_is_unknown_stays_unknown(store: Store) -> None:
    store.merge([increment("A", 1.0, ra=np.nan, dec=np.nan)])
    assert np.isnan(store.load(["A"])["A"].ra)
    store.merge([increment("A", 1.0, ra=4.0, dec=5.0)])
    assert store.load(["A"])["A"].ra == 4.0


def test_upper_limits_and_unknown_values_come_back_bit_by_bit(store: Store) -> None:
    curve = LightCurve.from_columns(
        [1.0, 2.0, 3.0], [0, 1, 2], mag=[np.nan, 19.25, 18.5], limit=[20.5, np.nan, 20.1], sign=[0, -1, 1],
        kind=[Kind.UPPER_LIMIT, Kind.DETECTION, Kind.FORCED], candid=[0, 2**62 + 1, 0],
    )  # fmt: skip
    store.merge([Increment("A", 0.0, 0.0, curve)])
    assert store.load(["A"])["A"].light_curve == curve


def test_an_empty_batch_is_no_trouble(store: Store) -> None:
    assert store.merge([]) == []
    assert store.load([]) == {}
    store.record([])


@pytest.mark.parametrize("object_id", ["ZTF\0", "\0", "\ud800"])
def test_an_id_that_no_store_could_keep_is_simply_not_there(store: Store, object_id: str) -> None:
    store.merge([increment("ZTF", 1.0)])
    store.record([classification("ZTF")])
    assert store.load([object_id]) == {}
    assert store.latest(object_id) is None
    assert store.history(object_id) == []
    assert store.query(top_class=object_id) == ([], None)


@pytest.mark.parametrize("object_id", ["", "ZTF\0", "\ud800"])
def test_an_id_that_no_store_could_keep_is_refused_before_any_batch(object_id: str) -> None:
    with pytest.raises(ValueError, match="object_id"):
        increment(object_id, 1.0)


def test_what_was_stored_is_there_after_reopening(store: Store, store_url: str) -> None:
    store.merge([increment("A", 1.0)])
    store.record([classification("A")])
    again = open_store(store_url)
    assert again.load(["A"])["A"].light_curve == light_curve(1.0)
    assert again.latest("A") == classification("A")
    again.close()


def test_the_latest_classification_comes_back_whole(store: Store) -> None:
    given = classification("A", embedding=np.arange(4) / 4)
    store.record([given])
    latest = store.latest("A")
    assert latest == given
    assert latest is not None
    assert latest.embedding is not None
    assert latest.embedding.tolist() == [0, 0.25, 0.5, 0.75]
    assert store.latest("B") is None


def test_the_latest_is_of_the_greatest_epoch_not_of_the_last_call(store: Store) -> None:
    store.record([classification("A", 5), classification("A", 2)])
    store.record([classification("A", 3)])
    latest = store.latest("A")
    assert latest is not None
    assert latest.candid == 5
    assert [c.candid for c in store.history("A")] == [2, 3, 5]


def test_recording_again_changes_nothing(store: Store) -> None:
    store.record([classification("A", 1), classification("A", 2)])
    before = store.latest("A"), store.history("A"), store.statistics().classifications
    store.record([classification("A", 2, published_at=1.8e9, top_class="AGN"), classification("A", 1)])
    assert (store.latest("A"), store.history("A"), store.statistics().classifications) == before


def test_a_shadow_classifier_is_in_the_history_and_never_the_latest(store: Store) -> None:
    store.record([classification("A", 1), classification("A", 2, classifier="next", active=False)])
    latest = store.latest("A")
    assert latest is not None
    assert latest.classifier == "alert-clr"
    assert [(c.classifier, c.active) for c in store.history("A")] == [("alert-clr", True), ("next", False)]


def test_a_new_active_version_speaks_for_the_same_alert(store: Store) -> None:
    store.record([classification("A", 1)])
    store.record([classification("A", 1, version="2.0.0", published_at=1.8e9)])
    latest = store.latest("A")
    assert latest is not None
    assert latest.version == "2.0.0"
    assert [c.version for c in store.history("A")] == ["1.0.0", "2.0.0"]


def test_the_history_keeps_probabilities_in_single_precision(store: Store) -> None:
    store.record([classification("A", 1, top_class="RR")])
    (past,) = store.history("A")
    assert past.document == {"probabilities": {n: float(np.float32(0.7 if n == "RR" else 0.1)) for n in CLASSES}}
    assert (past.top_class, past.top_probability, past.mjd) == ("RR", 0.7, 60001.0)


def test_a_long_history_is_cut_to_its_end(store: Store) -> None:
    store.record([classification("A", candid) for candid in range(1, 11)])
    assert [c.candid for c in store.history("A", limit=3)] == [8, 9, 10]


def test_queries_filter_by_class_probability_and_time(store: Store) -> None:
    store.record(
        [
            classification("A", 1),
            classification("B", 2, top_class="AGN", top_probability=0.9),
            classification("C", 3, top_class="AGN", top_probability=0.5),
        ]
    )
    ids = lambda **filters: [c.object_id for c in store.query(**filters)[0]]  # noqa: E731
    assert ids() == ["C", "B", "A"]
    assert ids(top_class="AGN") == ["C", "B"]
    assert ids(min_probability=0.6) == ["B", "A"]
    assert ids(since=1.7e9 + 2) == ["C", "B"]
    assert ids(top_class="AGN", min_probability=0.6, since=1.7e9) == ["B"]
    assert ids(sort="most_probable") == ["B", "A", "C"]
    assert ids(top_class="TDE") == []


@pytest.mark.parametrize("sort", ["newest", "most_probable"])
def test_pages_follow_one_another_without_gap_or_repeat(store: Store, sort: str) -> None:
    # many share a key, so that the object id must break the tie
    store.record([classification(f"Z{i:03d}", published_at=1.7e9 + i // 10) for i in range(57)])
    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = store.query(limit=10, cursor=cursor, sort=sort)
        seen += [c.object_id for c in page]
        if cursor is None:
            break
        assert len(page) == 10
    assert sorted(seen) == [f"Z{i:03d}" for i in range(57)]
    assert seen == [c.object_id for c in store.query(limit=1000, sort=sort)[0]]


def test_a_cursor_of_another_origin_is_refused(store: Store) -> None:
    store.record([classification("A"), classification("B")])
    _, cursor = store.query(limit=1)
    assert cursor is not None
    for wrong in ("", "nonsense", cursor[:-4], cursor + "AAAA", "é"):
        with pytest.raises(ValueError, match="cursor"):
            store.query(cursor=wrong)
    with pytest.raises(ValueError, match="cursor"):
        store.query(cursor=cursor, sort="most_probable")


def test_a_cone_holds_what_lies_within_its_radius(store: Store) -> None:
    places = {"centre": (359.999, 45.0), "across": (0.0005, 45.0), "near": (359.999, 45.05), "far": (359.0, 45.0)}
    store.merge([increment(name, 1.0, ra=ra, dec=dec) for name, (ra, dec) in places.items()])
    store.record([classification(name) for name in places])
    found = lambda radius: {c.object_id for c in store.query(cone=Cone(359.999, 45.0, radius))[0]}  # noqa: E731
    assert found(1 / 3600) == {"centre"}
    assert found(10 / 3600) == {"centre", "across"}
    assert found(0.1) == {"centre", "across", "near"}
    assert found(1.0) == set(places)
    assert store.query(cone=Cone(100, -30, 1))[0] == []


def test_an_answer_that_names_no_class_is_found_by_none(store: Store) -> None:
    unnamed = classification("A", 3, top_class=None, top_probability=0.7)
    store.record([classification("A", 1), unnamed, classification("B", 2)])
    assert store.latest("A") == unnamed
    assert [each.top_class for each in store.history("A")] == ["SNIa", None]
    assert [each.object_id for each in store.query()[0]] == ["A", "B"]
    assert [each.object_id for each in store.query(min_probability=0.1)[0]] == ["B"]
    assert [each.object_id for each in store.query(top_class="SNIa")[0]] == ["B"]
    assert store.query(top_class="")[0] == []
    assert store.class_mix(0) == {"SNIa": 1}


def test_the_class_mix_counts_objects_since_a_time(store: Store) -> None:
    store.record([classification("A", 1), classification("B", 2), classification("C", 3, top_class="RR")])
    store.record([classification("A", 9, top_class="RR")])
    assert store.class_mix(0) == {"RR": 2, "SNIa": 1}
    assert store.class_mix(1.7e9 + 3) == {"RR": 2}
    assert store.class_mix(1.8e9) == {}


def test_embeddings_are_those_of_one_version_newest_first(store: Store) -> None:
    store.record(
        [
            classification("A", 1, embedding=np.array([1.0, 2.0])),
            classification("B", 2, embedding=np.array([3.0, 4.0])),
            classification("C", 3, version="2", embedding=np.array([5.0, 6.0, 7.0])),
            classification("D", 4),
        ]
    )
    ids, matrix = store.embeddings("alert-clr", "1.0.0")
    assert ids == ["B", "A"]
    assert matrix.dtype == np.float16
    assert matrix.tolist() == [[3, 4], [1, 2]]
    assert store.embeddings("alert-clr", "1.0.0", limit=3)[0] == ["B"]
    assert store.embeddings("none", "0")[1].shape == (0, 0)


def test_pruning_forgets_objects_without_recent_detections(store: Store) -> None:
    old = Increment(
        "old", 0, 0, merge([light_curve(100.0), LightCurve.from_columns([900.0], 0, kind=Kind.UPPER_LIMIT)])
    )
    store.merge([old, increment("new", 100.0, 500.0), increment("edge", 300.0)])
    store.record([classification("old"), classification("old", 2), classification("new")])
    assert store.prune(300.0) == 1
    assert sorted(store.load(["old", "new", "edge"])) == ["edge", "new"]
    assert store.latest("old") is None
    assert store.history("old") == []
    assert store.latest("new") == classification("new")
    assert (store.statistics().objects, store.statistics().classifications) == (2, 1)
    assert store.prune(300.0) == 0


def test_statistics_count_objects_classifications_and_bytes(store: Store) -> None:
    store.merge([increment("A", 1.0), increment("B", 1.0)])
    store.merge([increment("A", 2.0)])
    store.record([classification("A", 1), classification("A", 2), classification("B", 1)])
    statistics = store.statistics()
    assert (statistics.objects, statistics.classifications) == (2, 3)
    assert statistics.bytes > 1000


def test_a_store_that_can_be_written_passes_its_check(store: Store) -> None:
    store.check()


@pytest.mark.parametrize("url", ["", "mysql://host/db", "sqlite:", "/var/store.db", "redis://user:secret@host"])
def test_a_url_of_no_known_store_is_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///PATH") as refusal:
        open_store(url)
    assert "secret" not in str(refusal.value)


def test_the_newest_alerts_context_is_kept_with_its_object(store: Store) -> None:
    def said(mjd: float, candid: int, **columns: float) -> Increment:
        return replace(increment("A", mjd), context=Context(Context.of(columns).values, mjd, candid))

    first, second = said(1.0, 7, sgscore1=0.25, gal_b=12.0), said(2.0, 8, sgscore1=0.75, distnr=0.5)
    assert [known.context for known in store.merge([second, first])] == [second.context] * 2
    store.merge([increment("A", 3.0), said(4.0, 9, gal_b=12.0)])  # neither knows of any neighbour
    atlas = LightCurve.from_columns([5.0], 7, mag=18.0, survey=2)
    (joined,) = store.join([Increment("forced", 10.0, 20.0, atlas)])
    assert joined.object_id == "A"
    found = store.load(["A"])["A"].context
    assert found == second.context == joined.context
    assert found.known() == {"sgscore1": 0.75, "distnr": 0.5}
    assert store.merge([increment("B", 1.0)])[0].context is None
    assert store.load(["B"])["B"].context is None


def test_a_context_of_another_version_or_cut_short_is_read_as_far_as_it_goes() -> None:
    context = Context(Context.of({"gal_b": 3.0, "distnr": 1.5, "maggaiabright": 12.0}).values, 60000.0, 2**62)
    stored = encode_context(context)
    assert stored is not None
    assert decode_context(stored) == context == decode_context(stored + b"\0\0\x80?")  # one column more
    fewer = decode_context(stored[:-4])
    assert fewer is not None
    assert fewer.known() == {"gal_b": 3.0, "distnr": 1.5}
    assert len(fewer.values) == len(context.values)
    assert [decode_context(stored[:size]) for size in (0, 15, len(stored) - 1)] == [None] * 3
