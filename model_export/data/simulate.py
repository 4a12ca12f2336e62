"""Alert-like histories of classes with few objects: real and template light curves of stars, on the real ZTF cadence.

In an alert stream a variable star appears only as differences from a reference image, of both signs, above five sigma.
So a total light curve is sampled at the pointings and depths of a real field, and the flux of a reference (the mean of
some epochs, as stacked by the survey) is subtracted; differences above the threshold become detections, the others
upper limits. Simulated objects are only for training, never evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from model_export.data.tables import CLASSES, DETECTION_SNR, Dataset, assign_splits, count_detections, load_table
from service.photometry.flux import (
    AB_ZERO_POINT_UJY,
    MAG_PER_RELATIVE_FLUX,
    flux_from_magnitude,
)
from service.photometry.table import conform_points_table, light_curves

Floats = NDArray[np.float64]
# magnitudes at epochs: (mjd (n,), band (n,) as 0 = g, 1 = r) -> total magnitude (n,), NaN where unknown
Star = Callable[[Floats, NDArray[np.int64]], Floats]

BANDS: Final = np.array(["g", "r", "i"])
SPAN: Final = 400.0  # days of cadence each star is followed, unless another span is asked for
LONG_SPAN: Final = 1500.0  # of long histories
REFERENCE_EPOCHS: Final = (15, 40)  # ZTF stacks 15 to 40 images per reference
# Scatter of the difference of a bright, constant star, relative to its flux: photometric calibration and PSF matching.
RELATIVE_NOISE: Final = 0.012
DEPTH_MARGIN: Final = 0.2  # mag by which a difference image is shallower than the science image
FOURIER_ORDER: Final = 6
FEWEST_DETECTIONS: Final = 2

PER_CLASS: Final = {"RR": 700, "CEP": 500, "ECL": 600, "LPV": 500, "DSCT": 300, "AGN": 700, "CV": 500, "RS": 400}


@dataclass(frozen=True)
class Cadence:
    """Pointings of the survey by field: mjd, band code, depth [mag] of each field with enough of them."""

    fields: list[tuple[Floats, NDArray[np.int64], Floats]]
    span: float = SPAN

    @classmethod
    def read(cls, path: Path, span: float = SPAN) -> Cadence:
        table = pd.read_parquet(path)
        table["code"] = table["band"].map({"g": 0, "r": 1, "i": 2})
        table = table[table["code"] < 2].sort_values("mjd")
        fields = [
            (f["mjd"].to_numpy(), f["code"].to_numpy(dtype=np.int64), f["five_sigma_depth"].to_numpy(dtype=float))
            for _, f in table.groupby(["ra_deg", "dec_deg"])
            if len(f) >= 150
        ]
        return cls(fields, span)

    def draw(self, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Pointings of a random field over a random span of `span` days."""
        while True:
            mjd, band, depth = self.fields[rng.integers(len(self.fields))]
            start = rng.uniform(mjd[0], max(mjd[-1] - self.span, mjd[0] + 1))
            inside = (mjd >= start) & (mjd < start + self.span)
            if inside.sum() >= 40:
                when = mjd[inside] + rng.uniform(0, 1 / 256, inside.sum())  # the table's times are rounded to 1/256 d
                order = np.argsort(when)
                return when[order], band[inside][order], depth[inside][order] - DEPTH_MARGIN


def difference_table(
    rng: np.random.Generator,
    object_id: str,
    mjd: Floats,
    band: NDArray[np.int64],
    magnitude: Floats,
    depth: Floats,
    noisy: bool = True,
) -> pa.Table | None:
    """Points table of one star as in an alert stream; None with fewer than two detections.

    magnitude (n,) is the total magnitude, NaN if unknown; depth (n,) the 5-sigma limit. `noisy` adds photometric noise
    (an observed light curve already has some).
    """
    good = np.isfinite(magnitude) & np.isfinite(depth)
    mjd, band, depth = mjd[good], band[good], depth[good]
    flux = flux_from_magnitude(magnitude[good])
    sky = flux_from_magnitude(depth) / DETECTION_SNR
    sigma = np.hypot(sky, RELATIVE_NOISE * flux)
    seen = flux + (rng.standard_normal(len(flux)) * sigma if noisy else 0.0)
    difference, magnr = np.full(len(flux), np.nan), np.full(len(flux), np.nan)
    for code in np.unique(band):
        mine = np.flatnonzero(band == code)
        wanted = int(rng.integers(*REFERENCE_EPOCHS))
        first = int(rng.integers(0, max(len(mine) - wanted, 1)))
        reference = max(seen[mine[first : first + wanted]].mean(), 1e-3)
        difference[mine] = seen[mine] - reference
        magnr[mine] = AB_ZERO_POINT_UJY - 2.5 * np.log10(reference) + rng.normal(0, 0.02)
    # the public survey observes less often than partnership fields
    shown = rng.random(len(mjd)) < rng.uniform(0.2, 1.0)
    mjd, band, depth, sigma = mjd[shown], band[shown], depth[shown], sigma[shown]
    difference, magnr = difference[shown], magnr[shown]
    detected = np.abs(difference) > DETECTION_SNR * sigma
    if detected.sum() < FEWEST_DETECTIONS:
        return None
    size = np.where(detected, np.abs(difference), 1.0)
    return pa.table(
        {
            "object_id": [object_id] * len(mjd),
            "mjd": mjd,
            "band": BANDS[band],
            "mag": pa.array(AB_ZERO_POINT_UJY - 2.5 * np.log10(size), mask=~detected),
            "magerr": pa.array(MAG_PER_RELATIVE_FLUX * sigma / size, mask=~detected),
            "limit": depth,
            "sign": np.where(detected, np.sign(difference), 0).astype(np.int8),
            "magnr": pa.array(magnr, mask=~detected),
        }
    )


def folded(
    rng: np.random.Generator, mjd: Floats, band: NDArray[np.int64], mag: Floats, period: float, brightness: float
) -> Star | None:
    """A periodic star from its folded light curve: a Fourier series per band, ridge-fitted; None if too few points.

    Period and amplitude are varied by some 10 %, the mean r magnitude is `brightness`.
    """
    coefficients = {}
    for code in (0, 1):
        mine = (band == code) & np.isfinite(mag)
        if mine.sum() < 25:
            return None
        y = mag[mine]
        centre = np.median(y)
        sane = np.abs(y - centre) < 5 * max(np.percentile(np.abs(y - centre), 70), 0.05)
        design = _harmonics(mjd[mine][sane] / period)
        ridge = np.diag([0.0] + [0.02 * (1 + k // 2) ** 2 for k in range(2 * FOURIER_ORDER)]) * sane.sum() / 25
        coefficients[code] = np.linalg.solve(design.T @ design + ridge, design.T @ y[sane])
    shift = brightness - coefficients[1][0]
    stretch, swell, phase = np.exp(rng.normal(0, 0.1)), np.exp(rng.normal(0, 0.12)), rng.random()

    def star(when: Floats, which: NDArray[np.int64]) -> Floats:
        design = _harmonics(when / (period * stretch) + phase)
        out = np.full(len(when), np.nan)
        for code, c in coefficients.items():
            mine = which == code
            out[mine] = c[0] + shift + swell * (design[mine, 1:] @ c[1:])
        return out

    return star


def dwarf_nova(
    rng: np.random.Generator, mjd: Floats, mag: Floats, brightness: float, start: float, span: float = SPAN
) -> Star:
    """A dwarf nova from its I-band light curve, interpolated over gaps of up to five days.

    Quiescence is red (g-r about 0.6, r-I about 0.5), outburst nearly without colour (Bruch & Engel 1994).
    """
    quiescent = np.percentile(mag, 80)
    begin = rng.uniform(mjd[0], max(mjd[-1] - span, mjd[0] + 1))

    def star(when: Floats, which: NDArray[np.int64]) -> Floats:
        at = when - start + begin
        right = np.clip(np.searchsorted(mjd, at), 1, len(mjd) - 1)
        outburst = np.clip(quiescent - np.interp(at, mjd, mag), -0.5, 9.0)
        bluer = 0.5 * np.clip(outburst / 2.0, 0, 1)
        covered = (mjd[right] - mjd[right - 1] < 5.0) & (at >= mjd[0]) & (at <= mjd[-1])
        out = brightness - outburst - bluer + np.where(which == 0, 0.6 - bluer, 0.0)
        return np.where(covered, out, np.nan)

    return star


def active_nucleus(rng: np.random.Generator, brightness: float) -> Star:
    """A damped random walk with the time scales and amplitudes of quasars (MacLeod et al. 2010, arXiv:1004.0276)."""
    tau = 10 ** rng.normal(2.4, 0.45)  # days, observed frame
    amplitude = 10 ** rng.normal(-0.65, 0.22)  # mag, asymptotic rms in r
    colour = rng.normal(0.25, 0.2)

    def star(when: Floats, which: NDArray[np.int64]) -> Floats:
        value = np.empty(len(when))
        value[0] = rng.normal(0, amplitude)
        decay = np.exp(-np.diff(when) / tau)
        kick = rng.standard_normal(len(when)) * amplitude
        for n in range(1, len(when)):  # a recursion in time
            value[n] = decay[n - 1] * value[n - 1] + np.sqrt(1 - decay[n - 1] ** 2) * kick[n]
        return brightness + np.where(which == 0, colour + 1.25 * value, value)

    return star


def spotted_star(rng: np.random.Generator, brightness: float) -> Star:
    """A rotating star with two spot groups whose strength drifts over months (BY Dra, RS CVn), redder when fainter."""
    period = 10 ** rng.normal(0.6, 0.5)
    depth = 0.06 * 10 ** np.abs(rng.normal(0, 0.35))
    colour, drift, phases = rng.normal(1.0, 0.25), rng.uniform(100, 600), rng.random(3)

    def star(when: Floats, which: NDArray[np.int64]) -> Floats:
        turn = 2 * np.pi * when / period
        strength = 1 + 0.4 * np.sin(2 * np.pi * (when / drift + phases[2]))
        curve = np.sin(turn + 2 * np.pi * phases[0]) + 0.35 * np.sin(2 * turn + 2 * np.pi * phases[1])
        return brightness + depth * strength * curve * np.where(which == 0, 1.2, 1.0) + np.where(which == 0, colour, 0)

    return star


def observed(
    rng: np.random.Generator,
    mjd: Floats,
    band: NDArray[np.int64],
    mag: Floats,
    object_id: str,
    span: float = SPAN,
) -> pa.Table | None:
    """A ZTF data-release light curve at its own epochs and with its own noise, moved to a random fainter magnitude."""
    fainter = rng.uniform(0.0, 2.0) * (rng.random() < 0.6)
    start = rng.uniform(mjd[0], max(mjd[-1] - span, mjd[0] + 1))
    inside = (mjd >= start) & (mjd < start + span) & (band < 2)
    if inside.sum() < 30:
        return None
    depth = rng.normal(20.4, 0.3) + rng.normal(0, 0.4, inside.sum())
    magnitude = mag[inside] + fainter
    if fainter > 0:  # the additional noise of a fainter star; the old noise is small
        sigma = flux_from_magnitude(depth) / DETECTION_SNR / flux_from_magnitude(magnitude)
        magnitude = magnitude - 2.5 * np.log10(np.maximum(1 + sigma * rng.standard_normal(len(magnitude)), 0.05))
    return difference_table(rng, object_id, mjd[inside], band[inside], magnitude, depth, noisy=False)


def simulate(folder: Path, out: Path, seed: int = 0, scale: float = 1.0, span: float = SPAN) -> None:
    """Write `simulated_points.parquet` and `simulated_objects.parquet` to `out`.

    Each is followed for `span` days, or as long as its field was observed. Template stars of the validation and test
    splits of the real tables are never used.
    """
    rng = np.random.default_rng(seed)
    cadence = Cadence.read(folder / "cadence.parquet", span)
    tables, objects = [], []
    for label, count in PER_CLASS.items():
        made, wanted = 0, max(1, int(count * scale))
        with tqdm(total=wanted, desc=f"simulate {label}", mininterval=5) as progress:
            for number, table in enumerate(_attempts(rng, folder, label, cadence)):
                if table is not None:
                    tables.append(table)
                    objects.append({"object_id": table["object_id"][0].as_py(), "label": label})
                    made += 1
                    progress.update()
                if made == wanted or number > 40 * wanted:
                    break
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(tables), out / "simulated_points.parquet")
    pd.DataFrame(objects).assign(fine_label=None, redshift=np.nan, mag_kind="difference").to_parquet(
        out / "simulated_objects.parquet"
    )


def load_simulated(folder: Path) -> Dataset:
    """The objects written by `simulate`, for training."""
    data = load_table(folder / "simulated_points.parquet", folder / "simulated_objects.parquet")
    data.objects["split"] = "train"
    data.objects["n_detections"] = count_detections(data)
    return data


def _attempts(rng: np.random.Generator, folder: Path, label: str, cadence: Cadence) -> Iterator[pa.Table | None]:
    """Endless random stars of a class; None for one with fewer than two detections."""
    released = _curves(folder / "variables_dr_points.parquet", folder / "variables_dr_objects.parquet", label)
    templates = _templates(folder, label)
    number = 0
    while True:
        number += 1
        name = f"SIM_{label}_{number:06d}"
        mjd, band, depth = cadence.draw(rng)
        brightness = rng.uniform(13.5, 19.5)
        if label == "AGN":
            star: Star | None = active_nucleus(rng, rng.uniform(15.5, 20.5))
        elif label == "RS":
            star = spotted_star(rng, rng.uniform(12.5, 17.5))
        elif label == "CV":
            when, _, mag, _ = templates[rng.integers(len(templates))]
            star = dwarf_nova(rng, when, mag, rng.uniform(17.0, 21.5), mjd[0], cadence.span)
        elif released and rng.random() < (0.5 if templates else 1.0):
            when, which, mag, _ = released[rng.integers(len(released))]
            yield observed(rng, when, which, mag, name, cadence.span)
            continue
        else:
            when, which, mag, period = templates[rng.integers(len(templates))]
            star = folded(rng, when, which, mag, period, brightness)
        yield difference_table(rng, name, mjd, band, star(mjd, band), depth) if star is not None else None


def _templates(folder: Path, label: str) -> list[tuple[Floats, NDArray[np.int64], Floats, float]]:
    names = {"RR": ("sdss_s82_rrlyrae",), "CV": ("ogle_dwarf_novae",)}.get(label, ("eros_variables",))
    found = []
    for name in names:
        points = folder / "templates" / f"{name}_points.parquet"
        found += _curves(points, points.with_name(f"{name}_objects.parquet"), label)
    return found


def released_stars(folder: Path, seed: int = 0, views: int = 2, span: float = LONG_SPAN) -> Dataset:
    """Data-release light curves of stars in the validation and test splits, which no simulated object is made of, as
    they would stand in an alert stream after years: `views` of each, seen at their own epochs.

    The names of the views of one star differ in what follows the last underscore.
    """
    rng = np.random.default_rng(seed)
    paths = folder / "variables_dr_points.parquet", folder / "variables_dr_objects.parquet"
    tables, labels = [], {}
    for label in CLASSES:
        for number, (mjd, band, mag, _) in enumerate(_curves(*paths, label, ("validation", "test"))):
            for view in range(views):
                name = f"DR_{label}_{number:04d}_{view}"
                table = observed(rng, mjd, band, mag, name, span)
                if table is not None:
                    tables.append(table)
                    labels[name] = CLASSES.index(label)
    names, curves = zip(
        *light_curves(conform_points_table(pa.concat_tables(tables), "released stars"), "released stars"), strict=True
    )
    objects = pd.DataFrame({"object_id": names, "label": [labels[name] for name in names]})
    objects = objects.assign(table="released", split="test", mag_kind="difference", note=None)
    data = Dataset(
        np.concatenate([c.points for c in curves]), np.array([len(c) for c in curves], dtype=np.int64), objects
    )
    data.objects["n_detections"] = count_detections(data)
    return data


def _curves(
    points: Path, objects: Path, label: str, splits: Sequence[str] = ("train",)
) -> list[tuple[Floats, NDArray[np.int64], Floats, float]]:
    """(mjd, band code, total mag, period) of the total-magnitude light curves of a class, stars of `splits` only."""
    about = pd.read_parquet(objects)
    about["table"] = "stars"
    about["split"] = assign_splits(about) if "variables_dr" in points.name else "train"
    about = about[(about["label"] == label) & about["mag_kind"].isin(["total", "corrected"])]
    about = about[about["split"].isin(splits)].set_index("object_id")
    table = pd.read_parquet(points, columns=["object_id", "mjd", "band", "mag"]).dropna()
    table = table[table["object_id"].isin(about.index) & table["mag"].between(10, 25)].sort_values("mjd")
    codes = {"g": 0, "r": 1, "i": 2, "I": 2, "EROS_B": 0, "EROS_R": 1}
    table = table[table["band"].isin(codes)]
    found = []
    for object_id, star in table.groupby("object_id"):
        period = float(about.at[object_id, "period"])
        found.append((star["mjd"].to_numpy(), star["band"].map(codes).to_numpy(), star["mag"].to_numpy(float), period))
    return found


def _harmonics(phase: Floats) -> Floats:
    """(n, 1 + 2 FOURIER_ORDER): 1, cos, sin of each harmonic."""
    order = np.arange(1, FOURIER_ORDER + 1)
    angle = 2 * np.pi * phase[:, None] * order
    pairs = np.stack((np.cos(angle), np.sin(angle)), axis=2).reshape(len(phase), -1)
    return np.concatenate((np.ones((len(phase), 1)), pairs), axis=1)
