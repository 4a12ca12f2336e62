"""The output of `classify`: one line per object, as a table, JSON lines or CSV."""

from __future__ import annotations

import csv
import sys
from typing import Any, Final

import numpy as np
import orjson
from rich.table import Table

from service.cli.tables import class_cells, print_table
from service.inference.prediction import Prediction
from service.output.classification import without_alert
from service.photometry import Kind, LightCurve

FORMATS: Final = ("table", "jsonl", "csv")

SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH: Final = 16


class Report:
    """Writes to standard output, object by object (`jsonl`, `csv`) or at the end (`table`)."""

    def __init__(self, form: str, classes: tuple[str, ...], stochastic: bool = False) -> None:
        """`stochastic`: the model runs several passes, so CSV has the column `mutual_information`."""
        self._form = form
        self._classes = classes
        self._stochastic = stochastic
        self._table = Table(
            "object", "light curve", "detections", "class", "probability", "conformal set", "flags", box=None
        )
        self._csv = csv.writer(sys.stdout, lineterminator="\n")
        if form == "csv":
            self._csv.writerow(
                ["object_id", "top_class", "top_probability", *(f"p_{name}" for name in classes), "n_detections",
                 "conformal_set", "ood_score", *(["mutual_information", "bald"] if stochastic else []), "flags",
                 "classifier", "version"]
            )  # fmt: skip

    def add(self, object_id: str, light_curve: LightCurve, prediction: Prediction, flags: tuple[str, ...]) -> None:
        """`flags` are those of the alert, which are not in the light curve."""
        record = classification(object_id, prediction, flags)
        if self._form == "jsonl":
            sys.stdout.buffer.write(orjson.dumps(record) + b"\n")
        elif self._form == "csv":
            self._csv.writerow(
                [object_id, record["top_class"], record["top_probability"], *record["probabilities"].values(),
                 sum(prediction.n_detections.values()), " ".join(record["conformal_set"]), record["ood_score"],
                 *([record["mutual_information"]] * 2 if self._stochastic else []), " ".join(record["flags"]),
                 record["classifier"], record["version"]]
            )  # fmt: skip
        else:
            self._table.add_row(
                object_id,
                sparkline(light_curve),
                str(sum(prediction.n_detections.values())),
                *class_cells(record),
                " ".join(record["conformal_set"]),
                " ".join(record["flags"]),
            )

    def end(self) -> None:
        if self._form == "table":
            print_table(self._table)
        sys.stdout.flush()


def classification(object_id: str, prediction: Prediction, flags: tuple[str, ...]) -> dict[str, Any]:
    """The document of a published classification, null where it belongs to the stream, with old names of two fields."""
    counts = {"n_detections_per_band": prediction.n_detections, "n_upper_limits_per_band": prediction.n_upper_limits}
    return without_alert(object_id, prediction, flags) | counts


def sparkline(light_curve: LightCurve) -> str:
    """The detections' magnitudes as a line of blocks, brightest highest: the mean in each of up to 16 spans of time."""
    points = light_curve.points[(light_curve.kind == Kind.DETECTION) & np.isfinite(light_curve.points["mag"])]
    if not len(points):
        return ""
    mjd, mag = points["mjd"], points["mag"].astype(float)
    span = mjd[-1] - mjd[0]
    cell = np.minimum(((mjd - mjd[0]) / (span or 1.0) * SPARKLINE_WIDTH).astype(int), SPARKLINE_WIDTH - 1)
    number = np.bincount(cell, minlength=SPARKLINE_WIDTH)
    mean = np.bincount(cell, weights=mag, minlength=SPARKLINE_WIDTH) / np.maximum(number, 1)
    depth = (mean - mag.min()) / (np.ptp(mag) or 1.0)
    level = np.rint((1.0 - np.clip(depth, 0, 1)) * (len(SPARKS) - 1)).astype(int)
    return "".join(SPARKS[height] if count else " " for height, count in zip(level, number, strict=True)).rstrip()
