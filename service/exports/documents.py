"""Nested JSON of brokers and of our own API -> sheets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from service.exports.sheet import ExportError, Sheet, sheet_of_rows
from service.photometry.flux import AB_ZERO_POINT_UJY


def sheets_of_document(document: Any, name: str) -> list[Sheet]:
    """The sheets of a JSON document: a broker's answer, light curves of our API, or a list of rows.

    Sources: ALeRCE client 2.3 (`query_lightcurve`: detections, non_detections, forced_photometry), Lasair client 0.1
    and its API documentation (`object`: objectId, candidates), babamul 0.2 (`prv_candidates`, `prv_nondetections`,
    `fp_hists`), `docs/api.md` (points). Raises ExportError.
    """
    if isinstance(document, list):
        if all(isinstance(row, dict) and not _is_nested(row) for row in document):
            return [sheet_of_rows(document)] if document else []
        return [sheet for part in document for sheet in sheets_of_document(part, name)]
    if not isinstance(document, dict):
        raise ExportError(f"{name} is JSON, but neither an object nor a list of objects")
    for read in (_own, _alerce, _lasair, _babamul, _columns):
        sheets = list(read(document))
        if sheets:
            return sheets
    if _is_nested(document):
        keys = ", ".join(document)
        raise ExportError(f"{name} is JSON of a kind that is not known as light curves; it has the keys {keys[:300]}")
    return [sheet_of_rows([document])]


_ZERO_POINTS: Final = {"uJy": AB_ZERO_POINT_UJY, "nJy": AB_ZERO_POINT_UJY + 7.5}

_NESTED: Final = (
    "points", "light_curves", "light_curve", "detections", "candidates", "prv_candidates", "lightcurve",
)  # fmt: skip


def _is_nested(document: dict[str, Any]) -> bool:
    return any(isinstance(document.get(key), list | dict) for key in _NESTED)


def _rows(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rows = document.get(key) or []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _name(document: dict[str, Any]) -> str:
    for key in ("objectId", "object_id", "oid", "aid", "diaObjectId"):
        if document.get(key):
            return str(document[key])
    return ""


def _own(document: dict[str, Any]) -> Iterator[Sheet]:
    """`{"object_id": ..., "points": [...]}` or columns, a list of these under light_curves, or an answer with its light
    curve.
    """
    for curve in _rows(document, "light_curves"):
        yield from _own(curve)
    for holder in (document, document.get("light_curve")):
        points = _points_of(holder) if isinstance(holder, dict) else []
        # in sheets of their own: a row is read by its magnitude or by its flux
        for some in ([row for row in points if "flux" not in row], [row for row in points if "flux" in row]):
            if some:
                yield sheet_of_rows(some, _name(document), "a light curve of this service")


def _points_of(holder: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of a light curve, a list of them or columns; what it says of all of them stands in each."""
    points = _rows(holder, "points")
    mjd = holder.get("mjd")
    if not points and isinstance(mjd, list) and isinstance(holder.get("band"), list):
        columns = {name: value for name, value in holder.items() if isinstance(value, list) and len(value) == len(mjd)}
        points = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    of_all = {name: holder[name] for name in ("survey", "unit") if isinstance(holder.get(name), str)}
    found = [of_all | {name: value for name, value in point.items() if value is not None} for point in points]
    return [
        point | {"zero_point": _ZERO_POINTS.get(str(point.get("unit")))} if "flux" in point else point
        for point in found
    ]


def _alerce(document: dict[str, Any]) -> Iterator[Sheet]:
    if "non_detections" not in document and "forced_photometry" not in document:
        return
    rows = [*_rows(document, "detections"), *_rows(document, "non_detections")]
    if rows:
        names = {str(row["oid"]) for row in rows if row.get("oid")}
        name = _name(document) or (names.pop() if len(names) == 1 else "")
        # a detection's own limit stands in it too, so that all rows fit into one sheet
        yield sheet_of_rows([_flat(row) for row in rows], name, "an ALeRCE export")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    extra = row.get("extra_fields")
    return {**(extra if isinstance(extra, dict) else {}), **{k: v for k, v in row.items() if k != "extra_fields"}}


def _lasair(document: dict[str, Any]) -> Iterator[Sheet]:
    rows = _rows(document, "candidates")
    if rows and "objectId" in document:
        yield sheet_of_rows(rows, _name(document), "a Lasair export")


def _babamul(document: dict[str, Any]) -> Iterator[Sheet]:
    """Detections and non-detections; forced photometry below three sigma is a limit that these lists hold as well."""
    rows = [*_rows(document, "prv_candidates"), *_rows(document, "prv_nondetections")]
    candidate = document.get("candidate")
    if isinstance(candidate, dict):
        rows.append(candidate)
    if rows and "objectId" in document:
        yield sheet_of_rows(rows, _name(document), "a Babamul export")


def _columns(document: dict[str, Any]) -> Iterator[Sheet]:
    """pandas' to_json: {column: {row: value}}, or columns of equal length."""
    values = list(document.values())
    if values and all(isinstance(value, dict) for value in values) and len({tuple(value) for value in values}) == 1:
        yield Sheet({key.lower(): list(value.values()) for key, value in document.items()})
    elif values and all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        yield Sheet({key.lower(): value for key, value in document.items()})
