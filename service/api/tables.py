"""Uploaded points tables: Parquet or CSV, a row per point, magnitudes or fluxes."""

from __future__ import annotations

import io
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from service.alerts.alert import LONGEST_NAME
from service.api import old_names
from service.api.bodies import CSV
from service.api.light_curves import MICROJANSKY, Sent, Unit, check_count, too_many_points
from service.api.problems import ProblemError, invalid
from service.config import ApiSettings
from service.photometry.columns import ColumnError, known
from service.photometry.flux import from_flux
from service.photometry.parquet import Bounds, TooLargeError, TooManyRowsError, read_parquet
from service.photometry.table import (
    KNOWN,
    TableError,
    conform_points_table,
    light_curves,
    limit_column,
    read_csv,
    refuse_missing,
    refuse_twice,
)

# A point has some ten numbers of 8 bytes, and names of up to 200 characters.
_BYTES_PER_POINT: Final = 320
_MOST_COLUMNS: Final = 1_000
_LONGEST_HEADER: Final = 1 << 20

_NAME: Final = "the table"  # in messages: an upload has none


def parse_table(
    body: bytes, media_type: str, unit: Unit, settings: ApiSettings
) -> tuple[list[Sent], dict[str, str] | None]:
    """Every object of an uploaded points table, ordered by object_id; and deprecation headers if it has columns by old
    names.

    Columns as in `service.photometry.table.read_points_table`; if `unit` is a unit of flux, `flux` and `fluxerr`
    replace `mag` and `magerr`. A table without object_id is one light curve, named "". Raises ProblemError 413 above
    the limits of the settings, 422 naming the column.
    """
    try:
        table, names = _read(body, media_type, settings.max_points)
        headers = old_names.DEPRECATION if limit_column(table, _NAME) in old_names.NEW_NAMES else None
        # before columns are added, because the message lists the sender's columns
        refuse_missing(("mjd", "band", "mag") if unit == "mag" else ("mjd", "band"), names, _NAME)
        if "object_id" not in table.column_names:
            table = table.append_column("object_id", pa.array([""] * len(table)))
        if unit != "mag":
            table = _magnitudes(table, unit)
        table = conform_points_table(table, _NAME)
        if len(table) and (longest := pc.max(pc.utf8_length(table["object_id"])).as_py()) > LONGEST_NAME:
            raise TableError(f"column object_id has a value of {longest:,} characters; at most {LONGEST_NAME} are read")
        check_count(pc.count_distinct(table["object_id"]).as_py(), settings)
        return [Sent(object_id, light_curve) for object_id, light_curve in light_curves(table, _NAME)], headers
    except TableError as error:
        raise invalid("body", str(error)) from error


def _read(body: bytes, media_type: str, max_points: int) -> tuple[pa.Table, list[str]]:
    """The table, of a Parquet file only the known columns; and the names of all columns."""
    try:
        if media_type == CSV:
            if body[:_LONGEST_HEADER].partition(b"\n")[0].count(b",") >= _MOST_COLUMNS:
                raise TableError(f"{_NAME} has more than {_MOST_COLUMNS} columns")
            table = read_csv(io.BytesIO(body))
            names = table.column_names
        else:
            table, names = read_parquet(
                body, (*KNOWN, "flux", "fluxerr"), Bounds(max_points, max_points * _BYTES_PER_POINT)
            )
    except TooManyRowsError:
        raise too_many_points(max_points) from None
    except TooLargeError as error:
        raise TableError(f"{_NAME}: {error}") from error
    except TableError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ProblemError(400, "bad-table", f"the body is not a readable {media_type} table: {error}") from error
    if len(table) > max_points:
        raise too_many_points(max_points)
    return table, names


def _magnitudes(table: pa.Table, unit: Unit) -> pa.Table:
    missing = [name for name in ("flux", "fluxerr") if name not in table.column_names]
    if missing:
        raise invalid(missing[0], f"the table has no column {missing[0]}, and unit is {unit}")
    if "mag" in table.column_names:
        raise invalid("mag", f"the table has a column mag, but unit is {unit}: send flux, or set unit to mag")
    limits = limit_column(table, _NAME)
    refuse_twice(("flux", "fluxerr", limits, "sign"), table, _NAME)
    try:
        flux, fluxerr = (table[name].cast(pa.float64()).to_numpy() for name in ("flux", "fluxerr"))
        limit = table[limits].cast(pa.float64()).to_numpy() if limits in table.column_names else flux * float("nan")
        sign = pc.fill_null(table["sign"].cast(pa.int8()), 0).to_numpy() if "sign" in table.column_names else flux * 0
    except pa.ArrowException as error:
        raise invalid("flux", f"flux, fluxerr, {limits} and sign must be numbers: {error}") from error
    try:
        flux, fluxerr = known("flux", flux), known("fluxerr", fluxerr)
    except ColumnError as error:
        raise TableError(f"column {error.column} of {_NAME} {error.reason}") from error
    magerr, signs, mag, limit = from_flux(flux, fluxerr, sign, limit, MICROJANSKY[unit])
    table = table.drop_columns([name for name in ("magerr", "sign", limits) if name in table.column_names])
    # NaN to null: a null magnitude is an upper limit
    for name, values in (("mag", mag), ("magerr", magerr), ("diffmaglim", limit), ("sign", signs)):
        table = table.append_column(name, pa.array(values, from_pandas=True))
    return table
