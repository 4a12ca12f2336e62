"""Exports of brokers and archives: each holds the same five points, and each is read as those."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.exports import ExportError, WrongFileError, read_export
from service.exports.files import sheets_of_file
from service.photometry import Kind
from tests.exports.samples import ATLAS, BAND, ERR, IRSA, LIMIT, MAG, MJD, NAME, SAMPLES, SIGN

BANDS = ("g", "r", "i", "z", "u", "y", "c", "o")


@pytest.mark.parametrize("name", SAMPLES)
def test_every_export_is_read_as_the_light_curve_that_it_holds(name):
    data, read_as = SAMPLES[name]
    export = read_export(data, name)
    assert export.read_as == read_as
    assert list(export.light_curves) == [NAME]
    points = export.light_curves[NAME].points
    np.testing.assert_allclose(points["mjd"], MJD, atol=2e-7)
    assert [BANDS[code] for code in points["band"]] == list(BAND)
    assert points["survey"].tolist() == [0] * 5
    np.testing.assert_allclose(points["mag"], [np.nan if mag is None else mag for mag in MAG], atol=1e-4)
    np.testing.assert_allclose(points["magerr"], [np.nan if err is None else err for err in ERR], atol=1e-4)
    assert points["sign"].tolist() == list(SIGN)
    limits = [place for place in range(5) if MAG[place] is None]
    assert (np.flatnonzero(points["kind"] == Kind.UPPER_LIMIT) == limits).all()
    np.testing.assert_allclose(points["limit"][limits], [LIMIT[place] for place in limits], atol=1e-4)


def test_a_row_without_a_measurement_is_left_out_and_told():
    export = read_export(*_named(f"{NAME}_zfps.txt"))
    assert [(row.row, row.column) for row in export.skipped] == [(6, "forcediffimflux")]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x,61007.1,r,19.0,abc", "row 3: magerr is abc, not a number"),
        ("x,,r,19.0,0.1", "row 3: mjd is empty, and a point needs a time"),
        ("x,2461007.1,r,19.0,0.1", "row 3: mjd is 2461007.1, not between 0 and 100000"),
        ("x,61007.1,q,19.0,0.1", "row 3: band is q, not one of "),
        ("x,61007.1,r,99,0.1", "row 3: mag is 99, not between -5 and 50"),
    ],
)
def test_one_bad_row_is_told_with_its_value_and_the_rest_is_read(line, told):
    data = f"object_id,mjd,band,mag,magerr\nx,61005.1,r,19.2,0.1\nx,61006.1,g,19.1,0.1\n{line}\n".encode()
    export = read_export(data, "mine.csv")
    assert len(export.light_curves["x"]) == 2
    assert str(export.skipped[0]).startswith(told)
    with pytest.raises(ExportError, match="row 3"):
        read_export(data, "mine.csv", strict=True)


def test_total_magnitudes_are_refused_with_the_reason():
    with pytest.raises(ExportError, match=r"all the light of a source.*difference photometry"):
        read_export(IRSA, "irsa.csv")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"<!doctype html><html>", "a web page"),
        (b"\x1f\x8b\x08" + bytes(20), "compressed with gzip"),
        (b"SIMPLE  =                    T / conforms to FITS standard".ljust(2880), "a FITS image"),
        (b"\x00\x01\x02\x03" * 20, "a binary file"),
        (b"", "empty"),
        (b'{"detections": [}', "not JSON"),
        (b"PAR1 and no more", "not a readable Parquet file"),
        (b"# %ECSV 1.0\n# no table\n", "an ECSV table that can't be read"),
    ],
)
def test_another_kind_of_file_gets_a_sentence(data, what):
    with pytest.raises(WrongFileError, match=what):
        read_export(data, "it")


def test_unknown_columns_are_listed_with_what_is_needed():
    with pytest.raises(ExportError, match=r"needed are a time .*; it has time, flux"):
        read_export(b"time,flux\n1,2\n", "it.csv")


def test_a_column_that_stands_twice_is_refused():
    with pytest.raises(ExportError, match="the column mag twice"):
        read_export(b"mjd,band,mag,MAG\n61000,r,19,19\n", "it.csv")


def test_more_rows_than_allowed_are_refused():
    with pytest.raises(ExportError, match="has 5 rows; at most 4"):
        read_export(*_named("fink.csv"), max_rows=4)
    with pytest.raises(ExportError, match="has 5 rows; at most 4"):
        read_export(*_named("fink.parquet"), max_rows=4)


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (b"mjd,band,mag\n", b"\n"),
        (b"mjd,band,mag\n", b"61000,r,19\n"),
        (b"mjd band mag\r", b"61000 r 19\r"),
        (b"# %ECSV 1.0\n# ---\n", b"61000 r 19\n"),
        (b"[", b"{},"),
        (b"", b'{"mjd": 61000}\n'),
        (b"<VOTABLE><TABLE><DATA><TABLEDATA>", b"<TR></TR>"),
        (b'<VOTABLE><FIELD datatype="double"/><DATA><BINARY><STREAM>', b"AAAAAAAAAAA="),
    ],
)
def test_far_too_many_rows_are_refused_before_they_are_read(head: bytes, row: bytes) -> None:
    with pytest.raises(ExportError, match="far more than 10 rows"):
        read_export(head + row * 1_200, "it", max_rows=10)
    with pytest.raises(ExportError) as told:
        read_export(head + row * 900, "it", max_rows=10)
    assert "far more" not in str(told.value)


def test_columns_that_nobody_asks_for_are_left_out() -> None:
    """Given a wide table, separated by commas or by blanks, then only the columns that a format has are kept."""
    for separator in (",", " "):
        names = separator.join(["mjd", "band", "mag", "comment", *(f"x{number}" for number in range(100))])
        row = separator.join(["61000", "r", "19.5", "fine", *["1"] * 100])
        [sheet] = sheets_of_file(f"{names}\n{row}\n".encode(), "it.csv")
        assert set(sheet.columns) == {"mjd", "band", "mag"}


def test_a_value_may_hold_what_is_no_end_of_a_line() -> None:
    assert list(read_export("oid,mjd,fid,magpsf\na\u2028b,61000,1,19\n".encode(), "it.csv").light_curves) == [
        "a\u2028b"
    ]


def test_several_objects_stay_apart():
    data = b"oid,mjd,fid,magpsf,sigmapsf\na,61000,1,19,0.1\nb,61000,1,18,0.1\na,61001,2,19,0.1\n"
    export = read_export(data, "two.csv")
    assert {name: len(curve) for name, curve in export.light_curves.items()} == {"a": 2, "b": 1}


def _named(name):
    return SAMPLES[name][0], name


def test_points_with_fluxes_are_read_in_their_unit():
    document = (
        b'{"object_id": "x", "unit": "nJy", "points": [{"mjd": 61000, "band": "r", "flux": -10000, "fluxerr": 100}]}'
    )
    [point] = read_export(document, "x.json").light_curves["x"].points
    assert (round(float(point["mag"]), 3), int(point["sign"])) == (21.4, -1)


def test_upper_limits_alone_are_a_light_curve():
    [point] = (
        read_export(b'{"points": [{"mjd": 61000, "band": "r", "diffmaglim": 20.4}]}', "x.json").light_curves["x"].points
    )
    assert point["kind"] == Kind.UPPER_LIMIT


def test_a_parquet_export_is_bounded_before_it_is_unpacked():
    """Given lists of many equal values, which take next to nothing in a file, then they count by their number."""

    def export(length):
        buffer = io.BytesIO()
        history = [[{"jd": 1.0}] * length] * 10
        pq.write_table(pa.table({"objectId": ["a"] * 10, "prv_candidates": history}), buffer)
        return buffer.getvalue()

    small = export(100)
    with pytest.raises(ExportError) as told:  # for another reason
        read_export(small, "a.parquet", max_rows=10)
    assert "unpacks to" not in str(told.value)
    with pytest.raises(WrongFileError, match="column prv_candidates unpacks to more than 40,000 bytes"):
        read_export(export(600), "a.parquet", max_rows=10)


def test_a_band_in_another_case_is_another_band():
    """Gaia's G and OGLE's I are not ZTF's g and i; ANTARES alone writes ZTF's r as R."""
    export = read_export(b"mjd,band,mag\n61000,g,19\n61001,G,18\n61002,R,17\n", "x.csv")
    assert [row.value for row in export.skipped] == ["G", "R"]


def test_what_a_light_curve_says_of_all_its_points_holds_for_each():
    document = b'{"survey": "lsst", "unit": "nJy", "points": [{"mjd": 61000, "band": "y", "flux": 1e4, "fluxerr": 100},'
    document += b' {"mjd": 61001, "band": "y", "mag": 20.5}]}'
    points = read_export(document, "x.json").light_curves["x"].points
    assert points["survey"].tolist() == [1, 1]
    np.testing.assert_allclose(points["mag"], [21.4, 20.5], atol=1e-3)


def test_a_candid_that_lost_its_digits_is_unknown():
    rows = b'[{"mjd": 61000, "fid": 1, "magpsf": 19, "candid": 1.5e18},'
    rows += b' {"mjd": 61001, "fid": 1, "magpsf": 19, "candid": 7}]'
    assert read_export(rows, "x.json").light_curves["x"].points["candid"].tolist() == [0, 7]


def test_a_bad_row_of_an_atlas_table_is_left_out_too():
    export = read_export(ATLAS, "sn.txt")
    assert (export.read_as, len(export.light_curves["sn"])) == ("a table of the ATLAS forced photometry server", 1)
    assert [str(row) for row in export.skipped] == ["row 2: ujy is many, not a number"]
