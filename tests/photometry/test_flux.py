import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.photometry.flux import flux_error_from_magnitude, flux_from_magnitude, magnitude_from_flux


def test_the_zero_point_is_a_microjansky():
    assert flux_from_magnitude(23.9) == 1.0
    assert np.isclose(flux_from_magnitude(16.4, -1), -1000.0)


@given(st.floats(-1e7, 1e7).filter(lambda f: abs(f) > 1e-6), st.floats(1e-3, 1e4))
def test_flux_survives_the_way_through_magnitudes(flux, fluxerr):
    mag, magerr, sign = magnitude_from_flux(flux, fluxerr)
    assert np.isclose(flux_from_magnitude(mag, sign), flux, rtol=1e-9)
    assert np.isclose(flux_error_from_magnitude(mag, magerr), fluxerr, rtol=1e-9)


def test_zero_flux_has_a_finite_magnitude():
    mag, magerr, sign = magnitude_from_flux(0.0, 2.0)
    assert np.isfinite(mag)
    assert sign == 1
    assert np.isclose(flux_error_from_magnitude(mag, magerr), 2.0)
