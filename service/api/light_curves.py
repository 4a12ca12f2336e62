"""Light curves in requests: points or columns, magnitudes or fluxes with a unit."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from service.api import old_names
from service.api.problems import FieldError, ProblemError, invalid, invalid_fields
from service.config import ApiSettings
from service.photometry import CONTEXT_COLUMNS, Context, LightCurve
from service.photometry.columns import BOUNDS, ColumnError, codes, points_from_columns
from service.photometry.context import refuse_unknown
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


def _known_columns(context: dict[str, float | None]) -> dict[str, float | None]:
    refuse_unknown(context)
    return context


ContextColumns = Annotated[
    dict[str, Annotated[float, Field(allow_inf_nan=False)] | None],
    AfterValidator(_known_columns),
    Field(
        description="what is known of the object's surroundings, by the names and in the units of ZTF's packets, and"
        " its galactic latitude gal_b [deg]: only models that take it look at it. Missing are null, -999, a star/galaxy"
        " score of exactly 0.5, and what can't be (a negative distance, one beyond ZTF's radius of search)",
        json_schema_extra={"propertyNames": {"enum": list(CONTEXT_COLUMNS)}},
        examples=[{"sgscore1": 0.03, "distpsnr1": 1.2, "sgmag1": 19.8, "srmag1": 19.1, "gal_b": 54.2}],
    ),
]

_MAG: Final = "AB magnitude of the absolute difference flux; null is an upper limit"
_DIFFMAGLIM: Final = "5-sigma limiting AB magnitude of the image"
_MAGNR: Final = "AB magnitude of the nearest source in the reference image"
_FLUX: Final = f"difference flux in `unit`; below {DETECTION_SIGMA:g} sigma it counts as an upper limit of that height"


_UNIT: Final = "of what was measured; may be left out for magnitudes alone"


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
    unit: Unit | None = Field(default=None, description="by default that of the light curve")
    diffmaglim: Magnitude | None = Field(default=None, description=_DIFFMAGLIM)
    sign: Sign = 0
    magnr: Magnitude | None = Field(default=None, description=_MAGNR)
    kind: KindName | None = Field(default=None, description="by default what the numbers say")
    candid: Candid = 0
    survey: Survey | None = Field(default=None, description="by default that of the light curve")


class _Identified(_Strict):
    object_id: str = Field(default="", max_length=200, description="any name; it comes back in the answer")
    context: ContextColumns | None = None


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
                        {"mjd": 60310.2, "band": "r", "diffmaglim": 20.4},
                        {"mjd": 60313.3, "band": "r", "mag": 19.8, "magerr": 0.12, "sign": 1},
                        {"mjd": 60316.2, "band": "g", "mag": 19.1, "magerr": 0.07, "sign": 1},
                        {"mjd": 60319.3, "band": "r", "mag": 18.7, "magerr": 0.05, "sign": 1},
                        {"mjd": 60319.6, "band": "o", "survey": "atlas", "unit": "uJy", "flux": 118.0, "fluxerr": 14.0},
                    ],
                }
            ]
        },
    )

    unit: Unit | None = Field(default=None, description=f"{_UNIT}; of the points that do not say their own")
    survey: Survey = Field(default="ztf", description="of the points that do not say their own")
    points: list[Point] = Field(min_length=1)

    def surveys(self) -> list[Survey]:
        """Of each point."""
        return [point.survey or self.survey for point in self.points]

    def units(self) -> list[Unit | None]:
        """Of each point; None if not given."""
        return [point.unit or self.unit for point in self.points]

    def column(self, name: str) -> list[Any] | None:
        return [getattr(point, name) for point in self.points]

    def place(self, name: str, index: int) -> str:
        """Path of a value in the request."""
        return f"points.{index}.{name}"


_COLUMNS: Final = (
    "survey", "unit", "band", "mag", "magerr", "flux", "fluxerr", "diffmaglim", "sign", "magnr", "kind", "candid",
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

    unit: Unit | list[Unit | None] | None = Field(default=None, description=f"{_UNIT}; of all points, or one per point")
    survey: Survey | list[Survey] = Field(default="ztf", description="of all points, or one per point")
    mjd: list[Mjd] = Field(min_length=1)
    band: list[Band]
    mag: list[Magnitude | None] | None = Field(default=None, description=_MAG)
    magerr: list[MagnitudeError | None] | None = None
    flux: list[Flux | None] | None = Field(default=None, description=_FLUX)
    fluxerr: list[FluxError | None] | None = None
    diffmaglim: list[Magnitude | None] | None = Field(default=None, description=_DIFFMAGLIM)
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

    def units(self) -> list[Unit | None]:
        """Of each point; None if not given."""
        return self.unit if isinstance(self.unit, list) else [self.unit] * len(self.mjd)

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


class Sent(NamedTuple):
    """One light curve of a request."""

    object_id: str
    light_curve: LightCurve
    context: Context | None = None


def parse_light_curves(values: Any, settings: ApiSettings) -> list[Sent]:
    """Every light curve in a decoded JSON body: one, a list, or {"light_curves": [...]}.

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
    """Checked first, so that the errors of a million points are not listed one by one."""
    rows = [value.get("points", value.get("mjd")) for value in sent if isinstance(value, dict)]
    if sum(len(each) for each in rows if isinstance(each, list)) > settings.max_points:
        raise too_many_points(settings.max_points)


def _parse(value: Any, prefix: str) -> Sent:
    if not isinstance(value, dict):
        place = prefix.rstrip(".") or "body"
        raise invalid(place, "must be a light curve: an object with points, or with mjd, band, mag")
    named = old_names.renamed(value, prefix)
    try:
        sent = (_ONE_OF_POINTS if "points" in named else _ONE_OF_COLUMNS).validate_python(named, strict=True)
        return Sent(sent.object_id, _light_curve(sent), None if sent.context is None else Context.of(sent.context))
    except ValidationError as error:
        raise _told(invalid_fields(error.errors(include_url=False, include_input=False)), value, prefix) from error
    except ProblemError as problem:
        raise _told(problem, value, prefix) from problem


def _told(problem: ProblemError, value: dict[str, Any], prefix: str) -> ProblemError:
    """The same problem, with paths from the body's root and the names that were sent."""
    errors = [
        FieldError(field=prefix + old_names.as_sent(error.field, value), message=error.message)
        for error in problem.errors
    ]
    detail = problem.detail
    if errors and detail.startswith(problem.errors[0].field):
        detail = errors[0].field + detail.removeprefix(problem.errors[0].field)
    else:
        detail = prefix + detail
    return ProblemError(problem.status, problem.code, detail, errors)


def _light_curve(sent: AnyLightCurve) -> LightCurve:
    mag, flux = _numbers(sent, "mag"), _numbers(sent, "flux")
    magerr, limit = _numbers(sent, "magerr"), _numbers(sent, "diffmaglim")
    sign = np.asarray(sent.column("sign") or np.zeros(len(mag)), dtype=np.int8)
    scale = _microjansky(sent, mag, flux)
    rows = ~np.isnan(scale)
    if rows.any():
        magerr[rows], sign[rows], mag[rows], limit[rows] = from_flux(
            flux[rows], _numbers(sent, "fluxerr")[rows], sign[rows], limit[rows], scale[rows]
        )
    columns = {
        "mjd": sent.column("mjd"), "band": codes("band", sent.column("band") or ()), "mag": mag, "magerr": magerr,
        "limit": limit, "sign": sign, "kind": sent.column("kind") or (), "candid": sent.column("candid") or 0,
        "magnr": _numbers(sent, "magnr"), "survey": codes("survey", sent.surveys()),
    }  # fmt: skip
    try:
        return LightCurve.from_points(points_from_columns(columns))
    except ColumnError as error:
        raise invalid(sent.place(error.column, error.row), error.reason) from error


def _microjansky(sent: AnyLightCurve, mag: NDArray[np.float64], flux: NDArray[np.float64]) -> NDArray[np.float64]:
    """Microjansky per unit of each point's flux (n,), NaN for magnitudes.

    Raises ProblemError if the numbers contradict the unit.
    """
    units = sent.units()
    scale = np.array([MICROJANSKY.get(unit or "mag", np.nan) for unit in units])
    has_mag, has_flux = ~np.isnan(mag), ~np.isnan(flux)
    both = has_mag & has_flux
    if both.any():
        raise invalid(sent.place("flux", int(both.argmax())), "mag is given too: send one of them")
    homeless = has_flux & np.isnan(scale)
    if homeless.any():
        index = int(homeless.argmax())
        if units[index] is None:
            raise invalid("unit", "a flux needs a unit of flux: set unit to uJy or nJy")
        raise invalid(sent.place("flux", index), "flux is given but unit is mag: set unit to uJy or nJy, or send mag")
    wrong = has_mag & ~np.isnan(scale)
    if wrong.any():
        index = int(wrong.argmax())
        message = f"mag is given but unit is {units[index]}: send flux, or set unit to mag"
        raise invalid(sent.place("mag", index), message)
    return scale


def _numbers(sent: AnyLightCurve, name: str) -> NDArray[np.float64]:
    values = sent.column(name)
    if values is None:
        return np.full(len(sent.column("mjd") or ()), np.nan)
    return np.array(values, dtype=np.float64)  # None becomes NaN
