"""The algebra of light curves: union, packing, order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.photometry import POINT, Kind, LightCurve, end_to_end, merge

# Few distinct values, so that the same measurement appears in several copies which agree or disagree.
epochs = st.sampled_from([58000.0, 58000.0000001, 58000.0000009, 58000.1, 59999.9999999, 60000.25])
magnitudes = st.sampled_from([float("nan"), 18.5, 19.25, 20.0])
points = st.tuples(
    epochs,
    st.sampled_from([0, 1234567890123456789, 2695378462115010012]),
    magnitudes, magnitudes, magnitudes, magnitudes,
    st.integers(0, 2), st.integers(0, 2), st.integers(-1, 1), st.integers(0, 1),
    st.sampled_from([0, 1234567890123456789, 2695378462115010012]),
)  # fmt: skip
curves = st.lists(points, max_size=12).map(lambda rows: LightCurve.from_points(np.array(rows, dtype=POINT)))


@given(curves, curves)
def test_merging_is_commutative(a, b):
    assert a.merge(b).is_identical(b.merge(a))


@given(curves, curves, curves)
def test_merging_is_associative(a, b, c):
    assert a.merge(b).merge(c).is_identical(merge([c, a, b]))
    assert a.merge(b.merge(c)).is_identical(merge([c, a, b]))


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 120), st.integers(0, 2**32))
def test_what_is_added_to_a_long_history_gives_the_union_of_all_points(length, start, count, seed):
    rng = np.random.default_rng(seed)
    everything = np.zeros(length + count, dtype=POINT)
    everything["mjd"][:length] = 58000 + rng.integers(0, 300, length) + rng.integers(0, 3, length) * 4e-7
    everything["mjd"][length:] = 58000 + start + rng.integers(0, 40, count) + rng.integers(0, 3, count) * 4e-7
    everything["mag"] = rng.choice([18.5, 19.25], length + count)
    everything["band"] = rng.integers(0, 3, length + count)
    everything["brought_by"] = rng.integers(0, 3, length + count)
    history, added = LightCurve.from_points(everything[:length]), LightCurve.from_points(everything[length:])
    union = LightCurve.from_points(everything)
    assert history.merge(added).is_identical(union)
    assert added.merge(history).is_identical(union)


@given(st.integers(200, 600), st.integers(0, 200), st.integers(0, 200), st.integers(0, 30), st.integers(0, 2**32))
def test_a_history_that_comes_again_gives_the_union_of_all_points(length, older, cut, added, seed):
    """Given a long light curve, and one that begins with its later points, to the last bit or with some changed, and
    goes on: as a packet that brings a year again.
    """
    rng = np.random.default_rng(seed)

    def drawn(count, low, high):
        points = np.zeros(count, dtype=POINT)
        points["mjd"] = 58000 + rng.integers(low, high, count) + rng.integers(0, 3, count) * 4e-7
        points["mag"] = rng.choice([18.5, 19.25], count)
        points["band"] = rng.integers(0, 3, count)
        points["brought_by"] = rng.integers(0, 3, count)
        return points

    known = LightCurve.from_points(drawn(length, 0, 300))
    again = known.points[min(older, len(known)) : max(len(known) - cut, 0)].copy()
    if len(again) and rng.random() < 0.5:
        again["brought_by"][rng.integers(len(again))] += 1
    packet = LightCurve.from_points(np.concatenate([again, drawn(added, 200, 310)]))
    union = LightCurve.from_points(np.concatenate([known.points, packet.points]))
    assert known.merge(packet).is_identical(union)
    assert packet.merge(known).is_identical(union)


@given(curves, curves)
def test_merging_again_changes_nothing(a, b):
    union = a.merge(b)
    assert union.merge(a).is_identical(union)
    assert union.merge(union).is_identical(union)


@given(st.lists(curves, max_size=4))
def test_laid_end_to_end_every_point_stands_where_it_stood(parts):
    joined = end_to_end(parts)
    assert joined.dtype == POINT
    assert joined.tobytes() == b"".join(part.points.tobytes() for part in parts)


@given(curves)
def test_packing_is_exact(curve):
    assert LightCurve.unpack(curve.pack()).is_identical(curve)


@given(curves)
def test_points_are_ordered_and_each_measurement_stands_once(curve):
    keys = [(round(p["mjd"] * 1e6), p["survey"], p["band"], p["kind"]) for p in curve.points]
    assert keys == sorted(set(keys))


def test_an_alert_and_its_later_echo_are_one_point():
    alert = LightCurve.from_columns([60000.5], [1], mag=[19.0], magerr=[0.1], candid=[7], sign=1)
    echo = LightCurve.from_columns([60000.5], [1], mag=[19.0], magerr=[0.1], sign=1)  # a re-publisher drops the candid
    merged = echo.merge(alert)
    assert len(merged) == 1
    assert merged.points["candid"] == 7


def test_of_two_versions_the_one_from_the_later_packet_stands():
    def version(mag, brought_by, **columns):
        return LightCurve.from_columns([60000.5], [1], mag=[mag], magerr=[0.1], brought_by=brought_by, **columns)

    first = version(19.0, 7, candid=[7], magnr=[17.0])
    for corrected in (version(19.3, 8), version(18.7, 8)):  # the bits of one are larger, those of the other smaller
        for merged in (first.merge(corrected), corrected.merge(first), merge([corrected, first, corrected])):
            assert merged == version(float(corrected.points["mag"][0]), 9, candid=[7])  # whichever packet brought it
            assert merged.points["mag"] == corrected.points["mag"]
            assert merged.points["candid"] == 7  # it still is the detection of that alert
        sent_without_a_packet = version(18.0, 0)
        assert corrected.merge(sent_without_a_packet) == sent_without_a_packet.merge(corrected) == corrected


@given(curves)
def test_light_curves_from_before_packets_were_told_apart_can_be_read(curve):
    points = curve.points.copy()
    points["brought_by"] = 0
    old = b"\x01" + b"".join(point.tobytes()[:36] for point in points)
    assert LightCurve.unpack(old).points.tobytes() == points.tobytes()
    assert LightCurve.unpack(old).pack() == old


def test_detections_limits_and_forced_photometry_of_one_epoch_are_kept_apart():
    curve = LightCurve.from_columns([60000.5] * 3, [1] * 3, kind=[Kind.DETECTION, Kind.UPPER_LIMIT, Kind.FORCED])
    assert len(curve) == 3


def test_candid_survives_as_an_int64():
    curve = LightCurve.from_columns([60000.5], [0], candid=[2695378462115010013])
    assert int(LightCurve.unpack(curve.pack()).points["candid"][0]) == 2695378462115010013


def test_a_light_curve_cannot_be_changed():
    curve = LightCurve.from_columns([2.0, 1.0], [0, 0])
    with pytest.raises(ValueError, match="read-only"):
        curve.points["mjd"] = 0
    with pytest.raises(ValueError, match="read-only"):
        LightCurve.unpack(curve.pack()).mjd[0] = 0


def test_the_prefix_holds_what_was_known_at_the_kth_detection():
    curve = LightCurve.from_columns([1, 2, 3, 4, 5], [0] * 5, kind=[1, 0, 1, 0, 1])
    assert curve.first_detections(1).mjd.tolist() == [1, 2]
    assert curve.first_detections(2).mjd.tolist() == [1, 2, 3, 4]
    assert curve.first_detections(3) == curve
    assert len(curve.first_detections(0)) == 0


def test_bad_epochs_and_bad_bytes_are_refused():
    with pytest.raises(ValueError, match="mjd of point 1"):
        LightCurve.from_columns([1.0, float("nan")], [0, 0])
    for packed in (b"", b"\x03", b"\x01" + b"x" * 35, b"\x02" + b"x" * 36):
        with pytest.raises(ValueError, match="not a packed light curve"):
            LightCurve.unpack(packed)


def test_an_upper_limit_has_no_sign() -> None:
    curve = LightCurve.from_columns(
        [1.0, 2.0, 3.0],
        0,
        mag=[np.nan, 19.0, 18.0],
        sign=[1, -1, 1],
        kind=[Kind.UPPER_LIMIT, Kind.DETECTION, Kind.FORCED],
    )
    assert curve.points["sign"].tolist() == [0, -1, 1]
