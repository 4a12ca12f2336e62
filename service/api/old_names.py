"""Changed names of fields: the old ones are accepted for one more version, with a deprecation header in the response.

`limit` of a point is `diffmaglim` now, and `flux_ujy` with `flux_error_ujy` are `flux` with `fluxerr` in the unit uJy.
"""

from __future__ import annotations

from typing import Any, Final

from service.api.problems import invalid

NEW_NAMES: Final = {"limit": "diffmaglim", "flux_ujy": "flux", "flux_error_ujy": "fluxerr"}

# RFC 9745: deprecated since 28 November 2026. No Sunset date: the next minor version drops the names.
DEPRECATION: Final = {"Deprecation": "@1795824000", "Link": '</docs>; rel="deprecation"; type="text/html"'}


def are_used(values: Any) -> bool:
    """Whether a decoded JSON body has an old field name in a light curve."""
    many = values.get("light_curves", [values]) if isinstance(values, dict) else values
    return any(
        not NEW_NAMES.keys().isdisjoint(fields)
        for light_curve in many
        for fields in (light_curve, *_points(light_curve))
        if isinstance(fields, dict)
    )


def renamed(light_curve: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A copy of the light curve with only new names.

    An old name may appear with the new one if both have the same value, as in our own answers. Raises ProblemError 422.
    """
    if "points" not in light_curve:
        return _renamed(light_curve, prefix)
    points = light_curve["points"]
    if all(NEW_NAMES.keys().isdisjoint(each) for each in _points(light_curve)):
        return light_curve
    named = [
        _renamed(each, f"{prefix}points.{index}.") if isinstance(each, dict) else each
        for index, each in enumerate(points)
    ]
    return light_curve | {"points": named}


def as_sent(place: str, light_curve: dict[str, Any]) -> str:
    """The path of an error, with the field name that the sender used."""
    parts = place.split(".")
    fields: Any = light_curve
    for position, part in enumerate(parts):
        if isinstance(fields, list):
            fields = fields[int(part)] if part.isdecimal() and int(part) < len(fields) else None
        elif isinstance(fields, dict):
            if part not in fields:
                parts[position] = next((old for old, new in NEW_NAMES.items() if new == part and old in fields), part)
            fields = fields.get(parts[position])
    return ".".join(parts)


def _points(light_curve: Any) -> list[dict[str, Any]]:
    points = light_curve.get("points") if isinstance(light_curve, dict) else None
    return [each for each in points if isinstance(each, dict)] if isinstance(points, list) else []


def _renamed(fields: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A point or a light curve of columns."""
    if NEW_NAMES.keys().isdisjoint(fields):
        return fields
    named = {name: value for name, value in fields.items() if name not in NEW_NAMES}
    for old, new in NEW_NAMES.items():
        if old not in fields:
            continue
        if new in named and named[new] != fields[old]:
            raise invalid(prefix + old, f"is the old name of {new}, which is given too: send {new} alone")
        named[new] = fields[old]
    if "flux_ujy" in fields or "flux_error_ujy" in fields:
        named["unit"] = _unit(fields, prefix)
    return named


def _unit(fields: dict[str, Any], prefix: str) -> Any:
    """uJy if a flux in microjansky is given, else the unit given. Such a flux always required its error."""
    flux, error, unit = fields.get("flux_ujy"), fields.get("flux_error_ujy"), fields.get("unit")
    lengths = [len(value) for value in (flux, error) if isinstance(value, list)]
    if not lengths:
        return _unit_of_point(flux, error, unit, prefix, "")
    flux, error = (value if isinstance(value, list) else [None] * lengths[0] for value in (flux, error))
    units = unit if isinstance(unit, list) else [unit] * len(flux)
    return [
        _unit_of_point(*each, prefix, f".{index}") for index, each in enumerate(zip(flux, error, units, strict=False))
    ]


def _unit_of_point(flux: Any, error: Any, unit: Any, prefix: str, index: str) -> Any:
    if flux is not None and error is None:
        message = "flux_ujy needs its error: 5 sigma tell a detection from a limit"
        raise invalid(f"{prefix}flux_error_ujy{index}", message)
    if flux is None and error is not None:
        raise invalid(f"{prefix}flux_ujy{index}", "flux_error_ujy is given without flux_ujy")
    if flux is not None and unit == "nJy":
        raise invalid(
            f"{prefix}flux_ujy{index}", "is the old name of flux in uJy, but unit says nJy: send flux and fluxerr"
        )
    return unit if flux is None else "uJy"
