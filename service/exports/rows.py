"""Rows of a recognised sheet -> points. A row that can't be read is left out and told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.alerts.atlas import Exposures
from service.alerts.ztf import USABLE_PROCSTATUS
from service.exports.formats import Format
from service.exports.sheet import ExportError, Sheet
from service.photometry.bands import BAND_CODES, SURVEY_CODES
from service.photometry.columns import BOUNDS, KIND_NAMES, points_from_columns
from service.photometry.flux import AB_ZERO_POINT_UJY, from_flux
from service.photometry.time import JD_OF_MJD_ZERO

# What stands for "no value" in exports: packets write -999, text tables write words.
_NO_NUMBER: Final = frozenset({"", "null", "none", "nan", "na", "n/a", "--", "-", "masked"})
_NO_VALUE: Final = -999.0

# The number of ZTF's filter, IRSA's codes, names with the survey in front. In their own case: Gaia's G is not ZTF's g.
BAND_SPELLINGS: Final = BAND_CODES | {
    prefix + name: BAND_CODES[letter]
    for prefix, names in (("", "123"), ("z", "gri"), ("ZTF_", "gri"), ("ztf", "gri"), ("ztf_", "gri"))
    for name, letter in zip(names, "gri", strict=True)
}
SIGN_SPELLINGS: Final = {
    spelling: sign
    for sign, spellings in ((1, "t T true True TRUE 1 +1 +"), (-1, "f F false False FALSE 0 -1 -"))
    for spelling in spellings.split()
}
_SURVEYS: Final = SURVEY_CODES | {"1": 0, "2": 0, "4": 1}  # the numbers are ANTARES' ant_survey

_USABLE: Final = frozenset(str(code) for code in USABLE_PROCSTATUS)  # as in the forced photometry of packets


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row (counted from 1, without the header) that was left out: `column` has `value`, and why that is wrong."""

    row: int
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.column} is {self.value or 'empty'}, {self.reason}"


class _Reader:
    """Reads columns of one sheet, remembering the first fault of each row."""

    def __init__(self, sheet: Sheet, form: Format) -> None:
        self.sheet, self.form = sheet, form
        self.faults: dict[int, SkippedRow] = {}

    def column(self, ours: str) -> tuple[str, Sequence[Any]] | None:
        for theirs in self.form.names.get(ours, ()):
            if theirs in self.sheet.columns:
                return theirs, self.sheet.columns[theirs]
        return None

    def numbers(self, ours: str, bounds: tuple[float, float] | None = None) -> NDArray[np.float64] | None:
        """A column as float64 with NaN for no value; None if the table has no such column."""
        found = self.column(ours)
        if found is None:
            return None
        name, values = found
        numbers = np.array([self._number(name, row, value) for row, value in enumerate(values)], dtype=np.float64)
        if bounds is not None:
            for row in np.flatnonzero((numbers < bounds[0]) | (numbers > bounds[1])).tolist():
                self.fault(row, name, values[row], f"not between {bounds[0]:.15g} and {bounds[1]:.15g}")
        return numbers

    def codes(self, ours: str, code_of: dict[str, int], missing: int | None = None) -> NDArray[np.int64] | None:
        """A column of names as codes; an empty one is `missing`, or a fault if that is None."""
        found = self.column(ours)
        if found is None:
            return None
        name, values = found
        codes = np.zeros(len(values), dtype=np.int64)
        for row, value in enumerate(values):
            text = _text(value)
            if missing is not None and text.lower() in _NO_NUMBER - {"-"}:
                codes[row] = missing
            elif text in code_of:
                codes[row] = code_of[text]
            else:
                self.fault(row, name, value, f"not one of {', '.join(dict.fromkeys(code_of))}")
        return codes

    def integers(self, ours: str) -> NDArray[np.int64] | None:
        """A column of identifiers; what is no positive whole number counts as unknown, 0."""
        found = self.column(ours)
        if found is None:
            return None
        return np.array([_integer(value) for value in found[1]], dtype=np.int64)

    def fault(self, row: int, column: str, value: Any, reason: str) -> None:
        self.faults.setdefault(row, SkippedRow(row + 1, column, _text(value)[:60], reason))

    def _number(self, name: str, row: int, value: Any) -> float:
        if value is None or value is np.ma.masked:
            return math.nan
        try:
            number = float(value)
        except (TypeError, ValueError):
            if _text(value).lower() not in _NO_NUMBER:
                self.fault(row, name, value, "not a number")
            return math.nan
        return math.nan if number == _NO_VALUE or math.isinf(number) else number


def _text(value: Any) -> str:
    if value is None or value is np.ma.masked:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _integer(value: Any) -> int:
    if isinstance(value, float) and abs(value) > 2**53:  # digits are lost: better none than another alert's
        return 0
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return number if 0 < number < 2**63 else 0


def points_of_sheet(
    sheet: Sheet, form: Format, name: str
) -> tuple[list[tuple[str, NDArray[np.void]]], list[SkippedRow]]:
    """((object_id, points of dtype POINT) in order of first appearance, rows left out).

    Raises ExportError if the table holds total magnitudes, or if no row can be read.
    """
    if form.photometry == "total":
        raise ExportError(
            f"{name} is {form.read_as}: its magnitudes are of all the light of a source, but the models here were"
            " trained on difference photometry, which alerts carry. Send the object's alerts (from any broker) or"
            " forced difference photometry instead"
        )
    reader = _Reader(sheet, form)
    if form.photometry == "atlas":
        return _atlas(reader, name)
    columns = _difference(reader) if form.photometry == "difference" else _fluxes(reader)
    mjd = reader.numbers("mjd", BOUNDS["mjd"])
    if mjd is None or (form.names.get("jd") and reader.column("jd") and np.isnan(mjd).all()):
        jd = reader.numbers("jd", (JD_OF_MJD_ZERO, JD_OF_MJD_ZERO + BOUNDS["mjd"][1]))
        mjd = None if jd is None else jd - JD_OF_MJD_ZERO
    band = reader.codes("band", BAND_SPELLINGS | {name: BAND_CODES[letter] for name, letter in form.bands.items()})
    if mjd is None or band is None:
        raise ExportError(f"{name} has no column {'of time (mjd or jd)' if mjd is None else 'band, fid or filter'}")
    time_name = (reader.column("mjd") or reader.column("jd") or ("mjd", ()))[0]
    for row in np.flatnonzero(np.isnan(mjd)).tolist():
        reader.fault(row, time_name, None, "and a point needs a time")
    survey = reader.codes("survey", _SURVEYS, missing=0)
    columns |= {"mjd": mjd, "band": band.astype(np.int8)}
    if survey is not None:
        columns["survey"] = survey.astype(np.int8)
    kind = reader.column("kind")
    if kind is not None:
        columns["kind"] = _kinds(reader, kind, columns["mag"])
    candid = reader.integers("candid")
    if candid is not None:
        columns["candid"] = candid
    kept = np.array([row for row in range(sheet.length) if row not in reader.faults], dtype=np.int64)
    faults = [reader.faults[row] for row in sorted(reader.faults)]
    if not len(kept):
        raise ExportError(f"{name} has no row that can be read" + (f"; {faults[0]}" if faults else ""))
    points = points_from_columns({key: np.asarray(values)[kept] for key, values in columns.items()})
    return _by_object(reader, points, kept), faults


def _kinds(reader: _Reader, found: tuple[str, Sequence[Any]], mag: NDArray[np.float64]) -> NDArray[np.object_]:
    """Names of kinds, None where mag tells it."""
    name, values = found
    kinds = np.array([_text(value).lower() or None for value in values], dtype=object)
    for row, kind in enumerate(kinds):
        if kind is None:
            continue
        if kind not in KIND_NAMES:
            reader.fault(row, name, values[row], f"not one of {', '.join(KIND_NAMES)}")
        elif (kind == "upper_limit") != bool(np.isnan(mag[row])):
            reader.fault(row, name, values[row], "but an upper limit has no mag, and every other kind has one")
    return kinds


def _difference(reader: _Reader) -> dict[str, Any]:
    """Columns of magnitudes of the absolute difference flux. A row without a magnitude is an upper limit."""
    mag = reader.numbers("mag", BOUNDS["mag"])
    if mag is None:
        mag = np.full(reader.sheet.length, np.nan)
    columns: dict[str, Any] = {"mag": mag}
    for ours in ("magerr", "limit", "magnr"):
        numbers = reader.numbers(ours, BOUNDS["magerr"] if ours == "magerr" else None)
        if numbers is not None:
            columns[ours] = numbers
    sign = reader.codes("sign", SIGN_SPELLINGS, missing=0)
    if sign is not None:
        columns["sign"] = sign.astype(np.int8)
    survey = reader.column("survey")
    if survey is not None and survey[0] == "ant_survey":  # a limit's ant_mag repeats its limiting magnitude
        columns["mag"] = np.where([_text(value) == "2" for value in survey[1]], np.nan, mag)
    tag = reader.sheet.columns.get("d:tag")
    if tag is not None:
        columns["mag"] = np.where([_text(value) == "upperlim" for value in tag], np.nan, mag)
    return columns


def _fluxes(reader: _Reader) -> dict[str, Any]:
    """Columns of difference fluxes with a zero point per row: below 5 sigma an upper limit, else a detection, which is
    what the models read.
    """
    flux, fluxerr = reader.numbers("flux"), reader.numbers("fluxerr")
    zero_point = reader.numbers("zero_point", (0.0, 60.0))
    assert flux is not None  # the format needs all three
    assert fluxerr is not None
    assert zero_point is not None
    for row in np.flatnonzero(np.isnan(flux) | ~(fluxerr > 0) | np.isnan(zero_point)).tolist():
        name, values = reader.column("flux") or ("flux", ())
        reader.fault(row, name, values[row], "which with its error and zero point is no measurement")
    status = reader.column("procstatus")
    for row, value in enumerate(status[1] if status else ()):
        if not set(_text(value).split(",")) <= _USABLE:
            reader.fault(row, "procstatus", value, "which says that the measurement is not to be used")
    with np.errstate(invalid="ignore"):
        magerr, sign, mag, limit = from_flux(
            flux, fluxerr, np.zeros(len(flux), np.int8), np.full(len(flux), np.nan),
            10.0 ** (-0.4 * (zero_point - AB_ZERO_POINT_UJY)),
        )  # fmt: skip
    columns = {"mag": mag, "magerr": magerr, "limit": limit, "sign": sign}
    magnr = reader.numbers("magnr")
    return columns if magnr is None else columns | {"magnr": magnr}


def _atlas(reader: _Reader, name: str) -> tuple[list[tuple[str, NDArray[np.void]]], list[SkippedRow]]:
    """The exposures that the reader of ATLAS photometry keeps, and the rows that can't be read."""
    columns = {ours: reader.numbers(ours) for ours in ("mjd", "flux", "fluxerr", "chi_n", "sky", "error_code")}
    band = reader.column("band")
    assert band is not None  # the format needs all of these
    kept = [row for row in range(reader.sheet.length) if row not in reader.faults]
    faults = [reader.faults[row] for row in sorted(reader.faults)]
    if not kept:
        raise ExportError(f"{name} has no row that can be read" + (f"; {faults[0]}" if faults else ""))
    mjd, flux, error, chi_n, sky, error_code = (np.asarray(column)[kept] for column in columns.values())
    exposures = Exposures(
        mjd=mjd,
        band=np.array([_text(band[1][row]) for row in kept], dtype=np.str_),
        flux=flux,
        error=error,
        chi_n=chi_n,
        sky=sky,
        error_code=error_code,
    )
    return [(reader.sheet.object_id, exposures.light_curve().points)], faults


def _by_object(
    reader: _Reader, points: NDArray[np.void], kept: NDArray[np.int64]
) -> list[tuple[str, NDArray[np.void]]]:
    found = reader.column("object_id")
    names = [_text(found[1][row]) if found else "" for row in kept]
    rows: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        rows.setdefault(name or reader.sheet.object_id, []).append(place)
    return [(name, points[places]) for name, places in rows.items()]
