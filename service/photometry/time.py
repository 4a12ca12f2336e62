"""Epochs as the field counts them (MJD, JD; days, UTC) and as computers do (seconds since 1970)."""

from typing import Final

JD_MINUS_MJD: Final = 2400000.5
MJD_OF_1970: Final = 40587.0
SECONDS_PER_DAY: Final = 86400.0


def unix_from_mjd(mjd: float) -> float:
    return (mjd - MJD_OF_1970) * SECONDS_PER_DAY


def mjd_from_unix(seconds: float) -> float:
    return seconds / SECONDS_PER_DAY + MJD_OF_1970
