"""Atomic time (TAI), in which Rubin dates its exposures, and UTC: the leap seconds between them, from a kept table."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.photometry.time import SECONDS_PER_DAY

log = logging.getLogger(__name__)

_MARK: Final = "# expires "


def _read(text: str) -> tuple[date, NDArray[np.float64], NDArray[np.float64]]:
    lines = text.splitlines()
    (expires,) = [line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)]
    rows = np.array([line.split() for line in lines if not line.startswith("#")], dtype=np.float64)
    offset = rows[:, 1] / SECONDS_PER_DAY
    return date.fromisoformat(expires), rows[:, 0] + offset, offset


# The day until which no further leap second is known to come; the epochs [MJD, TAI] from which each offset counts, and
# TAI - UTC [days] from there on.
EXPIRES, STARTS, OFFSETS = _read(resources.files("service.photometry").joinpath("leap_seconds.txt").read_text("utf-8"))


def utc_from_tai(mjd: ArrayLike) -> NDArray[np.float64]:
    """Modified Julian dates in UTC from those in TAI; before 1972 by the first offset."""
    mjd = np.asarray(mjd, dtype=np.float64)
    return mjd - OFFSETS[np.maximum(np.searchsorted(STARTS, mjd, side="right") - 1, 0)]


def check_expiry(today: date | None = None) -> bool:
    """Whether the table is still valid; warns where it is not, because epochs may then be wrong by a second."""
    valid = (today or datetime.now(UTC).date()) <= EXPIRES
    if not valid:
        log.warning(
            "the table of leap seconds (service/photometry/leap_seconds.txt) expired on %s: if the IERS has announced"
            " another leap second since, epochs given in TAI are one second off; a newer version of this package"
            " has it",
            EXPIRES.isoformat(),
        )
    return valid
