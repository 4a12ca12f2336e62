"""Bytes of a file -> sheets. The kind of file is told by its first bytes, not by its ending."""

from __future__ import annotations

import io
import re
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from service.exports.documents import sheets_of_document
from service.exports.formats import FORMATS
from service.exports.sheet import ExportError, Sheet, WrongFileError, columns_by_name, sheet_of_rows
from service.photometry.parquet import Bounds, check_pages

# Of a Parquet table, unpacked: rows of light curves have some hundreds, Fink's with their history some thousands.
_BYTES_PER_ROW: Final = 4_000

# First bytes of what people drop here by mistake, and what to say.
_WEB_PAGE: Final = "a web page: perhaps the service answered with an error page"
_NOT_TABLES: Final = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet: save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet: save the table as CSV"),
    (b"\x1f\x8b", "compressed with gzip: unpack it"),
    (b"\x89HDF", "an HDF5 file: save the table as Parquet or CSV"),
    (b"Obj\x01", "an Avro alert packet, not a table"),
    (b"SQLite format 3", "an SQLite database"),
    (b"<!DOCTYPE html", _WEB_PAGE),
    (b"<html", _WEB_PAGE),
)
_KNOWN: Final = frozenset(
    {name for form in FORMATS for name in form.needs}
    | {theirs for form in FORMATS for names in form.names.values() for theirs in names}
    | {name for form in FORMATS for name in form.lacks}
    | {"d:tag", "candidate", "prv_candidates"}
)
# What a row of each kind of text has at least one of, and how many of them a row may have, empty lines included.
_ROW_MARKS: Final = {"lines": ((b"\n", b"\r"), 2), "JSON": ((b"{", b"["), 8), "VOTable": ((b"<TR", b"<tr"), 2)}
_LEAST_BYTES: Final = {b"short": 2, b"int": 4, b"long": 8, b"float": 4, b"double": 8}  # of a VOTable's value
_FEW: Final = 1_000  # marks of any file: headers, comments
_ASTROPY: Final = "needs astropy to be read: pip install 'alert-classifier[astropy]'"


def sheets_of_file(data: bytes, name: str, max_rows: int | None = None) -> list[Sheet]:
    """The sheets in a file called `name`.

    Raises WrongFileError in words, ExportError if it has more than `max_rows` rows.
    """
    start = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise WrongFileError(f"{name} is empty")
    for magic, what in _NOT_TABLES:
        if start.lower().startswith(magic.lower()):
            raise WrongFileError(f"{name} is {what}")
    if start.startswith(b"PAR1"):
        sheets = _parquet(data, name, max_rows)
    elif start.startswith(b"SIMPLE  ="):
        sheets = [_astropy(data, name, "fits")]
    elif start.startswith(b"# %ECSV"):
        _refuse_far_too_many(data, name, "lines", max_rows)
        sheets = [_astropy(data, name, "ascii.ecsv")]
    elif start.startswith((b"<?xml", b"<VOTABLE")):
        _refuse_far_too_many(data, name, "VOTable", max_rows)
        sheets = [_astropy(data, name, "votable")]
    elif start.startswith((b"{", b"[")):
        _refuse_far_too_many(data, name, "JSON", max_rows)
        sheets = _json(data, name)
    else:
        _refuse_far_too_many(data, name, "lines", max_rows)
        sheets = [_text_table(data, name)]
    rows = sum(sheet.length for sheet in sheets)
    if max_rows is not None and rows > max_rows:
        raise ExportError(f"{name} has {rows} rows; at most {max_rows} are read at once")
    return sheets


def _refuse_far_too_many(data: bytes, name: str, kind: str, max_rows: int | None) -> None:
    """Before anything is made of each row: a text of the size of a request can have millions of short ones."""
    if max_rows is None:
        return
    marks, per_row = _ROW_MARKS[kind]
    rows = max(data.count(mark) for mark in marks)
    if kind == "VOTable" and b"<BINARY" in data:  # base64
        width = sum(_LEAST_BYTES.get(each, 1) for each in re.findall(rb"<FIELD[^>]*datatype=.(\w+)", data[:1_000_000]))
        rows = max(rows, len(data) * 3 // 4 // max(width, 1))
    if rows > per_row * max_rows + _FEW:
        raise ExportError(f"{name} has far more than {max_rows} rows; at most {max_rows} are read at once")


def _parquet(data: bytes, name: str, max_rows: int | None) -> list[Sheet]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        if max_rows is not None and file.metadata.num_rows > max_rows:
            raise ExportError(f"{name} has {file.metadata.num_rows} rows; at most {max_rows} are read at once")
        columns = [column for column in file.schema_arrow.names if column.lower() in _KNOWN]
        if max_rows is not None:
            check_pages(data, columns, Bounds(max_rows, max_rows * _BYTES_PER_ROW))
        table = file.read(columns=columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, ExportError):
            raise
        raise WrongFileError(f"{name} is not a readable Parquet file: {error}") from error
    if "candidate" in columns:  # Fink's data transfer: whole alerts in rows (fink-client's `fink_datatransfer`)
        return _alerts(table.to_pylist())
    names = file.schema_arrow.names
    return [_sheet(names, {names.index(column): table[column].to_pylist() for column in columns}, name)]


def _alerts(alerts: list[dict[str, Any]]) -> list[Sheet]:
    """Alerts with nested records: one row per candidate and per candidate of the history."""
    rows = [
        {"objectId": alert.get("objectId"), **row}
        for alert in alerts
        for row in (*(alert.get("prv_candidates") or ()), alert["candidate"])
        if row
    ]
    return [sheet_of_rows(rows, read_as="alerts of Fink's data transfer")]


def _json(data: bytes, name: str) -> list[Sheet]:
    try:
        return sheets_of_document(orjson.loads(data), name)
    except orjson.JSONDecodeError as whole:
        lines = [line for line in data.splitlines() if line.strip()]
        documents = []
        for number, line in enumerate(lines, 1):
            try:
                documents.append(orjson.loads(line))
            except orjson.JSONDecodeError as error:
                where = f"line {number}: {error}" if number > 1 else str(whole)
                raise WrongFileError(f"{name} is not JSON: {where}") from error
        return sheets_of_document(documents, name)


def _astropy(data: bytes, name: str, form: str) -> Sheet:
    what = {"fits": "a FITS file", "ascii.ecsv": "an ECSV table", "votable": "a VOTable"}[form]
    try:
        from astropy.table import Table  # heavy, and an extra
    except ImportError:
        raise WrongFileError(f"{name} is {what}, which {_ASTROPY}") from None
    if form == "fits" and b"BINTABLE" not in data and b"'TABLE" not in data:
        raise WrongFileError(f"{name} is a FITS image; light curves are read from FITS tables")
    try:
        table = Table.read(io.BytesIO(data), format=form)
        return Sheet(columns_by_name(table.colnames, [_plain(table[column]) for column in table.colnames], name))
    except Exception as error:  # astropy raises whatever its readers meet
        raise WrongFileError(f"{name} is {what} that can't be read: {str(error).strip()[:300]}") from error


def _plain(column: Any) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in column.tolist()]


def _text_table(data: bytes, name: str) -> Sheet:
    """CSV with commas, semicolons, tabs or spaces; comments with # before the header; a header that is a comment."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\x00" in data[:4096]:
            raise WrongFileError(f"{name} is a binary file of a kind that is not known here") from None
        text = data.decode("latin-1")
    if "\x00" in text[:4096]:
        raise WrongFileError(f"{name} is a binary file of a kind that is not known here")
    # not splitlines, to which other characters end a line too
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    # the header of ATLAS's server is a comment with three marks
    first = next((number for number, line in enumerate(lines) if _is_content(line) or line.startswith("###")), None)
    if first is None:
        raise WrongFileError(f"{name} has no header and no rows")
    header, body = lines[first], [line for line in lines[first + 1 :] if _is_content(line)]
    if body and len(body[0].split()) == len(header.split()) > 1 and not _separator(body[0]):
        names = [
            field.strip().strip(",") for field in header.lstrip("#").split()
        ]  # the ZTF service: commas in the header
        return _sheet_of_lines(names, body, name)
    separator = _separator(header)
    if separator is None:
        return _sheet_of_lines(header.lstrip("#").split(), body, name)
    options = pyarrow.csv.ParseOptions(delimiter=separator)
    names = [field.strip().strip('"') for field in header.split(separator)]
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO("\n".join([header, *body]).encode()),
            parse_options=options,
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowException as error:
        raise WrongFileError(f"{name} is not a readable table: {error}") from error
    values = {place: table.column(place).to_pylist() for place in _wanted(table.column_names)}
    return _sheet(table.column_names, values, name)


def _sheet_of_lines(names: list[str], lines: list[str], name: str) -> Sheet:
    """Columns separated by blanks."""
    values: dict[int, list[str]] = {place: [] for place in _wanted(names)}
    for number, line in enumerate(lines, 1):
        row = line.split()
        if len(row) != len(names):
            raise WrongFileError(f"{name}: row {number} has {len(row)} values for {len(names)} columns")
        for place, column in values.items():
            column.append(row[place])
    return _sheet(names, values, name)


def _wanted(names: list[str]) -> list[int]:
    """The places of the columns that any format has: what a wide table has besides costs no memory."""
    return [place for place, name in enumerate(names) if name.strip().lower() in _KNOWN]


def _sheet(names: list[str], values: dict[int, list[Any]], file: str) -> Sheet:
    """Of the columns at these places."""
    columns = columns_by_name([names[place] for place in values], list(values.values()), file)
    return Sheet(columns, all_names=tuple(name.strip().lower() for name in names))


def _separator(line: str) -> str | None:
    return next((mark for mark in (",", ";", "\t") if mark in line), None)


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")
