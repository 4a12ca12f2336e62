"""ATLAS forced photometry of a position: meaning of its columns, which exposures are kept, and its messages.

Column meanings: the ATLAS forced photometry server's result description (fallingstar-data.com/forcedphot/resultdesc);
Tonry et al. 2018 (PASP 130, 064505). Cuts on the fit and the sky: arXiv:2507.11711.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from typing import Any, Final

import fastavro
import numpy as np
import orjson
from numpy.typing import NDArray

from service.alerts.alert import LONGEST_NAME, Alert, AlertError, Quality
from service.alerts.projection import MISSING_NUMBER, Cells, Field, Projection, Type
from service.photometry import BAND_CODES, SURVEY_CODES, Kind, LightCurve
from service.photometry.flux import from_flux
from service.photometry.union import TICKS_PER_DAY

SURVEY: Final = "atlas"
RECORD: Final = "alert_classifier.AtlasPhotometry"
SCHEMA_TEXT: Final = resources.files("service.alerts").joinpath("atlas_photometry.avsc").read_text("utf-8")

PROJECTION: Final = Projection(
    fields=(Field("source", Type.TEXT), Field("ra"), Field("dec")),
    tables=("points",),
    columns=(
        Field("mjd", precise=True),
        Field("filter", Type.TEXT),
        Field("flux_ujy"),
        Field("flux_error_ujy"),
        Field("chi_n"),
        Field("sky"),
        Field("error_code"),
    ),
)
SOURCE, RA, DEC = range(len(PROJECTION.fields))
MJD, FILTER, FLUX, FLUX_ERROR, CHI_N, SKY, ERROR_CODE = range(len(PROJECTION.columns))

# Outside of these bounds the fit is no point source, or its error is wrong; and a sky as bright as this or brighter
# [mag per square arcsec] makes the subtraction unreliable.
LEAST_CHI_N: Final = 0.5
LARGEST_CHI_N: Final = 3.0
BRIGHTEST_SKY: Final[dict[str, float]] = {"c": 18.5, "o": 18.0}

# An ordinary exposure has an error of 10 to 50 uJy; 4000 uJy (5 sigma: 13 mag) is no measurement. The server's own
# plots have the same limit.
LARGEST_ERROR_UJY: Final = 4000.0
LARGEST_FLUX_UJY: Final = 1e8  # 4 mag: ATLAS saturates near 11
# 2015, the year of the first light, is MJD 57023 on; the end is that of alert epochs.
FIRST_MJD: Final = 57000.0
LAST_MJD: Final = 99999.5

# Photometry has no candid, but an alert needs one, always the same for the same message. It is made of the newest
# epoch, so that it grows with time, and a digest of the contents; adding 2^62 puts it above those of ZTF.
_EPOCH_BITS: Final = 37
_DIGEST_BITS: Final = 25
_NO_QUALITY: Final = Quality.unknown()


@dataclass(frozen=True, slots=True)
class Exposures:
    """Columns (n,) of the server's table: `mjd` start of the exposure [days], `band` as text, `flux` and `error` [uJy],
    `chi_n` reduced chi-square of the fit, `sky` [mag per square arcsec], `error_code` of the fit (0: none).
    """

    mjd: NDArray[np.float64]
    band: NDArray[np.str_]
    flux: NDArray[np.float64]
    error: NDArray[np.float64]
    chi_n: NDArray[np.float64]
    sky: NDArray[np.float64]
    error_code: NDArray[np.float64]

    def light_curve(self) -> LightCurve:
        """The usable exposures: detections with their sign from 5 sigma on, else upper limits of 5 sigma.

        Every exposure has a flux, even without a source. If fainter ones were detections, an object would be detected
        a hundred times before it exists.
        """
        kept = self._usable()
        flux, error, band = self.flux[kept], self.error[kept], self.band[kept]
        unknown = np.full(len(flux), np.nan)
        magerr, sign, mag, limit = from_flux(flux, error, np.zeros(len(flux), np.int8), unknown, 1.0)
        return LightCurve.from_columns(
            self.mjd[kept],
            np.array([BAND_CODES[name] for name in band.tolist()], dtype=np.int8),
            mag=mag,
            magerr=magerr,
            limit=limit,
            sign=sign,
            kind=np.where(np.isnan(mag), Kind.UPPER_LIMIT, Kind.DETECTION),
            survey=SURVEY_CODES[SURVEY],
        )

    def _usable(self) -> NDArray[np.bool_]:
        faintest = np.full(len(self.mjd), np.inf)  # for an unknown filter no sky is dark enough
        for name, brightest in BRIGHTEST_SKY.items():
            faintest[self.band == name] = brightest
        usable: NDArray[np.bool_] = (
            (self.mjd >= FIRST_MJD)
            & (self.mjd <= LAST_MJD)
            & (np.abs(self.flux) <= LARGEST_FLUX_UJY)
            & (self.error > 0)
            & (self.error <= LARGEST_ERROR_UJY)
            & (self.error_code == 0)
            & (self.chi_n > LEAST_CHI_N)
            & (self.chi_n < LARGEST_CHI_N)
            & (self.sky > faintest)
        )
        return usable


def alert(cells: Cells) -> Alert:
    """The photometry in projected `cells` as an alert, whose epoch is that of the newest usable exposure.

    Unusable exposures are left out; `light_curve` may be empty. Raises AlertError: missing_field, bad_value, naming the
    field.
    """
    numbers = cells.values.view(np.float64)
    for field, low, high in ((RA, 0.0, 360.0), (DEC, -90.0, 90.0)):
        path, value = PROJECTION.fields[field].path, float(numbers[field])
        if int(cells.values[field]) == MISSING_NUMBER:
            raise AlertError("missing_field", f"{path} is missing")
        if not low <= value <= high:
            raise AlertError("bad_value", f"{path} is {value:.9g}; it must be between {low:g} and {high:g}")
    source = cells.text(SOURCE) or ""
    if len(source) > LONGEST_NAME:
        raise AlertError("long_name", f"source has {len(source):,} characters; at most {LONGEST_NAME} are kept")
    if not source.isascii() or (source and not source.isprintable()):
        raise AlertError("bad_value", f"source is {source[:40]!a}, not a name of printable ASCII")
    return photometry(source, float(numbers[RA]), float(numbers[DEC]), _exposures(cells).light_curve())


def photometry(source: str, ra: float, dec: float, light_curve: LightCurve) -> Alert:
    """Photometry of a position as an alert, under the given name or one made of the position."""
    name = source or position_name(ra, dec)
    mjd = float(light_curve.mjd[-1]) if len(light_curve) else 0.0
    digest = hashlib.blake2b(light_curve.pack() + name.encode(), digest_size=8).digest()
    low = int.from_bytes(digest, "big") >> (64 - _DIGEST_BITS)
    candid = 1 << (_EPOCH_BITS + _DIGEST_BITS) | round(mjd * TICKS_PER_DAY) << _DIGEST_BITS | low
    points = light_curve.points.copy()
    points["brought_by"] = candid
    points.setflags(write=False)
    return Alert(SURVEY, name, candid, mjd, ra, dec, LightCurve(points), _NO_QUALITY, "")


def position_name(ra: float, dec: float) -> str:
    """`ATLAS_JHHMMSS.ss+DDMMSS.s` of a position [deg]: truncated, not rounded, as the IAU requires."""
    centiseconds = int(ra / 15.0 % 24.0 * 360_000 + 1e-6)
    deciseconds = int(abs(dec) * 36_000 + 1e-6)
    hours, degrees = divmod(centiseconds, 360_000), divmod(deciseconds, 36_000)
    minutes, arcminutes = divmod(hours[1], 6000), divmod(degrees[1], 600)
    return (
        f"ATLAS_J{hours[0]:02d}{minutes[0]:02d}{minutes[1] / 100:05.2f}"
        f"{'-' if dec < 0 else '+'}{degrees[0]:02d}{arcminutes[0]:02d}{arcminutes[1] / 10:04.1f}"
    )


def encode(source: str, ra: float, dec: float, exposures: Exposures) -> bytes:
    """A message of the photometry topic: an Avro container file with one record of `atlas_photometry.avsc`."""
    columns = (
        exposures.mjd, exposures.band, exposures.flux, exposures.error, exposures.chi_n, exposures.sky,
        exposures.error_code.astype(int),
    )  # fmt: skip
    names = [column.path for column in PROJECTION.columns]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(column.tolist() for column in columns), strict=True)]
    record: dict[str, Any] = {"source": source, "ra": ra, "dec": dec, "points": rows}
    buffer = BytesIO()
    fastavro.writer(buffer, _SCHEMA, [record])
    return buffer.getvalue()


def _exposures(cells: Cells) -> Exposures:
    first, width = len(PROJECTION.fields), len(PROJECTION.columns)
    rows = cells.values[first : first + cells.n_rows * width].reshape(cells.n_rows, width)
    numbers = rows.view(np.float64)
    return Exposures(
        mjd=numbers[:, MJD],
        band=np.array([_text(cells, span) for span in rows[:, FILTER].tolist()], dtype=np.str_),
        flux=numbers[:, FLUX],
        error=numbers[:, FLUX_ERROR],
        chi_n=numbers[:, CHI_N],
        sky=numbers[:, SKY],
        error_code=numbers[:, ERROR_CODE],
    )


def _text(cells: Cells, span: int) -> str:
    """A filter's name: of a long one the beginning, because numpy gives all rows the longest one's room."""
    start = span >> 32
    size = min(span & 0xFFFFFFFF, 4)
    return "" if span < 0 else cells.buffer[start : start + size].decode(errors="replace")


_SCHEMA: Final = fastavro.parse_schema(orjson.loads(SCHEMA_TEXT))
