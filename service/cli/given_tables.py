"""Tables for `classify`, apart from its packets because pyarrow takes a tenth of a second to load."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from service.alerts import Alert
from service.alerts.atlas_table import is_atlas_table, read_atlas_table
from service.exports import Export, read_export
from service.photometry.table import TableError, light_curves, read_points_table

__all__ = ["TableError", "read_given_table"]

POINTS_TABLE_SUFFIXES: Final = (".parquet", ".csv")
ATLAS_SUFFIXES: Final = (".txt", ".csv", ".dat")


def read_given_table(path: Path, *, strict: bool) -> Alert | Export:
    """ATLAS photometry, whose object is known by position, or the light curves by object: of a table that is as our
    documentation says, fast, or of anyone's export. `strict` refuses a table with a bad row instead of the row.

    Raises TableError, naming row and value, or OSError.
    """
    suffix = path.suffix.lower()
    if suffix in ATLAS_SUFFIXES and is_atlas_table(path):
        return read_atlas_table(path).alert(path.stem)
    if suffix in POINTS_TABLE_SUFFIXES:
        try:
            return Export("", dict(light_curves(read_points_table(path), path.name)), ())
        except TableError:
            pass  # another's, or it has a bad row
    return read_export(path.read_bytes(), path.name, strict=strict)
