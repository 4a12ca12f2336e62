"""Quality cuts of each survey: published fields of an alert by which it is not a good measurement of a new source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from service.alerts.alert import Alert, Quality
from service.alerts.lsst import alert as lsst
from service.config import QualitySettings, RubinQualitySettings

LOW_QUALITY: Final = "low_quality"  # flag: at least one cut failed
NO_USABLE_PHOTOMETRY: Final = "no_usable_photometry"  # reason: none of a position's exposures is usable
SOLAR_SYSTEM: Final = "solar_system"  # reason: a known moving object; it has a new objectId nearly every night


def failed_cuts(alert: Alert, cuts: QualitySettings) -> tuple[str, ...]:
    """Names of the cuts of its survey that an alert fails; a missing field (NaN) fails none."""
    return _of_rubin(alert.quality, cuts.lsst) if alert.survey == lsst.SURVEY else _of_ztf(alert.quality, cuts)


def reason_to_drop(alert: Alert, failed: Sequence[str], cuts: QualitySettings) -> str | None:
    """Why an alert that failed these cuts is left out before anything is stored; None: it is classified and flagged."""
    if not failed:
        return None
    if alert.survey != lsst.SURVEY:
        return failed[0] if cuts.action == "drop" else None
    moves = alert.object_id.startswith(lsst.SOLAR_SYSTEM_PREFIX)  # else it has passed by the alert's object
    if SOLAR_SYSTEM in failed and moves and cuts.lsst.solar_system == "drop":
        return SOLAR_SYSTEM
    return failed[0] if cuts.lsst.action == "drop" else None


def quality_flags(failed: Sequence[str]) -> tuple[str, ...]:
    """The flags of a classification whose alert failed these cuts."""
    return (LOW_QUALITY, *(f"{LOW_QUALITY}:{cut}" for cut in failed)) if failed else ()


def _of_ztf(quality: Quality, cuts: QualitySettings) -> tuple[str, ...]:
    failed = []
    if cuts.min_rb is not None and quality.rb < cuts.min_rb:
        failed.append("rb")
    if cuts.min_drb is not None and quality.drb < cuts.min_drb:
        failed.append("drb")
    if cuts.max_nbad is not None and quality.nbad > cuts.max_nbad:
        failed.append("nbad")
    if cuts.max_fwhm is not None and quality.fwhm > cuts.max_fwhm:
        failed.append("fwhm")
    if cuts.max_elong is not None and quality.elong > cuts.max_elong:
        failed.append("elong")
    if cuts.max_abs_magdiff is not None and abs(quality.magdiff) > cuts.max_abs_magdiff:
        failed.append("magdiff")
    if cuts.max_ssdistnr is not None and 0 <= quality.ssdistnr < cuts.max_ssdistnr:
        failed.append(SOLAR_SYSTEM)
    return tuple(failed)


def _of_rubin(quality: Quality, cuts: RubinQualitySettings) -> tuple[str, ...]:
    failed = []
    if quality.ssdistnr >= 0:
        failed.append(SOLAR_SYSTEM)
    if cuts.min_reliability is not None and quality.reliability < cuts.min_reliability:
        failed.append("reliability")
    failed += [name for name in quality.raised if name in cuts.flags]
    return tuple(failed)
