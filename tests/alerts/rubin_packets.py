"""Small packets with Rubin's field names, and a plain reading of packets to hold the fast one against."""

from __future__ import annotations

import io
import math
from typing import Any

import fastavro
import numpy as np

from service.alerts import Alert
from service.config import RUBIN_FLAGS
from service.photometry import BAND_CODES, SURVEY_CODES, LightCurve
from service.photometry.tai import utc_from_tai
from service.photometry.union import TICKS_PER_DAY

# name: type, "?" where null may stand; in the survey's order
SOURCE = {
    "diaSourceId": "long", "visit": "long", "detector": "int", "diaObjectId": "long?", "ssObjectId": "long?",
    "midpointMjdTai": "double", "ra": "double", "raErr": "float?", "dec": "double", "centroid_flag": "boolean?",
    "apFlux": "float?", "isNegative": "boolean?", "snr": "float?", "psfFlux": "float?", "psfFluxErr": "float?",
    "psfNdata": "int", "psfFlux_flag": "boolean?", "templateFlux": "float?", "templateFluxErr": "float?",
    "reliability": "float?", "reliabilityVersion": "string?", "band": "string?", "isDipole": "boolean?",
    "timeProcessedMjdTai": "double", "timeWithdrawnMjdTai": "double?", "pixelFlags_bad": "boolean?",
    "pixelFlags_streakCenter": "boolean?", "glint_trail": "boolean?",
}  # fmt: skip
FORCED = {
    "diaForcedSourceId": "long", "diaObjectId": "long", "ra": "double", "dec": "double", "visit": "long",
    "detector": "int", "psfFlux": "float?", "psfFluxErr": "float?", "midpointMjdTai": "double",
    "scienceFlux": "float?", "scienceFluxErr": "float?", "band": "string?", "timeProcessedMjdTai": "double",
    "timeWithdrawnMjdTai": "double?",
}  # fmt: skip
SOLAR_SYSTEM = {"ssObjectId": "long", "designation": "string?", "ephRate": "float?", "ephOffset": "float?"}
NAMES_OF_2022 = {
    "midpointMjdTai": "midPointTai", "dec": "decl", "psfFlux": "psFlux", "psfFluxErr": "psFluxErr",
    "band": "filterName",
}  # fmt: skip


def schema(
    namespace: str = "lsst.v11_1",
    *,
    null_first: bool = True,
    nullable: bool = False,
    names: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A schema like Rubin's. `nullable`: every field and record may be null, as Spark writes them; `names`: other names
    of fields.
    """

    def optional(kind: Any) -> list[Any]:
        return ["null", kind] if null_first else [kind, "null"]

    def record(name: str, fields: dict[str, str]) -> dict[str, Any]:
        members = [
            {
                "name": (names or {}).get(field, field),
                "type": optional(kind.rstrip("?")) if nullable or kind.endswith("?") else kind,
            }
            for field, kind in fields.items()
        ]
        return {"type": "record", "name": name, "fields": members}

    source = record("diaSource", SOURCE)
    row: Any = "diaSource"
    forced: Any = record("diaForcedSource", FORCED)
    fields = [
        {"name": "diaSourceId", "type": "long"},
        {"name": "observation_reason", "type": optional("string")},
        {"name": "diaSource", "type": source},
        {"name": "prvDiaSources", "type": optional({"type": "array", "items": optional(row) if nullable else row})},
        {
            "name": "prvDiaForcedSources",
            "type": optional({"type": "array", "items": optional(forced) if nullable else forced}),
        },
        {"name": "ssSource", "type": optional(record("ssSource", SOLAR_SYSTEM))},
        {"name": "cutoutDifference", "type": optional("bytes")},
        {"name": "lsst_schema_version", "type": optional("string")},
    ]
    name = "alert" if namespace else "topLevelRecord"
    return {"type": "record", "name": name, "fields": fields} | ({"namespace": namespace} if namespace else {})


def a_source(**values: Any) -> dict[str, Any]:
    usual = {
        "diaSourceId": 170112044512051215, "visit": 2026030100001, "detector": 94, "diaObjectId": 313897383979122767,
        "ssObjectId": 0, "midpointMjdTai": 61100.25, "ra": 150.25, "dec": -12.5, "psfFlux": 2048.0,
        "psfFluxErr": 128.0, "psfNdata": 900, "psfFlux_flag": False, "templateFlux": 512.0, "templateFluxErr": 32.0,
        "reliability": 0.75, "band": "r", "isDipole": False, "timeProcessedMjdTai": 61100.3, "snr": 16.0,
    }  # fmt: skip
    return dict.fromkeys(SOURCE) | usual | values


def a_forced_source(**values: Any) -> dict[str, Any]:
    usual = {
        "diaForcedSourceId": 1, "diaObjectId": 313897383979122767, "ra": 150.25, "dec": -12.5, "visit": 2026022800001,
        "detector": 94, "psfFlux": 1024.0, "psfFluxErr": 128.0, "midpointMjdTai": 61090.25, "scienceFlux": 1536.0,
        "band": "r", "timeProcessedMjdTai": 61100.3,
    }  # fmt: skip
    return dict.fromkeys(FORCED) | usual | values


def an_alert(**source: Any) -> dict[str, Any]:
    """An ordinary alert with one earlier detection and two forced measurements, one of them of nothing."""
    return {
        "diaSourceId": 170112044512051215,
        "observation_reason": None,
        "diaSource": a_source(**source),
        "prvDiaSources": [
            a_source(diaSourceId=170000000000000001, midpointMjdTai=61090.25, psfFlux=-1024.0, isNegative=False)
        ],
        "prvDiaForcedSources": [a_forced_source(), a_forced_source(midpointMjdTai=61095.25, psfFlux=64.0, band="z")],
        "ssSource": None,
        "cutoutDifference": b"\x1f\x8b" * 50,
        "lsst_schema_version": None,
    }


def renamed(record: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The alert with other names of fields in its sources."""
    changed = dict(record)
    changed["diaSource"] = _with_names(record["diaSource"], names)
    for table in ("prvDiaSources", "prvDiaForcedSources"):
        changed[table] = [_with_names(row, names) for row in record[table] or []]
    return changed


def framed(record: dict[str, Any], written_by: dict[str, Any], schema_id: int = 1101) -> bytes:
    """A message as Rubin sends it."""
    stream = io.BytesIO()
    stream.write(b"\0" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(stream, written_by, record)
    return stream.getvalue()


def plain_light_curve(record: dict[str, Any], zero_point: float = 31.4) -> LightCurve:
    """What the light curve of a packet must be, row by row in plain Python, from the record as fastavro gives it."""
    newest = _point(record["diaSource"], "detection", zero_point)
    points, limits = [newest], []
    for table in ("prvDiaSources", "prvDiaForcedSources"):
        for row in record.get(table) or []:
            point = _history_point(row, zero_point) if row is not None else None
            if point is None or _exposure(point)[0] > _exposure(newest)[0]:
                continue
            if point["kind"] == 0 and newest["candid"] == point["candid"]:
                continue
            if point["kind"] == 0 and _exposure(point) == _exposure(newest):
                continue
            (limits if point["kind"] == 1 else points).append(point)
    seen = {_exposure(point) for point in points if point["kind"] == 0}
    points += [limit for limit in limits if _exposure(limit) not in seen]
    return LightCurve.from_columns(
        **{name: [point[name] for point in points] for name in newest},
        brought_by=[point["candid"] or 1 for point in points],
    )


def assert_same(alert: Alert, record: dict[str, Any], zero_point: float = 31.4) -> None:
    """Every used field of `alert` is what `record`, read by fastavro, says."""
    source = record["diaSource"]
    solar_system = not source["diaObjectId"]
    assert alert.survey == "lsst"
    assert alert.object_id == (f"sso{source['ssObjectId']}" if solar_system else str(source["diaObjectId"]))
    assert alert.candid == source["diaSourceId"]
    assert alert.mjd == float(utc_from_tai(source["midpointMjdTai"]))
    assert (alert.ra, alert.dec) == (source["ra"], source["dec"])
    offset = (record.get("ssSource") or {}).get("ephOffset")
    expected = {
        "reliability": source["reliability"],
        "ssdistnr": None if not source["ssObjectId"] else max(offset or 0.0, 0.0),
        "magnr": _magnitude(source.get("templateFlux"), zero_point),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(alert.quality, name), np.nan if value is None else value, 1e-12, 0)
    assert alert.quality.raised == tuple(name for name in RUBIN_FLAGS if source.get(name))
    assert_same_points(alert.light_curve, plain_light_curve(record, zero_point))
    (own,) = alert.light_curve.points[alert.light_curve.points["candid"] == alert.candid]
    assert (own["mjd"], own["kind"]) == (alert.mjd, 0)


def assert_same_points(one: LightCurve, other: LightCurve) -> None:
    """Equal to the last bit, but for magnitudes, whose logarithm may differ in its last digit by machine."""
    assert len(one) == len(other)
    for name in one.points.dtype.names:
        if name in ("mag", "magerr", "limit", "magnr"):
            np.testing.assert_array_max_ulp(one.points[name], other.points[name], 1)
        else:
            np.testing.assert_array_equal(one.points[name], other.points[name], name)


def _history_point(row: dict[str, Any], zero_point: float) -> dict[str, Any] | None:
    time, flux, error = row.get("midpointMjdTai"), row.get("psfFlux"), row.get("psfFluxErr")
    if row.get("psfFlux_flag") or row.get("timeWithdrawnMjdTai") is not None or None in (time, flux, error):
        return None
    if row.get("band") not in (*"ugrizyY",) or not 56000 <= time <= 99999.5:
        return None
    if not abs(flux) < 1e10 or not 0 < error < 1e10:
        return None
    if "diaForcedSourceId" in row:
        return _point(row, "forced" if abs(flux) >= 5 * error else "limit", zero_point)
    return _point(row, "detection", zero_point) if 2.5 / math.log(10) * error <= 10 * abs(flux) else None


def _point(row: dict[str, Any], kind: str, zero_point: float) -> dict[str, Any]:
    flux, error = row["psfFlux"], row["psfFluxErr"]
    template = row.get("templateFlux")
    if "diaForcedSourceId" in row:
        template = None if row.get("scienceFlux") is None else row["scienceFlux"] - flux
    is_limit = kind == "limit"
    return {
        "mjd": float(utc_from_tai(row["midpointMjdTai"])),
        "band": BAND_CODES[row["band"].lower()],
        "mag": np.nan if is_limit else _magnitude(abs(flux), zero_point),
        "magerr": np.nan if is_limit else 2.5 / math.log(10) * error / abs(flux),
        "limit": _magnitude(5 * error, zero_point),
        "sign": 0 if is_limit else -1 if flux < 0 else 1,
        "kind": {"detection": 0, "limit": 1, "forced": 2}[kind],
        "candid": max(row.get("diaSourceId") or 0, 0) if kind == "detection" else 0,
        "magnr": np.nan if (magnr := _magnitude(template, zero_point)) is None else magnr,
        "survey": SURVEY_CODES["lsst"],
    }


def _magnitude(flux: float | None, zero_point: float) -> float | None:
    return zero_point - 2.5 * math.log10(flux) if flux is not None and 0 < flux < 1e10 else None


def _exposure(point: dict[str, Any]) -> tuple[float, int]:
    return np.rint(point["mjd"] * TICKS_PER_DAY), point["band"]


def _with_names(row: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in row.items()}
