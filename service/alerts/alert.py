"""An alert, independent of its survey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.errors import AlertClassifierError
from service.photometry import LightCurve

# Characters of an object's name; the API asks for no longer one. ZTF's have 12.
LONGEST_NAME: Final = 200
_LONGEST_MESSAGE: Final = 1000

UNKNOWN_SIGN: Final = "unknown_sign"  # flag: isdiffpos of a detection has an unknown spelling


class AlertError(AlertClassifierError, ValueError):
    """A message that is not a readable alert.

    The message names the field or place; `code` is a short constant for metrics and dead letters, one of

    survey    unsupported_survey
    file      empty, bad_magic, bad_header, truncated, bad_block, bad_sync, no_record, many_records, trailing_bytes
    codec     unsupported_codec, bad_compression, bad_checksum, too_large
    schema    bad_schema, unsupported_schema, unknown_schema
    record    record_overrun, bad_varint, bad_length, bad_count, bad_union, bad_enum, bad_text, too_many_rows
    values    missing_field, bad_value, unknown_band, long_name
    """

    def __init__(self, code: str, message: str) -> None:
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + "…"
        # a schema's names may hold half a surrogate pair, with which no dead letter could be written
        super().__init__(message.encode(errors="backslashreplace").decode())
        self.code = code


@dataclass(frozen=True, slots=True)
class Quality:
    """The fields that quality cuts use, as published by the survey; NaN if missing in the packet.

    rb, drb: real-bogus scores (0 to 1). nbad: bad pixels in a 5x5 stamp. fwhm [pixel]. elong: axis ratio. magdiff
    [mag]: aperture minus PSF magnitude. ssdistnr [arcsec]: distance to the nearest known Solar System object (negative:
    none). distnr [pixel for ZTF] and magnr, sigmagnr [mag]: nearest source in the reference image.
    """

    rb: float
    drb: float
    nbad: float
    fwhm: float
    elong: float
    magdiff: float
    ssdistnr: float
    distnr: float
    magnr: float
    sigmagnr: float


@dataclass(frozen=True, slots=True)
class Alert:
    """One decoded alert. ra, dec [deg, ICRS]; mjd [days, UTC] of the new detection.

    `light_curve` holds the new detection (the one point that carries `candid`), the packet's history of detections and
    upper limits, and its forced photometry. `flags` name what in the packet was not understood: UNKNOWN_SIGN.
    """

    survey: str
    object_id: str
    candid: int
    mjd: float
    ra: float
    dec: float
    light_curve: LightCurve
    quality: Quality
    schema_version: str
    flags: tuple[str, ...] = ()
