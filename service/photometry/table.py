"""Points tables: many objects' photometry in one Parquet or CSV file, a row per point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from service.errors import AlertClassifierError
from service.photometry.bands import SURVEYS
from service.photometry.columns import ColumnError, codes, points_from_columns
from service.photometry.lightcurve import LightCurve
from service.photometry.parquet import read_parquet

REQUIRED: Final = {"object_id": pa.string(), "mjd": pa.float64(), "band": pa.string(), "mag": pa.float64()}
OPTIONAL: Final = {
    "magerr": pa.float64(),
    "limit": pa.float64(),
    "sign": pa.int8(),
    "magnr": pa.float64(),
    "candid": pa.int64(),
    "survey": pa.string(),
}
KNOWN: Final = (*REQUIRED, *OPTIONAL, "diffmaglim")
_LONGEST_MESSAGE: Final = 2_000  # a table may have thousands of columns


class TableError(AlertClassifierError, ValueError):
    """A points table that can't be read; the message names the column."""


def read_points_table(path: Path) -> pa.Table:
    """The known columns of a `.parquet` or `.csv` points table, cast to their types.

    Columns: object_id, mjd [days], band, mag [AB; null = upper limit], and optionally magerr, diffmaglim (5-sigma
    limiting magnitude; also by its old name, limit), sign (of the difference; 0 = unknown), magnr, candid, survey
    (default ztf). Others are not read. Raises TableError naming the column, and the row of an impossible value.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table, names = read_parquet(path, KNOWN)
        else:
            table = read_csv(path)
            names = table.column_names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TableError(f"{path.name} is not a readable {path.suffix[1:].lower()} table: {error}") from error
    refuse_missing(REQUIRED, names, path.name)
    table = conform_points_table(table, path.name)
    nameless = pc.sum(pc.equal(table["object_id"], "")).as_py()
    if nameless:
        raise TableError(f"column object_id of {path.name} has {nameless} empty values")
    return table


def read_csv(source: Path | BinaryIO) -> pa.Table:
    """A CSV table without type guessing: names are text, even if they look like a number (007, 1e5) or a null (NA).

    Raises pyarrow's exceptions.
    """
    text = {name: kind for name, kind in (REQUIRED | OPTIONAL).items() if kind == pa.string()}
    return pyarrow.csv.read_csv(source, convert_options=pyarrow.csv.ConvertOptions(column_types=text))


def refuse_twice(columns: Iterable[str], table: pa.Table, name: str) -> None:
    """Raise TableError if one of `columns` occurs more than once, because it is unclear which is meant."""
    for column in columns:
        if table.column_names.count(column) > 1:
            raise TableError(f"{name} has the column {column} twice")


def refuse_missing(columns: Iterable[str], names: Sequence[str], name: str) -> None:
    """Raise TableError if one of `columns` is not among `names`, the columns of a table."""
    missing = [column for column in columns if column not in names]
    if missing:
        raise TableError(f"{name} has no column {', '.join(missing)}; it has {', '.join(names)}"[:_LONGEST_MESSAGE])


def limit_column(table: pa.Table, name: str) -> str:
    """The column of 5-sigma limiting magnitudes: diffmaglim, or its old name limit."""
    if {"diffmaglim", "limit"} <= set(table.column_names):
        raise TableError(f"{name} has the column limit, the old name of diffmaglim, beside it: keep diffmaglim alone")
    return "limit" if "limit" in table.column_names else "diffmaglim"


def conform_points_table(table: pa.Table, name: str) -> pa.Table:
    """`table` with only the known columns, in their types. Raises TableError naming `name` and the column."""
    called = {"limit": limit_column(table, name)}
    refuse_twice(KNOWN, table, name)
    refuse_missing(REQUIRED, table.column_names, name)
    columns = {}
    for column, kind in (REQUIRED | OPTIONAL).items():
        sent = called.get(column, column)
        if sent in table.column_names:
            try:
                columns[column] = table[sent].cast(kind)
                if kind == pa.string():  # a file may say that any bytes are text
                    columns[column] = columns[column].cast(pa.binary()).cast(kind)
            except pa.ArrowException as error:
                raise TableError(f"column {sent} of {name} is not {kind}: {error}") from error
    for column in ("object_id", "mjd", "band"):
        if columns[column].null_count:
            raise TableError(f"column {column} of {name} has {columns[column].null_count} empty values")
    if "survey" in columns:
        known = pc.fill_null(columns["survey"], "")
        columns["survey"] = pc.if_else(pc.equal(known, ""), SURVEYS[0], known)
    return pa.table(columns)


def light_curves(table: pa.Table, name: str = "the table") -> Iterator[tuple[str, LightCurve]]:
    """(object_id, light curve) of every object of a conformed points table, ordered by object_id.

    A null magnitude makes an upper limit, which has no sign; impossible limits and reference magnitudes are unknown.
    Raises TableError naming `name`, column and row of any other impossible value, or unknown band or survey.
    """
    try:
        points = points_from_columns({column: _values(table, column) for column in table.column_names[1:]})
    except ColumnError as error:
        raise TableError(f"column {error.column} of {name} {error.reason}") from error
    order = pc.sort_indices(table, [("object_id", "ascending")]).to_numpy()
    ids = table["object_id"].combine_chunks().take(pa.array(order)).dictionary_encode()
    starts = np.flatnonzero(np.diff(ids.indices.to_numpy(zero_copy_only=False), prepend=-1, append=-1))
    points = points[order]
    for object_id, (start, stop) in zip(ids.dictionary.to_pylist(), pairwise(starts), strict=True):
        yield object_id, LightCurve.from_points(points[start:stop])


def _values(table: pa.Table, column: str) -> NDArray[Any]:
    """A column as numbers: names as their codes, nulls as NaN, or as 0 where the type has none."""
    kind = (REQUIRED | OPTIONAL)[column]
    values: NDArray[Any]
    if kind == pa.string():
        encoded = table[column].combine_chunks().dictionary_encode()
        values = codes(column, encoded.dictionary.to_pylist())[encoded.indices.to_numpy(zero_copy_only=False)]
    else:
        values = (table[column] if kind == pa.float64() else pc.fill_null(table[column], 0)).to_numpy()
    return values
