"""Context tables: the newest row of each object, in the packets' own columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from service.photometry.context_table import read_context_table
from service.photometry.table import TableError

ROWS = {
    "object_id": ["007", "b", "007", "b"],
    "jd": [2460002.5, 2460001.5, 2460001.5, 2460003.5],
    "candid": [2**62 + 1, 5, 4, 6],
    "sgscore1": [0.25, 0.5, 0.75, 0.125],
    "distnr": [1.5, -999.0, None, 2.5],
    "nmtchps": [3, 0, None, 1],
    "gal_b": [-12.5, 3.0, 3.0, 89.5],
    "schemavsn": ["3.3", "3.3", "3.3", "3.3"],
}


@pytest.fixture(params=["parquet", "csv", "CSV"])
def write(request: pytest.FixtureRequest, tmp_path: Path):
    def write(columns: dict) -> Path:
        path = tmp_path / f"context.{request.param}"
        (pq.write_table if request.param == "parquet" else pyarrow.csv.write_csv)(pa.table(columns), path)
        return path

    return write


def test_the_newest_row_of_each_object_is_taken(write):
    found = read_context_table(write(ROWS))
    assert list(found) == ["007", "b"]
    assert found["007"].known() == {"gal_b": 12.5, "distnr": 1.5, "sgscore1": 0.25, "nmtchps": 3.0}
    assert (found["007"].mjd, found["007"].candid) == (60002.0, 2**62 + 1)
    assert found["b"].known() == {"gal_b": 89.5, "distnr": 2.5, "sgscore1": 0.125, "nmtchps": 1.0}
    backwards = {name: values[::-1] for name, values in ROWS.items()}
    assert read_context_table(write(backwards)) == found


def test_one_row_per_object_needs_no_date_and_any_columns(write):
    found = read_context_table(write({"object_id": ["a", "b"], "ra": [0.0, 192.859508], "dec": [0.0, 27.128336]}))
    assert found["a"].known() == {"gal_b": pytest.approx(60.19, abs=0.01)}
    assert found["b"].known() == {"gal_b": pytest.approx(90.0, abs=1e-4)}
    found = read_context_table(write({"object_id": ["a"], "sgscore1": [0.25], "szmag3": [None]}))
    assert found["a"].known() == {"sgscore1": 0.25}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jd": None}, "several rows of 007, and no column jd"),
        ({"object_id": None}, "has no column object_id"),
        ({"object_id": ["007", "", "b", "c"]}, "column object_id of context.* has 1 empty"),
        ({"sgscore1": ["0.1", "high", "0.2", "0.3"]}, "column sgscore1 of context.* is not double"),
        ({"sgscore1": None, "distnr": None, "nmtchps": None, "gal_b": None}, "no column of context, as gal_b, distnr"),
    ],
)
def test_a_table_that_can_not_be_used_is_refused_by_its_column(write, changes, said):
    columns = {name: values for name, values in (ROWS | changes).items() if values is not None}
    with pytest.raises(TableError, match=said):
        read_context_table(write(columns))


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "context.csv"
    path.write_text("object_id,sgscore1,sgscore1\na,0.1,0.2\n")
    with pytest.raises(TableError, match="column sgscore1 twice"):
        read_context_table(path)
