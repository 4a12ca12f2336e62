"""When the simulated survey looks where, in which band and how deep.

A model, not a record of real pointings. Fields are visited every second or third night in g and r half an hour to an
hour and a half apart, i rarely, one field in 25 more often (the public survey since December 2020: Bellm et al.
2019, PASP 131, 018002, section 7; 2 nights since phase II). Nights are lost in spells, single visits to clouds. A field
has a season of eight months around its opposition. Depth: medians of 20.8, 20.6 and 19.9 mag in g, r and i for 30 s
in the dark (Bellm et al. 2019, table 1), less up to 1.1, 0.7 and 0.4 mag for moonlight, a tail for clouds and haze.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

EXPOSURE_SECONDS: Final = 30.0
DARK_LIMIT: Final = np.array([20.8, 20.6, 19.9])  # g, r, i [mag]
_MOONLIGHT: Final = np.array([1.1, 0.7, 0.4])  # mag lost at full moon
_FULL_MOON_MJD: Final = 59_980.8  # 2023-02-05
_SYNODIC_MONTH: Final = 29.530588
_OPPOSITION_MJD: Final = 60_024.0  # 2023-03-21: the anti-solar point stands at right ascension 180 degrees
_SEASON_HALF_WIDTH: Final = 120.0  # degrees of right ascension from the anti-solar point
_MIDNIGHT: Final = 0.33  # fraction of the UTC day at Palomar (116.9 degrees west)
_NIGHT_HALF_LENGTH: Final = 0.20  # days
_TICKS: Final = 100_000  # ticks per day; a tick names an image, so that no two exposures may share one


# One exposure. mjd [days, UTC] is tick * 1e-5 day, and no two exposures share a tick; band 0, 1, 2 = g, r, i; limit
# [mag], 5 sigma; seeing [arcsec], full width at half maximum.
EXPOSURE: Final = np.dtype(
    [("mjd", "<f8"), ("tick", "<i8"), ("field", "<i4"), ("band", "i1"), ("limit", "<f4"), ("seeing", "<f4")]
)


def plan(
    rng: np.random.Generator, right_ascension: NDArray[np.float64], first_night: int, nights: int
) -> NDArray[np.void]:
    """All exposures (E,), dtype `EXPOSURE`, in time order, of fields at `right_ascension` [deg] (F,) in `nights`
    nights from MJD `first_night` on.
    """
    fields = len(right_ascension)
    night = np.arange(first_night, first_night + nights)
    period = rng.choice([2, 3], fields, p=[0.6, 0.4])
    phase = rng.integers(0, 6, fields)
    due = (night[None, :] + phase[:, None]) % period[:, None] == 0
    eager = rng.random(fields) < 0.04
    hour_angle = _wrapped(right_ascension[:, None] - _antisolar(night)[None, :])  # degrees from opposition
    due = (due | eager[:, None]) & (np.abs(hour_angle) < _SEASON_HALF_WIDTH) & _clear_nights(rng, nights)[None, :]

    field, column = np.nonzero(due)
    # Up to five visits in a night: g, r, then i and two more of the eager fields.
    bands = np.tile(np.array([0, 1, 2, 0, 1], np.int8), (len(field), 1))
    wanted = np.empty(bands.shape, bool)
    wanted[:, :2] = rng.random((len(field), 2)) < 0.88  # the others are lost to clouds
    wanted[:, 2] = rng.random(len(field)) < 0.1
    wanted[:, 3:] = (rng.random((len(field), 2)) < 0.5) & eager[field][:, None]
    middle = _MIDNIGHT + np.clip(hour_angle[field, column] / 360 + rng.normal(0, 0.03, len(field)), -0.14, 0.14)
    offset = rng.uniform(0.02, 0.06, bands.shape) * np.array([-0.5, 0.5, 1.2, -1.5, 1.8])
    offset[rng.random(len(field)) < 0.5] *= -1
    time = night[column][:, None] + np.clip(
        middle[:, None] + offset, _MIDNIGHT - _NIGHT_HALF_LENGTH, _MIDNIGHT + _NIGHT_HALF_LENGTH
    )

    order = np.argsort(time[wanted], kind="stable")
    tick = np.floor(time[wanted][order] * _TICKS).astype(np.int64)
    count = np.arange(len(tick))
    tick = np.maximum.accumulate(tick - count) + count  # strictly rising
    exposures = np.empty(len(tick), EXPOSURE)
    exposures["tick"], exposures["mjd"] = tick, tick / _TICKS
    exposures["field"] = np.repeat(field, bands.shape[1]).reshape(bands.shape)[wanted][order]
    exposures["band"] = band = bands[wanted][order]
    nightly_haze = rng.exponential(0.1, nights)[np.clip(tick // _TICKS - first_night, 0, nights - 1)]
    limit = DARK_LIMIT[band] + rng.normal(0.05, 0.12, len(tick)) - rng.exponential(0.12, len(tick)) - nightly_haze
    limit -= _MOONLIGHT[band] * moonlight(exposures["mjd"]) * rng.uniform(0.6, 1.0, len(tick))
    exposures["limit"] = np.maximum(limit, 17.0)
    exposures["seeing"] = np.array([2.1, 2.0, 1.9])[band] * np.exp(rng.normal(0, 0.16, len(tick)))
    return exposures


def moonlight(mjd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brightness of the moon at each mjd, 0 (new) to 1 (full): the illuminated fraction squared, for moonlight falls
    faster than the lit area (Krisciunas & Schaefer 1991).
    """
    lit = (1 + np.cos(2 * np.pi * (mjd - _FULL_MOON_MJD) / _SYNODIC_MONTH)) / 2
    return np.asarray(lit**2)


def _clear_nights(rng: np.random.Generator, nights: int) -> NDArray[np.bool_]:
    """Which nights the dome opens: a two-state chain, a fifth of the nights lost, in spells of two on average."""
    draws = rng.random(nights)
    clear = np.empty(nights, bool)
    state = True
    for index, draw in enumerate(draws):
        state = draw > 0.125 if state else draw > 0.5
        clear[index] = state
    return clear


def _antisolar(night: NDArray[np.int64]) -> NDArray[np.float64]:
    """Right ascension [deg] opposite the sun, to a few degrees."""
    return np.asarray((180.0 + (night - _OPPOSITION_MJD) * 360 / 365.2422) % 360)


def _wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((angle + 180) % 360 - 180)
