"""The table returned by the ATLAS forced photometry server: text, a row per exposure, one position."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.alerts.alert import Alert
from service.alerts.atlas import Exposures, photometry
from service.photometry.table import TableError

# From `###MJD m dm uJy duJy F err chi/N RA Dec x y maj min phi apfit mag5sig Sky Obs`, in any order, others allowed.
COLUMNS: Final = ("MJD", "uJy", "duJy", "F", "err", "chi/N", "RA", "Dec", "Sky")

# The server repeats the requested position in every row, to 0.02 arcsec.
LARGEST_SPREAD_DEG: Final = 1.0 / 3600.0


@dataclass(frozen=True, slots=True)
class AtlasTable:
    """The contents of a table: its position [deg] and all its exposures."""

    ra: float
    dec: float
    exposures: Exposures

    def alert(self, name: str = "") -> Alert:
        """The photometry under `name`, or a name made of the position."""
        return photometry(name, self.ra, self.dec, self.exposures.light_curve())


def is_atlas_table(path: Path) -> bool:
    """Whether the first line of a file has the server's columns."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            header = _fields(file.readline(4096))
    except OSError:
        return False
    return {"MJD", "uJy", "duJy", "F"} <= set(header)


def read_atlas_table(path: Path) -> AtlasTable:
    """The server's table, with spaces or commas between its columns. Raises TableError naming line and column."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path.name} is not a readable table: {error}") from error
    header = _fields(lines[0]) if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise TableError(f"{path.name} has no column {', '.join(missing)}; it has {', '.join(header) or 'no header'}")
    numbered = [(number, _fields(line)) for number, line in enumerate(lines[1:], 2) if line.strip()]
    for number, row in numbered:
        if len(row) != len(header):
            raise TableError(f"line {number} of {path.name} has {len(row)} values for {len(header)} columns")
    if not numbered:
        raise TableError(f"{path.name} has no rows, so that its position is not known")
    columns = {name: [row[header.index(name)] for _, row in numbered] for name in COLUMNS}

    def numbers(name: str) -> NDArray[np.float64]:
        try:
            return np.array(columns[name], dtype=np.float64)
        except ValueError:
            pass
        for (number, _), value in zip(numbered, columns[name], strict=True):
            try:
                float(value)
            except ValueError:
                raise TableError(f"line {number} of {path.name}: {name} is {value!r}, not a number") from None
        raise AssertionError("numpy reads what Python's float reads")

    return AtlasTable(
        ra=_position(path, "RA", numbers("RA"), 0.0, 360.0),
        dec=_position(path, "Dec", numbers("Dec"), -90.0, 90.0),
        exposures=Exposures(
            mjd=numbers("MJD"),
            band=np.array(columns["F"], dtype=np.str_),
            flux=numbers("uJy"),
            error=numbers("duJy"),
            chi_n=numbers("chi/N"),
            sky=numbers("Sky"),
            error_code=numbers("err"),
        ),
    )


def _position(path: Path, name: str, values: NDArray[np.float64], low: float, high: float) -> float:
    middle = float(np.median(values))
    if not low <= middle <= high:
        raise TableError(f"column {name} of {path.name} is {middle:.9g}; it must be between {low:g} and {high:g}")
    if np.ptp(values) > LARGEST_SPREAD_DEG:
        raise TableError(f"column {name} of {path.name} has more than one position: give each a table of its own")
    return middle


def _fields(line: str) -> list[str]:
    line = line.strip().lstrip("#")
    return [field.strip() for field in line.split(",")] if "," in line else line.split()
