"""One field of the simulated sky: its objects, and every measurement of them. A pure function of seed and number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.simulate.difference import DETECTION, LIMIT, observe
from service.simulate.population import MODELS
from service.simulate.shapes import counts
from service.simulate.sources import Epochs, Sources

CLASSES: Final = (*MODELS, "BOGUS", "SSO")  # what a simulated alert may truly be
BOGUS: Final = CLASSES.index("BOGUS")
SOLAR_SYSTEM: Final = CLASSES.index("SSO")

# One object. number: unique in its sky, its name follows from it; magnr [mag] in g, r, i and distnr [pixel] of the
# nearest reference source, star: whether that is one; earlier: detections before the simulated time; since [mjd] of
# the first of them (NaN: none).
OBJECT: Final = np.dtype(
    [
        ("number", "<i8"),
        ("kind", "i1"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("magnr", "<f4", (3,)),
        ("distnr", "<f4"),
        ("star", "?"),
        ("earlier", "<i4"),
        ("since", "<f8"),
    ]
)
_FIELD_HALF_SIDE: Final = 3.4  # degrees


@dataclass(frozen=True, slots=True)
class Field:
    """n objects at T exposures: exposures (T,), objects (n,), measured (n, T); dtypes EXPOSURE, OBJECT, MEASUREMENT."""

    exposures: NDArray[np.void]
    objects: NDArray[np.void]
    measured: NDArray[np.void]

    def detected(self, index: int) -> NDArray[np.intp]:
        """Rows of the objects that exposure `index` detected."""
        return np.flatnonzero(self.measured["status"][:, index] == DETECTION)

    def until(self, index: int, rows: NDArray[np.intp]) -> Field:
        """Those objects, up to and including exposure `index`."""
        return Field(self.exposures[: index + 1], self.objects[rows], self.measured[rows, : index + 1])

    def joined(self, other: Field) -> Field:
        """The objects of both, seen in the same exposures."""
        return Field(
            self.exposures,
            np.concatenate([self.objects, other.objects]),
            np.concatenate([self.measured, other.measured]),
        )


def populate(
    rng: np.random.Generator,
    exposures: NDArray[np.void],
    first_number: int,
    count: int,
    weights: Mapping[str, float],
    centre: tuple[float, float],
) -> Field:
    """A field of `count` objects around `centre` (ra, dec) [deg], their classes drawn by `weights`."""
    names = list(weights)
    share = np.array([weights[name] for name in names], dtype=np.float64)
    drawn = rng.choice(len(names), count, p=share / share.sum())
    objects = _placed(rng, count, first_number, centre)
    epochs = _epochs(exposures)
    flux, reference = np.zeros((count, len(exposures))), np.zeros((count, 3))
    for code, name in enumerate(names):
        rows = np.flatnonzero(drawn == code)
        if len(rows):
            sources = MODELS[name](rng, len(rows), epochs)
            flux[rows], reference[rows] = sources.flux, sources.reference
            _describe(objects, rows, sources, epochs)
            objects["kind"][rows] = CLASSES.index(name)
    objects["earlier"] = np.where(np.isnan(objects["since"]), 0, rng.lognormal(3.5, 1.3, count).astype(np.int32) + 1)
    whole = Sources(flux, reference, objects["magnr"], objects["distnr"], objects["star"], np.zeros(count))
    return Field(exposures, objects, observe(rng, whole, epochs, exposures["limit"]))


def strays(
    rng: np.random.Generator,
    exposures: NDArray[np.void],
    first_number: int,
    bogus: int,
    solar_system: int,
    centre: tuple[float, float],
) -> Field:
    """Detections of the last exposure that no lasting object made: artefacts of either sign, and asteroids, which were
    elsewhere before and get a new name each time.
    """
    count = bogus + solar_system
    objects = _placed(rng, count, first_number, centre)
    objects["kind"] = np.repeat([BOGUS, SOLAR_SYSTEM], [bogus, solar_system])
    objects["magnr"] = rng.uniform(15, 22, (count, 1))
    objects["distnr"] = np.where(objects["kind"] == BOGUS, rng.exponential(1.5, count), rng.uniform(1, 20, count))
    objects["star"] = rng.random(count) < 0.6
    objects["since"] = np.nan
    nothing = np.zeros((count, len(exposures)))
    none = Sources(nothing, np.zeros((count, 3)), objects["magnr"], objects["distnr"], objects["star"], nothing[:, 0])
    measured = observe(rng, none, _epochs(exposures), exposures["limit"])
    measured["status"] = np.where(measured["status"] == DETECTION, LIMIT, measured["status"])
    signal = 10 ** (0.4 * (exposures["limit"][-1] - counts(rng, count, 16.0, exposures["limit"][-1] - 0.1, 0.4)))
    sign = np.where((objects["kind"] == BOGUS) & (rng.random(count) < 0.5), -1, 1)
    last = measured[:, -1]
    last["flux"] = last["forced"] = sign * signal * 5 * last["sigma"]
    last["status"] = DETECTION
    return Field(exposures, objects, measured)


def _epochs(exposures: NDArray[np.void]) -> Epochs:
    return Epochs(exposures["mjd"], exposures["band"])


def _placed(rng: np.random.Generator, count: int, first_number: int, centre: tuple[float, float]) -> NDArray[np.void]:
    objects = np.zeros(count, OBJECT)
    objects["number"] = first_number + np.arange(count)
    across, up = rng.uniform(-_FIELD_HALF_SIDE, _FIELD_HALF_SIDE, (2, count))
    objects["dec"] = np.clip(centre[1] + up, -89.9, 89.9)
    objects["ra"] = (centre[0] + across / np.cos(np.radians(objects["dec"]))) % 360
    return objects


def _describe(objects: NDArray[np.void], rows: NDArray[np.intp], sources: Sources, epochs: Epochs) -> None:
    objects["magnr"][rows], objects["distnr"][rows] = sources.magnr, sources.distnr
    objects["star"][rows] = sources.star
    objects["since"][rows] = np.where(sources.known > 0, epochs.mjd[0] - sources.known, np.nan)
