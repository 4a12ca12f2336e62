"""A simulated sky: objects of the 14 classes, watched by a simulated survey, and the alerts it sends, in time order.

Simulated objects are there to show, to load and to test the service. They are never evidence of how well it classifies:
their shapes are idealised, and whoever trains on them learns the simulator.
"""

from __future__ import annotations

import csv
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import SimulationError
from service.simulate.cadence import plan
from service.simulate.cutouts import make_pool
from service.simulate.field import CLASSES, Field, populate, strays
from service.simulate.packets import NAMES, PacketWriter
from service.simulate.population import STREAM, checked

START_MJD: Final = 61_145  # 2026-04-15, near new moon: an arbitrary night from which a sky's alerts begin by default
_RUN_UP: Final = 60  # nights simulated before the first alert: 30 days of history, and events that began earlier
_FIELDS: Final = 2048  # at most; larger skies hold more objects per field
_FIELD_OBJECTS: Final = 256  # at least, in large skies: so many rows make numpy's overhead small
_SMALL_SKY_FIELDS: Final = 24  # small skies still spread over as many fields, so that alerts come at many times
_CACHED_OBJECTS: Final = 30_000  # some 9 kB each; a field that fell out of the cache is simulated again, identically
_STAMPS: Final = 32  # distinct sets of cutouts

# How a field's numbers are shared out. A detection's number holds 64 readout channels x 10,000 rows of a table; objects
# take the first half of the rows, what is seen once only takes the second half, 1,024 numbers per exposure.
_NUMBERS_PER_CYCLE: Final = 64 * 10_000
_OBJECT_NUMBERS: Final = _NUMBERS_PER_CYCLE // 2
_STRAYS_PER_EXPOSURE: Final = 1024
_EXPOSURES_PER_CYCLE: Final = _OBJECT_NUMBERS // _STRAYS_PER_EXPOSURE
_NUMBERS_PER_FIELD: Final = 6 * _NUMBERS_PER_CYCLE


@dataclass(frozen=True, slots=True)
class SimulatedAlert:
    """One alert and the truth about it. mjd [days, UTC]; true_class: one of the 14, or BOGUS, or SSO (an asteroid)."""

    object_id: str
    candid: int
    mjd: float
    true_class: str
    packet: bytes


class Sky:
    """A sky of `objects` objects watched for `nights` nights from `start_mjd` on.

    weights: relative numbers per class (`population.STREAM` or `BALANCED`, or any of one's own). bogus, solar_system:
    fractions of the alerts that are artefacts and asteroids. The same arguments give the same bytes. Memory does not
    grow with the number of alerts. Raises SimulationError that names the argument at fault.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        objects: int = 2000,
        nights: int = 30,
        start_mjd: int = START_MJD,
        weights: Mapping[str, float] = STREAM,
        bogus: float = 0.03,
        solar_system: float = 0.03,
        schema_version: str = "4.02",
    ) -> None:
        if objects < 1 or nights < 1:
            raise SimulationError(f"objects and nights must be at least 1, not {objects} and {nights}")
        if not (bogus >= 0 and solar_system >= 0 and bogus + solar_system < 1):
            raise SimulationError(
                f"bogus {bogus} and solar_system {solar_system} must be fractions that leave some for stars"
            )
        if objects > _FIELDS * _OBJECT_NUMBERS:
            raise SimulationError(f"objects must be at most {_FIELDS * _OBJECT_NUMBERS}")
        self.seed, self.start_mjd = seed, start_mjd
        self._weights = checked(weights)
        self._stray_share = np.array([bogus, solar_system]) / (1 - bogus - solar_system)
        fields = max(min(objects, _SMALL_SKY_FIELDS), -(-objects // _FIELD_OBJECTS))
        fields = min(fields, _FIELDS)
        self._counts = np.diff(np.linspace(0, objects, fields + 1).astype(int))
        self._centres = _spread(fields)
        self._exposures = plan(self._rng(0), self._centres[:, 0], start_mjd - _RUN_UP, nights + _RUN_UP)
        by_field = np.argsort(self._exposures["field"], kind="stable")
        edges = np.searchsorted(self._exposures["field"][by_field], np.arange(1, fields))
        self._of_field = np.split(by_field, edges)
        self._cache: OrderedDict[int, Field] = OrderedDict()
        self._cache_fields = max(4, _CACHED_OBJECTS // int(self._counts.max()))
        first_name = int(self._rng(1).integers(NAMES))
        self._writer = PacketWriter(schema_version, make_pool(self._rng(2), _STAMPS), first_name)

    def alerts(self) -> Iterator[SimulatedAlert]:
        """All alerts of all nights, in time order."""
        index = np.empty(len(self._exposures), dtype=np.int64)  # of an exposure among those of its field
        for members in self._of_field:
            index[members] = np.arange(len(members))
        first = int(np.searchsorted(self._exposures["mjd"], self.start_mjd))
        for number, position in zip(self._exposures["field"][first:].tolist(), index[first:].tolist(), strict=True):
            yield from self._alerts_of(number, position)

    def _alerts_of(self, number: int, position: int) -> Iterator[SimulatedAlert]:
        field = self._field(number)
        seen = field.until(position, field.detected(position))
        once = self._strays(number, position, len(seen.objects), seen.exposures)
        if once is not None:
            seen = seen.joined(once)
        if not len(seen.objects):
            return
        mjd = float(seen.exposures["mjd"][-1])
        kinds = seen.objects["kind"].tolist()
        for kind, (object_id, candid, packet) in zip(kinds, self._writer.write(seen), strict=True):
            yield SimulatedAlert(object_id, candid, mjd, CLASSES[kind], packet)

    def _field(self, number: int) -> Field:
        field = self._cache.pop(number, None)
        if field is None:
            field = populate(
                self._rng(3, number),
                self._exposures[self._of_field[number]],
                number * _NUMBERS_PER_FIELD,
                int(self._counts[number]),
                self._weights,
                (float(self._centres[number, 0]), float(self._centres[number, 1])),
            )
            if len(self._cache) >= self._cache_fields:
                self._cache.popitem(last=False)
        self._cache[number] = field
        return field

    def _strays(self, number: int, position: int, detected: int, exposures: NDArray[np.void]) -> Field | None:
        rng = self._rng(4, number, position)
        bogus, solar_system = rng.poisson(self._stray_share * detected).clip(0, _STRAYS_PER_EXPOSURE // 2).tolist()
        if not bogus + solar_system:
            return None
        cycle, within = divmod(position, _EXPOSURES_PER_CYCLE)
        offset = cycle * _NUMBERS_PER_CYCLE + _OBJECT_NUMBERS + within * _STRAYS_PER_EXPOSURE
        centre = (float(self._centres[number, 0]), float(self._centres[number, 1]))
        return strays(rng, exposures, number * _NUMBERS_PER_FIELD + offset, bogus, solar_system, centre)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])


def simulate(alerts: int, seed: int = 0, **sky: Any) -> Iterator[SimulatedAlert]:
    """`alerts` alerts in time order, about one night of a sky of fitting size; keyword arguments as of `Sky`.

    Raises SimulationError when the sky gave fewer, which takes unusual weights or a small `objects`.
    """
    given = 0
    for alert in islice(Sky(seed, **({"objects": max(400, 4 * alerts), "nights": 60} | sky)).alerts(), alerts):
        given += 1
        yield alert
    if given < alerts:
        raise SimulationError(
            f"the sky gave only {given} of {alerts} alerts: raise objects ({sky.get('objects')}) or nights"
        )


def write_packets(alerts: Iterable[SimulatedAlert], folder: Path) -> int:
    """Write each packet to `folder`/CANDID.avro and the truth to `folder`/truth.csv; returns how many.

    truth.csv: object_id, candid, mjd, true_class. Raises OSError where the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with (folder / "truth.csv").open("w", newline="") as stream:
        truth = csv.writer(stream, lineterminator="\n")
        truth.writerow(["object_id", "candid", "mjd", "true_class"])
        for alert in alerts:
            (folder / f"{alert.candid}.avro").write_bytes(alert.packet)
            truth.writerow([alert.object_id, alert.candid, f"{alert.mjd:.7f}", alert.true_class])
            count += 1
    return count


def _spread(fields: int) -> NDArray[np.float64]:
    """Field centres (ra, dec) [deg], evenly over the sky north of -28 degrees (a Fibonacci lattice)."""
    index = np.arange(fields) + 0.5
    lowest = np.sin(np.radians(-28.0))
    sine = lowest + (1 - lowest) * index / fields
    return np.stack([index * 222.492235949962 % 360, np.degrees(np.arcsin(sine))], axis=1)
