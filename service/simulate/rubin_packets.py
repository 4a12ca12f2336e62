"""Rubin's packets, schema 11.1: names, types and order of the fields are the public format's.

Fields that nothing is simulated for hold plausible values, or null where real packets mostly have null.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.simulate.avro import Column, Container, RecordEncoder, Schema, string, varint
from service.simulate.cutouts import fits

SCHEMA_ID: Final = 1101  # in the survey's registry: major * 100 + minor
VERSION: Final = "11.1"
FRAME: Final = b"\0" + SCHEMA_ID.to_bytes(4, "big")

_FIRST_OBJECT: Final = 313_900_000_000_000_000  # diaObjectIds of public packets are of this size
_FIRST_SOURCE: Final = 170_000_000_000_000_000
_SOURCES_PER_SECOND: Final = 1_000_000
_FIRST_ASTEROID: Final = 21_163_611_677_000_000
_CUTOUT: Final = 88  # pixels: with its header 34.6 kB, the size of a real one
_BANDS: Final = np.array([b"u", b"g", b"r", b"i", b"z", b"y"])
_LIMIT: Final = 5.0  # sigma

# What real packets mostly have null.
_NULL: Final = frozenset(
    {
        "ssObjectId", "parentDiaSourceId", "psfLnL", "trailRaErr", "trailDecErr", "trailLengthErr", "trailAngleErr",
        "trailChi2", "dipoleMeanFlux", "dipoleMeanFluxErr", "dipoleFluxDiff", "dipoleFluxDiffErr", "dipoleLength",
        "dipoleAngle", "dipoleChi2", "timeWithdrawnMjdTai", "designation",
    }
)  # fmt: skip
_VALUES: Final[dict[str, Column]] = {"string": "simulated", "boolean": False, "float": 0.5, "double": 0.5}


@dataclass(frozen=True, slots=True)
class Measurements:
    """n objects in T visits: mjd [days, TAI] and band (T,), codes in the order u g r i z y; difference flux, forced
    difference flux, error, template flux [nJy] (n, T), float32; ra, dec [deg] (n,). `first_object`: number of the
    first.
    """

    mjd: NDArray[np.float64]
    band: NDArray[np.int8]
    flux: NDArray[np.float32]
    forced: NDArray[np.float32]
    error: NDArray[np.float32]
    template: NDArray[np.float32]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    first_object: int


def read_schema() -> Schema:
    schema: Schema = json.loads(schema_text())
    return schema


def schema_text() -> str:
    """The writer schema, as a registry would give it for SCHEMA_ID."""
    return resources.files(__package__).joinpath("lsst-11.1.avsc").read_text("utf-8")


def write_schema(folder: Path) -> None:
    """Write the writer schema to `folder`/1101.avsc. Raises OSError where the folder can't be written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{SCHEMA_ID}.avsc").write_text(schema_text(), encoding="utf-8")


class RubinPacketWriter:
    """Writes packets as messages of Kafka (`framed`) or as container files."""

    def __init__(self, rng: np.random.Generator, stamps: int, framed: bool) -> None:
        schema = read_schema()
        fields = {field["name"]: field["type"] for field in schema["fields"]}
        self._container = None if framed else Container.of(schema)
        self._source = _Encoder(fields["diaSource"])
        self._forced = _Encoder(_branch(fields["prvDiaForcedSources"])["items"])
        self._object = _Encoder(_branch(fields["diaObject"]))
        self._asteroid = _Encoder(_branch(fields["ssSource"]))
        self._stamps = [b"".join(_some(string(_stamp(rng))) for _ in range(3)) for _ in range(stamps)]
        self._of: int | None = None  # the pointing whose rows are kept
        self._sources: dict[int, list[bytes]] = {}  # row -> its sources, in the order of its detections
        self._forced_rows: dict[int, list[bytes]] = {}

    def write(self, measured: Measurements, row: int, visit: int) -> tuple[str, int, bytes]:
        """(object_id, candid, packet) of object `row` for visit `visit`, which detected it, with all visits before as
        history.
        """
        if self._of != measured.first_object:
            self._of, self._sources, self._forced_rows = measured.first_object, {}, {}
        detected = np.flatnonzero(np.abs(measured.flux[row]) >= _LIMIT * measured.error[row])
        if row not in self._sources:
            self._sources[row] = self._source.encode(_sources(measured, row, detected), len(detected))
            after = np.arange(detected[0], len(measured.mjd))
            self._forced_rows[row] = self._forced.encode(_forced_sources(measured, row, after), len(after))
        own = int(np.searchsorted(detected, visit))
        earlier = self._sources[row][:own]
        # the forced photometry of a new object comes with its second alert
        forced = self._forced_rows[row][: visit + 1 - int(detected[0])] if own else []
        number = _FIRST_OBJECT + measured.first_object + row
        (dia_object,) = self._object.encode(
            {
                "diaObjectId": number,
                "ra": float(measured.ra[row]),
                "dec": float(measured.dec[row]),
                "nDiaSources": own + 1,
                "validityStartMjdTai": float(measured.mjd[visit]),
            },
            1,
        )
        candid = _source_id(measured, row, visit)
        parts = (self._sources[row][own], _array(earlier), _array(forced), _some(dia_object), _NONE, _NONE)
        return str(number), candid, self._packet(candid, parts)

    def write_asteroid(
        self, rng: np.random.Generator, measured: Measurements, visit: int, place: int
    ) -> tuple[str, int, bytes]:
        """A known object of the Solar System: no object of the static sky, no history."""
        number = _FIRST_ASTEROID + int(rng.integers(100_000))
        candid = _source_id(measured, place, visit)
        error = float(np.median(measured.error[:, visit]))
        columns: dict[str, Column] = {
            "diaSourceId": candid,
            "visit": _visit_number(measured.mjd[visit]),
            "detector": place % 189,
            "diaObjectId": 0,
            "ssObjectId": number,
            "midpointMjdTai": float(measured.mjd[visit]),
            "ra": float((measured.ra[0] + rng.uniform(-0.5, 0.5)) % 360.0),
            "dec": float(np.clip(measured.dec[0] + rng.uniform(-0.5, 0.5), -89.9, 89.9)),
            "psfFlux": error * _LIMIT * 10 ** float(rng.uniform(0.0, 1.5)),
            "psfFluxErr": error,
            "band": _BANDS[measured.band[visit]].decode(),
            "reliability": 0.9,
        }
        (source,) = self._source.encode(columns, 1)
        (orbit,) = self._asteroid.encode(
            {"diaSourceId": candid, "ssObjectId": number, "ephOffset": 0.03, "designation": "simulated"}, 1
        )
        return f"sso{number}", candid, self._packet(candid, (source, _NONE, _NONE, _NONE, _some(orbit), _NONE))

    def _packet(self, candid: int, parts: tuple[bytes, ...]) -> bytes:
        head = varint(candid) + _NONE + _NONE  # observation_reason and target_name
        whole = (head, *parts, self._stamps[candid % len(self._stamps)])
        return FRAME + b"".join(whole) if self._container is None else self._container.pack(*whole)


class _Encoder:
    """Encodes records of which only some fields are given; the others hold what is usual."""

    def __init__(self, record: Schema) -> None:
        self._encoder = RecordEncoder(record)
        self._usual: dict[str, Column] = {field["name"]: _usual(field) for field in record["fields"]}

    def encode(self, columns: dict[str, Column], count: int) -> list[bytes]:
        unknown = columns.keys() - self._usual.keys()
        assert not unknown, f"no field {unknown}"
        return self._encoder.encode(self._usual | columns, count)


def _sources(measured: Measurements, row: int, visits: NDArray[np.intp]) -> dict[str, Column]:
    flux, error = measured.flux[row, visits], measured.error[row, visits]
    signal = np.abs(flux) / error
    return {
        "diaSourceId": np.array([_source_id(measured, row, visit) for visit in visits.tolist()]),
        "visit": _visit_number(measured.mjd[visits]),
        "detector": (measured.first_object + row) % 189,
        "diaObjectId": _FIRST_OBJECT + measured.first_object + row,
        "midpointMjdTai": measured.mjd[visits],
        "exposureTime": 30.0,
        "ra": (measured.ra[row] + 3e-5 / signal.astype(np.float64)) % 360.0,
        "dec": measured.dec[row] - 3e-5 / signal.astype(np.float64),
        "isNegative": flux < 0,
        "snr": signal,
        "psfFlux": flux,
        "psfFluxErr": error,
        "psfNdata": 1681,
        "apFlux": flux * np.float32(1.05),
        "apFluxErr": error * np.float32(2.5),
        "scienceFlux": flux + measured.template[row, visits],
        "scienceFluxErr": error,
        "templateFlux": measured.template[row, visits],
        "templateFluxErr": error * np.float32(0.3),
        "reliability": np.minimum(0.55 + 0.02 * signal, 0.99),
        "reliabilityVersion": "simulated",
        "band": _BANDS[measured.band[visits]],
        "timeProcessedMjdTai": measured.mjd[visits] + 0.001,
    }


def _forced_sources(measured: Measurements, row: int, visits: NDArray[np.intp]) -> dict[str, Column]:
    return {
        "diaForcedSourceId": np.array([_source_id(measured, row, visit) for visit in visits.tolist()]),
        "diaObjectId": _FIRST_OBJECT + measured.first_object + row,
        "ra": float(measured.ra[row]),
        "dec": float(measured.dec[row]),
        "visit": _visit_number(measured.mjd[visits]),
        "detector": (measured.first_object + row) % 189,
        "psfFlux": measured.forced[row, visits],
        "psfFluxErr": measured.error[row, visits],
        "midpointMjdTai": measured.mjd[visits],
        "scienceFlux": measured.forced[row, visits] + measured.template[row, visits],
        "scienceFluxErr": measured.error[row, visits],
        "band": _BANDS[measured.band[visits]],
        "timeProcessedMjdTai": measured.mjd[visits] + 0.001,
    }


def _source_id(measured: Measurements, row: int, visit: int) -> int:
    """Rises with time, as the survey's do."""
    seconds = round((float(measured.mjd[visit]) - 60_000.0) * 86_400.0)
    return _FIRST_SOURCE + seconds * _SOURCES_PER_SECOND + measured.first_object % 10_000 * 100 + row


def _visit_number(mjd: Any) -> Any:
    """Day and second, in 13 digits as the survey's: the day is that of the MJD, not of the calendar."""
    day = np.floor(mjd).astype(np.int64)
    number = (20_000_000 + day) * 100_000 + ((mjd - day) * 86_400).astype(np.int64)
    return number if np.ndim(number) else int(number)


def _usual(field: dict[str, Any]) -> Column:
    kind = field["type"]
    if field["name"] in _NULL and isinstance(kind, list):
        return None
    return _VALUES.get(kind[1] if isinstance(kind, list) else kind, 1)


def _branch(union: list[Any]) -> Schema:
    branch: Schema = next(branch for branch in union if branch != "null")
    return branch


_NONE: Final = varint(0)  # null stands first in all unions of the schema


def _some(value: bytes) -> bytes:
    return varint(1) + value


def _array(items: list[bytes]) -> bytes:
    return _some(varint(len(items)) + b"".join(items) + b"\0") if items else _NONE


def _stamp(rng: np.random.Generator) -> bytes:
    axis = np.arange(_CUTOUT) - _CUTOUT // 2
    profile = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * rng.uniform(1.5, 2.5) ** 2))
    image = 10 ** rng.uniform(2.0, 3.5) * profile + rng.normal(0.0, 20.0, profile.shape)
    return fits(image.astype(np.float32))
