"""The light curve of a Rubin packet, compiled: a packet brings up to two thousand measurements of a year.

Fields and units: https://sdm-schemas.lsst.io/apdb.html. Fluxes are difference fluxes of a point source in nanojansky,
signed; epochs the middle of the exposure in TAI.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service import metrics
from service.alerts.projection import Cells, Field, Type
from service.jit import jit, jit_inline
from service.photometry import BAND_CODES, POINT, SURVEY_CODES, Kind, LightCurve
from service.photometry.flux import DETECTION_SIGMA, MAG_PER_RELATIVE_FLUX
from service.photometry.tai import OFFSETS, STARTS
from service.photometry.union import LONGEST_INSERTION_SORT, TICKS_PER_DAY, WORDS, choose, is_two_runs

TABLES: Final = ("prvDiaSources", "prvDiaForcedSources")
COLUMNS: Final = (
    Field("midpointMjdTai", precise=True),
    Field("psfFlux"),
    Field("psfFluxErr"),
    Field("templateFlux"),
    Field("scienceFlux"),
    Field("timeWithdrawnMjdTai"),
    Field("band", Type.TEXT),
    Field("diaSourceId", Type.INTEGER),
    Field("psfFlux_flag", Type.BOOLEAN),
    Field("diaForcedSourceId", Type.PRESENT),  # distinguishes forced photometry from detections
)
(
    ROW_TIME, ROW_FLUX, ROW_ERROR, ROW_TEMPLATE, ROW_SCIENCE, ROW_WITHDRAWN, ROW_BAND, ROW_SOURCE_ID, ROW_FLAG,
    ROW_IS_FORCED,
) = range(len(COLUMNS))  # fmt: skip
N_COLUMNS: Final = len(COLUMNS)

# The sample images of the pipeline's developers were taken from 2014 on; 1e5 is the year 2132.
FIRST_MJD: Final = 56_000.0
LAST_MJD: Final = 99_999.5
# 10 jansky are 6.4 mag; Rubin saturates near 16 mag.
LARGEST_FLUX: Final = 1e10
# mag; a detection with a larger one has a flux of a tenth of its error. Real packets have such: the detection was made
# on the image smoothed by the PSF, and where source and template lie side by side the fit finds nothing.
LARGEST_MAGERR: Final = 10.0
# The same as in service.photometry.columns: magnitudes outside are no measurements.
BRIGHTEST: Final = -5.0
FAINTEST: Final = 50.0

_BANDS: Final = np.array([BAND_CODES[name] for name in "ugrizy"], dtype=np.int64)
_LETTERS: Final = np.frombuffer(b"ugrizy", dtype=np.uint8)
_LSST: Final = SURVEY_CODES["lsst"]
_DETECTION: Final = int(Kind.DETECTION)
_UPPER_LIMIT: Final = int(Kind.UPPER_LIMIT)
_FORCED: Final = int(Kind.FORCED)
_IN_A_PACKET: Final = 1  # `brought_by` of what no alert was made for: later than what came without a packet


def light_curve(cells: Cells, first: int, newest: NDArray[np.float64], candid: int, zero_point: float) -> LightCurve:
    """The detection and its history.

    `first`: cell of the first row. `newest` (5,): the detection's epoch [MJD, TAI], flux, error and template flux, and
    the code of its band. `zero_point` [mag]: of the flux 1.

    - A row is left out if it is withdrawn, if its fit failed (psfFlux_flag), if a value is missing or impossible, if it
      is newer than the detection (counted in the metrics: a classification must not use later data), or if it is the
      detection again or a second one in its exposure.
    - Forced photometry of 5 sigma and more is kept as such. Below it is an upper limit of 5 sigma, unless the same
      exposure has a detection: the packets have no other non-detections since version 8.0.
    - Two sources of one exposure that belong to the same object are one measurement (Rubin's association makes such
      pairs): the union keeps the one with the greater number, in whatever order packets come.

    A measurement of Rubin does not change under its number, so `brought_by` is that number (of forced photometry, whose
    number is of another count, 1) and not the packet's: the year of history that comes again with every alert is then
    what the store has already, to the last bit, and need not be written again.
    """
    words = np.zeros((1 + cells.n_rows) * WORDS, dtype=np.uint32)
    buffer = np.frombuffer(cells.buffer, dtype=np.uint8)
    rows = cells.values[first:]
    count, is_union, newer = _points(
        buffer, rows, cells.n_rows, newest, candid, zero_point, STARTS, OFFSETS, _LETTERS, _BANDS, words
    )
    if newer:
        metrics.NEWER_HISTORY.inc(newer)
    if not is_union:
        ordered = LightCurve.from_points(words[: count * WORDS].view(POINT)).points
        words = np.frombuffer(ordered.tobytes(), dtype=np.uint32).copy()
        count = _without_contradicted_limits(words, len(ordered))
    points = words[: count * WORDS].view(POINT)
    points.setflags(write=False)
    return LightCurve(points)


def warm_up() -> None:
    """Compile what `light_curve` uses."""
    light_curve(Cells(b"", np.zeros(N_COLUMNS, np.int64), 1), 0, np.array([60_000.0, 1e3, 1.0, 1.0, 0.0]), 1, 31.4)


@jit
def _points(buffer, rows, n_rows, newest, candid, zero_point, starts, offsets, letters, bands, words):  # type: ignore[no-untyped-def]
    """Fill `words` with points; returns their number, whether they already are LightCurve's union, and the number of
    rows left out because they are newer than the detection.

    buffer uint8 (bytes,), rows int64 (n_rows * columns, or longer), words uint32 ((1 + n_rows) * 11,).
    """
    numbers = rows.view(np.float64)
    newest_mjd = _utc(newest[0], starts, offsets)
    newest_tick = np.rint(newest_mjd * TICKS_PER_DAY)
    newest_band = np.int64(newest[4])
    count = 0
    newer = 0
    is_written = False
    for row in range(n_rows):
        base = row * N_COLUMNS
        forced = rows[base + ROW_IS_FORCED] == 1
        if forced and not is_written:  # behind the detections, so that both tables are in order of time
            _write(
                words, count, newest_mjd, candid, newest[1], newest[2], newest[3], zero_point, newest_band, _DETECTION
            )
            count += 1
            is_written = True
        time = numbers[base + ROW_TIME]
        flux = numbers[base + ROW_FLUX]
        error = numbers[base + ROW_ERROR]
        band = _band(buffer, rows[base + ROW_BAND], letters, bands)
        if not (time >= FIRST_MJD and time <= LAST_MJD) or band < 0 or rows[base + ROW_FLAG] == 1:
            continue
        if not (abs(flux) < LARGEST_FLUX and error > 0.0 and error < LARGEST_FLUX):
            continue
        if numbers[base + ROW_WITHDRAWN] == numbers[base + ROW_WITHDRAWN]:
            continue
        mjd = _utc(time, starts, offsets)
        tick = np.rint(mjd * TICKS_PER_DAY)
        if tick > newest_tick:
            newer += 1
            continue
        row_candid = np.int64(0)
        if forced:
            template = numbers[base + ROW_SCIENCE] - flux
            kind = _FORCED if abs(flux) >= DETECTION_SIGMA * error else _UPPER_LIMIT
        else:
            template = numbers[base + ROW_TEMPLATE]
            kind = _DETECTION
            row_candid = max(rows[base + ROW_SOURCE_ID], np.int64(0))
            if row_candid == candid or (tick == newest_tick and band == newest_band):
                continue
            if MAG_PER_RELATIVE_FLUX * error > LARGEST_MAGERR * abs(flux):
                continue
        _write(words, count, mjd, row_candid, flux, error, template, zero_point, band, kind)
        count += 1
    if not is_written:
        _write(words, count, newest_mjd, candid, newest[1], newest[2], newest[3], zero_point, newest_band, _DETECTION)
        count += 1
    if count > LONGEST_INSERTION_SORT and not is_two_runs(words[: count * WORDS]):
        return count, False, newer
    points = words[: count * WORDS].copy()
    count = choose(points, words)
    return _without_contradicted_limits(words, count), True, newer


@jit
def _without_contradicted_limits(words, count):  # type: ignore[no-untyped-def]
    """Remove the upper limits of exposures with a detection, behind which they lie in the union; returns what is left.

    words uint32 (count * 11, or longer), a union of points.
    """
    mjd = np.empty(2, np.int64)
    epochs = mjd.view(np.float64)
    kept = 0
    for point in range(count):
        base = point * WORDS
        codes = np.int64(words[base + 8])
        if kept > 0 and (codes >> 8) & 0xFF == _UPPER_LIMIT:
            last = (kept - 1) * WORDS
            before = np.int64(words[last + 8])
            mjd[0] = np.int64(words[base]) | np.int64(words[base + 1]) << 32
            mjd[1] = np.int64(words[last]) | np.int64(words[last + 1]) << 32
            same_exposure = np.rint(epochs[0] * TICKS_PER_DAY) == np.rint(epochs[1] * TICKS_PER_DAY)
            if same_exposure and (before >> 8) & 0xFF == _DETECTION and before & 0xFF == codes & 0xFF:
                continue
        if kept < point:
            for word in range(WORDS):
                words[kept * WORDS + word] = words[base + word]
        kept += 1
    return kept


@jit
def _write(words, point, mjd, candid, flux, error, template, zero_point, band, kind):  # type: ignore[no-untyped-def]
    """Write a point in the layout of POINT: two words for mjd, two for candid, one per float, one for the codes."""
    bits = np.empty(1, np.int64)
    bits.view(np.float64)[0] = mjd
    floats = words.view(np.float32)
    base = point * WORDS
    words[base] = bits[0] & 0xFFFFFFFF
    words[base + 1] = bits[0] >> 32 & 0xFFFFFFFF
    words[base + 2] = candid & 0xFFFFFFFF
    words[base + 3] = candid >> 32 & 0xFFFFFFFF
    sign = 0
    floats[base + 4] = np.nan
    floats[base + 5] = np.nan
    if kind != _UPPER_LIMIT:
        # isNegative says another sign in 3 % of real rows; the flux is what is classified
        sign = -1 if flux < 0.0 else 1
        floats[base + 4] = zero_point - 2.5 * math.log10(abs(flux))
        floats[base + 5] = MAG_PER_RELATIVE_FLUX * error / abs(flux)
    floats[base + 6] = zero_point - 2.5 * math.log10(DETECTION_SIGMA * error)
    floats[base + 7] = zero_point - 2.5 * math.log10(template) if 0.0 < template < LARGEST_FLUX else np.nan
    brought_by = candid if candid > 0 else _IN_A_PACKET
    words[base + 9] = brought_by & 0xFFFFFFFF
    words[base + 10] = brought_by >> 32 & 0xFFFFFFFF
    words[base + 8] = (band & 0xFF) | (kind & 0xFF) << 8 | (sign & 0xFF) << 16 | _LSST << 24


@jit_inline
def _utc(mjd, starts, offsets):  # type: ignore[no-untyped-def]
    """As service.photometry.tai.utc_from_tai."""
    index = len(starts) - 1
    while index > 0 and mjd < starts[index]:
        index -= 1
    return mjd - offsets[index]


@jit_inline
def _band(buffer, span, letters, bands):  # type: ignore[no-untyped-def]
    """Code of a band's name, -1 if it is missing or another's. The simulations write y as Y."""
    if span < 0 or span & 0xFFFFFFFF != 1:
        return np.int64(-1)
    letter = buffer[span >> 32]
    if letter == ord("Y"):
        letter = np.uint8(ord("y"))
    for index in range(len(letters)):
        if letters[index] == letter:
            return bands[index]
    return np.int64(-1)
