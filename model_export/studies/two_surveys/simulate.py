"""Two surveys watch the same objects: a simulation of ZTF and ATLAS, and the loader for such data, simulated or real.

Each object has one physical light curve (`two_surveys_sources`). ZTF looks in g and r, on real pointings where
`cadence.parquet` is there; ATLAS in c and o, two to four times every second night. Each integrates the same spectrum
over its own filters, subtracts its own reference, and detects what stands out by five of its own sigmas. Simulated
objects are never evidence about the sky: they serve to compare ways of joining surveys.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from model_export.data.simulate import DEPTH_MARGIN, Cadence
from model_export.data.tables import DETECTION_SNR, Dataset, assign_splits, count_detections
from model_export.studies.two_surveys.sources import SOURCES
from model_export.studies.two_surveys.spectra import WAVELENGTHS, Floats, Sky
from service.photometry import POINT
from service.photometry.flux import flux_from_magnitude, magnitude_from_flux
from service.photometry.table import conform_points_table, light_curves

TAXONOMY: Final = {name: parent for name, (parent, _) in SOURCES.items()}
CLASSES: Final = tuple(TAXONOMY)
POINTS: Final = "two_surveys_points.parquet"
OBJECTS: Final = "two_surveys_objects.parquet"

SPAN: Final = 240.0  # days that an object is watched: one season
FEWEST_DETECTIONS: Final = 5  # of both surveys together
REFERENCE_FRAMES: Final = 15
REFERENCE_AGE: Final = {"ztf": 2000.0, "atlas": 1000.0}  # days before the season; stacked within 200 days
_REFERENCE_SPAN: Final = 200.0
_SYNODIC_MONTH: Final = 29.530588
_NEW_MOON: Final = 59_966.0  # MJD


@dataclass(frozen=True)
class Survey:
    """bands: name -> edges [angstrom] of a top hat at half the filter's height. subtraction, calibration: noise that
    goes with the reference flux and with the difference flux. brightest [mag]: brighter sources are saturated.
    """

    name: str
    bands: dict[str, tuple[float, float]]
    subtraction: float
    calibration: float
    brightest: float

    @property
    def weights(self) -> Floats:
        """(2, K): band flux = weights @ flux density at `WAVELENGTHS`, the photon-weighted mean over each filter."""
        fine = np.arange(WAVELENGTHS[0], WAVELENGTHS[-1] + 1, 5.0)
        tents = np.stack([np.interp(fine, WAVELENGTHS, row) for row in np.eye(len(WAVELENGTHS))], axis=1)
        rows = []
        for low, high in self.bands.values():
            photons = ((fine >= low) & (fine <= high)) / fine  # d(nu) / nu of a flux per unit frequency
            rows.append(photons @ tents / photons.sum())
        return np.array(rows)


# Bellm et al. 2019 (PASP 131, 018002) and Tonry et al. 2018 (PASP 130, 064505), tables of filters and depths.
ZTF: Final = Survey("ztf", {"g": (4090, 5500), "r": (5600, 7320)}, 0.012, 0.015, 12.5)
ATLAS: Final = Survey("atlas", {"c": (4200, 6500), "o": (5600, 8200)}, 0.018, 0.02, 12.8)


@dataclass(frozen=True)
class Visits:
    """mjd (n,), ascending; band (n,) index into the survey's bands; depth [mag] (n,), 5 sigma of the difference."""

    mjd: Floats
    band: NDArray[np.int64]
    depth: Floats


def moonlight(mjd: Floats) -> Floats:
    """Lit fraction of the moon, 0 to 1."""
    return np.asarray((1 - np.cos(2 * np.pi * (mjd - _NEW_MOON) / _SYNODIC_MONTH)) / 2)


def ztf_visits(rng: np.random.Generator, cadence: Cadence | None, start: float) -> Visits:
    """A season of a real field, moved to begin at `start`; without `cadence` of one that is visited in both bands every
    second or third night, a third of the nights lost (20.8 and 20.6 mag less moonlight).
    """
    if cadence is not None:
        while True:
            mjd, band, depth = cadence.draw(rng)
            inside = mjd < mjd[0] + SPAN
            if inside.sum() >= 30:
                # whole months, so that the moon stays with its nights
                shift = np.round((start - mjd[0]) / _SYNODIC_MONTH) * _SYNODIC_MONTH
                return Visits(mjd[inside] + shift, band[inside], depth[inside])
    nights = start + np.arange(rng.integers(0, 3), SPAN, rng.choice([2, 3]))
    nights = nights[rng.random(len(nights)) > 0.33]
    mjd = (nights[:, None] + 0.33 + rng.uniform(-0.1, 0.1, (len(nights), 1)) + np.array([0.0, 0.03])).ravel()
    band = np.tile(rng.permutation(2), len(nights))
    dark = np.array([20.8, 20.6])[band] - DEPTH_MARGIN
    depth = dark - np.array([1.1, 0.7])[band] * moonlight(mjd) + rng.normal(0, 0.15, len(mjd))
    return Visits(mjd, band, depth)


def atlas_visits(rng: np.random.Generator, start: float) -> Visits:
    """Two to four exposures within an hour every second night, a quarter of the nights lost; c in dark time, o
    otherwise, 19.6 and 19.5 mag deep, less up to 0.9 mag for moonlight and a tail for haze.
    """
    nights = np.floor(start) + np.arange(rng.integers(0, 2), SPAN, 2.0)
    nights = nights[rng.random(len(nights)) > 0.25] + 0.45 + rng.uniform(-0.15, 0.15)
    moon = moonlight(nights)
    band = np.where((moon < 0.35) & (rng.random(len(nights)) < 0.9), 0, 1)
    depth = np.array([19.6, 19.5])[band] - 0.9 * moon - rng.exponential(0.2, len(nights)) + 0.1
    exposures = rng.choice([2, 3, 4], len(nights), p=[0.1, 0.2, 0.7])
    night = np.repeat(np.arange(len(nights)), exposures)
    within = np.arange(len(night)) - np.repeat(np.cumsum(exposures) - exposures, exposures)
    mjd = nights[night] + within * 0.0104 + rng.uniform(0, 0.003, len(night))
    return Visits(mjd, band[night], depth[night] + rng.normal(0, 0.08, len(night)))


def observe(
    rng: np.random.Generator, survey: Survey, visits: Visits, flux: Floats, reference: Floats
) -> dict[str, NDArray]:
    """What the survey publishes: columns of a points table, a row per visit that is not lost.

    flux (n, K) and reference (frames, K) [uJy]: flux density at `WAVELENGTHS` at the visits and in the frames that the
    reference was made of (zero where the source was not there yet). A detection is |difference| > 5 sigma.
    """
    weights = survey.weights
    seen = np.einsum("nk,nk->n", flux, weights[visits.band])
    stacked = np.median(reference @ weights.T, axis=0)[visits.band]  # stacking clips what stands out
    sky = flux_from_magnitude(visits.depth) / DETECTION_SNR
    true = seen - stacked
    sigma = np.sqrt(sky**2 + (survey.subtraction * stacked) ** 2 + (survey.calibration * true) ** 2)
    difference = true + sigma * rng.standard_normal(len(true))
    kept = (rng.random(len(true)) < 0.97) & (np.maximum(seen, stacked) < flux_from_magnitude(survey.brightest))
    detected = np.abs(difference) > DETECTION_SNR * sigma
    mag, magerr, sign = magnitude_from_flux(difference, sigma)
    columns = {
        "mjd": visits.mjd,
        "band": np.array(list(survey.bands))[visits.band],
        "mag": np.where(detected, mag, np.nan),
        "magerr": np.where(detected, magerr, np.nan),
        "limit": visits.depth,
        "sign": np.where(detected, sign, 0).astype(np.int8),
        "survey": np.full(len(true), survey.name),
    }
    return {name: values[kept] for name, values in columns.items()}


def draw_object(
    rng: np.random.Generator, label: str, visits: dict[str, Visits], start: float
) -> dict[str, NDArray] | None:
    """Points of one object as every survey in `visits` sees it; None with fewer than five detections in all."""
    parent, model = SOURCES[label]
    surveys = [survey for survey in (ZTF, ATLAS) if survey.name in visits]
    frames = {
        s.name: np.sort(start - REFERENCE_AGE[s.name] + rng.uniform(0, _REFERENCE_SPAN, REFERENCE_FRAMES))
        for s in surveys
    }
    times = np.concatenate([*frames.values(), *(visits[s.name].mjd for s in surveys)])
    order = np.argsort(times, kind="stable")
    flux = np.empty((len(times), len(WAVELENGTHS)))
    flux[order] = model(rng, Sky(times[order], start, start + SPAN))
    reference, at_visits = flux[: REFERENCE_FRAMES * len(surveys)], flux[REFERENCE_FRAMES * len(surveys) :]
    reference = reference * (parent != "Transient")
    parts, place = [], 0
    for number, survey in enumerate(surveys):
        mine = visits[survey.name]
        here = at_visits[place : place + len(mine.mjd)]
        place += len(mine.mjd)
        rows = slice(number * REFERENCE_FRAMES, (number + 1) * REFERENCE_FRAMES)
        parts.append(observe(rng, survey, mine, here, reference[rows]))
    points = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return points if np.isfinite(points["mag"]).sum() >= FEWEST_DETECTIONS else None


def simulate(out: Path, data: Path | None, per_class: int, seed: int = 0) -> None:
    """Write `two_surveys_points.parquet` and `two_surveys_objects.parquet` to `out`.

    `data`: a folder whose `cadence.parquet` holds ZTF's pointings, where there is one. All classes share each field's
    visits. One field in ten is too far south for ZTF, one in twenty is without ATLAS.
    """
    rng = np.random.default_rng(seed)
    path = data / "cadence.parquet" if data is not None else None
    cadence = Cadence.read(path) if path is not None and path.exists() else None
    made = dict.fromkeys(CLASSES, 0)
    tables: list[dict[str, NDArray]] = []
    objects: list[dict[str, object]] = []
    with tqdm(total=per_class * len(CLASSES), desc="simulate two surveys", mininterval=5) as progress:
        while min(made.values()) < per_class:
            start = rng.uniform(59_000, 60_000)
            dice = rng.random()
            visits = {} if dice < 0.10 else {"ztf": ztf_visits(rng, cadence, start)}
            if dice < 0.95:
                visits["atlas"] = atlas_visits(rng, start)
            for label in CLASSES:
                points = draw_object(rng, label, visits, start) if made[label] < per_class else None
                if points is not None:
                    name = f"SIM2_{len(objects):06d}"
                    tables.append(points | {"object_id": np.full(len(points["mjd"]), name)})
                    objects.append({"object_id": name, "label": label})
                    made[label] += 1
                    progress.update()
    out.mkdir(parents=True, exist_ok=True)
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    pq.write_table(pa.table({n: pa.array(v, from_pandas=True) for n, v in columns.items()}), out / POINTS)
    pd.DataFrame(objects).to_parquet(out / OBJECTS)


def load_two_surveys(folder: Path) -> Dataset:
    """Light curves with their survey, label (index into CLASSES) and split by object.

    For real data put the same two tables into a folder: points with the columns of `service.photometry.table`, among
    them `survey` (`ztf` or `atlas`) and `band` (g, r, c, o), of all surveys under one object_id; objects with object_id
    and label, one of CLASSES. Others, and objects that no survey detected, are left out. Raises ValueError where the
    points name no survey.
    """
    table = conform_points_table(pq.read_table(folder / POINTS), POINTS)
    if "survey" not in table.column_names:
        raise ValueError(f"{POINTS} has no column survey: two surveys can't be told apart")
    labels = pd.read_parquet(folder / OBJECTS).set_index("object_id")["label"]
    ids, curves = [], []
    for object_id, curve in light_curves(table, POINTS):
        if labels.get(object_id) in TAXONOMY and curve.n_detections:
            ids.append(object_id)
            curves.append(curve.points)
    objects = pd.DataFrame({"object_id": ids, "table": "two_surveys", "name": labels.reindex(ids).to_numpy()})
    objects["label"] = objects["name"].map(CLASSES.index)
    objects["split"] = assign_splits(objects)
    counts = np.array([len(c) for c in curves], dtype=np.int64)
    points = np.concatenate(curves) if curves else np.empty(0, POINT)
    data = Dataset(points, counts, objects)
    objects["n_detections"] = count_detections(data)
    return data
