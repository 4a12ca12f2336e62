"""Who exports which columns. Each entry says where its names come from; names are compared in lower case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from service.exports.sheet import ExportError, Sheet

# `difference`: magnitudes of the absolute difference flux. `flux`: difference flux with a zero point per row.
# `total`: magnitudes of all the light of a source, as in data releases.
# `atlas`: difference flux in microjansky with the columns of quality that its reader asks for.
Photometry = Literal["difference", "flux", "total", "atlas"]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of table: recognised if all of `needs` are among its columns and none of `lacks`.

    `names` gives for each of our columns (object_id, mjd or jd, band, mag, magerr, limit, sign, magnr, candid, survey;
    flux, fluxerr and zero_point [AB mag] instead of mag) the first of these columns that the table has.
    """

    read_as: str
    needs: frozenset[str]
    names: Mapping[str, tuple[str, ...]]
    photometry: Photometry = "difference"
    lacks: frozenset[str] = field(default=frozenset())
    bands: Mapping[str, str] = field(default_factory=dict)  # names of bands that mean something else elsewhere

    def fits(self, columns: frozenset[str]) -> bool:
        return self.needs <= columns and not self.lacks & columns


_OBJECT: Final = ("object_id", "objectid", "oid", "ztf_object_id", "name")

# Fink's portal and API (https://api.fink-portal.org, columns of /api/v1/objects): packet names after "i:"; with
# withupperlim, rows with d:tag = upperlim have no magpsf.
_FINK: Final = Format(
    "a Fink export",
    frozenset({"i:jd", "i:fid", "i:magpsf"}),
    {
        "object_id": ("i:objectid",), "jd": ("i:jd",), "band": ("i:fid",), "mag": ("i:magpsf",),
        "magerr": ("i:sigmapsf",), "limit": ("i:diffmaglim",), "sign": ("i:isdiffpos",), "magnr": ("i:magnr",),
        "candid": ("i:candid",),
    },
)  # fmt: skip

# ANTARES (antares-client, Locus.lightcurve): ant_survey is 1 for a ZTF detection, 2 for a ZTF upper limit, 4 for Rubin.
_ANTARES: Final = Format(
    "an ANTARES light curve",
    frozenset({"ant_mjd", "ant_passband", "ant_mag"}),
    {
        "object_id": ("ztf_object_id", "object_id", "locus_id"), "mjd": ("ant_mjd",), "band": ("ant_passband",),
        "mag": ("ant_mag",), "magerr": ("ant_magerr",), "limit": ("ant_maglim",), "sign": ("ztf_isdiffpos",),
        "magnr": ("ztf_magnr",), "candid": ("ztf_candid",), "survey": ("ant_survey",),
    },
    bands={"R": "r"},
)  # fmt: skip

# ZTF forced photometry service, "lightcurve" text of a request (Masci et al. 2023, arXiv:2305.16279, section 6):
# difference flux in counts whose magnitude is zpdiff - 2.5 log10(flux).
_ZTF_FORCED: Final = Format(
    "a table of the ZTF forced photometry service",
    frozenset({"jd", "filter", "forcediffimflux", "forcediffimfluxunc", "zpdiff"}),
    {
        "object_id": _OBJECT, "jd": ("jd",), "band": ("filter",), "flux": ("forcediffimflux",),
        "fluxerr": ("forcediffimfluxunc",), "zero_point": ("zpdiff",), "magnr": ("nearestrefmag",),
        "procstatus": ("procstatus",),
    },
    photometry="flux",
)  # fmt: skip

# ATLAS forced photometry server (https://fallingstar-data.com/forcedphot/apiguide/): `service.alerts.atlas_table`.
_ATLAS: Final = Format(
    "a table of the ATLAS forced photometry server",
    frozenset({"mjd", "ujy", "dujy", "f", "err", "chi/n", "sky"}),
    {
        "object_id": _OBJECT, "mjd": ("mjd",), "band": ("f",), "flux": ("ujy",), "fluxerr": ("dujy",),
        "chi_n": ("chi/n",), "sky": ("sky",), "error_code": ("err",),
    },
    photometry="atlas",
)  # fmt: skip

# IRSA's ZTF light curves (https://irsa.ipac.caltech.edu/docs/program_interface/ztf_lightcurve_api.html), also through
# ztfquery: PSF magnitudes of all the light.
_IRSA: Final = Format(
    "a light curve of ZTF's data releases (IRSA)",
    frozenset({"oid", "mjd", "mag", "magerr", "filtercode"}),
    {"object_id": ("oid",), "mjd": ("mjd",), "band": ("filtercode",), "mag": ("mag",), "magerr": ("magerr",)},
    photometry="total",
)

# Packet names without a prefix: ALeRCE's detections (client, Explorer's CSV), Lasair's candidates, Babamul's history.
_PACKET: Final = {
    "object_id": _OBJECT, "mjd": ("mjd",), "jd": ("jd",), "band": ("fid", "band", "filter"),
    "mag": ("magpsf", "mag"), "magerr": ("sigmapsf", "e_mag", "magerr"), "limit": ("diffmaglim", "limit"),
    "sign": ("isdiffpos", "sign"), "magnr": ("magnr",), "candid": ("candid", "measurement_id"), "survey": ("survey",),
}  # fmt: skip
_ALERCE: Final = Format(
    "an ALeRCE export", frozenset({"mjd", "fid", "mag", "e_mag"}), _PACKET, lacks=frozenset({"magpsf"})
)
_DETECTIONS: Final = Format(
    "detections of an alert broker (ALeRCE, Lasair)", frozenset({"mjd", "fid", "magpsf"}), _PACKET
)
_NON_DETECTIONS: Final = Format(
    "non-detections of an alert broker (ALeRCE, Lasair)",
    frozenset({"mjd", "fid", "diffmaglim"}),
    _PACKET,
    lacks=frozenset({"magpsf", "mag"}),
)
_PACKET_HISTORY: Final = Format("the history of alert packets", frozenset({"jd", "magpsf"}), _PACKET)

# This project's own points tables, JSON light curves and answers.
_POINT: Final = {
    "object_id": _OBJECT, "mjd": ("mjd",), "jd": ("jd",), "band": ("band", "filter", "passband", "fid"),
    "mag": ("mag",), "magerr": ("magerr", "mag_err", "e_mag"), "limit": ("diffmaglim", "limit"),
    "sign": ("sign", "isdiffpos"),
    "magnr": ("magnr",), "candid": ("candid",), "survey": ("survey",), "kind": ("kind",),
}  # fmt: skip
_POINTS: Final = Format("a points table", frozenset({"mag"}), _POINT)
_LIMITS: Final = Format("a points table", frozenset({"band", "diffmaglim"}), _POINT, lacks=frozenset({"mag", "flux"}))
_FLUXES: Final = Format(
    "a light curve of this service",
    frozenset({"flux", "fluxerr", "zero_point"}),
    {
        "object_id": _OBJECT, "mjd": ("mjd",), "band": ("band",), "flux": ("flux",), "fluxerr": ("fluxerr",),
        "zero_point": ("zero_point",), "magnr": ("magnr",), "survey": ("survey",),
    },
    photometry="flux",
    lacks=frozenset({"mag"}),
)  # fmt: skip

# In this order: the first that fits is meant.
FORMATS: Final = (
    _FINK, _ANTARES, _ZTF_FORCED, _ATLAS, _IRSA, _ALERCE, _DETECTIONS, _NON_DETECTIONS, _PACKET_HISTORY, _POINTS,
    _LIMITS, _FLUXES,
)  # fmt: skip

_TIMES: Final = ("mjd", "jd")


def recognise(sheet: Sheet, name: str) -> Format:
    """The format of a sheet. Raises ExportError that lists its columns and what is missing."""
    columns = frozenset(sheet.columns)
    for form in FORMATS:
        if form.fits(columns) and any(set(form.names.get(time, ())) & columns for time in _TIMES):
            return form
    listed = ", ".join(sheet.all_names or sheet.columns) or "none"
    raise ExportError(
        f"{name} has no columns that are known as a light curve: needed are a time (mjd or jd), band (or fid, filter)"
        f" and mag (or magpsf); it has {listed[:500]}"
    )
