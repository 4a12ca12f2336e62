"""Context tables: what is known of many objects' surroundings, in one Parquet or CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.photometry.context import CONTEXT_COLUMNS, Context, context_values, newest
from service.photometry.table import TableError, read_table, refuse_missing, refuse_twice
from service.photometry.time import JD_OF_MJD_ZERO

_ALERT: Final = {"jd": pa.float64(), "candid": pa.int64(), "ra": pa.float64(), "dec": pa.float64()}


def read_context_table(path: Path) -> dict[str, Context]:
    """object_id -> the newest context in a `.parquet` or `.csv` table.

    Columns: object_id and any of CONTEXT_COLUMNS, as they stand in packets (-999 and nulls: see `context_values`), and
    optionally jd [days] and candid of the alert, by which the newest of an object's rows is chosen, and ra, dec [deg],
    from which the galactic latitude follows where there is no gal_b. Others are not read. Raises TableError naming the
    column, or the object that has several rows and no jd.
    """
    name = path.name
    table, names = read_table(path, ["object_id", *_ALERT, *CONTEXT_COLUMNS])
    refuse_missing(["object_id"], names, name)
    known = [column for column in CONTEXT_COLUMNS if column in table.column_names]
    refuse_twice(["object_id", *_ALERT, *known], table, name)
    if not known and not {"ra", "dec"} <= set(table.column_names):
        raise TableError(f"{name} has no column of context, as {', '.join(CONTEXT_COLUMNS[:4])}, ...")
    numbers = {column: _numbers(table, column, name) for column in (*_ALERT, *known) if column in table.column_names}
    values = context_values(numbers, len(table))
    mjd = numbers["jd"] - JD_OF_MJD_ZERO if "jd" in numbers else np.zeros(len(table))
    candid = numbers.get("candid", np.zeros(len(table), dtype=np.int64))
    found: dict[str, Context] = {}
    rows = zip(_names(table, name), values, np.nan_to_num(mjd).tolist(), candid.tolist(), strict=True)
    for object_id, row, epoch, number in rows:
        before = found.get(object_id)
        if before is not None and "jd" not in numbers:
            raise TableError(f"{name} has several rows of {object_id}, and no column jd that says which is the newest")
        context = Context(row, epoch, number)
        found[object_id] = context if before is None else newest(before, context)
    return found


def _names(table: pa.Table, name: str) -> list[str]:
    names: list[str | None] = table["object_id"].cast(pa.string()).to_pylist()
    empty = sum(not each for each in names)
    if empty:
        raise TableError(f"column object_id of {name} has {empty} empty values")
    return [each for each in names if each]


def _numbers(table: pa.Table, column: str, name: str) -> NDArray[Any]:
    """A column as float64, nulls as NaN; candid as int64, nulls as 0."""
    kind = _ALERT.get(column, pa.float64())
    try:
        values = table[column].cast(kind)
    except pa.ArrowException as error:
        raise TableError(f"column {column} of {name} is not {kind}: {error}") from error
    numbers: NDArray[Any] = (pc.fill_null(values, 0) if kind == pa.int64() else values).to_numpy()
    return numbers
