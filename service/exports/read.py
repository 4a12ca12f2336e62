"""A file -> points by object, and in words what it was read as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.exports.files import sheets_of_file
from service.exports.formats import recognise
from service.exports.rows import SkippedRow, points_of_sheet
from service.exports.sheet import ExportError, object_id_of_file
from service.photometry import LightCurve


@dataclass(frozen=True, slots=True)
class Export:
    """`light_curves` by object_id in order of appearance; `read_as` in words; `skipped` rows that could not be read."""

    read_as: str
    light_curves: dict[str, LightCurve]
    skipped: tuple[SkippedRow, ...]


def read_export(data: bytes, name: str, *, strict: bool = False, max_rows: int | None = None) -> Export:
    """Read a file of a broker or archive. `name` is the file's: it stands in messages, and its stem names the object of
    rows that name none. With `strict` a row that can't be read refuses the file.

    Raises ExportError in words: what the file is instead, the columns that it lacks, or the row and its value.
    """
    read_as: list[str] = []
    parts: dict[str, list[NDArray[np.void]]] = {}
    skipped: list[SkippedRow] = []
    for sheet in sheets_of_file(data, name, max_rows):
        form = recognise(sheet, name)
        points, faults = points_of_sheet(sheet, form, name)
        if strict and faults:
            raise ExportError(f"{name}: {faults[0]}")
        read_as.append(sheet.read_as or form.read_as)
        skipped.extend(faults)
        for object_id, some in points:
            parts.setdefault(object_id or object_id_of_file(name.rpartition(".")[0] or name), []).append(some)
    if not parts:
        raise ExportError(f"{name} holds no rows")
    curves = {object_id: LightCurve.from_points(np.concatenate(some)) for object_id, some in parts.items()}
    return Export(" and ".join(dict.fromkeys(read_as)), curves, tuple(skipped))
