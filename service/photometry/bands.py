"""Surveys and photometric bands, and their integer codes."""

from typing import Final

# The codes below are written into every stored light curve: append, never reorder.
BANDS: Final[tuple[str, ...]] = ("g", "r", "i", "z", "u", "y", "c", "o")
SURVEYS: Final[tuple[str, ...]] = ("ztf", "lsst", "atlas")

BAND_CODES: Final[dict[str, int]] = {name: code for code, name in enumerate(BANDS)}
SURVEY_CODES: Final[dict[str, int]] = {name: code for code, name in enumerate(SURVEYS)}

# Surveys whose photometry is for a position, not in alerts with an object's name: it joins objects named by the alerts
# of other surveys. This set separates an object's own points from those that joined it.
SURVEYS_BY_POSITION: Final[tuple[str, ...]] = ("atlas",)

# Effective wavelengths in angstrom of ZTF g, r, i (SVO filter profile service; the values Astra-CLR was trained with).
ZTF_WAVELENGTHS: Final[dict[str, float]] = {"g": 4746.48, "r": 6366.38, "i": 7829.03}


def band_code(name: str) -> int:
    """Code of a band name. Raises ValueError that lists the known bands."""
    try:
        return BAND_CODES[name]
    except KeyError:
        raise ValueError(f"band {name!r} is unknown; known bands are {', '.join(BANDS)}") from None
