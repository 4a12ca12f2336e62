"""Rubin's packets: what becomes of their values. The schemas are written here; real ones have a file of their own."""

import copy
import io
import logging
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import orjson
import pytest
from astropy.time import Time
from astropy.utils import iers
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from service.alerts import Alert, AlertError, Decoder, SchemaFolder
from service.alerts.lsst.points import N_COLUMNS
from service.photometry import BAND_CODES, Kind, LightCurve, merge, tai
from tests.alerts.rubin_packets import (
    FORCED,
    NAMES_OF_2022,
    SOURCE,
    a_forced_source,
    a_source,
    an_alert,
    assert_same,
    framed,
    renamed,
    schema,
)
from tests.alerts.ztf_packets import packet


def decode(record: dict[str, Any], written_by: dict[str, Any] | None = None) -> Alert:
    return Decoder().decode(packet(record, written_by or schema()))


def refusal(record: dict[str, Any], written_by: dict[str, Any] | None = None) -> AlertError:
    with pytest.raises(AlertError) as refused:
        decode(record, written_by)
    return refused.value


def rows(alert: Alert) -> list[tuple[Any, ...]]:
    """(mjd, band, kind, sign) of each point."""
    return alert.light_curve.points[["mjd", "band", "kind", "sign"]].tolist()


# --- values ----------------------------------------------------------------------------------------------------------


def test_an_alert_has_the_survey_s_values_in_our_units() -> None:
    alert = decode(an_alert())
    assert (alert.survey, alert.object_id, alert.candid) == ("lsst", "313897383979122767", 170112044512051215)
    assert (alert.ra, alert.dec, alert.schema_version) == (150.25, -12.5, "11.1")
    assert alert.mjd == 61100.25 - 37 / 86400
    forced = (61090.25 - 37 / 86400, BAND_CODES["r"], Kind.FORCED, 1)
    detection = (61090.25 - 37 / 86400, BAND_CODES["r"], Kind.DETECTION, -1)  # by the flux: isNegative says no
    limit = (61095.25 - 37 / 86400, BAND_CODES["z"], Kind.UPPER_LIMIT, 0)
    assert rows(alert) == [detection, forced, limit, (alert.mjd, BAND_CODES["r"], Kind.DETECTION, 1)]
    newest = alert.light_curve.points[-1]
    assert newest["mag"] == pytest.approx(31.4 - 2.5 * np.log10(2048), abs=1e-5)  # 2048 nJy
    assert newest["magerr"] == pytest.approx(1.085736 / 16, abs=1e-6)
    assert newest["limit"] == pytest.approx(31.4 - 2.5 * np.log10(5 * 128), abs=1e-5)
    assert newest["magnr"] == pytest.approx(31.4 - 2.5 * np.log10(512), abs=1e-5)
    assert alert.light_curve.points["magnr"][1] == pytest.approx(31.4 - 2.5 * np.log10(1536 - 1024), abs=1e-5)
    assert alert.quality.reliability == 0.75
    assert np.isnan(alert.quality.ssdistnr)
    assert_same(alert, an_alert())


@pytest.mark.parametrize("null_first", [True, False])
def test_it_is_the_same_as_a_message_in_a_container_and_as_others_write_it_again(
    tmp_path: Path, null_first: bool
) -> None:
    first = decode(an_alert())
    (tmp_path / "1101.avsc").write_bytes(orjson.dumps(schema(null_first=null_first)))
    assert same(Decoder(SchemaFolder(tmp_path)).decode(framed(an_alert(), schema(null_first=null_first))), first)
    nameless = schema("", null_first=null_first, nullable=True)
    again = decode(an_alert() | {"lsst_schema_version": "lsst.v11_1"}, nameless)
    assert same(again, first)
    spark = schema("topLevelRecord", nullable=True)
    assert same(decode(an_alert() | {"lsst_schema_version": "lsst.v11_1"}, spark), first)
    assert decode(an_alert(), nameless).schema_version == ""


def same(one: Alert, other: Alert) -> bool:
    """Equal, with NaN equal to itself."""
    return one.light_curve == other.light_curve and repr(one) == repr(other)


@pytest.mark.parametrize(
    ("namespace", "version"), [("lsst.v7_0", "7.0"), ("lsst.v11_1", "11.1"), ("lsst.v12_3", "12.3"), ("other", "")]
)
def test_the_version_is_that_of_the_writer_schema(namespace: str, version: str) -> None:
    assert decode(an_alert(), schema(namespace)).schema_version == version


def test_elasticc_has_other_names_and_another_unit() -> None:
    record = an_alert(band="Y")
    alert = decode(renamed(record, NAMES_OF_2022), schema("elasticc.v0_9_1", names=NAMES_OF_2022))
    assert_same(alert, record, zero_point=27.5)
    assert alert.light_curve.points["band"][-1] == BAND_CODES["y"]
    assert alert.schema_version == "elasticc 0.9"
    # Rubin's simulator of 2018 had the same names and does not say in which unit
    said = refusal(renamed(record, NAMES_OF_2022), schema("lsst", names=NAMES_OF_2022))
    assert (said.code, "record alert of namespace lsst" in str(said)) == ("unsupported_survey", True)


def test_atomic_time_becomes_utc_by_the_kept_table() -> None:
    # none within a day that ends with a leap second: astropy stretches its fractions over 86,401 s
    mjd = np.array([41317.5, 50000.25, 57202.9, 57204.1, 57752.9999, 57754.0 + 37 / 86400, 61100.25])
    with iers.conf.set_temp("auto_download", False):
        expected = Time(mjd, format="mjd", scale="tai").utc.mjd
    np.testing.assert_allclose(tai.utc_from_tai(mjd), expected, rtol=0, atol=1e-10)
    assert decode(an_alert(midpointMjdTai=57203.9)).mjd == tai.utc_from_tai(57203.9)


def test_the_table_of_leap_seconds_is_complete_and_says_when_it_is_out_of_date(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = iers.LeapSeconds.from_iers_leap_seconds(iers.IERS_LEAP_SECOND_FILE)
    mjd = np.asarray(known["mjd"], dtype=float)
    np.testing.assert_allclose(tai.OFFSETS * 86400, np.asarray(known["tai_utc"], dtype=float))
    np.testing.assert_array_equal(np.round(tai.STARTS - tai.OFFSETS), mjd)
    with caplog.at_level(logging.WARNING):
        assert tai.check_expiry(tai.EXPIRES)
        assert not caplog.records
        assert not tai.check_expiry(tai.EXPIRES + timedelta(days=1))
    assert "leap second" in caplog.text
    assert date(2027, 6, 28) <= tai.EXPIRES


# --- whose alert it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("none", "offset", "distance"), [(0, 0.5, 0.5), (None, None, 0.0), (0, -1.0, 0.0)])
def test_a_solar_system_object_has_its_own_name_and_a_distance(
    none: int | None, offset: float | None, distance: float
) -> None:
    record = an_alert(diaObjectId=none, ssObjectId=21163633118754629) | {"prvDiaSources": None}
    record["ssSource"] = {"ssObjectId": 21163633118754629, "designation": None, "ephRate": 1.0, "ephOffset": offset}
    alert = decode(record)
    assert (alert.object_id, alert.quality.ssdistnr) == ("sso21163633118754629", distance)
    assert decode(record | {"ssSource": None}).quality.ssdistnr == 0.0


@pytest.mark.parametrize("none", [0, None])
def test_an_alert_of_nothing_is_refused(none: int | None) -> None:
    error = refusal(an_alert(diaObjectId=none, ssObjectId=none))
    assert error.code == "missing_field"
    assert "diaSource.diaObjectId and diaSource.ssObjectId" in str(error)


@pytest.mark.parametrize(
    ("values", "code", "said"),
    [
        ({"psfFlux": None}, "missing_field", "diaSource.psfFlux is missing"),
        ({"psfFlux": float("nan")}, "bad_value", "diaSource.psfFlux is nan"),
        ({"psfFlux": 0.5}, "bad_value", "diaSource.psfFlux is 0.5; it must be a measurement"),
        ({"psfFlux": 0.0}, "bad_value", "diaSource.psfFlux is 0"),
        ({"psfFluxErr": None}, "missing_field", "diaSource.psfFluxErr is missing"),
        ({"psfFluxErr": 0.0}, "bad_value", "diaSource.psfFluxErr is 0; it must be above 0"),
        ({"psfFluxErr": -1.0}, "bad_value", "diaSource.psfFluxErr is -1"),
        ({"midpointMjdTai": 2461100.5}, "bad_value", "diaSource.midpointMjdTai is 2461100.5"),
        ({"ra": -1.0}, "bad_value", "diaSource.ra is -1"),
        ({"dec": 91.0}, "bad_value", "diaSource.dec is 91"),
        ({"band": None}, "missing_field", "diaSource.band is missing"),
        ({"band": "w"}, "unknown_band", "diaSource.band is 'w'; known are u, g, r, i, z, y"),
        ({"band": ""}, "unknown_band", "diaSource.band is ''"),
        ({"diaSourceId": 0}, "bad_value", "diaSource.diaSourceId is 0"),
        ({"timeWithdrawnMjdTai": 61101.0}, "bad_value", "diaSource.timeWithdrawnMjdTai is 61101"),
    ],
)
def test_a_damaged_detection_is_refused_with_the_name_of_its_field(
    values: dict[str, Any], code: str, said: str
) -> None:
    error = refusal(an_alert(**values))
    assert (error.code, said in str(error)) == (code, True), str(error)


# --- its history -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"psfFlux": None},
        {"psfFluxErr": None},
        {"psfFluxErr": 0.0},
        {"psfFlux": float("inf")},
        {"psfFlux": 1e-3},  # a tenth of its error and less
        {"band": None},
        {"band": "rr"},
        {"psfFlux_flag": True},
        {"timeWithdrawnMjdTai": 61099.0},
        {"midpointMjdTai": 0.0},
    ],
)
def test_rows_that_are_no_measurement_are_left_out(values: dict[str, Any]) -> None:
    record = an_alert() | {"prvDiaSources": [a_source(diaSourceId=7, midpointMjdTai=61000.0) | values]}
    alert = decode(record)
    assert alert.light_curve.n_detections == 1
    assert_same(alert, record)
    if "psfFlux_flag" not in values and values.get("psfFlux") != 1e-3:
        record = an_alert() | {"prvDiaForcedSources": [a_forced_source() | values]}
        assert Kind.FORCED not in decode(record).light_curve.kind


def test_faint_forced_photometry_is_a_limit_only_where_nothing_was_detected() -> None:
    faint = {"psfFlux": 100.0, "psfFluxErr": 128.0}
    record = an_alert()
    record["prvDiaForcedSources"] = [
        a_forced_source(midpointMjdTai=61090.25, **faint),  # beside the earlier detection
        a_forced_source(midpointMjdTai=61090.25, band="i", **faint),  # of the same epoch, but not of the same exposure
        a_forced_source(midpointMjdTai=61100.25, **faint),  # beside the newest
        a_forced_source(midpointMjdTai=61096.25, psfFlux=-640.0),  # exactly 5 sigma
    ]
    alert = decode(record)
    assert_same(alert, record)
    assert [(band, kind, sign) for _, band, kind, sign in rows(alert)] == [
        (BAND_CODES["r"], Kind.DETECTION, -1), (BAND_CODES["i"], Kind.UPPER_LIMIT, 0),
        (BAND_CODES["r"], Kind.FORCED, -1), (BAND_CODES["r"], Kind.DETECTION, 1),
    ]  # fmt: skip


def test_a_pair_of_one_exposure_is_one_detection_and_never_displaces_the_alert_s_own() -> None:
    twin = {"midpointMjdTai": 61100.25, "psfFlux": 2000.0}
    one = an_alert() | {"prvDiaSources": [a_source(diaSourceId=5, **twin)]}
    alert = decode(one)
    assert alert.light_curve.points["candid"].tolist().count(alert.candid) == 1
    assert 5 not in alert.light_curve.points["candid"]
    again = decode(an_alert() | {"prvDiaSources": [a_source(midpointMjdTai=61000.0)]})
    assert again.light_curve.n_detections == 1
    earlier = [a_source(diaSourceId=number, midpointMjdTai=61000.0, psfFlux=1e3 + number) for number in (3, 4)]
    curves = [decode(an_alert() | {"prvDiaSources": order}).light_curve for order in (earlier, earlier[::-1])]
    assert curves[0] == curves[1]
    assert curves[0].n_detections == 2


def test_what_is_newer_than_the_alert_is_left_out_and_counted() -> None:
    name = "alert_classifier_newer_history_rows_total"
    before = REGISTRY.get_sample_value(name) or 0.0
    record = an_alert()
    record["prvDiaForcedSources"].append(a_forced_source(midpointMjdTai=61101.0))
    assert_same(decode(record), record)
    assert REGISTRY.get_sample_value(name) == before + 1


def test_a_history_in_any_order_and_of_any_length_is_the_same() -> None:
    """Above 1,024 points another sort takes over, and above 256 rows the cells are read into a larger room."""
    rng = np.random.default_rng(1)
    sources = [
        a_source(diaSourceId=number + 1, midpointMjdTai=60800.0 + number / 3, psfFlux=float(rng.normal(2e3, 5e2)))
        for number in range(800)
    ]
    forced = [
        a_forced_source(midpointMjdTai=60800.0 + number / 3, psfFlux=float(rng.normal(4e2, 4e2)))
        for number in range(0, 899)
    ]
    record = an_alert() | {"prvDiaSources": sources, "prvDiaForcedSources": forced}
    first = decode(record)
    assert_same(first, read_back(packet(record, schema())))
    assert len(first.light_curve) > 1024
    shuffled = copy.deepcopy(record)
    rng.shuffle(shuffled["prvDiaSources"])
    rng.shuffle(shuffled["prvDiaForcedSources"])
    assert decode(shuffled).light_curve == first.light_curve
    halves = [
        decode(an_alert() | {"prvDiaSources": sources[:500], "prvDiaForcedSources": forced[:500]}).light_curve,
        decode(an_alert() | {"prvDiaSources": sources[300:], "prvDiaForcedSources": forced[300:]}).light_curve,
    ]
    assert halves[0].merge(halves[1]) == halves[1].merge(halves[0]) == merge([*halves, halves[0]])


# --- any values at all -----------------------------------------------------------------------------------------------

_FLOAT = st.one_of(st.floats(-1e5, 1e5, width=32), st.floats(width=32), st.sampled_from([0.0, float("nan")]))
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float": _FLOAT,
    "double": st.floats(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "string": st.sampled_from(["r", "Y", "u", "", "rr", "é"]),
    "boolean": st.booleans(),
}
_TIME = st.one_of(st.floats(56_000, 61_100.25), st.integers(0, 9).map(lambda day: 61_100.25 - day), st.floats())


def _generated(fields: dict[str, str]) -> st.SearchStrategy[dict[str, Any]]:
    usual = {
        name: st.none() | _VALUES[kind[:-1]] if kind.endswith("?") else _VALUES[kind] for name, kind in fields.items()
    }
    return st.fixed_dictionaries(
        usual | {"midpointMjdTai": _TIME, "timeWithdrawnMjdTai": st.none() | _VALUES["double"]}
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(_generated(SOURCE), max_size=8), st.lists(_generated(FORCED), max_size=8), st.booleans())
def test_any_history_is_read_as_a_plain_reading_reads_it(
    sources: list[dict[str, Any]], forced: list[dict[str, Any]], nullable: bool
) -> None:
    record = an_alert() | {"prvDiaSources": sources, "prvDiaForcedSources": forced}
    raw = packet(record, schema(nullable=nullable))
    assert_same(Decoder().decode(raw), read_back(raw))


def read_back(raw: bytes) -> dict[str, Any]:
    (record,) = fastavro.reader(io.BytesIO(raw))
    assert isinstance(record, dict)
    return record


def test_a_flag_that_is_no_boolean_is_read_by_fastavro_or_refused() -> None:
    changed = schema()
    field = next(field for field in changed["fields"][2]["type"]["fields"] if field["name"] == "isDipole")
    field["type"] = "int"
    error = refusal(an_alert(isDipole=1) | {"prvDiaSources": None}, changed)
    assert (error.code, "isDipole is not a boolean" in str(error)) == ("bad_value", True)


def test_light_curves_are_packed_as_all_others() -> None:
    curve = decode(an_alert()).light_curve
    assert LightCurve.unpack(curve.pack()) == curve
    assert N_COLUMNS == 10
