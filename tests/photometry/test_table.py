import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.photometry import SURVEY_CODES, Kind
from service.photometry.table import TableError, light_curves, read_points_table


def write(tmp_path, **columns):
    path = tmp_path / "points.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_rows_become_one_light_curve_per_object_and_nulls_upper_limits(tmp_path):
    path = write(
        tmp_path,
        object_id=["b", "a", "b"],
        mjd=[2.0, 5.0, 1.0],
        band=["r", "g", "g"],
        mag=[19.0, 20.0, None],
        limit=[None, None, 20.5],
        sign=pa.array([1, None, 0], pa.int8()),
    )
    curves = dict(light_curves(read_points_table(path), path.name))
    assert list(curves) == ["a", "b"]
    assert curves["b"].mjd.tolist() == [1.0, 2.0]
    assert curves["b"].kind.tolist() == [Kind.UPPER_LIMIT, Kind.DETECTION]
    assert curves["b"].points["limit"][0] == np.float32(20.5)
    assert curves["a"].points["sign"][0] == 0


def test_csv_gives_the_same(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("object_id,mjd,band,mag,limit,sign\nx,1.5,g,,20.5,0\nx,2.5,r,19.25,,1\n")
    ((name, curve),) = light_curves(read_points_table(path), path.name)
    assert name == "x"
    assert curve.kind.tolist() == [Kind.UPPER_LIMIT, Kind.DETECTION]


@pytest.mark.parametrize("name", ["007", "1e5", "2018-01-01", "NA", "true", "123456789012345678901"])
def test_a_name_in_a_csv_stays_as_it_is_written(tmp_path, name):
    path = tmp_path / "points.csv"
    path.write_text(f"object_id,mjd,band,mag\n{name},1.5,g,19\n")
    ((found, _),) = light_curves(read_points_table(path), path.name)
    assert found == name


def test_an_upper_limit_has_no_sign_as_in_packets(tmp_path):
    sign = pa.array([1, -1], pa.int8())
    path = write(tmp_path, object_id=["a", "a"], mjd=[1.0, 2.0], band=["g", "g"], mag=[None, 19.0], sign=sign)
    ((_, curve),) = light_curves(read_points_table(path), path.name)
    assert curve.points["sign"].tolist() == [0, -1]


def test_a_depth_or_reference_that_cannot_be_is_unknown_as_in_packets(tmp_path):
    path = write(tmp_path, object_id=["a", "a"], mjd=[1.0, 2.0], band=["g", "r"], mag=[None, 19.0],
                 limit=[57.8, 20.5], magnr=[17.0, -999.0])  # fmt: skip
    ((_, curve),) = light_curves(read_points_table(path), path.name)
    assert np.isnan(curve.points["limit"]).tolist() == [True, False]
    assert np.isnan(curve.points["magnr"]).tolist() == [False, True]


def test_a_point_of_no_survey_is_of_the_default_one(tmp_path):
    path = write(tmp_path, object_id=["a", "a"], mjd=[1.0, 2.0], band=["g", "o"], mag=[19.0, 19.0],
                 survey=[None, "atlas"])  # fmt: skip
    ((_, curve),) = light_curves(read_points_table(path), path.name)
    assert curve.points["survey"].tolist() == [SURVEY_CODES["ztf"], SURVEY_CODES["atlas"]]


def test_a_column_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("object_id,mjd,band,mag,mag\nx,1.5,g,19,20\n")
    with pytest.raises(TableError, match="column mag twice"):
        read_points_table(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"mjd": [60000.0, 2460000.5]},
            r"column mjd .* 1 value that is not between 0 and 100000: row 2 has 2460000\.5",
        ),
        ({"mag": [99.0, 19.0]}, r"column mag .*: row 1 has 99.* empty for an upper limit"),
        ({"mag": [19.0, -999.0]}, r"column mag .*: row 2 has -999"),
        ({"mag": [19.0, float("inf")]}, r"column mag .*: row 2 has inf"),
        ({"magerr": [0.1, -0.1]}, r"column magerr .*: row 2 has -0\.1"),
        ({"sign": pa.array([5, 3], pa.int8())}, r"column sign .* 2 values that are not between -1 and 1: row 1 has 5"),
        ({"candid": [None, -1]}, r"column candid .*: row 2 has -1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_column_and_row(tmp_path, columns, message):
    plain = {"object_id": ["a", "b"], "mjd": [60000.0, 60001.0], "band": ["g", "r"], "mag": [19.0, 20.0]}
    with pytest.raises(TableError, match=message):
        list(light_curves(read_points_table(write(tmp_path, **(plain | columns))), "points.parquet"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"object_id": ["a", ""], "mjd": [1.0, 2.0], "band": ["g", "g"], "mag": [1.0, 1.0]}, "object_id .* 1 empty"),
        ({"object_id": ["a"], "mjd": [1.0]}, "no column band, mag"),
        ({"object_id": ["a"], "mjd": ["x"], "band": ["g"], "mag": [1.0]}, "column mjd"),
        ({"object_id": ["a"], "mjd": [1.0], "band": ["q"], "mag": [1.0]}, "unknown values q"),
        ({"object_id": ["a"], "mjd": [1.0], "band": [""], "mag": [1.0]}, r"unknown values \(empty\); known are g"),
        ({"object_id": ["a"], "mjd": [None], "band": ["q"], "mag": [1.0]}, "column mjd"),
    ],
)
def test_a_bad_table_is_refused_by_the_name_of_its_column(tmp_path, columns, message):
    with pytest.raises(TableError, match=message):
        list(light_curves(read_points_table(write(tmp_path, **columns)), "points.parquet"))
