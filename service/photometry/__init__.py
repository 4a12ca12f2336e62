"""Light curves: points, bands, magnitudes and fluxes, merging, packing, points tables; and their context."""

from service.photometry.bands import (
    BAND_CODES,
    BANDS,
    SURVEY_CODES,
    SURVEYS,
    SURVEYS_BY_POSITION,
    ZTF_WAVELENGTHS,
    band_code,
)
from service.photometry.context import CONTEXT_COLUMNS, CONTEXT_INPUT, Context
from service.photometry.lightcurve import POINT, Kind, LightCurve, end_to_end, merge

__all__ = [
    "BANDS",
    "BAND_CODES",
    "CONTEXT_COLUMNS",
    "CONTEXT_INPUT",
    "POINT",
    "SURVEYS",
    "SURVEYS_BY_POSITION",
    "SURVEY_CODES",
    "ZTF_WAVELENGTHS",
    "Context",
    "Kind",
    "LightCurve",
    "band_code",
    "end_to_end",
    "merge",
]
