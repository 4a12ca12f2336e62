"""Points tables -> labelled light curves, split by object.

A user brings their own data as two tables in one folder: `NAME_points.parquet` (the columns of
`service.photometry.table`) and `NAME_objects.parquet` (object_id, label, and where known fine_label, redshift,
mag_kind, note). Public sources to fetch: ALeRCE and ANTARES light curves of objects typed by the Transient Name Server,
ZTF forced photometry, and ZTF data releases of stars in VSX.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.photometry import POINT, Kind
from service.photometry.flux import MAG_PER_RELATIVE_FLUX
from service.photometry.table import conform_points_table, light_curves

# class -> superclass, in the order of the logits
TAXONOMY: Final[dict[str, str]] = {
    "SNIa": "Transient", "SNIbc": "Transient", "SNII": "Transient", "SLSN": "Transient", "TDE": "Transient",
    "AGN": "Stochastic", "YSO": "Stochastic", "CV": "Stochastic",
    "LPV": "Periodic", "ECL": "Periodic", "RR": "Periodic", "CEP": "Periodic", "DSCT": "Periodic", "RS": "Periodic",
}  # fmt: skip
CLASSES: Final = tuple(TAXONOMY)
SUPERNOVAE: Final = ("SNIa", "SNIbc", "SNII", "SLSN")
UNLABELLED: Final = -1

DIFFERENCE_TABLES: Final = ("transients", "alert_objects", "forced_tde", "variables_dr")

# Finest labels of the sources with enough objects to learn from; only for training, never published.
FINE_LABELS: Final = (
    "SN Ia", "SN Ia-91T", "SN Ia-91bg", "SN Ia-pec", "SN II", "SN IIn", "SN IIP", "SN IIb", "SN Ib", "SN Ic",
    "SN Ic-BL", "SN Ibn", "SLSN-I", "SLSN-II",
)  # fmt: skip
_FINE_ALIASES: Final = {
    "SN Ia-91T-like": "SN Ia-91T", "SN Ia-91bg-like": "SN Ia-91bg", "SN Iax[02cx-like]": "SN Ia-pec",
    "SN Ia-CSM": "SN Ia-pec", "SN Iax": "SN Ia-pec", "SN Ia-SC": "SN Ia-pec", "SN Icn": "SN Ibn",
}  # fmt: skip

# Split fractions (validation, test). Alert objects are few but most like those served, so more are held out.
FRACTIONS: Final = (0.10, 0.12)
FRACTIONS_ALERT_OBJECTS: Final = (0.15, 0.20)
SPLITS: Final = ("train", "validation", "test")

DETECTION_SNR: Final = 5.0  # the alert stream's own threshold


@dataclass(frozen=True)
class Dataset:
    """Light curves laid end to end: `points` (N,) of dtype POINT, `counts` (M,) points of each; `objects` has M rows.

    Columns of `objects`: object_id, table, label (index into CLASSES or UNLABELLED), fine (index into FINE_LABELS or
    -1), redshift, split, n_detections, mag_kind, source.
    """

    points: NDArray[np.void]
    counts: NDArray[np.int64]
    objects: pd.DataFrame

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.objects["label"].to_numpy()

    @property
    def starts(self) -> NDArray[np.int64]:
        """Place of each object's first point (M,)."""
        return np.cumsum(self.counts) - self.counts

    @property
    def owner(self) -> NDArray[np.int64]:
        """Row of the object that each point belongs to (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def in_split(self, name: str) -> NDArray[np.bool_]:
        """Which objects (M,) are of the split `name`, one of SPLITS."""
        return (self.objects["split"] == name).to_numpy()

    def split(self, name: str) -> Dataset:
        """The objects of the split `name`."""
        return self.where(self.in_split(name))

    def first_detection(self) -> NDArray[np.float64]:
        """mjd of the first detection of each object (M,)."""
        mjd = np.where(self.points["kind"] == Kind.DETECTION, self.points["mjd"], np.inf)
        first: NDArray[np.float64] = np.minimum.reduceat(mjd, self.starts)
        return first

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        """Points of the given rows (repeats allowed) end to end, and their counts."""
        counts = self.counts[rows]
        starts = self.starts[rows]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.points[np.repeat(starts, counts) + within], counts

    def where(self, mask: NDArray[np.bool_]) -> Dataset:
        """The objects where `mask` (M,) holds."""
        rows = np.flatnonzero(mask)
        points, counts = self.take(rows)
        return Dataset(points, counts, self.objects.iloc[rows].reset_index(drop=True))


def concatenate(datasets: list[Dataset]) -> Dataset:
    return Dataset(
        np.concatenate([d.points for d in datasets]),
        np.concatenate([d.counts for d in datasets]),
        pd.concat([d.objects for d in datasets], ignore_index=True),
    )


def load_difference(folder: Path) -> Dataset:
    """Every real difference light curve of the folder with at least one detection, with its split.

    Leaves out total and corrected magnitudes (`simulate` makes difference fluxes of them) and residuals of old
    transients (`note`). Forced photometry above 5 sigma is a detection, as in the alert stream.
    """
    parts = [
        read_difference(folder, name) for name in DIFFERENCE_TABLES if (folder / f"{name}_points.parquet").exists()
    ]
    data = concatenate(parts)
    data.objects["split"] = assign_splits(data.objects)
    return data


def load_table(path_points: Path, path_objects: Path) -> Dataset:
    """One points table and its objects table, detections or not."""
    objects = pd.read_parquet(path_objects).set_index("object_id")
    table = conform_points_table(_only_ztf_bands(pq.read_table(path_points)), path_points.name)
    ids, curves = [], []
    for object_id, curve in light_curves(table, path_points.name):
        ids.append(object_id)
        curves.append(curve.points)
    frame = objects.reindex(ids)
    rows = pd.DataFrame(
        {
            "object_id": ids,
            "table": path_points.name.removesuffix("_points.parquet"),
            "name": frame["label"].to_numpy(dtype=object),
            "label": [CLASSES.index(x) if x in TAXONOMY else UNLABELLED for x in frame["label"]],
            "fine": [_fine_index(x) for x in frame["fine_label"]] if "fine_label" in frame else -1,
            "redshift": frame["redshift"].to_numpy(dtype=float) if "redshift" in frame else np.nan,
            "mag_kind": frame["mag_kind"].to_numpy(dtype=object) if "mag_kind" in frame else "difference",
            "source": frame["source"].to_numpy(dtype=object) if "source" in frame else "",
            "note": frame["note"].to_numpy(dtype=object) if "note" in frame else None,
            "period": frame["period"].to_numpy(dtype=float) if "period" in frame else np.nan,
        }
    )
    points = np.concatenate(curves) if curves else np.empty(0, POINT)
    return Dataset(points, np.array([len(c) for c in curves], dtype=np.int64), rows)


def read_difference(folder: Path, name: str) -> Dataset:
    """The difference light curves of the table `name`, without splits; see `load_difference`."""
    data = load_table(folder / f"{name}_points.parquet", folder / f"{name}_objects.parquet")
    kind = data.objects["mag_kind"]
    data = data.where(kind.isin(["difference", "forced_difference"]).to_numpy())
    forced = np.repeat((data.objects["mag_kind"] == "forced_difference").to_numpy(), data.counts)
    points = data.points.copy()
    weak = forced & (points["kind"] == Kind.DETECTION) & (MAG_PER_RELATIVE_FLUX / points["magerr"] < DETECTION_SNR)
    points["limit"][weak] = points["mag"][weak] - 2.5 * np.log10(
        DETECTION_SNR * points["magerr"][weak] / MAG_PER_RELATIVE_FLUX
    )
    points["mag"][weak] = np.nan
    points["kind"][weak] = Kind.UPPER_LIMIT
    points["sign"][weak] = 0
    data = Dataset(points, data.counts, data.objects)
    data.objects["n_detections"] = n_detections = count_detections(data)
    residual = data.objects["note"].astype(str).str.startswith("negative residual").to_numpy()
    return data.where((n_detections > 0) & ~residual)


def count_detections(data: Dataset) -> NDArray[np.int64]:
    """Number of detections of each object (M,)."""
    return np.bincount(data.owner[data.points["kind"] == Kind.DETECTION], minlength=len(data))


def _only_ztf_bands(table: pa.Table) -> pa.Table:
    return table.filter(pa.compute.is_in(table["band"], value_set=pa.array(["g", "r", "i"])))


def _fine_index(label: object) -> int:
    name = _FINE_ALIASES.get(str(label), str(label))
    return FINE_LABELS.index(name) if name in FINE_LABELS else -1


def assign_splits(objects: pd.DataFrame) -> NDArray[np.object_]:
    """train / validation / test per row, stratified by label; an object in several tables is in one split.

    Objects of a label are ordered by a hash of their name, so adding objects moves few others to another split.
    """
    first = objects.drop_duplicates("object_id").copy()
    in_alerts = set(objects.loc[objects["table"] == "alert_objects", "object_id"])
    first["in_alerts"] = first["object_id"].isin(in_alerts)
    first["rank"] = [hashlib.sha256(name.encode()).hexdigest() for name in first["object_id"]]
    split: dict[str, str] = {}
    for (_, alerts), group in first.sort_values("rank").groupby(["label", "in_alerts"]):
        validation, test = FRACTIONS_ALERT_OBJECTS if alerts else FRACTIONS
        place = (np.arange(len(group)) + 0.5) / len(group)
        names = np.where(place < test, "test", np.where(place < test + validation, "validation", "train"))
        split.update(zip(group["object_id"], names, strict=True))
    return objects["object_id"].map(split).to_numpy()


def data_digest(folder: Path) -> str:
    """sha256 over the names and bytes of all Parquet tables of the folder, in order of name."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.parquet")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
