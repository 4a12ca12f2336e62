"""Points tables: many objects' photometry in one Parquet or CSV file, a row per point."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.photometry.bands import BAND_CODES, SURVEY_CODES
from service.photometry.lightcurve import Kind, LightCurve

REQUIRED: Final = {"object_id": pa.string(), "mjd": pa.float64(), "band": pa.string(), "mag": pa.float64()}
OPTIONAL: Final = {
    "magerr": pa.float64(),
    "limit": pa.float64(),
    "sign": pa.int8(),
    "magnr": pa.float64(),
    "candid": pa.int64(),
    "survey": pa.string(),
}


class TableError(ValueError):
    """A points table that can't be read; the message names the column."""


def read_points_table(path: Path) -> pa.Table:
    """The known columns of a `.parquet` or `.csv` points table, cast to their types.

    Columns: object_id, mjd [days], band, mag [AB; null = upper limit], and optionally magerr, limit (5-sigma limiting
    magnitude), sign (of the difference; 0 = unknown), magnr, candid, survey (default ztf). Others are left unread.
    Raises TableError.
    """
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path.name} is not a readable {path.suffix[1:]} table: {error}") from error
    return conform_points_table(table, path.name)


def conform_points_table(table: pa.Table, name: str) -> pa.Table:
    """`table` with the known columns alone, in their types. Raises TableError naming `name` and the column."""
    missing = [column for column in REQUIRED if column not in table.column_names]
    if missing:
        raise TableError(f"{name} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    columns = {}
    for column, kind in (REQUIRED | OPTIONAL).items():
        if column in table.column_names:
            try:
                columns[column] = table[column].cast(kind)
            except pa.ArrowException as error:
                raise TableError(f"column {column} of {name} is not {kind}: {error}") from error
    for column in ("object_id", "mjd", "band"):
        if columns[column].null_count:
            raise TableError(f"column {column} of {name} has {columns[column].null_count} empty values")
    return pa.table(columns)


def light_curves(table: pa.Table) -> Iterator[tuple[str, LightCurve]]:
    """(object_id, light curve) of every object of a conformed points table, ordered by object_id.

    A null magnitude makes an upper limit. Points in bands or surveys that are not known raise TableError.
    """
    table = table.sort_by("object_id")
    columns = {name: _numbers(table, name) for name in ("mjd", "mag", "magerr", "limit", "magnr")}
    band = _codes(table, "band", BAND_CODES)
    survey = _codes(table, "survey", SURVEY_CODES) if "survey" in table.column_names else np.zeros(len(table), np.int8)
    sign = _integers(table, "sign", np.int8)
    candid = _integers(table, "candid", np.int64)
    if not np.isfinite(columns["mjd"]).all():
        raise TableError("column mjd has values that are not finite numbers")
    kind = np.where(np.isnan(columns["mag"]), Kind.UPPER_LIMIT, Kind.DETECTION).astype(np.int8)
    ids = table["object_id"].combine_chunks().dictionary_encode()
    codes = ids.indices.to_numpy(zero_copy_only=False)
    edges = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
    names = ids.dictionary.to_pylist()
    for start, stop in pairwise(edges):
        rows = slice(start, stop)
        yield (
            names[codes[start]],
            LightCurve.from_columns(
                columns["mjd"][rows],
                band[rows],
                mag=columns["mag"][rows],
                magerr=columns["magerr"][rows],
                limit=columns["limit"][rows],
                magnr=columns["magnr"][rows],
                sign=sign[rows],
                kind=kind[rows],
                candid=candid[rows],
                survey=survey[rows],
            ),
        )


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    values: NDArray[np.float64] = table[name].to_numpy()  # null becomes NaN
    return values


def _integers(table: pa.Table, name: str, dtype: type[np.signedinteger]) -> NDArray[np.signedinteger]:
    if name not in table.column_names:
        return np.zeros(len(table), dtype)
    values: NDArray[np.signedinteger] = pc.fill_null(table[name], 0).to_numpy().astype(dtype)
    return values


def _codes(table: pa.Table, name: str, codes: dict[str, int]) -> NDArray[np.int8]:
    encoded = table[name].combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    unknown = sorted(str(word) for word in words if word not in codes)
    if unknown:
        raise TableError(f"column {name} has unknown values {', '.join(unknown)}; known are {', '.join(codes)}")
    lookup: NDArray[np.int8] = np.array([codes[word] for word in words], dtype=np.int8)
    values: NDArray[np.int8] = lookup[encoded.indices.to_numpy(zero_copy_only=False)]
    return values
