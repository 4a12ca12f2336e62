"""Give a bundle of the light curve alone the context beside it, and asteroids as a class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from sklearn.ensemble import RandomForestClassifier

from model_export.bundles.context_graph import add_context
from model_export.bundles.graph import open_graph, sha256
from model_export.context.fusion import ASTEROID, ASTEROID_PRIOR, SOLAR_SYSTEM, Fusion, fuse, with_asteroid
from model_export.context.trees import (
    ASTEROID_PLACES,
    ClassTrees,
    columns_of,
    fit_asteroid_trees,
    fit_class_trees,
)
from model_export.data.alert_context import MODEL_CONTEXT
from model_export.data.bins import EDGES
from model_export.data.tables import CLASSES, data_digest
from model_export.judging.alert_objects import (
    Bench,
    Judged,
    bench_of,
    cross_validate,
    examples_with_context,
    fitted_fusion,
    folds_by_group,
)
from model_export.judging.calibrate import COVERAGE, conformal_thresholds
from model_export.judging.light_curve_answers import feeds_of
from model_export.network.predict import ALL
from service.inference.manifest import Calibration, Manifest
from service.photometry import CONTEXT_INPUT

PARITY: Final = 1e-4  # of logits of some ten, between float32 in the graph and float64 here
_CHECKED: Final = 200  # objects


def export_with_context(data: Path, bundle: Path, run: Path, out: Path, version: str) -> Manifest:
    """Learn trees and fusion from all labelled alert objects of `data`, write graph and manifest of a new bundle.

    `bundle` takes no context; `run` is behind it, and says which objects it learnt. Raises ValueError if the graph and
    the same arithmetic here disagree, or without context does not answer exactly as `bundle` does.
    """
    bench = bench_of(data, bundle, run)
    rows = np.flatnonzero(bench.contexts.known)
    trees = fit_class_trees(bench.contexts.values[rows], bench.data.labels[rows])
    others = np.concatenate((bench.contexts.values[rows], bench.lasting.values))
    asteroid = fit_asteroid_trees(bench.asteroids.values, others)
    fusion = replace(fitted_fusion(bench, rows), trees_prior=trees.frequencies.tolist())
    before = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    add_context(bundle / "model.onnx", before.outputs["logits"], trees, asteroid, fusion, out / "model.onnx")
    check_against(bench, before, bundle / "model.onnx", out / "model.onnx", trees, asteroid, fusion)
    judged = cross_validate(bench, folds_by_group(bench.contexts.repo), grouped="repo")
    manifest = _manifest(before, version, data, out / "model.onnx", context_calibration(bench, judged))
    (out / "manifest.json").write_text(manifest.model_dump_json() + "\n")
    return manifest


def context_calibration(bench: Bench, judged: Judged) -> Calibration:
    """Conformal thresholds per bin, from answers by models of other sources. The temperature is one: the fusion's own
    scale was fitted by the log-loss.
    """
    of_asteroids = 1.0 - judged.asteroids[:, -1]
    rank = math.ceil((len(of_asteroids) + 1) * COVERAGE)
    asteroid = float(np.sort(of_asteroids)[min(rank, len(of_asteroids)) - 1])
    thresholds = []
    for p, labels, _ in examples_with_context(bench, judged):
        found = conformal_thresholds(1.0 - p[np.arange(len(labels)), labels], labels)
        thresholds.append([math.ceil(t * 1e6) / 1e6 for t in (*found, asteroid)])
    return Calibration(
        edges=list(EDGES),
        temperature=[1.0] * len(EDGES),
        conformal_coverage=COVERAGE,
        conformal_thresholds=thresholds,
    )


def check_against(
    bench: Bench,
    before: Manifest,
    light_curve_graph: Path,
    graph: Path,
    trees: ClassTrees,
    asteroid: RandomForestClassifier,
    fusion: Fusion,
) -> float:
    """Largest difference of logits between the graph and `fusion` in numpy; raises ValueError where it is too large, or
    where the graph without context differs from that of the light curve alone in any bit.
    """
    outputs = list(before.outputs.values())
    alone, whole = open_graph(light_curve_graph), open_graph(graph)
    contexts, shown = bench.contexts.values, bench.answers.at(ALL)
    expected = with_asteroid(
        fuse(fusion, shown.logits, trees.probabilities(columns_of(contexts)), shown.n_seen),
        asteroid.predict_proba(contexts[:, ASTEROID_PLACES])[:, 1],
        shown.span,
    )
    worst = 0.0
    for row, feed in _feeds(bench, before, alone):
        missing = np.full((1, len(MODEL_CONTEXT)), np.nan, dtype=np.float32)
        same = zip(alone.run(outputs, feed), whole.run(outputs, feed | {CONTEXT_INPUT: missing}), strict=True)
        if not all(np.array_equal(theirs, ours[:, : theirs.shape[1]]) for theirs, ours in same):
            raise ValueError("without context the graph does not answer exactly as the light curve alone")
        if bench.contexts.known[row]:
            (logits,) = whole.run([before.outputs["logits"]], feed | {CONTEXT_INPUT: contexts[row : row + 1]})
            worst = max(worst, float(np.abs(logits[0] - expected[row]).max()))
    if worst > PARITY:
        raise ValueError(f"logits of graph and fusion differ by {worst:.1e}, more than {PARITY:.0e}")
    return worst


def _feeds(
    bench: Bench, manifest: Manifest, graph: InferenceSession
) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
    """Some objects' rows, and the inputs of the light curve's graph for them."""
    rows = np.linspace(0, len(bench.data) - 1, min(_CHECKED, len(bench.data))).astype(np.int64)
    points, counts = bench.data.take(rows)
    yield from zip(rows.tolist(), feeds_of(manifest, graph, points, counts), strict=True)


def _manifest(before: Manifest, version: str, data: Path, graph: Path, calibration: Calibration) -> Manifest:
    """That of the light curve's bundle with context, the new class, and its own hash."""
    if tuple(before.taxonomy) != CLASSES:
        raise ValueError(f"the bundle's classes are {', '.join(before.taxonomy)}, not {', '.join(CLASSES)}")
    alone = before.calibration
    values = before.model_dump() | {
        "version": version,
        "description": "Transformer over the points of a partial ZTF light curve, and trees on the object's"
        " surroundings: 14 classes, and asteroids.",
        "taxonomy": before.taxonomy | {ASTEROID: SOLAR_SYSTEM},
        "prior": [*((1.0 - ASTEROID_PRIOR) * p for p in before.prior), ASTEROID_PRIOR],
        "context": list(MODEL_CONTEXT),
        # without context an asteroid's probability is 0, and it is in no set
        "calibration": alone.model_dump()
        | {"conformal_thresholds": [[*row, 0.0] for row in alone.conformal_thresholds]},
        "context_calibration": calibration.model_dump(),
        "sha256": sha256(graph),
        "data_digest": data_digest(data),
        "created": datetime.now(UTC).replace(microsecond=0).isoformat(),
    }
    return Manifest.model_validate(values)
