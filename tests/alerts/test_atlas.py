"""ATLAS forced photometry: which exposures are kept, what they become, and in what form they come."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.alerts import AlertError, Decoder
from service.alerts.atlas import SCHEMA_TEXT, encode, position_name
from service.alerts.atlas_table import is_atlas_table, read_atlas_table
from service.photometry import BANDS, SURVEYS, Kind, LightCurve, merge
from service.photometry.table import TableError
from tests.alerts.atlas_tables import exposures, write_table


def test_five_sigma_is_a_detection_with_its_sign_and_less_an_upper_limit() -> None:
    points = exposures((60000.1, "o", 100.0), (60000.2, "c", -250.0), (60000.3, "o", 99.9)).light_curve().points
    assert [SURVEYS[code] for code in points["survey"]] == ["atlas"] * 3
    assert [BANDS[code] for code in points["band"]] == ["o", "c", "o"]
    assert points["kind"].tolist() == [Kind.DETECTION, Kind.DETECTION, Kind.UPPER_LIMIT]
    assert points["sign"].tolist() == [1, -1, 0]
    # AB: 23.9 mag is 1 uJy, so 100 uJy are 18.9 mag and 250 uJy 17.905 mag; S/N 5 is an error of 0.217 mag
    np.testing.assert_allclose(points["mag"][:2], [18.9, 17.90515], atol=1e-4)
    np.testing.assert_allclose(points["magerr"][:2], [0.21715, 0.08686], atol=1e-4)
    assert np.isnan(points["mag"][2])
    np.testing.assert_allclose(points["limit"], 18.9, atol=1e-5)


@pytest.mark.parametrize(
    ("column", "bad", "good"),
    [
        ("chi_n", [0.5, 3.0, np.nan, 100.0], [0.51, 2.99]),
        ("error", [0.0, -1.0, np.nan, 5000.0], [1.0, 4000.0]),
        ("error_code", [1.0, -1.0], [0.0]),
        ("mjd", [0.0, 2460000.5, np.nan], [58000.0]),
        ("flux", [np.nan, np.inf, 1e9], [-1e4, 0.0]),
        ("sky", [18.0, 17.0, np.nan], [18.01, 22.0]),
    ],
)
def test_exposures_that_are_not_worth_keeping_are_left_out(column: str, bad: list[float], good: list[float]) -> None:
    for values, kept in ((bad, 0), (good, len(good))):
        rows = [(60000.0 + i, "o", 100.0) for i in range(len(values))]
        assert len(exposures(*rows, **{column: values}).light_curve()) == kept


def test_the_sky_must_be_darker_in_cyan_than_in_orange_and_other_filters_are_unknown() -> None:
    rows = [(60000.0 + i, band, 100.0) for i, band in enumerate("cocoHw")]
    kept = exposures(*rows, sky=[18.4, 18.4, 18.6, 17.9, 21.0, 21.0]).light_curve()
    assert kept.mjd.tolist() == [60001.0, 60002.0]
    assert len(exposures().light_curve()) == 0


def test_a_message_says_what_the_table_says() -> None:
    sent = exposures((60001.5, "o", 200.0), (60000.5, "c", 3.0), (60002.5, "o", 90.0))
    decoder = Decoder()
    alert = decoder.decode(encode("ZTF21abcdefg", 211.5, -12.25, sent))
    assert (alert.survey, alert.object_id, alert.ra, alert.dec) == ("atlas", "ZTF21abcdefg", 211.5, -12.25)
    assert alert.light_curve == sent.light_curve()
    assert alert.mjd == 60002.5
    assert np.isnan(alert.quality.rb)
    assert decoder.fallbacks.records == 0  # compiled, as alert packets are


def test_alerts_and_photometry_are_told_apart_in_one_stream() -> None:
    from service.simulate import simulate

    (packet,) = simulate(1, seed=1)
    photometry = encode("", 10.0, 20.0, exposures((60000.5, "o", 200.0)))
    surveys = [getattr(a, "survey", a) for a in Decoder().decode_many([packet.packet, photometry, packet.packet])]
    assert surveys == ["ztf", "atlas", "ztf"]


def test_the_identifier_is_that_of_what_was_said_and_grows_with_the_newest_epoch() -> None:
    def candid(*rows: tuple[float, str, float], name: str = "here") -> int:
        return Decoder().decode(encode(name, 10.0, 20.0, exposures(*rows))).candid

    first, second = (60000.5, "o", 200.0), (60001.5, "o", 200.0)
    assert candid(first, second) == candid(second, first)
    assert len({candid(first), candid(second), candid(first, second), candid(first, name="there")}) == 4
    assert candid(first) < min(candid(second), candid(first, second))
    assert candid((58000.0, "o", 1.0)) > 3_500_000_000_000_000_000  # those of ZTF are below
    assert candid((99999.0, "o", 1.0)) < 2**63


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (187.5, -12.25, "ATLAS_J123000.00-121500.0"),
        (0.0, 0.0, "ATLAS_J000000.00+000000.0"),
        (359.99999, 89.99999, "ATLAS_J235959.99+895959.9"),
        (150.1192, -0.00001, "ATLAS_J100028.60-000000.0"),
    ],
)
def test_a_position_without_a_name_gets_one(ra: float, dec: float, name: str) -> None:
    assert position_name(ra, dec) == name
    assert Decoder().decode(encode("", ra, dec, exposures((60000.5, "o", 200.0)))).object_id == name


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"ra": 361.0}, "bad_value", "ra is 361; it must be between 0 and 360"),
        ({"ra": float("nan")}, "bad_value", "ra is nan"),
        ({"dec": -90.5}, "bad_value", "dec is -90.5"),
        ({"source": "two\nlines"}, "bad_value", r"source is 'two\\nlines'"),
        ({"source": "é"}, "bad_value", "source is"),
        ({"source": "x" * 201}, "long_name", "source has 201 characters; at most 200"),
    ],
)
def test_a_message_that_cannot_be_used_is_refused_by_its_field(changes: dict[str, Any], code: str, words: str) -> None:
    values = {"source": "here", "ra": 10.0, "dec": 20.0} | changes
    with pytest.raises(AlertError, match=words) as refused:
        Decoder().decode(encode(values["source"], values["ra"], values["dec"], exposures((60000.5, "o", 200.0))))
    assert refused.value.code == code


def test_a_message_without_a_position_is_refused_and_one_of_a_later_schema_is_read() -> None:
    schema = json.loads(SCHEMA_TEXT)
    record = {"source": "here", "ra": 10.0, "dec": 20.0, "points": [], "more": 1}
    later = schema | {"fields": [*schema["fields"], {"name": "more", "type": "int"}]}
    assert Decoder().decode(written(later, record)).object_id == "here"
    without = schema | {"fields": [field for field in schema["fields"] if field["name"] != "dec"]}
    with pytest.raises(AlertError, match="dec is missing"):
        Decoder().decode(written(without, record))


def written(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(schema), [record])
    return buffer.getvalue()


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damaged_messages_are_refused_never_crash(data: st.DataObject) -> None:
    whole = bytearray(encode("here", 10.0, 20.0, exposures((60000.5, "o", 200.0), (60001.5, "c", 20.0))))
    start = whole.index(b"here") - 1  # behind the schema
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(start, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (found,) = Decoder().decode_many([bytes(whole)])
    assert isinstance(found, AlertError) or np.isfinite(found.light_curve.mjd).all()


# -- points of both surveys in one light curve

_rows = st.tuples(
    st.sampled_from([60000.0, 60000.0 + 4e-7, 60001.0, 60002.0]), st.integers(0, 7),
    st.sampled_from([18.0, 18.5, np.nan]), st.sampled_from([0, 7]), st.integers(0, 2), st.sampled_from([0, 2]),
)  # fmt: skip
_curves = st.lists(_rows, max_size=8).map(
    lambda rows: LightCurve.from_columns(
        [r[0] for r in rows], [r[1] for r in rows], mag=[r[2] for r in rows], candid=[r[3] for r in rows],
        kind=[r[4] for r in rows], survey=[r[5] for r in rows],
    )
)  # fmt: skip


@settings(deadline=None)
@given(_curves, _curves, _curves)
def test_light_curves_of_two_surveys_merge_as_sets(a: LightCurve, b: LightCurve, c: LightCurve) -> None:
    assert merge([a, b]) == merge([b, a])
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])])
    assert merge([a, a, b]) == merge([a, b])
    of = lambda curve, survey: curve.select(curve.points["survey"] == survey)  # noqa: E731
    for survey in (0, 2):  # neither takes anything from the other
        assert of(merge([a, b]), survey) == merge([of(a, survey), of(b, survey)])


def test_the_same_epoch_and_band_of_two_surveys_are_two_points() -> None:
    ztf, atlas = (LightCurve.from_columns([60000.0], 1, mag=18.0, survey=survey) for survey in (0, 2))
    assert len(merge([ztf, atlas])) == 2


# -- the server's table


@pytest.mark.parametrize("separator", ["  ", ","])
def test_the_servers_table_is_read(tmp_path: Path, separator: str) -> None:
    sent = exposures((60000.5, "o", 200.0), (60001.5, "c", 3.0), (60002.5, "o", 90.0), chi_n=[1.0, 1.2, 9.0])
    path = write_table(tmp_path / "job1.txt", sent, 211.5, -12.25, separator)
    assert is_atlas_table(path)
    table = read_atlas_table(path)
    assert (table.ra, table.dec) == (211.5, -12.25)
    assert table.exposures.light_curve() == sent.light_curve()
    assert table.alert().object_id == "ATLAS_J140600.00-121500.0"
    assert len(table.alert("mine").light_curve) == 2


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text.replace("chi/N", "chi"), "t.txt has no column chi/N"),
        (lambda text: "", "has no column MJD, .*; it has no header"),
        (lambda text: text.splitlines()[0], "has no rows"),
        (lambda text: text.replace("  20.50", "  bright", 1), "line 2 of t.txt: Sky is 'bright', not a number"),
        (lambda text: text + "60003.5  19.0\n", "line 4 of t.txt has 2 values for 19 columns"),
        (
            lambda text: text.replace("211.50000", "400.00000"),
            "column RA of t.txt is 400; it must be between 0 and 360",
        ),
        (lambda text: text.replace("-12.25000", "-12.35000", 1), "column Dec of t.txt has more than one position"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_line_and_column(tmp_path: Path, damage: Any, words: str) -> None:
    path = write_table(tmp_path / "t.txt", exposures((60000.5, "o", 200.0), (60001.5, "c", 3.0)), 211.5, -12.25)
    path.write_text(damage(path.read_text()))
    with pytest.raises(TableError, match=words):
        read_atlas_table(path)


def test_other_tables_are_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("object_id,mjd,band,mag\nx,1,g,19\n")
    assert not is_atlas_table(tmp_path / "points.csv")
    assert not is_atlas_table(tmp_path / "missing.txt")
