"""A simulated night of Rubin's: framed packets of schema 11.1 in six bands, each with up to a year of history.

For showing and for load, never evidence: the sources are those of the simulated ZTF sky, three magnitudes fainter, with
the light of g in u and that of i in z and y. How long histories are follows what public packets of 2026 have: many
objects are young, and a quarter of the alerts come from deep fields, with a thousand measurements and more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from service.photometry.flux import AB_ZERO_POINT_UJY
from service.simulate.population import MODELS, STREAM, checked
from service.simulate.rubin_packets import Measurements, RubinPacketWriter
from service.simulate.sky import SimulatedAlert
from service.simulate.sources import Epochs

BANDS: Final = "ugrizy"
# 5 sigma [mag] of one visit: medians of public packets
DEPTHS: Final = np.array([22.8, 23.7, 23.3, 23.3, 22.9, 21.8])
THRESHOLD: Final = 5.0  # sigma

_START_MJD: Final = 61_145.05  # 2026-04-15, evening in Chile
_NIGHT: Final = 0.38  # days
_VISIT: Final = 40.0 / 86_400.0  # days from one visit to the next
_SHARES: Final = np.array([0.07, 0.14, 0.3, 0.25, 0.15, 0.09])  # of the visits, per band
_MODEL_BANDS: Final = np.array([0, 0, 1, 2, 2, 2], dtype=np.int8)  # u, g, r, i, z, y -> g, r, i
_FAINTER: Final = 3.0  # mag
_SATURATION_UJY: Final = 10 ** (-0.4 * (16.0 - AB_ZERO_POINT_UJY))

# Kinds of pointing: share of them, visits in the year before the night (least, most), visits in the night.
_POINTINGS: Final = ((0.3, 0, 10, 2), (0.45, 100, 600, 2), (0.25, 700, 1400, 3))
_OBJECTS: Final = 40  # of one pointing; about one in four is detected in a visit
_STAMPS: Final = 8


@dataclass(frozen=True, slots=True)
class _Pointing:
    """One place on the sky: visits (T,) in time order of which the last `tonight` are the night's, objects (n,)."""

    number: int
    measured: Measurements
    kinds: list[str]
    tonight: int


class RubinSky:
    """Alerts without end, in time order, from `start_mjd` [days, TAI] on; pointing after pointing, each with objects of
    its own, which send an alert in every visit that detects them.

    weights: relative numbers per class. solar_system: share of the alerts that are known asteroids. framed: messages as
    on Kafka, else container files. The same arguments give the same bytes. Raises SimulationError.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        start_mjd: float = _START_MJD,
        weights: Mapping[str, float] = STREAM,
        solar_system: float = 0.27,
        framed: bool = True,
    ) -> None:
        self._seed, self._start = seed, start_mjd
        self._weights = {name: weight for name, weight in checked(weights).items() if weight > 0}
        self._solar_system = solar_system
        self._writer = RubinPacketWriter(np.random.default_rng([seed, 0]), _STAMPS, framed)

    def alerts(self) -> Iterator[SimulatedAlert]:
        mjd = self._start
        number = 0
        while True:
            if mjd > self._start + _NIGHT:  # the next night
                self._start += 1.0
                mjd = self._start
            pointing = self._pointing(number, mjd)
            mjd = float(pointing.measured.mjd[-1]) + _VISIT
            number += 1
            rng = np.random.default_rng([self._seed, 2, number])
            for visit in range(len(pointing.measured.mjd) - pointing.tonight, len(pointing.measured.mjd)):
                yield from self._alerts_of(pointing, visit, rng)

    def _alerts_of(self, pointing: _Pointing, visit: int, rng: np.random.Generator) -> Iterator[SimulatedAlert]:
        measured = pointing.measured
        rows = np.flatnonzero(np.abs(measured.flux[:, visit]) >= THRESHOLD * measured.error[:, visit])
        when = float(measured.mjd[visit])
        for row in rows.tolist():
            object_id, candid, packet = self._writer.write(measured, row, visit)
            yield SimulatedAlert(object_id, candid, when, pointing.kinds[row], packet)
        share = self._solar_system / max(1.0 - self._solar_system, 1e-9)
        for stray in range(int(rng.poisson(share * len(rows)))):
            object_id, candid, packet = self._writer.write_asteroid(rng, measured, visit, len(measured.flux) + stray)
            yield SimulatedAlert(object_id, candid, when, "SSO", packet)

    def _pointing(self, number: int, mjd: float) -> _Pointing:
        rng = np.random.default_rng([self._seed, 1, number])
        kind = int(rng.choice(len(_POINTINGS), p=[share for share, *_ in _POINTINGS]))
        _, least, most, tonight = _POINTINGS[kind]
        visits = int(rng.integers(least, most + 1))
        earlier = np.sort(mjd - rng.integers(1, 365, visits) - rng.uniform(0.0, _NIGHT, visits))
        times = np.concatenate([earlier, mjd + _VISIT * np.arange(tonight)])
        band = rng.choice(len(BANDS), len(times), p=_SHARES).astype(np.int8)
        epochs = Epochs(times, _MODEL_BANDS[band])
        share = np.array(list(self._weights.values()))
        drawn = rng.choice(list(self._weights), _OBJECTS, p=share / share.sum())
        flux, reference = np.empty((_OBJECTS, len(times))), np.empty((_OBJECTS, len(times)))
        for name in dict.fromkeys(drawn.tolist()):
            members = np.flatnonzero(drawn == name)
            sources = MODELS[name](rng, len(members), epochs)
            flux[members], reference[members] = sources.flux, sources.reference[:, epochs.band]
        flux, reference = flux * 10 ** (-0.4 * _FAINTER), reference * 10 ** (-0.4 * _FAINTER)
        saturated = np.maximum(flux, reference) > _SATURATION_UJY
        limit = DEPTHS[band] + rng.normal(0.0, 0.25, len(times))
        sky = 10 ** (-0.4 * (limit - AB_ZERO_POINT_UJY)) / THRESHOLD
        error = np.sqrt(sky**2 + (0.005 * (flux + reference)) ** 2)  # uJy
        difference = np.where(saturated, 0.0, flux - reference) + rng.normal(0.0, 1.0, flux.shape) * error
        place = (float(rng.uniform(0.0, 360.0)), float(np.degrees(np.arcsin(rng.uniform(-0.95, 0.1)))))
        return _Pointing(
            number,
            Measurements(
                mjd=times,
                band=band,
                flux=(1e3 * difference).astype(np.float32),
                forced=(1e3 * (difference + 0.3 * rng.normal(0.0, 1.0, flux.shape) * error)).astype(np.float32),
                error=(1e3 * error).astype(np.float32),
                template=(1e3 * reference).astype(np.float32),
                ra=(place[0] + rng.uniform(-0.8, 0.8, _OBJECTS)) % 360.0,
                dec=np.clip(place[1] + rng.uniform(-0.8, 0.8, _OBJECTS), -89.9, 89.9),
                first_object=number * _OBJECTS,
            ),
            drawn.tolist(),
            tonight,
        )


def simulate_rubin(alerts: int, seed: int = 0, **sky: Any) -> Iterator[SimulatedAlert]:
    """`alerts` alerts in time order; keyword arguments as of `RubinSky`."""
    return islice(RubinSky(seed, **sky).alerts(), alerts)
