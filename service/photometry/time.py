"""Times: modified Julian dates [days, UTC] and seconds since 1970."""

from __future__ import annotations

from typing import Final

JD_OF_MJD_ZERO: Final = 2_400_000.5
MJD_OF_1970: Final = 40587.0
SECONDS_PER_DAY: Final = 86_400.0


def unix_from_mjd(mjd: float) -> float:
    """Seconds since 1970 of a modified Julian date."""
    return (mjd - MJD_OF_1970) * SECONDS_PER_DAY


def mjd_from_unix(seconds: float) -> float:
    """Modified Julian date of seconds since 1970."""
    return seconds / SECONDS_PER_DAY + MJD_OF_1970
