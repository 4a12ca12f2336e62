import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.photometry import Kind
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
    curves = dict(light_curves(read_points_table(path)))
    assert list(curves) == ["a", "b"]
    assert curves["b"].mjd.tolist() == [1.0, 2.0]
    assert curves["b"].kind.tolist() == [Kind.UPPER_LIMIT, Kind.DETECTION]
    assert curves["b"].points["limit"][0] == np.float32(20.5)
    assert curves["a"].points["sign"][0] == 0


def test_csv_gives_the_same(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("object_id,mjd,band,mag,limit,sign\nx,1.5,g,,20.5,0\nx,2.5,r,19.25,,1\n")
    ((name, curve),) = light_curves(read_points_table(path))
    assert name == "x"
    assert curve.kind.tolist() == [Kind.UPPER_LIMIT, Kind.DETECTION]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"object_id": ["a"], "mjd": [1.0]}, "no column band, mag"),
        ({"object_id": ["a"], "mjd": ["x"], "band": ["g"], "mag": [1.0]}, "column mjd"),
        ({"object_id": ["a"], "mjd": [1.0], "band": ["q"], "mag": [1.0]}, "unknown values q"),
        ({"object_id": ["a"], "mjd": [None], "band": ["q"], "mag": [1.0]}, "column mjd"),
    ],
)
def test_a_bad_table_is_refused_by_the_name_of_its_column(tmp_path, columns, message):
    with pytest.raises(TableError, match=message):
        list(light_curves(read_points_table(write(tmp_path, **columns))))
