"""Every entrance for columns has the same bounds, and says which column and row breaks them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from service.alerts import ztf
from service.api.bodies import CSV
from service.api.light_curves import parse_light_curves
from service.api.oip import _light_curves
from service.api.oip_tensors import TensorError, decode_request
from service.api.problems import ProblemError
from service.api.tables import parse_table
from service.config import ApiSettings
from service.photometry import Kind, LightCurve
from service.photometry.columns import BOUNDS, ColumnError, codes, points_from_columns
from service.photometry.table import TableError, conform_points_table, light_curves, read_csv

Columns = dict[str, list[Any]]
COLUMNS: Columns = {"mjd": [60310.0, 60311.0], "band": ["g", "r"], "mag": [19.0, 20.0]}


def as_points(columns: Columns) -> LightCurve:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    ((_, curve, _),) = parse_light_curves({"points": rows}, ApiSettings())
    return curve


def as_columns(columns: Columns) -> LightCurve:
    ((_, curve, _),) = parse_light_curves(columns, ApiSettings())
    return curve


def csv(columns: Columns) -> bytes:
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "\n".join(",".join(map(str, row)) for row in rows).encode()


def as_upload(columns: Columns) -> LightCurve:
    ((_, curve, _),), _ = parse_table(csv(columns), CSV, "mag", ApiSettings())
    return curve


def as_file(columns: Columns) -> LightCurve:
    table = read_csv(io.BytesIO(csv({"object_id": ["a", "a"]} | columns)))
    ((_, curve),) = light_curves(conform_points_table(table, "a.csv"), "a.csv")
    return curve


def as_tensors(columns: Columns) -> LightCurve:
    types = {"mjd": "FP64", "band": "BYTES", "sign": "INT8"}
    inputs = [
        {"name": name, "shape": [len(values)], "datatype": types.get(name, "FP32"), "data": values}
        for name, values in columns.items()
    ]
    (curve,) = _light_curves(decode_request(orjson.dumps({"inputs": inputs}), None).inputs, ApiSettings())
    return curve


ENTRANCES = [as_points, as_columns, as_upload, as_file, as_tensors]


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("column", ["mjd", "mag", "magerr"])
def test_a_value_at_a_bound_is_taken_and_one_beyond_refused(
    entrance: Callable[[Columns], LightCurve], column: str
) -> None:
    for bound, beyond in zip(BOUNDS[column], (-1.0, 1.0), strict=True):
        first = COLUMNS.get(column, [0.1])[0]
        values = entrance(COLUMNS | {column: [first, float(bound)]}).points[column]
        assert np.float32(bound) in values.astype(np.float32)
        with pytest.raises((ProblemError, TableError, TensorError)) as refusal:
            entrance(COLUMNS | {column: [first, bound + beyond * max(1.0, abs(bound) / 10)]})
        assert column in str(getattr(refusal.value, "detail", refusal.value)) + getattr(refusal.value, "field", "")


@pytest.mark.parametrize("column", ["limit", "magnr"])
def test_what_only_describes_a_measurement_is_unknown_beyond_its_bounds(column: str) -> None:
    for entrance in (as_upload, as_file, as_tensors):
        values = entrance(COLUMNS | {column: [50.0, -999.0]}).points[column]
        assert (values[0], np.isnan(values[1])) == (50.0, True)
    for entrance in (as_points, as_columns):  # whoever writes JSON by hand is told
        assert entrance(COLUMNS | {column: [50.0, -5.0]}).points[column].tolist() == [50.0, -5.0]
        with pytest.raises(ProblemError, match="less than or equal to 50"):
            entrance(COLUMNS | {column: [50.0, 57.8]})


def test_all_entrances_make_the_same_light_curve() -> None:
    columns = COLUMNS | {"magerr": [0.1, 0.2], "limit": [20.5, 20.0], "sign": [1, -1]}
    curves = [entrance(columns) for entrance in ENTRANCES]
    assert all(curve == curves[0] for curve in curves)
    assert curves[0].n_detections == 2


def test_packets_have_the_same_magnitudes() -> None:
    assert BOUNDS["mag"] == (ztf.BRIGHTEST, ztf.FAINTEST)


def test_an_mjd_must_be_known_and_the_row_is_said() -> None:
    with pytest.raises(ColumnError, match="column mjd has 1 value that is not between 0 and 100000: row 2 has nan"):
        points_from_columns({"mjd": [1.0, np.nan], "band": codes("band", ["g", "r"]), "mag": [19.0, 19.0]})


def test_a_kind_that_contradicts_the_magnitude_is_refused_by_its_row() -> None:
    columns = {"mjd": [1.0, 2.0], "band": [0, 0], "mag": [19.0, None]}
    points = points_from_columns(columns | {"kind": ["forced", None]})
    assert points["kind"].tolist() == [Kind.FORCED, Kind.UPPER_LIMIT]
    with pytest.raises(ColumnError, match="a point of kind forced needs a mag") as refusal:
        points_from_columns(columns | {"kind": [None, "forced"]})
    assert (refusal.value.column, refusal.value.row) == ("kind", 1)


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(ColumnError, match="survey has unknown values panstarrs; known are ztf, lsst, atlas") as refusal:
        codes("survey", ["ztf", "panstarrs"])
    assert refusal.value.row == 1
