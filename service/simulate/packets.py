"""Alert packets in the format of ZTF: from a field's measurements to the bytes of one Kafka message each.

The schema (field names, types, order) is the public format's; the texts in it are ours. Fields that nothing is
simulated for (catalogue neighbours, calibration terms, image statistics) hold plausible values, the same in every
packet that repeats a measurement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import SimulationError
from service.photometry.flux import AB_ZERO_POINT_UJY, magnitude_from_flux
from service.photometry.time import JD_OF_MJD_ZERO
from service.simulate.avro import Column, Container, RecordEncoder, Schema, string, varint
from service.simulate.cadence import EXPOSURE_SECONDS
from service.simulate.cutouts import Cutouts
from service.simulate.difference import DETECTION, LIMIT
from service.simulate.field import BOGUS, SOLAR_SYSTEM, Field

SCHEMA_VERSIONS: Final = ("4.02", "3.3")
NAMES: Final = 26**7
HISTORY_DAYS: Final = 30.0
PUBLISHER: Final = "alert-classifier simulate"  # never the survey's: nobody shall take these for observations

_FIRST_NIGHT: Final = 57_754  # MJD of the survey's night number 0, 2017-01-01
_CHANNELS: Final = 64
_NONE: Final = -999.0  # how the survey writes "there is none" in its float fields
_FAILED: Final = -99_999.0  # and a forced measurement that failed
_RB_VERSION, _DRB_VERSION = "t17_f5_c3", "d6_m7"

_Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows and exposures of some measurements


def read_schema(version: str = "4.02") -> Schema:
    """The Avro schema of a version. 3.3 differs by having no fp_hists and null as the second branch of its unions.

    Raises SimulationError on a version that isn't simulated.
    """
    if version not in SCHEMA_VERSIONS:
        raise SimulationError(f"schema version {version!r} can't be simulated; there are {', '.join(SCHEMA_VERSIONS)}")
    schema: Schema = json.loads(resources.files(__package__).joinpath("ztf-4.02.avsc").read_text())
    return schema if version == "4.02" else _as_version_3(schema)


class PacketWriter:
    """Writes the packets of one schema version."""

    def __init__(self, version: str, pool: Sequence[Cutouts], first_name: int) -> None:
        schema = read_schema(version)
        self.version = version
        self._first_name = first_name
        self._container = Container.of(schema)
        fields = {field["name"]: field["type"] for field in schema["fields"]}
        self._candidate = RecordEncoder(fields["candidate"])
        self._present = varint(next(i for i, branch in enumerate(fields["prv_candidates"]) if branch != "null"))
        self._absent = varint(fields["prv_candidates"].index("null"))
        self._previous = RecordEncoder(_items(fields["prv_candidates"]))
        self._forced = RecordEncoder(_items(fields["fp_hists"])) if "fp_hists" in fields else None
        self._stamps = [tuple(string(stamp) for stamp in (c.science, c.template, c.difference)) for c in pool]

    def write(self, field: Field) -> list[tuple[str, int, bytes]]:
        """(object_id, candid, packet) of every object of `field` for its last exposure, with the 30 days before it as
        history.
        """
        count, last = field.measured.shape[0], field.measured.shape[1] - 1
        mjd = field.exposures["mjd"]
        start = int(np.searchsorted(mjd, mjd[last] - HISTORY_DAYS))
        history = field.measured["status"][:, start:last]
        rows, when = np.nonzero(history == DETECTION)
        limit_rows, limit_when = np.nonzero(history == LIMIT)
        cells = np.full(history.shape, b"", dtype=object)
        self._fill(cells, self._previous, rows, when, _previous_detections(field, (rows, start + when)))
        self._fill(cells, self._previous, limit_rows, limit_when, _limits(field, (limit_rows, start + limit_when)))
        forced = np.full(history.shape, b"", dtype=object)
        if self._forced is not None:
            failed = field.measured["noise"][:, start:last, 5] < -2.4
            for fails in (False, True):
                rows, when = np.nonzero((history > 0) & (failed == fails))
                self._fill(forced, self._forced, rows, when, _forced(field, (rows, start + when), fails))
        newest: _Pairs = (np.arange(count), np.full(count, last))
        columns = _detections(field, newest) | _candidates(field, newest)
        candids = columns["candid"]
        assert isinstance(candids, np.ndarray)
        fresh = self._candidate.encode(columns, count)
        lengths = (history > 0).sum(axis=1).tolist()
        fades = field.measured["flux"][:, last] < 0
        stamps = (field.objects["number"] * 2 + fades) % len(self._stamps)
        names = names_of(field, self._first_name)
        packets = []
        for row, candid in enumerate(candids.tolist()):
            head = string(self.version) + string(PUBLISHER) + string(names[row]) + varint(candid) + fresh[row]
            parts = [head, self._array(lengths[row], cells[row])]
            if self._forced is not None:
                parts.append(self._array(lengths[row], forced[row, ::-1]))
            packet = self._container.pack(*parts, *self._cutouts(candid, self._stamps[stamps[row]]))
            packets.append((names[row], candid, packet))
        return packets

    @staticmethod
    def _fill(
        cells: NDArray[np.object_],
        encoder: RecordEncoder,
        rows: NDArray[np.intp],
        when: NDArray[np.intp],
        columns: Mapping[str, Column],
    ) -> None:
        if len(rows):
            cells[rows, when] = encoder.encode(columns, len(rows))

    def _array(self, length: int, items: NDArray[np.object_]) -> bytes:
        if not length:
            return self._absent
        return self._present + varint(length) + b"".join(items.tolist()) + b"\0"

    def _cutouts(self, candid: int, stamps: tuple[bytes, ...]) -> list[bytes]:
        image = f"candid{candid}_pid{candid // 1_000_000}_targ"
        names = (f"{image}_sci.fits.gz", f"candid{candid}_ref.fits.gz", f"{image}_scimref.fits.gz")
        return [
            part for name, stamp in zip(names, stamps, strict=True) for part in (self._present + string(name), stamp)
        ]


def names_of(field: Field, first_name: int) -> list[str]:
    """Object names like ZTF26abcdefg: year of the first detection, then the object's number, counted from `first_name`,
    in seven letters.
    """
    years = (2000 + (_first_detected(field) - 51_544) / 365.2425).astype(int) % 100
    # Consecutive numbers get names that look unrelated: a multiplier coprime to 26 permutes all names.
    scrambled = (field.objects["number"] + first_name) % NAMES * 987_654_323 % NAMES
    letters = scrambled[:, None] // 26 ** np.arange(6, -1, -1) % 26 + ord("a")
    words = letters.astype(np.uint8).view("S7")[:, 0].astype(str)
    return [f"ZTF{year:02d}{word}" for year, word in zip(years.tolist(), words.tolist(), strict=True)]


def _as_version_3(schema: Any) -> Any:
    if isinstance(schema, list):
        if schema and schema[0] == "null":
            return [_as_version_3(schema[1]), "null"]
        return [
            _as_version_3(item) for item in schema if not (isinstance(item, dict) and item.get("name") == "fp_hists")
        ]
    if isinstance(schema, dict):
        changed = {key: _as_version_3(value) for key, value in schema.items()}
        if "version" in changed:
            changed["version"] = "3.3"
        return changed
    return schema.replace("4.02", "3.3") if isinstance(schema, str) else schema


def _items(union: list[Any]) -> Schema:
    items: Schema = next(branch for branch in union if branch != "null")["items"]
    return items


def _first_detected(field: Field) -> NDArray[np.float64]:
    """mjd (n,) of the objects' first detections."""
    detected = field.measured["status"] == DETECTION
    first = field.exposures["mjd"][detected.argmax(axis=1)]
    return np.where(np.isnan(field.objects["since"]), first, field.objects["since"])


def _image(field: Field, pairs: _Pairs) -> dict[str, Any]:
    """What every record says of the image it was measured on."""
    rows, when = pairs
    exposures = field.exposures
    channel = field.objects["number"][rows] % _CHANNELS
    tick = exposures["tick"][when]
    night, fraction = tick // 100_000 - _FIRST_NIGHT, tick % 100_000
    seeing = exposures["seeing"][when]
    return {
        "jd": np.round(exposures["mjd"][when] + JD_OF_MJD_ZERO, 7),
        "fid": exposures["band"][when].astype(np.int64) + 1,
        "pid": ((night * 100_000 + fraction) * 100 + channel) * 100 + 15,
        "diffmaglim": exposures["limit"][when],
        "programid": 1,
        "programpi": "Kulkarni",
        "nid": night,
        "rcid": channel,
        "field": int(exposures["field"][0]) % 1000 + 245,
        "magzpsci": (26.3 - 0.1 * (seeing - 2.0)).astype(np.float32),
        "magzpsciunc": 6.2e-6,
        "magzpscirms": 0.03,
        "clrcoeff": np.array([-0.05, 0.09, 0.02], np.float32)[exposures["band"][when]],
        "clrcounc": 1.3e-5,
        "rbversion": _RB_VERSION,
    }


def _limits(field: Field, pairs: _Pairs) -> dict[str, Column]:
    columns = _image(field, pairs)
    columns["pdiffimfilename"] = _file_names(columns, "_scimrefdiffimg.fits.fz")
    return dict.fromkeys(_OF_A_DETECTION) | columns


def _reference(field: Field, pairs: _Pairs) -> dict[str, Any]:
    """The nearest source in the reference image of the band, as seen from the object's position."""
    rows, when = pairs
    objects = field.objects[rows]
    magnr = objects["magnr"][np.arange(len(rows)), field.exposures["band"][when]]
    angle = objects["number"] * 2.399963  # any fixed direction, spread evenly
    offset = objects["distnr"] * 1.01 / 3600  # pixels of 1.01 arcsec, in degrees
    return {
        "magnr": magnr,
        "sigmagnr": (0.012 + 0.12 * 10 ** (0.4 * (magnr - 21.5))).clip(0, 0.35),
        "chinr": np.where(objects["star"], 0.7, 2.5).astype(np.float32),
        "sharpnr": np.where(objects["star"], 0.0, 0.25).astype(np.float32),
        "ranr": objects["ra"] + offset * np.cos(angle) / np.cos(np.radians(objects["dec"])),
        "decnr": objects["dec"] + offset * np.sin(angle),
    }


def _detections(field: Field, pairs: _Pairs) -> dict[str, Column]:
    """Columns that a detection has in `candidate` and in `prv_candidates`."""
    rows, when = pairs
    objects, measured = field.objects[rows], field.measured[rows, when]
    noise, seeing = measured["noise"], field.exposures["seeing"][when]
    bogus = objects["kind"] == BOGUS
    columns = _image(field, pairs)
    names = _file_names(columns, "_scimrefdiffimg.fits.fz")
    mag, magerr, sign = magnitude_from_flux(measured["flux"], measured["sigma"])
    mag, magerr = mag.astype(np.float32), magerr.astype(np.float32)
    fwhm = seeing * np.exp(np.where(bogus, 0.45, 0.08) * noise[:, 0])
    elong = 1.02 + np.where(bogus, 0.5, 0.08) * np.abs(noise[:, 1])
    magdiff = np.where(bogus, 0.45, 0.02 + 0.7 * magerr) * noise[:, 2]
    major = 0.33 * fwhm * np.sqrt(elong)
    x, y = 100 + objects["number"] * 37 % 2870, 100 + objects["number"] * 61 % 2880
    x, y = x + 4 * noise[:, 3], y + 4 * noise[:, 4]
    signal = np.abs(measured["flux"]) / measured["sigma"]
    columns |= {
        "pdiffimfilename": names,
        "candid": columns["pid"] * 1_000_000 + 10_000 + _table_row(objects["number"]),
        "isdiffpos": np.where(sign > 0, b"t", b"f").astype("S1"),
        "tblid": _table_row(objects["number"]),
        "xpos": x,
        "ypos": y,
        "ra": np.round(objects["ra"] + 3e-5 * noise[:, 3] / signal, 7),
        "dec": np.round(objects["dec"] + 3e-5 * noise[:, 4] / signal, 7),
        "magpsf": mag,
        "sigmapsf": magerr,
        "chipsf": np.exp(np.where(bogus, 3.0, 1.0) + 0.6 * noise[:, 2]),
        "magap": mag + magdiff,
        "sigmagap": 1.3 * magerr,
        "distnr": np.abs(objects["distnr"] + 0.06 * noise[:, 5]),
        "sky": 0.6 * noise[:, 4],
        "magdiff": magdiff,
        "fwhm": fwhm,
        "classtar": 1 - 0.03 * np.abs(noise[:, 5]) - np.where(bogus, 0.3, 0.0),
        "mindtoedge": np.minimum(np.minimum(x, 3072 - x), np.minimum(y, 3080 - y)),
        "magfromlim": columns["diffmaglim"] - mag - magdiff,
        "seeratio": fwhm / seeing,
        "aimage": major,
        "bimage": major / elong,
        "aimagerat": major / fwhm,
        "bimagerat": major / elong / fwhm,
        "elong": elong,
        "nneg": np.where(bogus, 8, 2) + (2 * np.abs(noise[:, 3])).astype(np.int64),
        "nbad": np.where(bogus & (noise[:, 4] > 0.3), 1 + (2 * noise[:, 4]).astype(np.int64), 0),
        "rb": _logistic(np.where(bogus, -1.1, 1.6) + 0.9 * noise[:, 5]),
        "ssdistnr": None,
        "ssmagnr": None,
        "ssnamenr": None,
        "sumrat": np.where(bogus, 0.55, 0.97) + 0.02 * noise[:, 1].clip(-3, 1),
        "magapbig": mag + 1.1 * magdiff,
        "sigmagapbig": 1.7 * magerr,
        "scorr": (1.05 * signal).astype(np.float64),
    }
    return columns | _reference(field, pairs)


def _previous_detections(field: Field, pairs: _Pairs) -> dict[str, Column]:
    """Columns of detections in `prv_candidates`: as `_detections`, but for those of the alert's own night the survey
    writes 1 and 0 where it writes t and f for all others.
    """
    columns = _detections(field, pairs)
    night = field.exposures["tick"] // 100_000
    sign = columns["isdiffpos"]
    assert isinstance(sign, np.ndarray)
    same_night = (night == night[-1])[pairs[1]]
    return columns | {"isdiffpos": np.where(same_night, np.where(sign == b"t", b"1", b"0"), sign).astype("S1")}


def _candidates(field: Field, pairs: _Pairs) -> dict[str, Column]:
    """Columns that only `candidate` has, and those that differ there."""
    rows, when = pairs
    objects, measured = field.objects[rows], field.measured[rows, when]
    noise = measured["noise"]
    moving, bogus, star = objects["kind"] == SOLAR_SYSTEM, objects["kind"] == BOGUS, objects["star"]
    image = _image(field, pairs)
    jd = image["jd"]
    detected = field.measured["status"] == DETECTION
    mag = AB_ZERO_POINT_UJY - 2.5 * np.log10(np.abs(measured["flux"]))
    distance = objects["distnr"] * 1.01
    r = objects["magnr"][:, 1]
    catalogue = objects["number"] * 7_919 % 10**9 + 96_000_000_000_000_000
    columns: dict[str, Column] = {
        "pdiffimfilename": _file_names(image, "_scimrefdiffimg.fits"),
        "ssdistnr": np.where(moving, np.abs(0.4 * noise[:, 0]), _NONE),
        "ssmagnr": np.where(moving, mag + 0.1 * noise[:, 1], _NONE),
        "ssnamenr": np.where(moving, b"simulated", b"null"),
        "ndethist": objects["earlier"] + detected.sum(axis=1),
        "ncovhist": 3 * objects["earlier"] + (field.measured["status"] > 0).sum(axis=1) + 400,
        "jdstarthist": np.round(_first_detected(field) + JD_OF_MJD_ZERO, 7),
        "jdendhist": jd,
        "tooflag": 0,
        "nmtchps": 3 + objects["number"] % 17,
        "rfid": _reference_image(image),
        "jdstartref": 2_458_150.7,
        "jdendref": 2_458_420.9,
        "nframesref": 15,
        "dsnrms": 3 * measured["flux"] / measured["sigma"],
        "ssnrms": 8 + 4 * np.abs(measured["flux"]) / measured["sigma"],
        "dsdiff": 3 * measured["flux"] / measured["sigma"] - 8 - 4 * np.abs(measured["flux"]) / measured["sigma"],
        "nmatches": 400 + objects["number"] * 13 % 1600,
        "zpclrcov": -5e-6,
        "zpmed": 26.3,
        "clrmed": 0.62,
        "clrrms": 0.18,
        "neargaia": np.where(star, distance, distance + 6),
        "neargaiabright": _NONE,
        "maggaia": np.minimum(r - 0.1, 20.9),
        "maggaiabright": _NONE,
        "exptime": EXPOSURE_SECONDS,
        "drb": np.where(bogus, 10 ** (-1.0 + 0.5 * noise[:, 1]), 1 - 10 ** (-2.6 + 0.9 * noise[:, 1])).clip(0, 1),
        "drbversion": _DRB_VERSION,
    }
    for rank, farther, fainter in ((1, 0.0, 0.0), (2, 7.0, 1.5), (3, 13.0, 2.0)):
        columns |= {
            f"objectidps{rank}": catalogue + rank,
            f"sgmag{rank}": objects["magnr"][:, 0] + fainter,
            f"srmag{rank}": r + fainter,
            f"simag{rank}": objects["magnr"][:, 2] + fainter,
            f"szmag{rank}": objects["magnr"][:, 2] + fainter - 0.1,
            f"sgscore{rank}": np.where(star, 0.97, 0.04) if rank == 1 else 0.5,
            f"distpsnr{rank}": distance + farther,
        }
    return columns


def _forced(field: Field, pairs: _Pairs, failed: bool) -> dict[str, Column]:
    """Columns of `fp_hists`, for measurements that succeeded or for those that failed."""
    rows, when = pairs
    columns = _image(field, pairs)
    measured = field.measured[rows, when]
    per_dn = 10 ** (0.4 * (columns["magzpsci"].astype(np.float64) - AB_ZERO_POINT_UJY))  # DN of one uJy
    return (
        columns
        | {"distnr": field.objects["distnr"][rows]}
        | _reference(field, pairs)
        | {
            "rfid": _reference_image(columns),
            "sciinpseeing": field.exposures["seeing"][when],
            "scibckgnd": 150 + 60 * (20.8 - columns["diffmaglim"]),
            "scisigpix": 8 * 10 ** (-0.4 * (columns["diffmaglim"] - 20.4)),
            "exptime": EXPOSURE_SECONDS,
            "adpctdif1": 0.08,
            "adpctdif2": 0.08,
            "forcediffimflux": _FAILED if failed else measured["forced"] * per_dn,
            "forcediffimfluxunc": _FAILED if failed else measured["sigma"] * per_dn,
            "procstatus": _why_failed(measured["noise"][:, 4]) if failed else "0",
        }
    )


def _why_failed(noise: NDArray[np.float64]) -> NDArray[np.bytes_]:
    """procstatus of failed measurements: mostly 61, as in real packets, now and then 55 or 56."""
    return np.select([noise > 1.6, noise < -1.6], [b"55", b"56"], b"61").astype("S2")


def _reference_image(image: Mapping[str, Any]) -> NDArray[np.int64]:
    return np.asarray(image["field"] * 1_000_000 + 120_000 + image["fid"] * 100 + image["rcid"])


def _table_row(number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of the extraction's table: objects of one field and channel never share one."""
    return number // _CHANNELS % 10_000


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def _file_names(image: Mapping[str, Any], suffix: str) -> NDArray[np.bytes_]:
    """Names of the difference images: night, fraction of the day, field, band, chip and quadrant of the camera."""
    pid, channel = image["pid"], image["rcid"]
    fraction = pid // 10_000 % 100_000
    text = f"ztf_{'0' * 13}_{image['field']:06d}_z{{}}_c{{}}_o_q{{}}{suffix}"
    names = np.empty((len(pid), len(text) - 6 + 4), np.uint8)
    names[:] = np.frombuffer(text.format("g", "00", "0").encode(), np.uint8)
    night = image["nid"]
    for place in range(8):
        names[:, 4 + place] = ord("0") + night // 10 ** (7 - place) % 10
    for place in range(5):
        names[:, 12 + place] = ord("0") + fraction // 10 ** (4 - place) % 10
    names[:, 26] = np.frombuffer(b"gri", np.uint8)[image["fid"] - 1]
    chip = channel // 4 + 1
    names[:, 29], names[:, 30] = ord("0") + chip // 10, ord("0") + chip % 10
    names[:, 35] = ord("1") + channel % 4
    return np.asarray(names.view(f"S{names.shape[1]}")[:, 0])


_OF_A_DETECTION: Final = (
    "candid", "isdiffpos", "tblid", "xpos", "ypos", "ra", "dec", "magpsf", "sigmapsf", "chipsf", "magap", "sigmagap",
    "distnr", "magnr", "sigmagnr", "chinr", "sharpnr", "sky", "magdiff", "fwhm", "classtar", "mindtoedge", "magfromlim",
    "seeratio", "aimage", "bimage", "aimagerat", "bimagerat", "elong", "nneg", "nbad", "rb", "ssdistnr", "ssmagnr",
    "ssnamenr", "sumrat", "magapbig", "sigmagapbig", "ranr", "decnr", "scorr",
)  # fmt: skip
