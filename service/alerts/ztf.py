"""ZTF alert packets, schema versions 1.8 to 4.02 and their re-publications: the fields used and their meaning.

Field meanings: Masci et al. 2019 (PASP 131, 018003), the ZTF alert schema's own `doc` strings and the ZTF forced
photometry guide (Masci et al. 2023, arXiv:2305.16279).
"""

from __future__ import annotations

import math
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from service import metrics
from service.alerts.alert import LONGEST_NAME, UNKNOWN_SIGN, Alert, AlertError, Quality
from service.alerts.projection import (
    MISSING_NUMBER,
    NEGATIVE,
    NO_INTEGER,
    NO_TEXT,
    POSITIVE,
    Cells,
    Field,
    Projection,
    Type,
)
from service.alerts.ztf_context import PACKET_COLUMNS, RULES, fill_context
from service.jit import jit
from service.photometry import BAND_CODES, POINT, SURVEY_CODES, Context, Kind, LightCurve
from service.photometry.context import N_CONTEXT
from service.photometry.flux import AB_ZERO_POINT_UJY, MAG_PER_RELATIVE_FLUX, SMALLEST_FLUX_UJY
from service.photometry.time import JD_OF_MJD_ZERO
from service.photometry.union import LONGEST_INSERTION_SORT, TICKS_PER_DAY, WORDS, choose

PROJECTION: Final = Projection(
    fields=(
        Field("candidate.jd", precise=True),
        Field("candidate.fid"),
        Field("candidate.magpsf"),
        Field("candidate.sigmapsf"),
        Field("candidate.ra"),
        Field("candidate.dec"),
        Field("candidate.diffmaglim"),
        Field("candidate.rb"),
        Field("candidate.drb"),
        Field("candidate.nbad"),
        Field("candidate.fwhm"),
        Field("candidate.elong"),
        Field("candidate.magdiff"),
        # what lies around the object; a packet is not refused for any of these
        *(Field(f"candidate.{name}", Type.IF_A_NUMBER) for name in PACKET_COLUMNS),
        Field("candidate.isdiffpos", Type.SIGN),
        Field("candid", Type.INTEGER),
        Field("candidate.candid", Type.INTEGER),  # some re-publications have it only here
        Field("objectId", Type.TEXT),
        Field("schemavsn", Type.TEXT),
        Field("candidate.drbversion", Type.TEXT),
        Field("publisher", Type.TEXT),
    ),
    # Schema 4 has forced photometry in fp_hists; re-publications as "3.5" have it in prv_candidates.
    tables=("prv_candidates", "fp_hists"),
    columns=(
        Field("jd", precise=True),
        Field("fid"),
        Field("magpsf"),
        Field("sigmapsf"),
        Field("diffmaglim"),
        Field("magnr"),
        Field("forcediffimflux"),
        Field("forcediffimfluxunc"),
        Field("magzpsci"),
        Field("isdiffpos", Type.SIGN),
        Field("procstatus", Type.TEXT),
        Field("candid", Type.INTEGER),
        Field("forcediffimflux", Type.PRESENT),  # distinguishes forced photometry from detections and upper limits
    ),
)

JD, FID, MAGPSF, SIGMAPSF, RA, DEC, DIFFMAGLIM, RB, DRB, NBAD, FWHM, ELONG, MAGDIFF = range(13)
CONTEXT: Final = MAGDIFF + 1  # the first of PACKET_COLUMNS
ISDIFFPOS, CANDID, CANDIDATE_CANDID, OBJECT_ID, SCHEMAVSN, DRBVERSION, PUBLISHER = range(
    CONTEXT + len(PACKET_COLUMNS), len(PROJECTION.fields)
)
SSDISTNR, DISTNR, MAGNR, SIGMAGNR = (
    CONTEXT + PACKET_COLUMNS.index(name) for name in ("ssdistnr", "distnr", "magnr", "sigmagnr")
)
N_READ: Final = 1 + max(MAGDIFF, SSDISTNR, DISTNR, MAGNR, SIGMAGNR)  # numbers of the alert itself, the first of all
(
    ROW_JD, ROW_FID, ROW_MAGPSF, ROW_SIGMAPSF, ROW_DIFFMAGLIM, ROW_MAGNR, ROW_FLUX, ROW_FLUXUNC, ROW_ZERO_POINT,
    ROW_ISDIFFPOS, ROW_PROCSTATUS, ROW_CANDID, ROW_IS_FORCED,
) = range(len(PROJECTION.columns))  # fmt: skip
N_FIELDS: Final = len(PROJECTION.fields)
N_COLUMNS: Final = len(PROJECTION.columns)

# September 2017, just before the camera's first light, to the year 2132; other epochs are damaged.
FIRST_JD: Final = 2458000.0
LAST_JD: Final = 2500000.0
# The same as in service.photometry.columns, repeated because numba's cache does not notice changes in another file.
# ZTF's own marks for "none" are -999 and -99999.
BRIGHTEST: Final = -5.0
FAINTEST: Final = 50.0
LARGEST_MAGERR: Final = 10.0  # mag; a 5-sigma detection has 0.2
LARGEST_FLUX: Final = 1e9  # DN; ZTF saturates near 1e6
NO_FLUX: Final = -99999.0
_LONGEST_VERSION: Final = 40  # characters; it is "4.02"
NO_MAGNITUDE: Final = (-999.0, -99999.0)

# procstatus of usable forced photometry: 0 is clean, 57 only means that the reference image has no source nearby. The
# others mean damaged pixels (56) or no measurement (55, 61): in 1,050 real rows with 61 the flux was always -99999.
USABLE_PROCSTATUS: Final = (0, 57)

# Bounds of a detection's numbers, ends included.
_BOUNDS: Final = (
    (JD, FIRST_JD, LAST_JD),
    (FID, -(2.0**31), 2.0**31),  # any int: known filters are checked separately
    (MAGPSF, BRIGHTEST, FAINTEST),
    (SIGMAPSF, 0.0, LARGEST_MAGERR),
    (RA, 0.0, 360.0),
    (DEC, -90.0, 90.0),
)
_FIDS: Final = (1.0, 2.0, 3.0)  # g, r, i
_G: Final = BAND_CODES["g"]
_R: Final = BAND_CODES["r"]
_I: Final = BAND_CODES["i"]
_ZTF: Final = SURVEY_CODES["ztf"]
_DETECTION: Final = int(Kind.DETECTION)
_UPPER_LIMIT: Final = int(Kind.UPPER_LIMIT)
_FORCED: Final = int(Kind.FORCED)


def alert(cells: Cells) -> Alert:
    """The alert in projected `cells`.

    The detection must be complete and plausible. History rows that are not (unknown filter, damaged number, failed
    forced photometry) are left out: the new detection is useful without them, and earlier packets may have brought them
    undamaged. Rows newer than the detection are left out too, and counted, because a classification must not use later
    data. If a row of the history repeats the detection, the detection is kept.

    Raises AlertError: missing_field, bad_value, unknown_band, naming the field.
    """
    values = cells.values
    number = values[:N_READ].view(np.float64).tolist()
    for field, low, high in _BOUNDS:
        if not low <= number[field] <= high:  # NaN fails too
            _refuse(cells, field, f"between {low:.9g} and {high:.9g}")
    if number[FID] not in _FIDS:
        raise AlertError("unknown_band", f"candidate.fid is {number[FID]:g}; known are 1, 2, 3 for g, r, i")
    candid = int(values[CANDID])
    if candid == NO_INTEGER:
        candid = int(values[CANDIDATE_CANDID])
    if candid == NO_INTEGER:
        raise AlertError("missing_field", "candid is missing")
    if candid <= 0:
        raise AlertError("bad_value", f"candid is {candid}, not a positive number")
    object_id = cells.text(OBJECT_ID)
    if object_id is None:
        raise AlertError("missing_field", "objectId is missing")
    if len(object_id) > LONGEST_NAME:
        raise AlertError("long_name", f"objectId has {len(object_id):,} characters; at most {LONGEST_NAME} are kept")
    if not object_id or not object_id.isascii() or not object_id.isprintable():
        raise AlertError("bad_value", f"objectId is {object_id[:40]!a}, not a name")
    if number[DRB] == 0.0 and cells.text(DRBVERSION) == "":
        number[DRB] = float("nan")  # a default value: the packet was written before this score existed
    light_curve, flags, context = _light_curve(cells, candid)
    mjd = number[JD] - JD_OF_MJD_ZERO
    return Alert(
        "ztf",
        object_id,
        candid,
        mjd,
        number[RA],
        number[DEC],
        light_curve,
        Quality(
            number[RB], number[DRB], number[NBAD], number[FWHM], number[ELONG], number[MAGDIFF], number[SSDISTNR],
            number[DISTNR], number[MAGNR], number[SIGMAGNR],
        ),
        (cells.text(SCHEMAVSN) or "")[:_LONGEST_VERSION],
        flags,
        Context(context, mjd, candid),
    )  # fmt: skip


def warm_up() -> None:
    """Compile the functions that `alert` uses."""
    values = np.concatenate([PROJECTION.empty_fields(), PROJECTION.empty_row()])
    _light_curve(Cells(b"", values, 1), 1)


def _refuse(cells: Cells, field: int, expected: str) -> NoReturn:
    path = PROJECTION.fields[field].path
    if int(cells.values[field]) == MISSING_NUMBER:
        raise AlertError("missing_field", f"{path} is missing")
    value = float(cells.values[field : field + 1].view(np.float64)[0])
    raise AlertError("bad_value", f"{path} is {value:.9g}; it must be {expected}")


def _light_curve(cells: Cells, candid: int) -> tuple[LightCurve, tuple[str, ...], NDArray[np.float32]]:
    """The light curve, flags for what was not understood in it, and the values of the context (N_CONTEXT,)."""
    words = np.empty((1 + cells.n_rows) * WORDS, dtype=np.uint32)
    context = np.empty(N_CONTEXT, dtype=np.float32)
    buffer = np.frombuffer(cells.buffer, dtype=np.uint8)
    count, is_union, odd = _points(buffer, cells.values, cells.n_rows, candid, words, context, RULES)
    flags: tuple[str, ...] = ()
    if odd:  # rarely
        unknown_signs, newer = odd >> 32, odd & 0xFFFFFFFF
        metrics.UNKNOWN_SIGNS.inc(unknown_signs)
        metrics.NEWER_HISTORY.inc(newer)
        flags = (UNKNOWN_SIGN,) if unknown_signs else ()
    points = words[: count * WORDS].view(POINT)
    if not is_union:
        return LightCurve.from_points(points), flags, context
    points.setflags(write=False)
    return LightCurve(points), flags, context


@jit
def _points(buffer, cells, n_rows, candid, words, context, rules):  # type: ignore[no-untyped-def]
    """Fill `words` with points and `context` by `rules`. Returns the number of points, whether they already are
    LightCurve's union, and (number of signs not understood) << 32 | (number of rows left out because they are newer
    than the detection).

    buffer uint8 (bytes,), cells int64 (fields and rows), words uint32 ((1 + n_rows) * 11,), context float32 (C,),
    rules as `fill_context` has them.
    """
    numbers = cells.view(np.float64)
    fill_context(numbers, CONTEXT, numbers[RA], numbers[DEC], rules, context)
    mjd = np.empty(1, np.float64)
    mjd_bits = mjd.view(np.int64)
    mjd[0] = numbers[JD] - JD_OF_MJD_ZERO
    band = _band(numbers[FID])
    sign = _sign(buffer, cells[ISDIFFPOS])
    unknown_signs = 1 if sign == 0 and cells[ISDIFFPOS] != NO_TEXT else 0
    newer = 0
    _write(
        words, 0, mjd_bits[0], candid, numbers[MAGPSF], numbers[SIGMAPSF], _plausible(numbers[DIFFMAGLIM]),
        _plausible(numbers[MAGNR]), band, _DETECTION, sign, candid,
    )  # fmt: skip
    detection_jd = numbers[JD]
    detection_tick = np.rint(mjd[0] * TICKS_PER_DAY)
    detection_band = band
    count = 1
    for row in range(n_rows):
        base = N_FIELDS + row * N_COLUMNS
        jd = numbers[base + ROW_JD]
        band = _band(numbers[base + ROW_FID])
        if not (jd >= FIRST_JD and jd <= LAST_JD) or band < 0:
            continue
        if jd > detection_jd and np.rint((jd - JD_OF_MJD_ZERO) * TICKS_PER_DAY) > detection_tick:
            newer += 1
            continue
        mag = numbers[base + ROW_MAGPSF]
        magerr = numbers[base + ROW_SIGMAPSF]
        limit = _plausible(numbers[base + ROW_DIFFMAGLIM])
        sign = 0
        row_candid = 0
        if cells[base + ROW_IS_FORCED] == 1:
            if not _usable(buffer, cells[base + ROW_PROCSTATUS]):
                continue
            flux = numbers[base + ROW_FLUX]
            fluxerr = numbers[base + ROW_FLUXUNC]
            zero_point = numbers[base + ROW_ZERO_POINT]
            if flux == NO_FLUX or not (abs(flux) < LARGEST_FLUX and fluxerr > 0.0 and fluxerr < LARGEST_FLUX):
                continue
            if not (zero_point > BRIGHTEST and zero_point < FAINTEST):
                continue
            # data numbers to microjansky, then as service.photometry.flux.magnitude_from_flux
            scale = 10.0 ** (-0.4 * (zero_point - AB_ZERO_POINT_UJY))
            size = max(abs(flux * scale), SMALLEST_FLUX_UJY)
            mag = AB_ZERO_POINT_UJY - 2.5 * math.log10(size)
            magerr = MAG_PER_RELATIVE_FLUX * (fluxerr * scale) / size
            sign = -1 if flux < 0.0 else 1
            kind = _FORCED
        elif mag == mag and mag not in NO_MAGNITUDE:
            if not (mag >= BRIGHTEST and mag <= FAINTEST and magerr >= 0.0 and magerr <= LARGEST_MAGERR):
                continue
            sign = _sign(buffer, cells[base + ROW_ISDIFFPOS])
            if sign == 0 and cells[base + ROW_ISDIFFPOS] != NO_TEXT:
                unknown_signs += 1
            row_candid = max(cells[base + ROW_CANDID], 0)
            kind = _DETECTION
        else:  # null, or NaN or -999 from re-publishers whose tables have no null: nothing was detected
            if limit != limit:
                continue
            mag = np.nan
            magerr = np.nan
            kind = _UPPER_LIMIT
        mjd[0] = jd - JD_OF_MJD_ZERO
        if kind == _DETECTION and band == detection_band and np.rint(mjd[0] * TICKS_PER_DAY) == detection_tick:
            continue
        magnr = _plausible(numbers[base + ROW_MAGNR])
        _write(words, count, mjd_bits[0], row_candid, mag, magerr, limit, magnr, band, kind, sign, candid)
        count += 1
    if count > LONGEST_INSERTION_SORT:
        return count, False, unknown_signs << 32 | newer
    points = words[: count * WORDS].copy()
    return choose(points, words), True, unknown_signs << 32 | newer


@jit
def _write(  # type: ignore[no-untyped-def]
    words, point, mjd_bits, candid, mag, magerr, limit, magnr, band, kind, sign, brought_by
):
    """Write a point in the layout of POINT: two words for mjd, two for candid, one per float, one for the codes, then
    two for brought_by.
    """
    floats = words.view(np.float32)
    base = point * WORDS
    words[base] = mjd_bits & 0xFFFFFFFF
    words[base + 1] = mjd_bits >> 32 & 0xFFFFFFFF
    words[base + 2] = candid & 0xFFFFFFFF
    words[base + 3] = candid >> 32 & 0xFFFFFFFF
    floats[base + 4] = mag
    floats[base + 5] = magerr
    floats[base + 6] = limit
    floats[base + 7] = magnr
    words[base + 8] = (band & 0xFF) | (kind & 0xFF) << 8 | (sign & 0xFF) << 16 | _ZTF << 24
    words[base + 9] = brought_by & 0xFFFFFFFF
    words[base + 10] = brought_by >> 32 & 0xFFFFFFFF


@jit
def _plausible(mag):  # type: ignore[no-untyped-def]
    return mag if mag >= BRIGHTEST and mag <= FAINTEST else np.nan


@jit
def _band(fid):  # type: ignore[no-untyped-def]
    if fid == 1.0:
        return _G
    if fid == 2.0:
        return _R
    if fid == 3.0:
        return _I
    return -1


@jit
def _sign(buffer, span):  # type: ignore[no-untyped-def]
    """isdiffpos in any spelling: 1 if brighter than the reference (t, true, 1, +), -1 if fainter (f, false, 0, -1, -),
    0 if missing or unknown. Case does not matter.
    """
    if span < 0:
        return 1 if span == POSITIVE else -1 if span == NEGATIVE else 0
    start = span >> 32
    size = span & 0xFFFFFFFF
    if size == 1:
        letter = buffer[start]
        if letter == ord("t") or letter == ord("1") or letter == ord("+") or letter == ord("T"):
            return 1
        return -1 if letter == ord("f") or letter == ord("0") or letter == ord("-") or letter == ord("F") else 0
    return _sign_of_word(buffer, start, size)


@jit
def _sign_of_word(buffer, start, size):  # type: ignore[no-untyped-def]
    if size == 2 and buffer[start + 1] == ord("1"):
        return 1 if buffer[start] == ord("+") else -1 if buffer[start] == ord("-") else 0
    if size == 4 and _spells(buffer, start, b"true"):
        return 1
    return -1 if size == 5 and _spells(buffer, start, b"false") else 0


@jit
def _spells(buffer, start, word):  # type: ignore[no-untyped-def]
    for index, letter in enumerate(word):
        if buffer[start + index] != letter and buffer[start + index] != letter - 32:  # small or capital
            return False
    return True


@jit
def _usable(buffer, span):  # type: ignore[no-untyped-def]
    """Whether all of procstatus, one number or several with commas between, are in USABLE_PROCSTATUS."""
    if span < 0:
        return False
    start = span >> 32
    end = start + (span & 0xFFFFFFFF)
    number = -1
    for position in range(start, end):
        letter = buffer[position]
        if letter == ord(","):
            if number not in USABLE_PROCSTATUS:
                return False
            number = -1
        elif ord("0") <= letter <= ord("9"):
            number = min(max(number, 0) * 10 + (letter - ord("0")), 1000)
        else:
            return False
    return number in USABLE_PROCSTATUS
