"""One light curve of five points, written by hand in every format that is read, after each format's documentation.

Three detections (r 19.5, g 19.1, r 18.8 fading below the reference) and two upper limits; `MJD`, `MAG`, `SIGN`.
"""

import io
import json
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table

NAME: Final = "ZTF26aaaaaaa"
MJD: Final = (61000.2, 61002.25, 61003.21, 61005.2, 61005.24)
FID: Final = (2, 2, 1, 2, 1)
MAG: Final = (None, 19.5, 19.1, 18.8, None)
ERR: Final = (None, 0.11, 0.07, 0.05, None)
SIGN: Final = (0, 1, 1, -1, 0)
LIMIT: Final = (20.4, 20.6, 20.5, 20.7, 20.1)
BAND: Final = tuple("gri"[fid - 1] for fid in FID)


def _rows(**columns: Any) -> list[dict[str, Any]]:
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _csv(rows: list[dict[str, Any]], separator: str = ",") -> bytes:
    lines = [separator.join(rows[0])]
    lines += [separator.join("" if value is None else str(value) for value in row.values()) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


_JD = [mjd + 2_400_000.5 for mjd in MJD]
_FINK = _rows(**{
    "i:objectId": [NAME] * 5, "i:candid": [0, 11, 12, 13, 0], "i:jd": _JD, "i:fid": FID, "i:magpsf": MAG,
    "i:sigmapsf": ERR, "i:diffmaglim": LIMIT, "i:isdiffpos": [None, "t", "t", "f", None],
    "d:tag": ["upperlim", "valid", "badquality", "valid", "upperlim"],
})  # fmt: skip
_ALERCE_DETECTIONS = [
    {"oid": NAME, "candid": str(10 + i), "mjd": MJD[i], "fid": FID[i], "magpsf": MAG[i], "sigmapsf": ERR[i],
     "isdiffpos": SIGN[i], "diffmaglim": LIMIT[i], "magpsf_corr": 17.0, "sigmapsf_corr": 0.02}
    for i in (1, 2, 3)
]  # fmt: skip
_ALERCE_NON_DETECTIONS = [{"oid": NAME, "mjd": MJD[i], "fid": FID[i], "diffmaglim": LIMIT[i]} for i in (0, 4)]
_ALERCE_V2 = [
    {"mjd": row["mjd"], "fid": row["fid"], "mag": row["magpsf"], "e_mag": row["sigmapsf"],
     "isdiffpos": row["isdiffpos"], "measurement_id": row["candid"],
     "oid": NAME, "extra_fields": {"diffmaglim": row["diffmaglim"]}}
    for row in _ALERCE_DETECTIONS
]  # fmt: skip
_LASAIR = {
    "objectId": NAME,
    "objectData": {"ramean": 10.0},
    "candidates": [
        *({"candid": 10 + i, "mjd": MJD[i], "fid": FID[i], "magpsf": MAG[i], "sigmapsf": ERR[i],
           "isdiffpos": "t" if SIGN[i] > 0 else "f", "diffmaglim": LIMIT[i]} for i in (1, 2, 3)),
        *({"mjd": MJD[i], "fid": FID[i], "diffmaglim": LIMIT[i]} for i in (0, 4)),
    ],
}  # fmt: skip
_BABAMUL = {
    "objectId": NAME,
    "prv_candidates": [
        {"jd": _JD[i], "band": BAND[i], "magpsf": MAG[i], "sigmapsf": ERR[i], "isdiffpos": SIGN[i] > 0,
         "diffmaglim": LIMIT[i], "candid": 10 + i} for i in (1, 2, 3)
    ],
    "prv_nondetections": [{"jd": _JD[i], "band": BAND[i], "diffmaglim": LIMIT[i]} for i in (0, 4)],
}  # fmt: skip
_ANTARES = _rows(
    alert_id=[f"ztf:{i}" for i in range(5)], ant_mjd=MJD, ant_survey=[2, 1, 1, 1, 2],
    ant_passband=["R" if band == "r" else band for band in BAND],
    ant_mag=[20.4, 19.5, 19.1, 18.8, 20.1], ant_magerr=ERR, ant_maglim=LIMIT,
    ztf_isdiffpos=[None, "t", "t", "f", None], ztf_object_id=[NAME] * 5,
)  # fmt: skip
_POINTS = _rows(object_id=[NAME] * 5, mjd=MJD, band=BAND, mag=MAG, magerr=ERR, diffmaglim=LIMIT, sign=SIGN)
_OWN = {"object_id": NAME, "points": [{k: v for k, v in row.items() if k != "object_id"} for row in _POINTS]}


def _zfps() -> bytes:
    """The ZTF forced photometry service's text: comments, a header with commas, fluxes in counts with zpdiff."""
    zero_point = 26.0
    lines = ["# ZTF forced photometry", "# Requested input R.A. = 10.0 degrees", "index, field, filter, jd, zpdiff, "
             "nearestrefmag, forcediffimflux, forcediffimfluxunc, procstatus, "]  # fmt: skip
    for i in range(5):
        if MAG[i] is None:
            error = 10 ** (-0.4 * (LIMIT[i] - zero_point)) / 5
            flux = 0.3 * error
        else:
            flux = 10 ** (-0.4 * (MAG[i] - zero_point)) * SIGN[i]
            error = abs(flux) * ERR[i] / 1.0857
        lines.append(f"{i} 500 ZTF_{BAND[i]} {_JD[i]:.7f} {zero_point} 19.9 {flux:.9g} {error:.9g} 0")
    lines.append(f"5 500 ZTF_r {_JD[4] + 1:.7f} 26.0 null null null 61")
    return "\n".join(lines).encode()


def _fink_transfer() -> bytes:
    def candidate(i: int) -> dict[str, Any]:
        return {"jd": _JD[i], "fid": FID[i], "magpsf": MAG[i], "sigmapsf": ERR[i], "diffmaglim": LIMIT[i],
                "isdiffpos": None if MAG[i] is None else "t" if SIGN[i] > 0 else "f", "candid": 10 + i}  # fmt: skip

    alert = {
        "objectId": NAME,
        "candid": 13,
        "candidate": candidate(3),
        "prv_candidates": [candidate(i) for i in (0, 1, 2, 4)],
    }
    return _parquet(pa.Table.from_pylist([alert]))


def _astropy(form: str) -> bytes:
    columns = {"mjd": MJD, "band": BAND, "mag": [np.nan if m is None else m for m in MAG],
               "magerr": [np.nan if e is None else e for e in ERR], "diffmaglim": LIMIT, "sign": SIGN}  # fmt: skip
    if form == "ascii.ecsv":
        text = io.StringIO()
        Table(columns).write(text, format=form)
        return text.getvalue().encode()
    sink = io.BytesIO()
    Table(columns).write(sink, format=form)
    return sink.getvalue()


# file name -> (contents, what it is read as)
SAMPLES: Final[dict[str, tuple[bytes, str]]] = {
    "fink.csv": (_csv(_FINK), "a Fink export"),
    "fink.json": (json.dumps(_FINK).encode(), "a Fink export"),
    "fink.parquet": (_parquet(pa.Table.from_pylist(_FINK)), "a Fink export"),
    "transfer.parquet": (_fink_transfer(), "alerts of Fink's data transfer"),
    "alerce.json": (
        json.dumps({"detections": _ALERCE_DETECTIONS, "non_detections": _ALERCE_NON_DETECTIONS}).encode(),
        "an ALeRCE export",
    ),
    "alerce_v2.json": (
        json.dumps({"detections": _ALERCE_V2, "non_detections": _ALERCE_NON_DETECTIONS}).encode(), "an ALeRCE export",
    ),
    "alerce.csv": (_csv([*_ALERCE_DETECTIONS, *({**dict.fromkeys(_ALERCE_DETECTIONS[0]), **row}
                                                for row in _ALERCE_NON_DETECTIONS)]),
                   "detections of an alert broker (ALeRCE, Lasair)"),
    "lasair.json": (json.dumps(_LASAIR).encode(), "a Lasair export"),
    "babamul.json": (json.dumps(_BABAMUL).encode(), "a Babamul export"),
    "antares.csv": (_csv(_ANTARES), "an ANTARES light curve"),
    f"{NAME}_zfps.txt": (_zfps(), "a table of the ZTF forced photometry service"),
    "points;.csv": (_csv(_POINTS, ";"), "a points table"),
    "POINTS.tsv": (_csv([{k.upper(): v for k, v in row.items()} for row in _POINTS], "\t"), "a points table"),
    "own.jsonl": (json.dumps(_OWN).encode() + b"\n", "a light curve of this service"),
    f"{NAME}.ecsv": (_astropy("ascii.ecsv"), "a points table"),
    f"{NAME}.fits": (_astropy("fits"), "a points table"),
    f"{NAME}.vot": (_astropy("votable"), "a points table"),
}  # fmt: skip

IRSA: Final = _csv(_rows(oid=[5] * 2, mjd=MJD[:2], mag=[17.1, 17.2], magerr=[0.01] * 2, filtercode=["zg", "zr"]))

# As the ATLAS server sends it; the second row is damaged.
ATLAS: Final = b"""###MJD m dm uJy duJy F err chi/N RA Dec x y maj min phi apfit mag5sig Sky Obs
61000.1 17.5 0.1 400 30 o 0 1.1 10.0 20.0 1 1 2 2 0 -0.4 19 20.5 a
61001.1 17.5 0.1 many 30 o 0 1.1 10.0 20.0 1 1 2 2 0 -0.4 19 20.5 b
"""
