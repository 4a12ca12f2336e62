from datetime import UTC, datetime

import pytest

from service.photometry.time import JD_OF_MJD_ZERO, mjd_from_unix, unix_from_mjd


def test_epochs_are_those_of_the_calendar() -> None:
    noon = datetime(2000, 1, 1, 12, tzinfo=UTC).timestamp()
    assert mjd_from_unix(noon) == 51544.5  # J2000
    assert mjd_from_unix(noon) + JD_OF_MJD_ZERO == 2451545.0
    assert unix_from_mjd(51544.5) == noon


@pytest.mark.parametrize("seconds", [0.0, 1.7e9, -3e9])
def test_the_way_there_and_back(seconds: float) -> None:
    assert unix_from_mjd(mjd_from_unix(seconds)) == pytest.approx(seconds, abs=1e-3)
