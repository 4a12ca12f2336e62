"""Pages elsewhere about a place on the sky."""

from __future__ import annotations

from math import isfinite
from urllib.parse import quote

RADIUS_ARCSEC = 5


def links_of_place(ra: float | None, dec: float | None) -> dict[str, str]:
    """Catalogues and pictures at a position [deg, ICRS], by the name of the page; none where the position is unknown.

    Addresses after each service's own documentation: SIMBAD "sim-coo", NED "conesearch", VSX "results.get", the Legacy
    Survey's viewer, Aladin Lite, TNS "search". By place TNS finds a report under any name, so that link replaces the
    one by name.
    """
    if ra is None or dec is None or not (isfinite(ra) and isfinite(dec)):
        return {}
    place = f"{ra:.6f} {dec:+.6f}"
    coordinates = quote(place, safe="")
    return {
        "SIMBAD": "https://simbad.cds.unistra.fr/simbad/sim-coo"
        f"?Coord={coordinates}&CooFrame=ICRS&Radius={RADIUS_ARCSEC}&Radius.unit=arcsec",
        "NED": "https://ned.ipac.caltech.edu/conesearch?search_type=Near%20Position%20Search"
        f"&coordinates={quote(f'{ra:.6f}d {dec:+.6f}d', safe='')}&radius={RADIUS_ARCSEC / 60:.3f}",
        "VSX": "https://www.aavso.org/vsx/index.php"
        f"?view=results.get&coords={coordinates}&format=d&size={RADIUS_ARCSEC}&unit=3",
        "Legacy Survey": f"https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&mark={ra:.6f},{dec:.6f}&zoom=16",
        "Aladin": f"https://aladin.cds.unistra.fr/AladinLite/?target={coordinates}&fov=0.03",
        "TNS": f"https://www.wis-tns.org/search?ra={ra:.6f}&decl={dec:.6f}&radius={RADIUS_ARCSEC}&coords_unit=arcsec",
    }
