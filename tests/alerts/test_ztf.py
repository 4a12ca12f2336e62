"""What ZTF's fields come to mean in an Alert."""

import io
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from prometheus_client import REGISTRY

from service.alerts import Alert, AlertError, Decoder
from service.photometry import BANDS, CONTEXT_COLUMNS, Kind, LightCurve
from service.photometry.flux import flux_error_from_magnitude, flux_from_magnitude
from tests.alerts.ztf_packets import a_forced_row, a_row, alerts, an_alert, assert_same, packet, schema

SCHEMA = schema()
NULLABLE = schema(nullable=True)
DECODER = Decoder()
GALACTIC_LATITUDE = 32.73801  # of the position in `an_alert`, by astropy


def decode(record: dict[str, Any], written_by: dict[str, Any] = SCHEMA) -> Alert:
    return DECODER.decode(packet(record, written_by))


def with_history(*rows: dict[str, Any], forced: list[dict[str, Any]] | None = None) -> LightCurve:
    return decode(an_alert() | {"prv_candidates": list(rows), "fp_hists": forced}).light_curve


def test_an_ordinary_alert() -> None:
    alert = decode(an_alert())
    assert (alert.survey, alert.object_id, alert.candid) == ("ztf", "ZTF24abcdefg", 2770250755015010003)
    assert (alert.mjd, alert.ra, alert.dec, alert.schema_version) == (60500.25, 150.25, -12.5, "4.02")
    assert (alert.quality.rb, alert.quality.nbad, alert.quality.ssdistnr) == (0.75, 0.0, -999.0)
    curve = alert.light_curve
    assert curve.kind.tolist() == [Kind.UPPER_LIMIT, Kind.FORCED, Kind.DETECTION, Kind.DETECTION]
    assert [BANDS[band] for band in curve.band] == ["r", "r", "r", "g"]
    assert curve.mjd.tolist() == [60490.0, 60492.0, 60495.0, 60500.25]
    assert curve.points["candid"].tolist() == [0, 0, 2765000000000000001, 2770250755015010003]
    np.testing.assert_array_equal(curve.points["mag"][[0, 2, 3]], [np.nan, 19.0, 18.5])
    np.testing.assert_array_equal(curve.points["limit"], [19.75, 20.25, np.nan, 20.5])
    np.testing.assert_array_equal(curve.points["magnr"], [np.nan, np.nan, 19.25, 19.25])


@settings(max_examples=150, deadline=None)
@given(alerts())
def test_any_history_is_read_as_plain_python_reads_it(case: tuple[dict[str, Any], dict[str, Any]]) -> None:
    written_by, record = case
    raw = packet(record, written_by)
    assert_same(DECODER.decode(raw), _read_back(raw))
    assert DECODER.fallbacks.schemas == 0


def test_what_a_later_packet_says_of_a_measurement_stands_whichever_is_read_first() -> None:
    def seen_by(candid: int, mag: float, flux: float) -> LightCurve:
        rows = [a_row(jd=2460495.5, magpsf=mag, sigmapsf=0.125, isdiffpos="t", magnr=19.25)]
        later = an_alert(jd=2460500.75 + candid, candid=candid) | {"candid": candid, "prv_candidates": rows}
        return decode(later | {"fp_hists": [a_forced_row(forcediffimflux=flux)]}).light_curve

    first, second, third = seen_by(1, 19.0, 300.0), seen_by(2, 19.5, 200.0), seen_by(3, 18.5, 400.0)
    for curve in (first.merge(third).merge(second), third.merge(second).merge(first), second.merge(first.merge(third))):
        assert curve.points["mag"][curve.mjd == 60495.0] == 18.5
        newest = third.points[third.kind == Kind.FORCED]
        assert curve.points[curve.kind == Kind.FORCED].tobytes() == newest.tobytes()


def test_candidate_and_history_give_the_same_epoch() -> None:
    jd = 2460500.7323148  # not exactly representable: both must subtract the same way
    earlier = decode(an_alert(jd=jd, candid=7) | {"candid": 7}).light_curve
    later = with_history(a_row(jd=jd, fid=1, magpsf=18.5, sigmapsf=0.0625, candid=7, isdiffpos="t"))
    assert set(earlier.mjd.tolist()) & set(later.mjd.tolist()) == {jd - 2400000.5}
    assert len(earlier.merge(later)) == len(earlier) + 1


def test_a_detection_echoed_in_its_own_history_is_one_point_and_keeps_its_candid() -> None:
    echo = a_row(jd=2460500.75, fid=1, magpsf=10.0, sigmapsf=0.5, candid=99, isdiffpos="f", magnr=10.0, diffmaglim=10.0)
    curve = with_history(echo)
    assert len(curve) == 1
    assert curve.points["candid"].tolist() == [2770250755015010003]
    assert curve.points["mag"].tolist() == [18.5]


def test_a_detection_and_an_upper_limit_of_one_epoch_are_two_points() -> None:
    assert len(with_history(a_row(jd=2460500.75, fid=1, diffmaglim=19.5))) == 2


def test_history_copies_that_disagree_are_chosen_among_as_a_light_curve_does() -> None:
    rows = [
        a_row(magpsf=19.0, sigmapsf=0.25, diffmaglim=20.0, magnr=18.0),
        a_row(magpsf=19.5, sigmapsf=0.125, candid=5),
        a_row(magpsf=19.25, sigmapsf=0.125, candid=6, diffmaglim=20.0),
    ]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        curve = with_history(*(rows[index] for index in order))
        assert curve.points["candid"].tolist() == [6, 2770250755015010003]


def test_long_histories_in_any_order_are_sorted() -> None:
    rows = [a_row(jd=2460490.5 - index / 64, magpsf=19.0, sigmapsf=0.25) for index in range(3000)]
    curve = with_history(*rows)
    assert len(curve) == 3001
    assert (np.diff(curve.mjd) > 0).all()
    with pytest.raises(AlertError) as refused:
        with_history(*(a_row() for _ in range(66_000)))
    assert refused.value.code == "too_many_rows"


def test_forced_photometry_becomes_a_signed_magnitude_that_gives_the_flux_back() -> None:
    curve = with_history(forced=[a_forced_row(forcediffimflux=-512.0, forcediffimfluxunc=32.0, magzpsci=26.25)])
    point = curve.points[0]
    scale = 10 ** (-0.4 * (26.25 - 23.9))
    assert Kind(point["kind"]) is Kind.FORCED
    assert flux_from_magnitude(point["mag"], point["sign"]) == pytest.approx(-512 * scale, rel=1e-5)
    assert flux_error_from_magnitude(point["mag"], point["magerr"]) == pytest.approx(32 * scale, rel=1e-5)


@pytest.mark.parametrize(
    "damage",
    [
        {"procstatus": "61"},
        {"procstatus": "56,57"},
        {"procstatus": None},
        {"procstatus": "0;DROP"},
        {"forcediffimflux": -99999.0},
        {"forcediffimflux": float("nan")},
        {"forcediffimflux": float("inf")},
        {"forcediffimflux": None},
        {"forcediffimfluxunc": 0.0},
        {"forcediffimfluxunc": -99999.0},
        {"magzpsci": None},
        {"magzpsci": -999.0},
        {"fid": 4},
        {"jd": 0.0},
    ],
)
def test_forced_photometry_that_failed_is_left_out(damage: dict[str, Any]) -> None:
    assert with_history(forced=[a_forced_row(**damage)]).kind.tolist() == [Kind.DETECTION]


@pytest.mark.parametrize(
    "damage",
    [
        {"fid": 0},
        {"jd": float("nan")},
        {"jd": -99999.0},
        {"magpsf": float("nan"), "diffmaglim": None},
        {"magpsf": float("inf")},
        {"magpsf": -999.0, "diffmaglim": -999.0},
        {"sigmapsf": None},
        {"sigmapsf": -0.25},
        {"sigmapsf": float("nan")},
    ],
)
def test_a_damaged_row_of_history_is_left_out_and_the_alert_lives(damage: dict[str, Any]) -> None:
    row = {"magpsf": 19.0, "sigmapsf": 0.25, "diffmaglim": 20.0} | damage
    assert len(with_history(a_row(**row))) == 1


@pytest.mark.parametrize("none", [-999.0, -99999.0])
def test_a_row_without_magnitude_is_an_upper_limit_however_that_is_written(none: float) -> None:
    curve = with_history(a_row(magpsf=none, sigmapsf=none, diffmaglim=20.25, isdiffpos=None))
    assert curve.kind.tolist() == [Kind.UPPER_LIMIT, Kind.DETECTION]
    assert curve.points["limit"].tolist() == [20.25, 20.5]


def test_history_newer_than_the_alert_is_left_out_and_counted() -> None:
    before = REGISTRY.get_sample_value("alert_classifier_newer_history_rows_total") or 0
    rows = [a_row(jd=2460500.75 + later, magpsf=19.0, sigmapsf=0.25) for later in (-1.0, 0.0, 1e-7, 2e-5, 16.0)]
    curve = with_history(*rows, forced=[a_forced_row(jd=2460501.5)])
    assert [round(mjd, 5) for mjd in curve.mjd.tolist()] == [60499.25, 60500.25, 60500.25]
    assert REGISTRY.get_sample_value("alert_classifier_newer_history_rows_total") == before + 3


def test_a_score_of_zero_without_its_version_is_no_score() -> None:
    written_by = schema()
    fields = written_by["fields"][3]["type"]["fields"]
    fields.append({"name": "drbversion", "type": ["null", "string"]})
    scores = [
        decode(an_alert(drb=score, drbversion=version), written_by).quality.drb
        for score, version in [(0.0, ""), (0.0, "d6_m7"), (0.0, None), (0.5, "")]
    ]
    np.testing.assert_equal(scores, [np.nan, 0.0, 0.0, 0.5])


SPELLINGS = [
    ("string", "t", "f"), ("string", "T", "F"), ("string", "1", "0"), ("string", "1", "-1"), ("string", "+1", "-1"),
    ("string", "+", "-"), ("string", "true", "false"), ("string", "True", "FALSE"), ("boolean", True, False),
    ("int", 1, 0), ("long", 1, -1), (["null", "boolean"], True, False), (["int", "null"], 1, -1),
    (["null", "boolean", "string"], True, "f"), ("double", 1.0, -1.0), ("float", 1.0, 0.0), ("bytes", b"t", b"f"),
    ({"type": "enum", "name": "sign", "symbols": ["t", "f"]}, "t", "f"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "positive", "negative"), SPELLINGS)
@pytest.mark.parametrize("compiled", [True, False])
def test_isdiffpos_is_the_sign_in_every_spelling(kind: Any, positive: Any, negative: Any, compiled: bool) -> None:
    written_by = schema()
    for fields in (written_by["fields"][3]["type"]["fields"], written_by["fields"][4]["type"][1]["items"]["fields"]):
        next(field for field in fields if field["name"] == "isdiffpos")["type"] = kind
        kind = kind["name"] if isinstance(kind, dict) else kind  # a name is defined once
    if not compiled:  # nothing else is changed by a score that is a boolean, which the compiler does not read
        next(field for field in written_by["fields"][3]["type"]["fields"] if field["name"] == "nbad")["type"] = (
            "boolean"
        )
    for said, sign in ((positive, 1), (negative, -1)):
        row = a_row(magpsf=19.0, sigmapsf=0.25, isdiffpos=said)
        record = an_alert(isdiffpos=said, nbad=0 if compiled else False) | {"prv_candidates": [row], "fp_hists": None}
        alert = decode(record, written_by)
        assert alert.light_curve.points["sign"].tolist() == [sign, sign]
        assert alert.flags == ()


@pytest.mark.parametrize(
    ("kind", "said"),
    [("string", ""), ("string", "x"), ("string", "tt"), ("string", "\r"), ("string", "troe"), ("string", "null"),
     ("int", 2), ("long", -(2**63)), ("double", 0.5), ("double", float("nan"))],
)  # fmt: skip
def test_a_sign_that_means_nothing_is_flagged_and_counted(kind: str, said: Any) -> None:
    written_by = schema()
    fields = written_by["fields"][3]["type"]["fields"]
    next(field for field in fields if field["name"] == "isdiffpos")["type"] = kind
    before = REGISTRY.get_sample_value("alert_classifier_unknown_signs_total") or 0
    alert = decode(an_alert(isdiffpos=said), written_by)
    assert alert.light_curve.points["sign"][-1] == 0
    assert alert.flags == ("unknown_sign",)
    assert REGISTRY.get_sample_value("alert_classifier_unknown_signs_total") == before + 1


def test_a_sign_that_is_not_there_is_not_flagged_and_one_of_the_history_is() -> None:
    written_by = schema()
    fields = written_by["fields"][3]["type"]["fields"]
    next(field for field in fields if field["name"] == "isdiffpos")["type"] = ["null", "string"]
    assert decode(an_alert(isdiffpos=None), written_by).flags == ()
    row = a_row(magpsf=19.0, sigmapsf=0.25, isdiffpos="x")
    assert decode(an_alert() | {"prv_candidates": [row]}).flags == ("unknown_sign",)
    assert decode(an_alert() | {"prv_candidates": [row | {"magpsf": None}]}).flags == ()  # an upper limit has no sign


@pytest.mark.parametrize("field", ["jd", "fid", "magpsf", "sigmapsf", "ra", "dec"])
def test_a_missing_number_is_named(field: str) -> None:
    fields = [
        one if one["name"] != field else {"name": field, "type": ["null", one["type"]]}
        for one in SCHEMA["fields"][3]["type"]["fields"]
    ]
    loose = schema()
    loose["fields"][3]["type"]["fields"] = fields
    with pytest.raises(AlertError, match=rf"^candidate\.{field} is missing$") as refused:
        decode(an_alert(**{field: None}), loose)
    assert refused.value.code == "missing_field"
    loose["fields"][3]["type"]["fields"] = [one for one in fields if one["name"] != field]
    with pytest.raises(AlertError, match=rf"^candidate\.{field} is missing$"):
        decode(an_alert(), loose)


def test_a_missing_candidate_or_name_is_named() -> None:
    with pytest.raises(AlertError, match=r"candidate\.jd is missing"):
        decode(an_alert() | {"candidate": None}, NULLABLE)
    nameless = SCHEMA | {"fields": [field for field in SCHEMA["fields"] if field["name"] != "objectId"]}
    with pytest.raises(AlertError, match="objectId is missing") as refused:
        decode(an_alert(), nameless)
    assert refused.value.code == "missing_field"


def test_a_candid_found_only_in_the_candidate_is_used() -> None:
    outer = SCHEMA | {"fields": [field for field in SCHEMA["fields"] if field["name"] != "candid"]}
    assert decode(an_alert(), outer).candid == 2770250755015010003


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("jd", float("nan"), "candidate.jd is nan"),
        ("jd", float("inf"), "candidate.jd is inf"),
        ("jd", 60500.25, "candidate.jd is 60500.25; it must be between 2458000 and 2500000"),
        ("magpsf", float("nan"), "candidate.magpsf is nan"),
        ("magpsf", -999.0, "candidate.magpsf is -999"),
        ("magpsf", float("-inf"), "candidate.magpsf is -inf"),
        ("sigmapsf", -0.25, "candidate.sigmapsf is -0.25"),
        ("sigmapsf", float("nan"), "candidate.sigmapsf is nan"),
        ("ra", 361.0, "candidate.ra is 361"),
        ("dec", -91.0, "candidate.dec is -91"),
        ("dec", float("nan"), "candidate.dec is nan"),
    ],
)
def test_an_impossible_detection_is_refused_and_the_field_named(field: str, value: float, said: str) -> None:
    with pytest.raises(AlertError) as refused:
        decode(an_alert(**{field: value}))
    assert refused.value.code == "bad_value"
    assert said in str(refused.value)


def test_other_refusals() -> None:
    for record, code, said in [
        (an_alert(fid=4), "unknown_band", "candidate.fid is 4; known are 1, 2, 3 for g, r, i"),
        (an_alert() | {"candid": -1}, "bad_value", "candid is -1"),
        (an_alert() | {"objectId": ""}, "bad_value", "objectId"),
        (an_alert() | {"objectId": "ZTF\0"}, "bad_value", "objectId"),
    ]:
        with pytest.raises(AlertError) as refused:
            decode(record)
        assert refused.value.code == code
        assert said in str(refused.value)


def test_quality_fields_that_a_packet_lacks_are_nan() -> None:
    alert = decode(an_alert(rb=None, drb=None))
    assert np.isnan([alert.quality.rb, alert.quality.drb]).all()


def _read_back(raw: bytes) -> dict[str, Any]:
    (record,) = fastavro.reader(io.BytesIO(raw))
    assert isinstance(record, dict)
    return record


def test_what_lies_around_the_object_is_read_and_what_is_not_there_is_missing() -> None:
    context = decode(an_alert()).context
    assert context is not None
    assert context.known() == {
        "gal_b": pytest.approx(GALACTIC_LATITUDE, abs=1e-4), "sgscore1": 0.984375, "distpsnr1": 0.375, "srmag1": 18.25,
        "simag1": 17.75, "distpsnr2": 11.25, "sgmag2": 21.5, "nmtchps": 2.0, "neargaia": 0.5, "maggaia": 18.5,
        "distnr": 0.5, "magnr": 19.25, "sigmagnr": 0.125, "chinr": 1.5, "sharpnr": -0.25,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["string", ["null", "string"], ["null", "boolean", "string"], "boolean"])
def test_an_alert_is_not_refused_for_a_neighbour_in_a_type_that_is_no_number(kind: Any) -> None:
    written_by = schema()
    candidate = next(field for field in written_by["fields"] if field["name"] == "candidate")["type"]["fields"]
    next(field for field in candidate if field["name"] == "sgscore1")["type"] = kind
    value: Any = True if kind == "boolean" else "0.98"
    context = decode(an_alert(sgscore1=value), written_by).context
    assert context is not None
    assert "sgscore1" not in context.known()
    assert context.known()["distpsnr1"] == 0.375


def test_a_packet_without_neighbours_still_has_its_latitude() -> None:
    written_by = schema()
    record = next(field for field in written_by["fields"] if field["name"] == "candidate")["type"]
    record["fields"] = [field for field in record["fields"] if field["name"] not in CONTEXT_COLUMNS]
    context = decode(an_alert(), written_by).context
    assert context is not None
    assert context.known().keys() == {"gal_b"}
