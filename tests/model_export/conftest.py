"""Everything here needs the `train` extra; the shared light curves are synthetic and small."""

import numpy as np
import pytest

from service.photometry import POINT, Kind, LightCurve


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def rising_supernova(rng: np.random.Generator, detections: int = 20, limits: int = 6) -> LightCurve:
    """A rise and a fall in g and r with upper limits before."""
    days = np.sort(rng.uniform(0, 60, detections))
    before = -np.sort(rng.uniform(1, 25, limits))
    mjd = 59000 + np.concatenate((before, days))
    mag = np.concatenate((np.full(limits, np.nan), 18.5 + 2.0 * ((days - 15) / 40) ** 2))
    kind = np.where(np.isnan(mag), Kind.UPPER_LIMIT, Kind.DETECTION)
    return LightCurve.from_columns(
        mjd,
        rng.integers(0, 2, len(mjd)),
        mag=mag,
        magerr=np.where(np.isnan(mag), np.nan, 0.08),
        limit=20.5,
        sign=np.where(np.isnan(mag), 0, 1),
        kind=kind,
    )


@pytest.fixture
def supernovae(rng: np.random.Generator) -> list[LightCurve]:
    return [rising_supernova(rng, int(n)) for n in rng.integers(1, 40, 24)]


@pytest.fixture
def end_to_end(supernovae: list[LightCurve]) -> tuple[np.ndarray, np.ndarray]:
    points = np.concatenate([curve.points for curve in supernovae]).astype(POINT)
    return points, np.array([len(curve) for curve in supernovae])
