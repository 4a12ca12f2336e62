"""Labelled alert objects with the context of their packets, and known asteroids.

A folder may hold, besides the points tables, `alert_context.parquet`: a row per alert with `object_id`, `jd` [d],
`candid`, `repo` and `schemavsn` (where the packet came from) and the columns of `service.photometry.context` as they
stand in packets; `doctored` marks rows whose values were made up. `solar_system_context.parquet` and `_points.parquet`
have the same of alerts of known asteroids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_export.data.tables import Dataset, concatenate, count_detections, load_table, read_difference
from service.photometry import CONTEXT_COLUMNS, Kind
from service.photometry.context import context_values

ALERT_TABLES: Final = ("alert_objects", "alert_objects_extra")
SEVERAL_NIGHTS: Final = 0.5  # days

# What the model takes: all but the distance to known asteroids, which is how our own asteroids were found.
MODEL_CONTEXT: Final = tuple(name for name in CONTEXT_COLUMNS if name not in ("ssdistnr", "ssmagnr"))
_TAKEN: Final = [CONTEXT_COLUMNS.index(name) for name in MODEL_CONTEXT]
_NEIGHBOUR: Final = [place for place, name in enumerate(MODEL_CONTEXT) if name != "gal_b"]


@dataclass(frozen=True)
class Contexts:
    """Context of M objects: `values` float32 (M, len(MODEL_CONTEXT)), NaN where missing, and where it was read."""

    values: NDArray[np.float32]
    repo: NDArray[np.object_]
    schema: NDArray[np.object_]
    year: NDArray[np.int64]

    def where(self, mask: NDArray[np.bool_]) -> Contexts:
        return Contexts(self.values[mask], self.repo[mask], self.schema[mask], self.year[mask])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which objects (M,) have any context."""
        return np.asarray(np.isfinite(self.values).any(axis=1))


def labelled_alert_objects(folder: Path) -> Dataset:
    """Every labelled object in alert packets with a detection; `table` is alert_objects for all."""
    data = concatenate([read_difference(folder, name) for name in _tables_of(folder)])
    data.objects["table"] = "alert_objects"
    return data.where(data.labels >= 0)


def lasting_objects(folder: Path) -> list[str]:
    """Names of unlabelled alert objects that were seen in several nights, as no asteroid is."""
    data = concatenate([read_difference(folder, name) for name in _tables_of(folder)])
    data = data.where((data.labels < 0) & (spans(data) > SEVERAL_NIGHTS))
    return list(dict.fromkeys(data.objects["object_id"]))


def spans(data: Dataset) -> NDArray[np.float64]:
    """Days between first and last detection of each object (M,)."""
    detected = data.points["kind"] == Kind.DETECTION
    first = np.minimum.reduceat(np.where(detected, data.points["mjd"], np.inf), data.starts)
    last = np.maximum.reduceat(np.where(detected, data.points["mjd"], -np.inf), data.starts)
    span: NDArray[np.float64] = last - first
    return span


def _tables_of(folder: Path) -> list[str]:
    return [name for name in ALERT_TABLES if (folder / f"{name}_points.parquet").exists()]


def contexts_of(folder: Path, object_ids: Sequence[str]) -> Contexts:
    """The newest context of each object (M,), by the service's own rule; made-up values are left out."""
    table = pd.read_parquet(folder / "alert_context.parquet")
    if "doctored" in table:
        table = table[~table["doctored"].astype(bool)]
    values = model_context(table)
    order = table[["object_id", "jd", "candid"]].assign(
        row=np.arange(len(table)),
        neighbour=np.isfinite(values[:, _NEIGHBOUR]).any(axis=1),
        known=np.isfinite(values).sum(axis=1),
    )
    newest = order.sort_values(["neighbour", "jd", "candid", "known"]).groupby("object_id")["row"].last()
    rows = newest.reindex(list(object_ids))
    there = rows.notna().to_numpy()
    chosen = rows[there].to_numpy(dtype=np.int64)
    found = np.full((len(rows), len(MODEL_CONTEXT)), np.nan, dtype=np.float32)
    found[there] = values[chosen]
    repo, schema = (np.full(len(rows), "", dtype=object) for _ in range(2))
    year = np.zeros(len(rows), dtype=np.int64)
    repo[there] = table["repo"].astype(str).to_numpy()[chosen]
    schema[there] = table["schemavsn"].astype(str).to_numpy()[chosen]
    year[there] = (2000 + (table["jd"].to_numpy()[chosen] - 2451544.5) / 365.25).astype(np.int64)
    return Contexts(found, repo, schema, year)


def model_context(table: pd.DataFrame) -> NDArray[np.float32]:
    """What the model takes (n, C) of packets' columns; NaN where missing."""
    columns = {name: table[name].to_numpy() for name in (*CONTEXT_COLUMNS, "ra", "dec") if name in table}
    taken: NDArray[np.float32] = context_values(columns, len(table))[:, _TAKEN]
    return taken


@dataclass(frozen=True)
class Asteroids:
    """Alerts of known asteroids: one object each as `data`, and its context (M, C)."""

    data: Dataset
    values: NDArray[np.float32]


def known_asteroids(folder: Path) -> Asteroids:
    """The light curves of known asteroids, one or two alerts each, with their newest context."""
    data = load_table(folder / "solar_system_points.parquet", folder / "solar_system_objects.parquet")
    data.objects["n_detections"] = count_detections(data)
    data = data.where((data.objects["n_detections"] > 0).to_numpy())
    table = pd.read_parquet(folder / "solar_system_context.parquet").sort_values("jd")
    newest = table.groupby("object_id").tail(1).set_index("object_id").reindex(data.objects["object_id"])
    return Asteroids(data, model_context(newest.reset_index()))


def name_digest(object_id: str) -> str:
    """A short digest of an object's name: a run says which objects it learnt without naming them."""
    return hashlib.sha256(object_id.encode()).hexdigest()[:16]


def not_learnt(run: Path, object_ids: Sequence[str]) -> NDArray[np.bool_]:
    """Which objects (M,) are none of those whose labels the run's network learnt (`learnt.json`)."""
    learnt = set(json.loads((run / "learnt.json").read_text())["alert_objects"])
    return np.array([name_digest(name) not in learnt for name in object_ids], dtype=bool)
