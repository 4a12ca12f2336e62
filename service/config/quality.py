"""Which alerts are taken for good."""

from __future__ import annotations

from typing import Final, Literal, get_args

from pydantic import Field

from service.config.kinds import Group

RubinFlag = Literal[
    "psfFlux_flag", "psfFlux_flag_edge", "psfFlux_flag_noGoodPixels", "centroid_flag", "shape_flag", "isDipole",
    "glint_trail", "trail_flag_edge", "pixelFlags_bad", "pixelFlags_cr", "pixelFlags_crCenter", "pixelFlags_edge",
    "pixelFlags_nodataCenter", "pixelFlags_interpolatedCenter", "pixelFlags_offimage", "pixelFlags_saturatedCenter",
    "pixelFlags_suspectCenter", "pixelFlags_streakCenter", "pixelFlags_injected", "pixelFlags_injectedCenter",
]  # fmt: skip
RUBIN_FLAGS: Final[tuple[str, ...]] = get_args(RubinFlag)  # the flags of a diaSource that are read


class RubinQualitySettings(Group):
    """Cuts of Rubin's alerts (survey `lsst`), named as the fields of its packets."""

    action: str = Field(
        default="flag", pattern="^(flag|drop)$", description="as for ZTF, for all cuts but solar_system"
    )
    min_reliability: float | None = Field(
        default=0.5, description="the survey's real-bogus score (Lasair counts alerts above 0.5 as good)"
    )
    flags: list[RubinFlag] = Field(
        default=[
            "psfFlux_flag", "isDipole", "glint_trail", "pixelFlags_bad", "pixelFlags_crCenter",
            "pixelFlags_saturatedCenter", "pixelFlags_streakCenter", "pixelFlags_nodataCenter", "pixelFlags_offimage",
            "pixelFlags_injected", "pixelFlags_injectedCenter",
        ],
        description="an alert with one of these raised fails: the fit has no flux (psfFlux_flag), a bad subtraction"
        " (isDipole, 6 % of the sources), a satellite (glint_trail, streak), no light of the sky in the centre"
        " (the other pixel flags), or put there by the pipeline's own tests (injected)",
    )  # fmt: skip
    solar_system: str = Field(
        default="drop",
        pattern="^(flag|drop)$",
        description="known objects of the Solar System, a quarter of the alerts; they move, so a light curve tells"
        " their distance and rotation, and no class: drop filters them before anything is stored",
    )


class QualitySettings(Group):
    """Quality cuts: `flag` classifies every alert and marks the low ones, `drop` filters them by reason. Those here are
    ZTF's; Rubin's are `quality.lsst`.
    """

    action: str = Field(default="flag", pattern="^(flag|drop)$")
    min_rb: float | None = Field(default=0.55, description="real-bogus score (Fink, ANTARES, ALeRCE cut at 0.55)")
    min_drb: float | None = Field(default=None, description="deep-learning real-bogus score (BABAMUL cuts at 0.2)")
    max_nbad: int | None = Field(default=0, description="bad pixels in a 5x5 stamp")
    max_fwhm: float | None = Field(default=None, description="pixels (the survey's 'pure' filter: 5)")
    max_elong: float | None = Field(default=None, description="axis ratio ('pure': 1.2)")
    max_abs_magdiff: float | None = Field(default=None, description="mag ('pure': 0.1)")
    max_ssdistnr: float | None = Field(
        default=5.0, description="arcsec; an alert closer than this to a known Solar System object is one"
    )
    lsst: RubinQualitySettings = RubinQualitySettings()
