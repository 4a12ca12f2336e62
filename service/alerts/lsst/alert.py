"""From the cells of a Rubin packet to an alert.

One projection reads all versions from 7.0 to 11.1: none of their changes touches a field that is needed, and what a
version lacks stays empty. Schemas: https://github.com/lsst/alert_packet; fields: https://sdm-schemas.lsst.io/apdb.html.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NoReturn

import numpy as np

from service.alerts.alert import Alert, AlertError, Quality
from service.alerts.lsst import points
from service.alerts.lsst.points import FIRST_MJD, LARGEST_FLUX, LARGEST_MAGERR, LAST_MJD
from service.alerts.projection import MISSING_NUMBER, NO_INTEGER, Cells, Field, Projection, Type
from service.config import RUBIN_FLAGS
from service.photometry import BAND_CODES
from service.photometry.flux import MAG_PER_RELATIVE_FLUX
from service.photometry.tai import check_expiry, utc_from_tai

SURVEY: Final = "lsst"
SOLAR_SYSTEM_PREFIX: Final = "sso"
BANDS: Final = ("u", "g", "r", "i", "z", "y")

PROJECTION: Final = Projection(
    fields=(
        Field("diaSource.midpointMjdTai", precise=True),
        Field("diaSource.ra"),
        Field("diaSource.dec"),
        Field("diaSource.psfFlux"),
        Field("diaSource.psfFluxErr"),
        Field("diaSource.templateFlux"),
        Field("diaSource.templateFluxErr"),
        Field("diaSource.reliability"),
        Field("diaSource.timeWithdrawnMjdTai"),
        Field("ssSource.ephOffset"),
        Field("diaSource.diaSourceId", Type.INTEGER),
        Field("diaSource.diaObjectId", Type.INTEGER),
        Field("diaSource.ssObjectId", Type.INTEGER),
        Field("diaSource.band", Type.TEXT),
        Field("lsst_schema_version", Type.TEXT),  # Fink writes records without a namespace, and says it here
        *(Field(f"diaSource.{name}", Type.BOOLEAN) for name in RUBIN_FLAGS),
    ),
    tables=points.TABLES,
    columns=points.COLUMNS,
)
(
    TIME, RA, DEC, FLUX, FLUX_ERROR, TEMPLATE, TEMPLATE_ERROR, RELIABILITY, WITHDRAWN, EPHEMERIS_OFFSET, SOURCE_ID,
    OBJECT_ID, SOLAR_SYSTEM_ID, BAND, VERSION, FIRST_FLAG,
) = range(16)  # fmt: skip
N_FIELDS: Final = len(PROJECTION.fields)

# Without these in its writer schema a record is no alert of Rubin's.
NEEDED: Final = (TIME, FLUX, FLUX_ERROR, SOURCE_ID, OBJECT_ID, BAND)

# The names of 2022, which ELAsTiCC's simulated alerts have.
_NAMES_OF_2022: Final = {
    "midpointMjdTai": "midPointTai", "dec": "decl", "psfFlux": "psFlux", "psfFluxErr": "psFluxErr",
    "band": "filterName",
}  # fmt: skip


def _renamed(field: Field) -> Field:
    parent, dot, name = field.path.rpartition(".")
    return replace(field, path=parent + dot + _NAMES_OF_2022.get(name, name))


PROJECTION_OF_2022: Final = Projection(
    fields=tuple(map(_renamed, PROJECTION.fields)),
    tables=points.TABLES,
    columns=tuple(map(_renamed, points.COLUMNS)),
)

NANOJANSKY: Final = 31.4  # AB magnitude of one nanojansky
# Of the flux unit of the SNANA simulations, ELAsTiCC's among them: with it their 5 sigma in y are 22.0 mag, as they
# should be, in nanojansky they would be 25.9.
SNANA: Final = 27.5

# Bounds of a detection's numbers, ends included.
_BOUNDS: Final = (
    (TIME, FIRST_MJD, LAST_MJD),
    (RA, 0.0, 360.0),
    (DEC, -90.0, 90.0),
    (FLUX, -LARGEST_FLUX, LARGEST_FLUX),
    (FLUX_ERROR, 0.0, LARGEST_FLUX),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a kind of packets differs from the others: names of its fields, and AB magnitude of its flux 1."""

    projection: Projection
    zero_point: float


RUBIN: Final = Dialect(PROJECTION, NANOJANSKY)
ELASTICC: Final = Dialect(PROJECTION_OF_2022, SNANA)


def reader(dialect: Dialect, namespace: str) -> Callable[[Cells], Alert]:
    """The function from cells to alerts for records of a writer schema's namespace ("lsst.v11_1", "elasticc.v0_9", or
    another for records that were written again).
    """
    check_expiry()
    version = schema_version(namespace)
    return lambda cells: alert(cells, dialect, version)


def schema_version(name: str) -> str:
    """`11.1` of "lsst.v11_1", `elasticc 0.9` of "elasticc.v0_9", "" of a name that says no version."""
    found = re.match(r"(lsst|elasticc)\.v(\d+)_(\d+)", name)
    if found is None:
        return ""
    family, major, minor = found.groups()
    return f"{major}.{minor}" if family == "lsst" else f"{family} {major}.{minor}"


def alert(cells: Cells, dialect: Dialect = RUBIN, version: str = "") -> Alert:
    """The alert in projected `cells`; `version` that of the writer schema, "" where it says none.

    Epochs become UTC, fluxes AB magnitudes of their size with the sign of the flux beside. An object is named by its
    diaObjectId; a known object of the Solar System has none, and is named `sso` and its ssObjectId. Which rows of the
    history count is said at `points.light_curve`.

    Raises AlertError: missing_field, bad_value, unknown_band, naming the field.
    """
    number = cells.values[:N_FIELDS].view(np.float64).tolist()
    for field, low, high in _BOUNDS:
        if not low <= number[field] <= high:  # NaN fails too
            _refuse(cells, dialect, field, f"between {low:.9g} and {high:.9g}")
    if not number[FLUX_ERROR] > 0.0:
        _refuse(cells, dialect, FLUX_ERROR, "above 0")
    if MAG_PER_RELATIVE_FLUX * number[FLUX_ERROR] > LARGEST_MAGERR * abs(number[FLUX]):
        _refuse(cells, dialect, FLUX, f"a measurement, not a tenth of its error {number[FLUX_ERROR]:.9g} or less")
    if number[WITHDRAWN] == number[WITHDRAWN]:
        _refuse(cells, dialect, WITHDRAWN, "null: the survey has withdrawn this detection")
    band = (cells.text(BAND) or "").replace("Y", "y")
    if band not in BANDS:
        code = "missing_field" if int(cells.values[BAND]) < 0 else "unknown_band"
        path = dialect.projection.fields[BAND].path
        said = "is missing" if code == "missing_field" else f"is {band[:20]!a}; known are {', '.join(BANDS)}"
        raise AlertError(code, f"{path} {said}")
    candid = int(cells.values[SOURCE_ID])
    if candid == NO_INTEGER:
        raise AlertError("missing_field", "diaSource.diaSourceId is missing")
    if candid <= 0:
        raise AlertError("bad_value", f"diaSource.diaSourceId is {candid}, not a positive number")
    object_id, is_solar_system = _object_id(cells)
    newest = np.array([number[TIME], number[FLUX], number[FLUX_ERROR], number[TEMPLATE], BAND_CODES[band]])
    light_curve = points.light_curve(cells, N_FIELDS, newest, candid, dialect.zero_point)
    return Alert(
        SURVEY,
        object_id,
        candid,
        float(utc_from_tai(number[TIME])),
        number[RA],
        number[DEC],
        light_curve,
        _quality(number, cells.values[FIRST_FLAG:N_FIELDS].tolist(), is_solar_system, dialect.zero_point),
        version or schema_version(cells.text(VERSION) or ""),
    )


def warm_up() -> None:
    """Compile the functions that `alert` uses."""
    points.warm_up()


def _refuse(cells: Cells, dialect: Dialect, field: int, expected: str) -> NoReturn:
    path = dialect.projection.fields[field].path
    if int(cells.values[field]) == MISSING_NUMBER:
        raise AlertError("missing_field", f"{path} is missing")
    value = float(cells.values[field : field + 1].view(np.float64)[0])
    raise AlertError("bad_value", f"{path} is {value:.9g}; it must be {expected}")


def _object_id(cells: Cells) -> tuple[str, bool]:
    """The object's name, and whether a known object of the Solar System was there: one may pass by another object, and
    the alert then has both numbers. The survey writes "none" as 0 or null.
    """
    fixed, moving = int(cells.values[OBJECT_ID]), int(cells.values[SOLAR_SYSTEM_ID])
    is_there = moving not in (NO_INTEGER, 0)
    if fixed not in (NO_INTEGER, 0):
        return str(fixed), is_there
    if is_there:
        return f"{SOLAR_SYSTEM_PREFIX}{moving}", True
    raise AlertError("missing_field", "diaSource.diaObjectId and diaSource.ssObjectId are both 0 or missing")


def _quality(number: list[float], flags: list[int], is_solar_system: bool, zero_point: float) -> Quality:
    unknown = float("nan")
    offset = number[EPHEMERIS_OFFSET]
    template, error = number[TEMPLATE], number[TEMPLATE_ERROR]
    has_template = 0.0 < template < LARGEST_FLUX
    return replace(
        Quality.unknown(),
        # versions before 10 name the object and not the distance to its ephemeris
        ssdistnr=unknown if not is_solar_system else offset if offset >= 0.0 else 0.0,
        magnr=zero_point - 2.5 * math.log10(template) if has_template else unknown,
        sigmagnr=MAG_PER_RELATIVE_FLUX * error / template if has_template else unknown,
        reliability=number[RELIABILITY],
        raised=tuple(name for name, value in zip(RUBIN_FLAGS, flags, strict=True) if value == 1),
    )
