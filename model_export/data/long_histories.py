"""Objects with more tokens than one window holds: real ones, and variables that were followed for years."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_export.data.simulate import load_simulated, released_stars
from model_export.data.tables import Dataset, concatenate, load_difference, read_difference
from service.inference.preprocessing.alert_clr import alert_tokens

EXTRA = "alert_objects_extra"


def long_histories(folder: Path, simulated: Path | None, window: int) -> Dataset:
    """Labelled objects with more than `window` tokens, of all tables of `folder`: difference photometry, further alert
    objects, data-release stars as differences (`released_stars`), and the simulated ones in `simulated`.
    """
    parts = [load_difference(folder)]
    if (folder / f"{EXTRA}_points.parquet").exists():
        extra = read_difference(folder, EXTRA)
        extra.objects["split"] = "test"  # nothing has learnt them
        parts.append(extra)
    if (folder / "variables_dr_points.parquet").exists():
        parts.append(released_stars(folder))
    if simulated is not None:
        parts.append(load_simulated(simulated))
    data = concatenate(parts)
    data = data.where(data.labels >= 0)
    return data.where(alert_tokens(data.points, data.counts, {}).counts > window)


def groups_of(data: Dataset) -> NDArray[np.int64]:
    """A number per object (M,), the same for all that are of one star."""
    table, names = data.objects["table"].to_numpy(), data.objects["object_id"].to_numpy()
    stars = [name.rsplit("_", 1)[0] if where == "released" else name for where, name in zip(table, names, strict=True)]
    _, found = np.unique(np.array(stars, dtype=str), return_inverse=True)
    return found.astype(np.int64)
