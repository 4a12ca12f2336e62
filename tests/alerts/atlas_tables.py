"""ATLAS photometry made up for tests: exposures around a rise, as columns, as the server's text and as messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from service.alerts.atlas import Exposures

HEADER = "###MJD          m      dm   uJy   duJy F err chi/N     RA       Dec        x        y     maj  min   phi  apfit mag5sig Sky   Obs"  # noqa: E501


def exposures(*rows: tuple[float, str, float], error: float = 20.0, **columns: object) -> Exposures:
    """(mjd, filter, flux in uJy) each, everything else as on a good night; `columns` overrides it."""
    count = len(rows)
    values = {
        "mjd": np.array([row[0] for row in rows], dtype=float),
        "band": np.array([row[1] for row in rows], dtype=np.str_),
        "flux": np.array([row[2] for row in rows], dtype=float),
        "error": np.full(count, error),
        "chi_n": np.full(count, 1.1),
        "sky": np.full(count, 20.5),
        "error_code": np.zeros(count),
    }
    return Exposures(**values | {name: np.array(value, dtype=float) for name, value in columns.items()})


def write_table(path: Path, given: Exposures, ra: float, dec: float, separator: str = "  ") -> Path:
    columns = (given.mjd, given.band, given.flux, given.error, given.chi_n, given.sky, given.error_code)
    lines = [separator.join(HEADER.split())]
    for mjd, band, flux, error, chi_n, sky, code in zip(*columns, strict=True):
        row = (
            f"{mjd:.6f} 19.000 0.100 {flux:.0f} {error:.0f} {band} {code:.0f} {chi_n:.2f} {ra:.5f} {dec:.5f}"
            f" 5000.12 4000.50 2.50 2.30 -40.1 -0.400 19.50 {sky:.2f} 01a60000o0123o"
        )
        lines.append(separator.join(row.split()))
    path.write_text("\n".join(lines) + "\n")
    return path
