"""Judge a bundle as it is served, with the service's own `Classifier`, on the test split.

Only real objects that were never used for training or tuning. Every figure has a bootstrap interval over objects. The
decision for macro-F1 is by log p - 0.5 log prior, for accuracy by argmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from model_export.data.bins import EDGES, bin_of
from model_export.data.scores import (
    SUPERCLASS_OF,
    alert_scores,
    brier,
    expected_calibration_error,
    f1_scores,
    half_prior_decision,
    superclass_decision,
    supernova_scores,
)
from model_export.data.tables import CLASSES, Dataset
from model_export.judging.examples import PREFIXES
from model_export.network.predict import ALL, shown
from service.config import Device
from service.inference.bundle import MODEL, Bundle
from service.inference.classifier import Classifier
from service.inference.manifest import Manifest
from service.inference.prediction import OUT_OF_DISTRIBUTION
from service.inference.preprocessing.alert_clr import OPTIONAL_CONTEXT
from service.photometry import Kind, LightCurve

BOOTSTRAPS: Final = 500
ENOUGH: Final = 5  # detections of an object to be counted in the headline figures
YEAR_2025: Final = 60676.0  # mjd
Figures = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """A bundle's answers for n objects at one prefix: probabilities (n, C), conformal membership (n, C), out of
    distribution (n,).
    """

    probabilities: NDArray[np.float64]
    sets: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
    labels: NDArray[np.int64]
    n_seen: NDArray[np.int64]
    n_detections: NDArray[np.int64]
    table: NDArray[np.object_]
    first_mjd: NDArray[np.float64]
    peak: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_]) -> Judged:
        return Judged(**{name: getattr(self, name)[mask] for name in self.__dataclass_fields__})


def judge(
    bundle: Path, data: Dataset, ks: tuple[int, ...] = PREFIXES, switches: dict[str, bool] | None = None
) -> dict[int, Judged]:
    """Classify the first k detections of each object, for each k (ALL: everything).

    `switches` turn optional context off, e.g. {"reference": False}.
    """
    classifier = _classifier(bundle, switches or {})
    total = data.objects["n_detections"].to_numpy(dtype=np.int64)
    detected_mag = np.where(data.points["kind"] == Kind.DETECTION, data.points["mag"], np.inf)
    first = data.first_detection()
    peak = np.minimum.reduceat(detected_mag, data.starts)
    found = {}
    for k in ks:
        seen = shown(data, k)
        predictions = classifier.classify(
            [LightCurve(seen.points[start : start + n]) for start, n in zip(seen.starts, seen.counts, strict=True)]
        )
        found[k] = Judged(
            # without context an asteroid's probability is exactly 0
            np.array([p.probabilities[: len(CLASSES)] for p in predictions], dtype=np.float64),
            np.array([[name in p.conformal_set for name in CLASSES] for p in predictions]),
            np.array([OUT_OF_DISTRIBUTION in p.flags for p in predictions]),
            data.labels,
            total if k == ALL else np.minimum(total, k),
            total,
            data.objects["table"].to_numpy(),
            first,
            peak,
        )
    return found


def _classifier(folder: Path, switches: dict[str, bool]) -> Classifier:
    """The classifier as served. `load_bundle` would need the card and metrics, which are only written after judging."""
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    preprocessing = manifest.preprocessing
    switched = preprocessing.model_copy(update={"parameters": preprocessing.parameters | switches})
    manifest = manifest.model_copy(update={"preprocessing": switched})
    return Classifier(Bundle(folder, manifest, (folder / MODEL).read_bytes(), card="", metrics={}), Device.CPU)


def evaluate(bundle: Path, data: Dataset) -> Figures:
    """All figures of a bundle on the labelled test objects of `data`; plain numbers, ready for JSON."""
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    prior = np.array(manifest.prior[: len(CLASSES)]) / sum(manifest.prior[: len(CLASSES)])
    test = data.where(data.in_split("test") & (data.labels >= 0))
    judged = judge(bundle, test)
    figures: Figures = {
        "about": "test split by object, real objects only; accuracy by argmax, macro-F1 by log p - 0.5 log prior; "
        "[value, low, high] are the figure and its 95 % bootstrap interval over objects",
        "objects": test.objects["table"].value_counts().to_dict(),
        "supernovae": {}, "supernovae_2025": {}, "alert_objects": {},
    }  # fmt: skip
    for k, j in judged.items():
        enough = j.n_detections >= ENOUGH
        transients = (j.table == "transients") & enough
        for group, mine, score in (
            ("supernovae", transients, supernova_scores),
            ("supernovae_2025", transients & (j.first_mjd >= YEAR_2025), supernova_scores),
            ("alert_objects", (j.table == "alert_objects") & enough, alert_scores),
        ):
            if mine.any():
                figures[group]["all" if k == ALL else str(k)] = with_intervals(
                    j.probabilities[mine], j.labels[mine], prior, score
                )
    everything = judged[ALL]
    main = everything.table != "forced_tde"
    figures["per_class"] = _per_class(everything.where(main), prior)
    figures["by_peak_magnitude"] = _by_magnitude(everything.where(main & (everything.n_detections >= ENOUGH)))
    figures["calibration"] = {"overall": _calibration(everything.where(main))}
    pooled = _pool([j.where(_new(j, k) & (j.table != "forced_tde")) for k, j in judged.items()])
    for b, low in enumerate(EDGES):
        figures["calibration"][f"{low}+"] = _calibration(pooled.where(bin_of(pooled.n_seen) == b))
    for table in ("transients", "alert_objects"):
        figures["calibration"][table] = _calibration(everything.where(everything.table == table))
    if (test.objects["table"] == "alert_objects").any():
        figures["optional_context"] = _optional_context(bundle, data)
    if manifest.out_of_distribution:
        figures["out_of_distribution"] = {"flagged_in_distribution": float(everything.flagged[main].mean())} | {
            f"flagged {table} {low}+": float(mine.flagged.mean())
            for table in ("transients", "alert_objects")
            for b, low in enumerate(EDGES)
            if len((mine := pooled.where((pooled.table == table) & (bin_of(pooled.n_seen) == b))).labels)
        }
    return figures


def _optional_context(bundle: Path, data: Dataset) -> Figures:
    """The value of each optional context: figures of validation alert objects without it."""
    alerts = (data.objects["table"] == "alert_objects").to_numpy() & (data.labels >= 0)
    validation = data.where(alerts & data.in_split("validation"))
    found: Figures = {}
    for name in (None, *OPTIONAL_CONTEXT):
        judged = judge(bundle, validation, (1, 3, ALL), {name: False} if name else None)
        found[f"without {name}" if name else "everything"] = {
            "all" if k == ALL else str(k): _ratio(superclass_decision(j.probabilities) == SUPERCLASS_OF[j.labels])
            for k, j in judged.items()
        }
    return found


def with_intervals(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    prior: NDArray[np.float64],
    score: Callable[..., dict[str, float]],
    seed: int = 0,
) -> Figures:
    """Each figure as [value, low, high], 95 % by bootstrap over objects; and the number of objects."""
    size = len(labels)
    if size < 10:
        return {"objects": size}
    value = score(probabilities, labels, prior)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, size, size) for _ in range(BOOTSTRAPS)]
    samples = [score(probabilities[d], labels[d], prior) for d in draws]
    return {
        "objects": size,
        **{
            name: [round(float(x), 4) for x in (v, *np.nanpercentile([s[name] for s in samples], [2.5, 97.5]))]
            for name, v in value.items()
        },
    }


def _new(j: Judged, k: int) -> NDArray[np.bool_]:
    return j.n_detections > k if k != ALL else np.ones(len(j.labels), dtype=bool)


def _pool(parts: list[Judged]) -> Judged:
    return Judged(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in Judged.__dataclass_fields__})


def _per_class(j: Judged, prior: NDArray[np.float64]) -> Figures:
    argmax, half = j.probabilities.argmax(axis=1), half_prior_decision(j.probabilities, prior)
    f1 = f1_scores(j.labels, half, range(len(CLASSES)))
    found: Figures = {"confusion_half_prior": {}}
    for label, name in enumerate(CLASSES):
        mine = j.labels == label
        if not mine.any():
            continue
        found[name] = {
            "objects": int(mine.sum()),
            "recall": _ratio(half[mine] == label),
            "precision": _ratio(mine[half == label]),
            "f1": round(float(f1[label]), 4),
            "recall_argmax": _ratio(argmax[mine] == label),
            "roc_auc": round(float(roc_auc_score(mine, j.probabilities[:, label])), 4),
            "coverage": _ratio(j.sets[mine, label]),
            "set_size": round(float(j.sets[mine].sum(axis=1).mean()), 3),
        }
        found["confusion_half_prior"][name] = {
            CLASSES[c]: int(n) for c, n in enumerate(np.bincount(half[mine], minlength=len(CLASSES))) if n
        }
    return found


def _by_magnitude(j: Judged) -> Figures:
    found = {}
    for low, high in ((10.0, 17.0), (17.0, 18.0), (18.0, 18.5), (18.5, 19.0), (19.0, 23.0)):
        mine = j.where((j.peak >= low) & (j.peak < high))
        if len(mine.labels) >= 10:
            decided = superclass_decision(mine.probabilities)
            found[f"{low}-{high}"] = {
                "objects": len(mine.labels),
                "accuracy": _ratio(mine.probabilities.argmax(axis=1) == mine.labels),
                "superclass_accuracy": _ratio(decided == SUPERCLASS_OF[mine.labels]),
            }
    return found


def _calibration(j: Judged) -> Figures:
    size = len(j.labels)
    if not size:
        return {"objects": 0}
    confidence, correct = j.probabilities.max(axis=1), j.probabilities.argmax(axis=1) == j.labels
    which = np.minimum((confidence * 10).astype(int), 9)
    return {
        "objects": size,
        "accuracy": _ratio(correct),
        "ece": round(expected_calibration_error(j.probabilities, j.labels), 4),
        "brier": round(brier(j.probabilities, j.labels), 4),
        "coverage": _ratio(j.sets[np.arange(size), j.labels]),
        "set_size": round(float(j.sets.sum(axis=1).mean()), 3),
        "reliability": [
            [round(float(confidence[which == b].mean()), 4), _ratio(correct[which == b]), int((which == b).sum())]
            for b in range(10)
            if (which == b).any()
        ],
    }


def _ratio(hits: NDArray[np.bool_]) -> float:
    return round(float(np.mean(hits)), 4) if len(hits) else 0.0
