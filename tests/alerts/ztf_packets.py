"""Small packets with the real field names, and a plain reading of packets to hold the fast one against."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np
from hypothesis import strategies as st

from service.alerts import Alert
from service.photometry import BAND_CODES, Context, LightCurve
from service.photometry.context import context_values
from service.photometry.flux import magnitude_from_flux
from service.photometry.union import TICKS_PER_DAY

CANDIDATE = {
    "jd": "double", "fid": "int", "pid": "long", "diffmaglim": "float?", "pdiffimfilename": "string?",
    "programid": "int", "candid": "long", "isdiffpos": "string", "nid": "int?", "xpos": "float?", "ypos": "float?",
    "ra": "double", "dec": "double", "magpsf": "float", "sigmapsf": "float", "distnr": "float?", "magnr": "float?",
    "sigmagnr": "float?", "magdiff": "float?", "fwhm": "float?", "elong": "float?", "nbad": "int?", "rb": "float?",
    "ssdistnr": "float?", "ssmagnr": "float?", "ssnamenr": "string?", "drb": "float?", "chinr": "float?",
    "sharpnr": "float?", "sgmag1": "float?", "srmag1": "float?", "simag1": "float?", "szmag1": "float?",
    "sgscore1": "float?", "distpsnr1": "float?", "tblid": "long?", "neargaia": "float?", "neargaiabright": "float?",
    "maggaia": "float?", "maggaiabright": "float?", "sgmag2": "float?", "sgscore2": "float?", "distpsnr2": "float?",
    "sgscore3": "float?", "distpsnr3": "float?", "nmtchps": "int", "dsnrms": "float?",
}  # fmt: skip
HISTORY = {
    "jd": "double", "fid": "int", "pid": "long", "diffmaglim": "float?", "pdiffimfilename": "string?",
    "programid": "int", "candid": "long?", "isdiffpos": "string?", "nid": "int?", "ra": "double?", "dec": "double?",
    "magpsf": "float?", "sigmapsf": "float?", "distnr": "float?", "magnr": "float?", "rb": "float?",
    "scorr": "double?",
}  # fmt: skip
FORCED = {
    "field": "int?", "fid": "int", "magzpsci": "float?", "diffmaglim": "float?", "jd": "double",
    "forcediffimflux": "float?", "forcediffimfluxunc": "float?", "procstatus": "string?", "distnr": "float?",
    "ranr": "double", "magnr": "float?",
}  # fmt: skip


ZTF_QUALITY = ("rb", "drb", "nbad", "fwhm", "elong", "magdiff", "ssdistnr", "distnr", "magnr", "sigmagnr")


def schema(*, null_first: bool = True, forced: str = "fp_hists", nullable: bool = False) -> dict[str, Any]:
    """A ZTF-like schema. `forced`: "fp_hists", "none", or "prv_candidates" for a union of both kinds of records there;
    `nullable`: every record is optional, as Spark writes them.
    """

    def optional(kind: Any) -> list[Any]:
        return ["null", kind] if null_first else [kind, "null"]

    def record(name: str, fields: dict[str, str]) -> Any:
        members = [
            {"name": field, "type": optional(kind[:-1]) if kind.endswith("?") else kind}
            for field, kind in fields.items()
        ]
        whole = {"type": "record", "name": name, "fields": members}
        return optional(whole) if nullable else whole

    history = record("prv_candidate", HISTORY)
    forced_record = record("fp_hist", FORCED)
    if forced == "prv_candidates":
        both = [branch for kind in (history, forced_record) for branch in _branches(kind) if branch != "null"]
        history = ["null", *both] if nullable else both
    fields: list[dict[str, Any]] = [
        {"name": "schemavsn", "type": "string"},
        {"name": "objectId", "type": "string"},
        {"name": "candid", "type": "long"},
        {"name": "candidate", "type": record("candidate", CANDIDATE)},
        {"name": "prv_candidates", "type": optional({"type": "array", "items": history})},
    ]
    if forced == "fp_hists":
        fields.append({"name": "fp_hists", "type": optional({"type": "array", "items": forced_record})})
    cutout = {
        "type": "record",
        "name": "cutout",
        "fields": [{"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}],
    }
    fields.append({"name": "cutoutScience", "type": optional(cutout)})
    fields.append({"name": "cutoutTemplate", "type": optional("ztf.alert.cutout")})
    return {"type": "record", "name": "ztf.alert.packet", "fields": fields}


def packet(records: list[dict[str, Any]] | dict[str, Any], written_by: dict[str, Any], codec: str = "null") -> bytes:
    """An object container file of one or more records."""
    stream = io.BytesIO()
    fastavro.writer(stream, written_by, records if isinstance(records, list) else [records], codec=codec)
    return stream.getvalue()


def framed(record: dict[str, Any], written_by: dict[str, Any], schema_id: int) -> bytes:
    """A Confluent-framed message."""
    stream = io.BytesIO()
    stream.write(b"\0" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(stream, written_by, record)
    return stream.getvalue()


def an_alert(**candidate: Any) -> dict[str, Any]:
    """An ordinary alert with one earlier detection, one upper limit and one forced measurement."""
    values = {
        "jd": 2460500.75, "fid": 1, "pid": 1, "diffmaglim": 20.5, "pdiffimfilename": "a.fits", "programid": 1,
        "candid": 2770250755015010003, "isdiffpos": "t", "nid": 2770, "xpos": 1.0, "ypos": 2.0, "ra": 150.25,
        "dec": -12.5, "magpsf": 18.5, "sigmapsf": 0.0625, "distnr": 0.5, "magnr": 19.25, "sigmagnr": 0.125,
        "magdiff": 0.03125, "fwhm": 2.5, "elong": 1.125, "nbad": 0, "rb": 0.75, "ssdistnr": -999.0,
        "ssmagnr": -999.0, "ssnamenr": "null", "drb": 0.875, "chinr": 1.5, "sharpnr": -0.25, "sgmag1": -999.0,
        "srmag1": 18.25, "simag1": 17.75, "szmag1": None, "sgscore1": 0.984375, "distpsnr1": 0.375, "tblid": 7,
        "neargaia": 0.5, "neargaiabright": -999.0, "maggaia": 18.5, "maggaiabright": -999.0, "sgmag2": 21.5,
        "sgscore2": 0.5, "distpsnr2": 11.25, "sgscore3": -999.0, "distpsnr3": -999.0, "nmtchps": 2, "dsnrms": None,
    }  # fmt: skip
    return {
        "schemavsn": "4.02",
        "objectId": "ZTF24abcdefg",
        "candid": values["candid"],
        "candidate": values | candidate,
        "prv_candidates": [
            a_row(jd=2460495.5, magpsf=19.0, sigmapsf=0.125, isdiffpos="t", candid=2765000000000000001, magnr=19.25),
            a_row(jd=2460490.5, diffmaglim=19.75),
        ],
        "fp_hists": [a_forced_row()],
        "cutoutScience": {"fileName": "c.fits.gz", "stampData": b"\x1f\x8b" * 50},
        "cutoutTemplate": None,
    }


def a_row(**values: Any) -> dict[str, Any]:
    return dict.fromkeys(HISTORY) | {"jd": 2460490.5, "fid": 2, "pid": 1, "programid": 1} | values


def a_forced_row(**values: Any) -> dict[str, Any]:
    usual = {
        "fid": 2, "magzpsci": 26.25, "diffmaglim": 20.25, "jd": 2460492.5, "forcediffimflux": -512.0,
        "forcediffimfluxunc": 32.0, "procstatus": "0", "ranr": 150.25, "magnr": -99999.0,
    }  # fmt: skip
    return dict.fromkeys(FORCED) | usual | values


def plain_light_curve(record: dict[str, Any]) -> LightCurve:
    """What the light curve of a packet must be, row by row in plain Python, from the record as fastavro gives it."""
    detection = record["candidate"]
    candid = record.get("candid") or detection["candid"]
    points = [_point(detection, "detection") | {"candid": candid}]
    rows = [row for table in ("prv_candidates", "fp_hists") for row in record.get(table) or [] if row is not None]
    for row in rows:
        point = _history_point(row)
        if point is None or _measurement(point)[0] > _measurement(points[0])[0]:
            continue
        if _measurement(point) != _measurement(points[0]):
            points.append(point)
    return LightCurve.from_columns(**{name: [point[name] for point in points] for name in points[0]}, brought_by=candid)


def assert_same(alert: Alert, record: dict[str, Any]) -> None:
    """Every used field of `alert` is what `record`, read by fastavro, says."""
    candidate = record["candidate"]
    assert alert.survey == "ztf"
    assert alert.object_id == record["objectId"]
    assert alert.candid == (record.get("candid") or candidate["candid"])
    assert alert.mjd == candidate["jd"] - 2400000.5
    assert (alert.ra, alert.dec) == (candidate["ra"], candidate["dec"])
    assert alert.schema_version == (record.get("schemavsn") or "")
    for name in ZTF_QUALITY:
        expected = candidate.get(name)
        if name == "drb" and expected == 0 and candidate.get("drbversion") == "":
            expected = None
        np.testing.assert_equal(getattr(alert.quality, name), np.nan if expected is None else float(expected), name)
    assert_same_context(alert, record)
    assert_same_points(alert.light_curve, plain_light_curve(record))
    assert np.count_nonzero(alert.light_curve.points["candid"] == alert.candid) == 1


def assert_same_context(alert: Alert, record: dict[str, Any]) -> None:
    """What the packet says of the surroundings, as `context_values` reads the record's own columns."""
    columns = {
        name: [value] for name, value in record["candidate"].items() if type(value) in (int, float) and name != "gal_b"
    }
    expected = Context(context_values(columns, 1)[0]).known()
    assert alert.context is not None
    assert (alert.context.mjd, alert.context.candid) == (alert.mjd, alert.candid)
    found = alert.context.known()
    np.testing.assert_allclose(
        found.pop("gal_b"), expected.pop("gal_b"), atol=1e-5
    )  # a sine may differ in its last bit
    assert found == expected


def assert_same_points(one: LightCurve, other: LightCurve) -> None:
    """Equal to the last bit, but for forced magnitudes, whose logarithm may differ in its last digit by machine."""
    assert len(one) == len(other)
    for name in one.points.dtype.names:
        if name in ("mag", "magerr"):
            np.testing.assert_array_max_ulp(one.points[name], other.points[name], 1)
        else:
            np.testing.assert_array_equal(one.points[name], other.points[name], name)
    plain = one.kind != 2
    assert one.select(plain) == other.select(plain)


def _history_point(row: dict[str, Any]) -> dict[str, Any] | None:
    if row.get("fid") not in (1, 2, 3) or not 2458000 <= (row.get("jd") or 0) <= 2500000:
        return None
    if "forcediffimflux" in row:
        flux, fluxerr, zero_point = row.get("forcediffimflux"), row.get("forcediffimfluxunc"), row.get("magzpsci")
        if not _usable(row.get("procstatus")) or None in (flux, fluxerr, zero_point):
            return None
        if flux == -99999 or not abs(flux) < 1e9 or not 0 < fluxerr < 1e9 or not -5 < zero_point < 40:
            return None
        scale = 10 ** (-0.4 * (zero_point - 23.9))
        mag, magerr, sign = magnitude_from_flux(flux * scale, fluxerr * scale)
        return _point(row, "forced") | {"mag": mag, "magerr": magerr, "sign": sign, "candid": 0}
    mag = row.get("magpsf")
    if mag is None or np.isnan(mag) or mag in (-999.0, -99999.0):
        return _point(row, "limit") if _plausible(row.get("diffmaglim")) == row.get("diffmaglim") else None
    if not -5 <= mag <= 50 or row.get("sigmapsf") is None or not 0 <= row.get("sigmapsf") <= 10:
        return None
    return _point(row, "detection")


def _point(row: dict[str, Any], kind: str) -> dict[str, Any]:
    is_detection = kind == "detection"
    return {
        "mjd": row["jd"] - 2400000.5,
        "band": BAND_CODES[{1: "g", 2: "r", 3: "i"}[row["fid"]]],
        "mag": row.get("magpsf") if is_detection else np.nan,
        "magerr": row.get("sigmapsf") if is_detection else np.nan,
        "limit": _plausible(row.get("diffmaglim")),
        "sign": _sign(row.get("isdiffpos")) if is_detection else 0,
        "kind": {"detection": 0, "limit": 1, "forced": 2}[kind],
        "candid": max(row.get("candid") or 0, 0) if is_detection else 0,
        "magnr": _plausible(row.get("magnr")),
    }


def _sign(isdiffpos: object) -> int:
    said = str(isdiffpos).lower() if isdiffpos is not None else ""
    return 1 if said in ("t", "true", "1", "+", "+1") else -1 if said in ("f", "false", "0", "-", "-1") else 0


def _plausible(mag: float | None) -> float:
    return mag if mag is not None and -5 <= mag <= 50 else np.nan


def _usable(procstatus: str | None) -> bool:
    numbers = (procstatus or "").split(",")
    return all(number.isascii() and number.isdecimal() and int(number) in (0, 57) for number in numbers)


def _measurement(point: dict[str, Any]) -> tuple[float, int, int]:
    return np.rint(point["mjd"] * TICKS_PER_DAY), point["band"], point["kind"]


def _branches(kind: Any) -> list[Any]:
    return kind if isinstance(kind, list) else [kind]


# --- generated packets, for property tests -------------------------------------------------------------------------

_JD = st.one_of(
    st.floats(2458200, 2461000), st.integers(0, 40).map(lambda day: 2460500.75 - day), st.floats(), st.just(-99999.0)
)
_FLOAT = st.one_of(st.floats(10, 25, width=32), st.floats(width=32), st.sampled_from([-999.0, -99999.0, 0.0]))
_FID = st.one_of(st.integers(1, 3), st.integers(-(2**31), 2**31 - 1))
_TEXT = st.one_of(
    st.sampled_from(["t", "f", "1", "0", "T", "FALSE", "true", "+", "-1", "\r", "57", "56", "0,57", "61", "", "null"]),
    st.text(max_size=20),
)
_LONG = st.integers(-(2**63), 2**63 - 1)
_VALUES = {
    "float": _FLOAT,
    "double": st.floats(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": _LONG,
    "string": _TEXT,
}


def _generated(fields: dict[str, str], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    usual = {
        name: st.none() | _VALUES[kind[:-1]] if kind.endswith("?") else _VALUES[kind] for name, kind in fields.items()
    }
    return st.fixed_dictionaries(usual | known)


def histories() -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(_generated(HISTORY, jd=_JD, fid=_FID), max_size=12)


def forced_histories() -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(_generated(FORCED, jd=_JD, fid=_FID), max_size=8)


@st.composite
def alerts(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """(schema, record) of packets whose detection is whole and whose history holds anything at all."""
    forced = draw(st.sampled_from(["fp_hists", "none", "prv_candidates"]))
    written_by = schema(null_first=draw(st.booleans()), forced=forced, nullable=draw(st.booleans()))
    whole = {
        "jd": st.floats(2458200, 2461000),
        "fid": st.integers(1, 3),
        "magpsf": st.floats(5, 25, width=32),
        "sigmapsf": st.floats(0, 1, width=32),
        "ra": st.floats(0, 360),
        "dec": st.floats(-90, 90),
        "candid": st.integers(1, 2**63 - 1),
    }
    record = an_alert()
    record["candidate"] = draw(_generated(CANDIDATE, **whole))
    record["candid"] = record["candidate"]["candid"]
    record["objectId"] = draw(st.from_regex(r"ZTF[0-9]{2}[a-z]{7}", fullmatch=True))
    history = draw(histories())
    if forced == "prv_candidates":
        history = draw(st.permutations(history + [("ztf.alert.fp_hist", row) for row in draw(forced_histories())]))
    record["prv_candidates"] = draw(st.sampled_from([history, None]))
    record["fp_hists"] = draw(forced_histories())
    return written_by, record
