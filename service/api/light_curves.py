"""Light curves as people send them: points or columns, magnitudes or fluxes, with their unit said."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from service.api.problems import FieldError, ProblemError, invalid, invalid_fields
from service.config import ApiSettings
from service.photometry import LightCurve
from service.photometry.columns import BOUNDS, ColumnError, codes, points_from_columns
from service.photometry.flux import DETECTION_SIGMA, from_flux

Unit = Literal["mag", "uJy", "nJy"]
KindName = Literal["detection", "upper_limit", "forced"]

MICROJANSKY: Final = {"uJy": 1.0, "nJy": 1e-3}


def _between(bounds: tuple[float, float], description: str | None = None) -> Any:
    return Field(ge=bounds[0], le=bounds[1], allow_inf_nan=False, description=description)


Mjd = Annotated[float, _between(BOUNDS["mjd"], "modified Julian date, UTC [days]")]
Magnitude = Annotated[float, _between(BOUNDS["mag"])]
MagnitudeError = Annotated[float, _between(BOUNDS["magerr"])]
Flux = Annotated[float, _between(BOUNDS["flux"])]
FluxError = Annotated[float, Field(gt=0, le=BOUNDS["fluxerr"][1], allow_inf_nan=False)]
Sign = Annotated[
    int, Field(ge=-1, le=1, description="of the difference: 1 brighter than the reference, -1 fainter, 0 unknown")
]
Candid = Annotated[int, Field(ge=0, lt=2**63, description="identifier of the alert, 0 where unknown")]
Band = Literal["g", "r", "i", "z", "u", "y", "c", "o"]
Survey = Literal["ztf", "lsst", "atlas"]

_MAG: Final = "AB magnitude of the absolute difference flux; null is an upper limit"
_LIMIT: Final = "5-sigma limiting AB magnitude of the image"
_MAGNR: Final = "AB magnitude of the nearest source in the reference image"
_FLUX_UJY: Final = "difference flux in microjansky, beside magnitudes of other points: for surveys that publish flux"
_FLUX: Final = f"difference flux in `unit`; below {DETECTION_SIGMA:g} sigma it counts as an upper limit of that height"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Point(_Strict):
    """One measurement: a magnitude or a flux, or the limit where nothing was seen."""

    mjd: Mjd
    band: Band
    mag: Magnitude | None = Field(default=None, description=_MAG)
    magerr: MagnitudeError | None = None
    flux: Flux | None = Field(default=None, description=_FLUX)
    fluxerr: FluxError | None = None
    flux_ujy: Flux | None = Field(default=None, description=_FLUX_UJY)
    flux_error_ujy: FluxError | None = None
    limit: Magnitude | None = Field(default=None, description=_LIMIT)
    sign: Sign = 0
    magnr: Magnitude | None = Field(default=None, description=_MAGNR)
    kind: KindName | None = Field(default=None, description="by default what the numbers say")
    candid: Candid = 0
    survey: Survey | None = Field(default=None, description="by default that of the light curve")


class _Identified(_Strict):
    object_id: str = Field(default="", max_length=200, description="any name; it comes back in the answer")
    unit: Unit | None = Field(default=None, description="of what was measured; may be left out for magnitudes alone")


class PointsLightCurve(_Identified):
    """A light curve as a list of points, in any order."""

    model_config = ConfigDict(
        title="LightCurveOfPoints",
        json_schema_extra={
            "examples": [
                {
                    "object_id": "my-supernova",
                    "unit": "mag",
                    "points": [
                        {"mjd": 60310.2, "band": "r", "limit": 20.4},
                        {"mjd": 60313.3, "band": "r", "mag": 19.8, "magerr": 0.12, "sign": 1},
                        {"mjd": 60316.2, "band": "g", "mag": 19.1, "magerr": 0.07, "sign": 1},
                        {"mjd": 60319.3, "band": "r", "mag": 18.7, "magerr": 0.05, "sign": 1},
                        {"mjd": 60319.6, "band": "o", "survey": "atlas", "flux_ujy": 118.0, "flux_error_ujy": 14.0},
                    ],
                }
            ]
        },
    )

    survey: Survey = Field(default="ztf", description="of the points that do not say their own")
    points: list[Point]

    def surveys(self) -> list[Survey]:
        """Of each point."""
        return [point.survey or self.survey for point in self.points]

    def column(self, name: str) -> list[Any] | None:
        return [getattr(point, name) for point in self.points]

    def place(self, name: str, index: int) -> str:
        """Where a value stands in the request."""
        return f"points.{index}.{name}"


_COLUMNS: Final = (
    "survey", "band", "mag", "magerr", "flux", "fluxerr", "flux_ujy", "flux_error_ujy", "limit", "sign", "magnr",
    "kind", "candid",
)  # fmt: skip


class ColumnsLightCurve(_Identified):
    """A light curve as columns of equal length, in any order of time."""

    model_config = ConfigDict(
        title="LightCurveOfColumns",
        json_schema_extra={
            "examples": [
                {
                    "object_id": "my-variable",
                    "unit": "uJy",
                    "mjd": [60310.2, 60313.3, 60316.2],
                    "band": ["r", "g", "r"],
                    "flux": [81.0, -44.5, 3.1],
                    "fluxerr": [3.2, 3.5, 3.0],
                }
            ]
        },
    )

    survey: Survey | list[Survey] = Field(default="ztf", description="of all points, or one per point")
    mjd: list[Mjd]
    band: list[Band]
    mag: list[Magnitude | None] | None = Field(default=None, description=_MAG)
    magerr: list[MagnitudeError | None] | None = None
    flux: list[Flux | None] | None = Field(default=None, description=_FLUX)
    fluxerr: list[FluxError | None] | None = None
    flux_ujy: list[Flux | None] | None = Field(default=None, description=_FLUX_UJY)
    flux_error_ujy: list[FluxError | None] | None = None
    limit: list[Magnitude | None] | None = Field(default=None, description=_LIMIT)
    sign: list[Sign] | None = None
    magnr: list[Magnitude | None] | None = Field(default=None, description=_MAGNR)
    kind: list[KindName | None] | None = None
    candid: list[Candid] | None = None

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        for name in _COLUMNS:
            values = getattr(self, name)
            if isinstance(values, list) and len(values) != len(self.mjd):
                raise ValueError(f"{name} has {len(values)} values, mjd has {len(self.mjd)}: one per point is needed")
        return self

    def surveys(self) -> list[Survey]:
        """Of each point."""
        return self.survey if isinstance(self.survey, list) else [self.survey] * len(self.mjd)

    def column(self, name: str) -> list[Any] | None:
        values: list[Any] | None = getattr(self, name)
        return values

    def place(self, name: str, index: int) -> str:
        return f"{name}.{index}"


AnyLightCurve = PointsLightCurve | ColumnsLightCurve


class ManyLightCurves(_Strict):
    """Several light curves, each in its own form and unit."""

    light_curves: list[AnyLightCurve] = Field(min_length=1)


LightCurveBody = PointsLightCurve | ColumnsLightCurve | ManyLightCurves

_ONE_OF_POINTS: Final = TypeAdapter(PointsLightCurve)
_ONE_OF_COLUMNS: Final = TypeAdapter(ColumnsLightCurve)


def parse_light_curves(values: Any, settings: ApiSettings) -> list[tuple[str, LightCurve]]:
    """(object_id, light curve) of every light curve in a decoded JSON body: one, a list, or {"light_curves": [...]}.

    Raises ProblemError 413 above the settings' bounds, 422 naming the field.
    """
    many, prefix = (values, "") if isinstance(values, list) else (None, "")
    if isinstance(values, dict) and "light_curves" in values:
        unknown = [key for key in values if key != "light_curves"]
        if unknown:
            raise invalid(str(unknown[0]), "does not stand beside light_curves; every light curve has its own")
        many, prefix = values["light_curves"], "light_curves."
    if many is None:
        _check_points([values], settings)
        return [_parse(values, "")]
    if not isinstance(many, list) or not many:
        raise invalid(prefix.rstrip(".") or "body", "must be a list with at least one light curve")
    check_count(len(many), settings)
    _check_points(many, settings)
    return [_parse(value, f"{prefix}{index}.") for index, value in enumerate(many)]


def check_count(count: int, settings: ApiSettings) -> None:
    if count > settings.max_light_curves:
        limit = settings.max_light_curves
        detail = f"{count:,} light curves in one request; at most {limit:,} (setting api.max_light_curves)"
        raise ProblemError(413, "too-many-light-curves", detail)


def too_many_points(limit: int) -> ProblemError:
    return ProblemError(413, "too-many-points", f"more than {limit:,} points in one request (setting api.max_points)")


def _check_points(sent: list[Any], settings: ApiSettings) -> None:
    """Before anything else is looked at: what is wrong with a million points need not be told one by one."""
    rows = [value.get("points", value.get("mjd")) for value in sent if isinstance(value, dict)]
    if sum(len(each) for each in rows if isinstance(each, list)) > settings.max_points:
        raise too_many_points(settings.max_points)


def _parse(value: Any, prefix: str) -> tuple[str, LightCurve]:
    if not isinstance(value, dict):
        place = prefix.rstrip(".") or "body"
        raise invalid(place, "must be a light curve: an object with points, or with mjd, band, mag")
    try:
        sent = (_ONE_OF_POINTS if "points" in value else _ONE_OF_COLUMNS).validate_python(value, strict=True)
    except ValidationError as error:
        raise _below(prefix, invalid_fields(error.errors(include_url=False, include_input=False))) from error
    return sent.object_id, _light_curve(sent, prefix)


def _below(prefix: str, problem: ProblemError) -> ProblemError:
    """The same problem, its places told from the body's root."""
    if not prefix:
        return problem
    errors = [FieldError(field=prefix + error.field, message=error.message) for error in problem.errors]
    return ProblemError(problem.status, problem.code, prefix + problem.detail, errors)


def _light_curve(sent: AnyLightCurve, prefix: str) -> LightCurve:
    mag, flux = _numbers(sent, "mag"), _numbers(sent, "flux")
    magerr, limit = _numbers(sent, "magerr"), _numbers(sent, "limit")
    sign = np.asarray(sent.column("sign") or np.zeros(len(mag)), dtype=np.int8)
    unit = _unit(sent, prefix, mag, flux)
    if unit != "mag":
        magerr, sign, mag, limit = from_flux(flux, _numbers(sent, "fluxerr"), sign, limit, MICROJANSKY[unit])
    measured = _flux_ujy(sent, prefix)
    if measured is not None:
        rows, values, errors = measured
        magerr[rows], sign[rows], mag[rows], limit[rows] = from_flux(values, errors, sign[rows], limit[rows], 1.0)
    columns = {
        "mjd": sent.column("mjd"), "band": codes("band", sent.column("band") or ()), "mag": mag, "magerr": magerr,
        "limit": limit, "sign": sign, "kind": sent.column("kind") or (), "candid": sent.column("candid") or 0,
        "magnr": _numbers(sent, "magnr"), "survey": codes("survey", sent.surveys()),
    }  # fmt: skip
    try:
        return LightCurve.from_points(points_from_columns(columns))
    except ColumnError as error:
        raise invalid(prefix + sent.place(error.column, error.row), error.reason) from error


def _flux_ujy(
    sent: AnyLightCurve, prefix: str
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]] | None:
    """Which points (n,) have a flux in microjansky of their own, those fluxes and their errors; None: no point."""
    flux, error = _numbers(sent, "flux_ujy"), _numbers(sent, "flux_error_ujy")
    rows = ~np.isnan(flux)
    for name in ("mag", "flux"):
        both = rows & ~np.isnan(_numbers(sent, name))
        if both.any():
            raise invalid(prefix + sent.place("flux_ujy", int(both.argmax())), f"{name} is given too: send one of them")
    for place, wrong, message in (
        ("flux_error_ujy", rows & np.isnan(error), "flux_ujy needs its error: 5 sigma tell a detection from a limit"),
        ("flux_ujy", ~rows & ~np.isnan(error), "flux_error_ujy is given without flux_ujy"),
    ):
        if wrong.any():
            raise invalid(prefix + sent.place(place, int(wrong.argmax())), message)
    return (rows, flux[rows], error[rows]) if rows.any() else None


def _unit(sent: AnyLightCurve, prefix: str, mag: NDArray[np.float64], flux: NDArray[np.float64]) -> Unit:
    """What the numbers are in. Raises ProblemError where they contradict the unit that is said."""
    has_mag, has_flux = ~np.isnan(mag), ~np.isnan(flux)
    if has_flux.any() and sent.unit in (None, "mag"):
        place = sent.place("flux", int(has_flux.argmax()))
        message = (
            "a flux needs a unit of flux: set unit to uJy or nJy"
            if sent.unit is None
            else ("flux is given but unit is mag: set unit to uJy or nJy, or send mag")
        )
        raise invalid(prefix + (place if sent.unit else "unit"), message)
    if has_mag.any() and sent.unit not in (None, "mag"):
        place = sent.place("mag", int(has_mag.argmax()))
        raise invalid(prefix + place, f"mag is given but unit is {sent.unit}: send flux, or set unit to mag")
    return sent.unit or "mag"


def _numbers(sent: AnyLightCurve, name: str) -> NDArray[np.float64]:
    values = sent.column(name)
    if values is None:
        return np.full(len(sent.column("mjd") or ()), np.nan)
    return np.array(values, dtype=np.float64)  # None becomes NaN
