"""Points tables: many objects' photometry in one Parquet or CSV file, a row per point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.errors import AlertClassifierError
from service.photometry.bands import BAND_CODES, SURVEY_CODES, SURVEYS
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

# Modified Julian dates from 1858 to 2132: a Julian date given by mistake (2.46 million) is refused, not misread.
MJD_BOUNDS: Final = (0, 100_000)
# Forced photometry of an empty place has a magnitude near 46 and an error without bound.
MAGNITUDE_BOUNDS: Final = (-5, 50)
MAGNITUDE_ERROR_BOUNDS: Final = (0, 1e30)

# Outside of these a value is a mark for "none" (99, -999) or of another kind, and would be classified as it stands.
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "mjd": MJD_BOUNDS,
    "mag": MAGNITUDE_BOUNDS,
    "magerr": MAGNITUDE_ERROR_BOUNDS,
    "sign": (-1, 1),
    "candid": (0, 2**63 - 1),
}
_HINTS: Final = {
    "mjd": "; a modified Julian date is the Julian date less 2400000.5",
    "mag": "; leave it empty for an upper limit",
}
# What only describes a measurement is unknown where it can't be, as in packets.
_DESCRIBING: Final = ("limit", "magnr")


class TableError(AlertClassifierError, ValueError):
    """A points table that can't be read; the message names the column."""


def read_points_table(path: Path) -> pa.Table:
    """The known columns of a `.parquet` or `.csv` points table, cast to their types.

    Columns: object_id, mjd [days], band, mag [AB; null = upper limit], and optionally magerr, diffmaglim (5-sigma
    limiting magnitude; also by its old name, limit), sign (of the difference; 0 = unknown), magnr, candid, survey
    (default ztf). Others are left unread.
    Raises TableError naming the column, and the row where a value can't be.
    """
    try:
        table = pq.read_table(path) if path.suffix.lower() == ".parquet" else read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path.name} is not a readable {path.suffix[1:].lower()} table: {error}") from error
    table = plausible(conform_points_table(table, path.name), path.name)
    nameless = pc.sum(pc.equal(table["object_id"], "")).as_py()
    if nameless:
        raise TableError(f"column object_id of {path.name} has {nameless} empty values")
    return table


def read_csv(source: Path | BinaryIO) -> pa.Table:
    """A CSV table as it is written: names are text, also those that look like a number (007, 1e5) or a null (NA).

    Raises pyarrow's exceptions.
    """
    text = {name: kind for name, kind in (REQUIRED | OPTIONAL).items() if kind == pa.string()}
    return pyarrow.csv.read_csv(source, convert_options=pyarrow.csv.ConvertOptions(column_types=text))


def plausible(table: pa.Table, name: str) -> pa.Table:
    """A conformed points table without limits and reference magnitudes that can't be.

    Raises TableError naming `name`, column and row where a measurement can't be.
    """
    for column, bounds in _BOUNDS.items():
        if column in table.column_names:
            refuse_outside(bounds, table[column].to_numpy(), column, name)
    low, high = MAGNITUDE_BOUNDS
    for column in _DESCRIBING:
        if column in table.column_names:
            values = table[column].to_numpy()
            known = np.where((values >= low) & (values <= high), values, np.nan)
            table = table.set_column(table.column_names.index(column), column, pa.array(known, from_pandas=True))
    return table


def refuse_twice(columns: Iterable[str], table: pa.Table, name: str) -> None:
    """Raise TableError where one of `columns` stands more than once: which one is meant can't be known."""
    for column in columns:
        if table.column_names.count(column) > 1:
            raise TableError(f"{name} has the column {column} twice")


def refuse_outside(bounds: tuple[float, float], values: NDArray[Any], column: str, name: str) -> None:
    """Raise TableError where known `values` (n,) of a column lie outside of `bounds`, ends included."""
    low, high = bounds
    wrong = np.flatnonzero((values < low) | (values > high))  # NaN, unknown, is neither
    if len(wrong):
        count = "1 value that is" if len(wrong) == 1 else f"{len(wrong)} values that are"
        row = int(wrong[0])
        raise TableError(
            f"column {column} of {name} has {count} not between {low:.15g} and {high:.15g}:"
            f" row {row + 1} has {values[row]:.15g}{_HINTS.get(column, '')}"
        )


def refuse_missing(columns: Iterable[str], table: pa.Table, name: str) -> None:
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise TableError(f"{name} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")


def limit_column(table: pa.Table, name: str) -> str:
    """The column of 5-sigma limiting magnitudes: diffmaglim, or limit as it was called before."""
    if {"diffmaglim", "limit"} <= set(table.column_names):
        raise TableError(f"{name} has the column limit, the old name of diffmaglim, beside it: keep diffmaglim alone")
    return "limit" if "limit" in table.column_names else "diffmaglim"


def conform_points_table(table: pa.Table, name: str) -> pa.Table:
    """`table` with the known columns alone, in their types. Raises TableError naming `name` and the column."""
    called = {"limit": limit_column(table, name)}
    refuse_twice([*REQUIRED, *OPTIONAL, "diffmaglim"], table, name)
    refuse_missing(REQUIRED, table, name)
    columns = {}
    for column, kind in (REQUIRED | OPTIONAL).items():
        sent = called.get(column, column)
        if sent in table.column_names:
            try:
                columns[column] = table[sent].cast(kind)
            except pa.ArrowException as error:
                raise TableError(f"column {sent} of {name} is not {kind}: {error}") from error
    for column in ("object_id", "mjd", "band"):
        if columns[column].null_count:
            raise TableError(f"column {column} of {name} has {columns[column].null_count} empty values")
    if "survey" in columns:
        known = pc.fill_null(columns["survey"], "")
        columns["survey"] = pc.if_else(pc.equal(known, ""), SURVEYS[0], known)
    return pa.table(columns)


def light_curves(table: pa.Table) -> Iterator[tuple[str, LightCurve]]:
    """(object_id, light curve) of every object of a conformed points table, ordered by object_id.

    A null magnitude makes an upper limit, which has no sign. Points in bands or surveys that are not known raise
    TableError.
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
    unknown = sorted(str(word) or "(empty)" for word in words if word not in codes)
    if unknown:
        raise TableError(f"column {name} has unknown values {', '.join(unknown)}; known are {', '.join(codes)}")
    lookup: NDArray[np.int8] = np.array([codes[word] for word in words], dtype=np.int8)
    values: NDArray[np.int8] = lookup[encoded.indices.to_numpy(zero_copy_only=False)]
    return values
