"""Judge light curve and context on all labelled alert objects, by repeated cross-validation.

Every object is judged by trees and a fusion that learnt neither it nor, `by source`, anything else of the repository
that its packet came from; the network's own part is counted on objects alone whose labels it did not learn. Nothing is
chosen on an object that it is judged on: scale and weight of the fusion are fitted within the training folds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model_export.context.fusion import Fusion, fit_fusion, fuse, with_asteroid
from model_export.context.trees import (
    ASTEROID_PLACES,
    columns_of,
    fit_asteroid_trees,
    fit_class_trees,
    fit_columns,
)
from model_export.data.alert_context import (
    Asteroids,
    Contexts,
    contexts_of,
    known_asteroids,
    labelled_alert_objects,
    lasting_objects,
    not_learnt,
)
from model_export.data.bins import EDGES, bin_of
from model_export.data.prior import published_prior
from model_export.data.tables import CLASSES, Dataset, load_difference
from model_export.judging.light_curve_answers import LightCurveAnswers, light_curve_answers
from model_export.network.predict import ALL
from service.inference.manifest import Manifest

FOLDS: Final = 5
CONTEXT_ALERT_SHARE: Final = 0.85  # of alert objects in the prior of answers with context
SHOWN: Final = (1, 2, 3, 5, 8, ALL)
FIT_ON: Final = (*EDGES, ALL)

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]


@dataclass(frozen=True)
class Bench:
    """All that is judged: M labelled alert objects with context, answers of the light curve alone, and asteroids.

    `lasting`: unlabelled objects that are no asteroids, for they were seen in several nights. `fair` (M,): objects with
    context whose labels the network has not learnt. `temperature` (bins,) is that of the light curve alone.
    """

    data: Dataset
    contexts: Contexts
    lasting: Contexts
    answers: LightCurveAnswers
    fair: NDArray[np.bool_]
    light_curve_prior: Floats
    temperature: Floats
    prior: Floats
    asteroids: Asteroids
    asteroid_answers: LightCurveAnswers


@dataclass(frozen=True)
class Judged:
    """Probabilities (M, C + 1) by detections shown: with context, and the trees alone (M, C)."""

    fused: dict[int, Floats]
    trees: Floats
    asteroids: Floats  # (A, C + 1): of known asteroids, at one detection
    fusions: list[Fusion]


def context_prior(train: Dataset, alert_objects: Dataset) -> Floats:
    """Class frequencies (C,) of answers with context: of alert objects, and a little of typed transients.

    The few typed transients keep the rare kinds possible, of which alert objects with labels have none.
    """
    transients = train.where((train.objects["table"] == "transients").to_numpy())
    of_transients = published_prior(transients, 0.0)
    of_alerts = published_prior(alert_objects, 1.0)
    prior = CONTEXT_ALERT_SHARE * of_alerts + (1.0 - CONTEXT_ALERT_SHARE) * of_transients
    return prior / prior.sum()


def folds_by_object(data: Dataset, seed: int) -> Groups:
    """A fold per object (M,), within each class in order of a hash of its name."""
    names = data.objects["object_id"].to_numpy()
    rank = np.array([hashlib.sha256(f"{seed} {name}".encode()).hexdigest() for name in names])
    found = np.zeros(len(names), dtype=np.int64)
    for label in range(len(CLASSES)):
        mine = np.flatnonzero(data.labels == label)
        found[mine[np.argsort(rank[mine])]] = (np.arange(len(mine)) + label) % FOLDS
    return found


def folds_by_group(group: NDArray[np.object_], number: int = FOLDS) -> Groups:
    """A fold per object (M,), all objects of a group in one: largest group first, each to the smallest fold."""
    names, count = np.unique(group.astype(str), return_counts=True)
    size, place = np.zeros(number), {}
    for k in np.argsort(-count, kind="stable"):
        place[names[k]] = int(size.argmin())
        size[size.argmin()] += count[k]
    return np.array([place[str(name)] for name in group], dtype=np.int64)


Fit = Callable[[NDArray[np.int64], int], Any]  # (rows, seed) -> ClassTrees
Ask = Callable[[Any, NDArray[np.int64]], Floats]


def cross_validate(
    bench: Bench, groups: Groups, seed: int = 0, grouped: str | None = None, source_alone: bool = False
) -> Judged:
    """Answers for every object by models of the other folds. `grouped`: the column of `Contexts` that the folds are of,
    none if they are of objects. `source_alone`: trees see where the packet came from, and
    nothing of the surroundings: what a model would get that recognises sources.
    """
    fit, ask = _source_trees(bench) if source_alone else _context_trees(bench)
    labels, known = bench.data.labels, bench.contexts.known
    fused = {k: np.zeros((len(labels), len(CLASSES) + 1)) for k in FIT_ON}
    alone = np.zeros((len(labels), len(CLASSES)))
    of_asteroids = np.zeros((len(bench.asteroids.values), len(CLASSES) + 1))
    asteroid_folds = np.random.default_rng(seed).permutation(len(of_asteroids)) % FOLDS
    fusions = []
    for fold in np.unique(groups):
        rows, out = np.flatnonzero((groups != fold) & known), np.flatnonzero(groups == fold)
        trees = fit(rows, seed)
        fusion = replace(fitted_fusion(bench, rows, fit, ask, seed), trees_prior=trees.frequencies.tolist())
        fusions.append(fusion)
        apart = asteroid_folds == fold % FOLDS
        asteroid = fit_asteroid_trees(bench.asteroids.values[~apart], _no_asteroids(bench, rows, out, grouped), seed)
        alone[out] = ask(trees, out)
        told = asteroid.predict_proba(bench.contexts.values[out][:, ASTEROID_PLACES])[:, 1]
        for k in FIT_ON:
            shown = bench.answers.at(k)
            logits = fuse(fusion, shown.logits[out], alone[out], shown.n_seen[out])
            fused[k][out] = _softmax(with_asteroid(logits, told, shown.span[out]))
        if not source_alone:
            values, first = bench.asteroids.values[apart], bench.asteroid_answers.at(1)
            logits = fuse(fusion, first.logits[apart], trees.probabilities(columns_of(values)), first.n_seen[apart])
            told = asteroid.predict_proba(values[:, ASTEROID_PLACES])[:, 1]
            of_asteroids[apart] = _softmax(with_asteroid(logits, told, first.span[apart]))
    return Judged(fused, alone, of_asteroids, fusions)


def _no_asteroids(
    bench: Bench, rows: NDArray[np.int64], out: NDArray[np.int64], grouped: str | None
) -> NDArray[np.float32]:
    """Context (n, C) of objects that are no asteroids, none of the groups that are judged."""
    lasting = bench.lasting
    if grouped:
        lasting = lasting.where(~np.isin(getattr(lasting, grouped), getattr(bench.contexts, grouped)[out]))
    return np.concatenate((bench.contexts.values[rows], lasting.values))


def fitted_fusion(
    bench: Bench, rows: NDArray[np.int64], fit: Fit | None = None, ask: Ask | None = None, seed: int = 0
) -> Fusion:
    """The fusion for trees of `rows`, fitted on those of them that the network has not learnt, by source: each is asked
    of trees that have seen nothing else of its repository.
    """
    if fit is None or ask is None:
        fit, ask = _context_trees(bench)
    inner = folds_by_group(bench.contexts.repo[rows], 4)
    trees = np.zeros((len(rows), len(CLASSES)))
    priors = np.zeros((len(rows), len(CLASSES)))
    for fold in np.unique(inner):
        found = fit(rows[inner != fold], seed)
        trees[inner == fold] = ask(found, rows[inner == fold])
        priors[inner == fold] = found.frequencies
    fair = bench.fair[rows]
    shown = [(bench.answers.at(k), _new(bench.answers, k)[rows] & fair) for k in FIT_ON]
    return fit_fusion(
        np.concatenate([a.logits[rows[mine]] for a, mine in shown]),
        np.concatenate([trees[mine] for _, mine in shown]),
        np.concatenate([priors[mine] for _, mine in shown]),
        np.concatenate([bench.data.labels[rows[mine]] for _, mine in shown]),
        np.concatenate([a.n_seen[rows[mine]] for a, mine in shown]),
        bench.light_curve_prior,
        bench.prior,
    )


def examples_with_context(
    bench: Bench, judged: Judged
) -> Iterator[tuple[Floats, NDArray[np.int64], NDArray[np.int64]]]:
    """Per detection-count bin: probabilities (n, C + 1), labels and rows of the fair objects at the prefixes in it."""
    parts = [(judged.fused[k], bench.answers.at(k).n_seen, _new(bench.answers, k) & bench.fair) for k in FIT_ON]
    for b in range(len(EDGES)):
        mine = [(p, keep & (bin_of(n_seen) == b)) for p, n_seen, keep in parts]
        yield (
            np.concatenate([p[keep] for p, keep in mine]),
            np.concatenate([bench.data.labels[keep] for _, keep in mine]),
            np.concatenate([np.flatnonzero(keep) for _, keep in mine]),
        )


def repeated(bench: Bench, repeats: int) -> dict[str, list[Judged]]:
    """All cross-validations: name -> repeats."""
    by_source, by_schema = (folds_by_group(each) for each in (bench.contexts.repo, bench.contexts.schema))
    by_object = [folds_by_object(bench.data, seed) for seed in range(repeats)]
    work: list[tuple[str, Groups, str | None, bool]] = [("by object", groups, None, False) for groups in by_object]
    work += [("by source", by_source, "repo", False), ("by schema", by_schema, "schema", False)]
    work += [("source alone", by_object[0], None, True)]
    found: dict[str, list[Judged]] = {}
    for seed, (name, groups, grouped, source_alone) in enumerate(tqdm(work, desc="cross-validation", mininterval=5)):
        found.setdefault(name, []).append(cross_validate(bench, groups, seed, grouped, source_alone))
    return found


def _context_trees(bench: Bench) -> tuple[Fit, Ask]:
    values, labels = bench.contexts.values, bench.data.labels
    return (
        lambda rows, seed: fit_class_trees(values[rows], labels[rows], seed),
        lambda trees, rows: trees.probabilities(columns_of(values[rows])),
    )


def _source_trees(bench: Bench) -> tuple[Fit, Ask]:
    where = bench.contexts
    columns = np.column_stack(
        [np.unique(each.astype(str), return_inverse=True)[1] for each in (where.repo, where.schema)] + [where.year]
    ).astype(np.float32)
    labels = bench.data.labels
    return (
        lambda rows, seed: fit_columns(columns[rows], labels[rows], labels[rows], seed),
        lambda trees, rows: trees.probabilities(columns[rows]),
    )


def _new(answers: LightCurveAnswers, k: int) -> NDArray[np.bool_]:
    """Objects (M,) that have more than the k detections shown, so that no light curve counts twice."""
    return answers.n_detections > k if k != ALL else np.ones(len(answers.n_detections), dtype=bool)


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = raised / raised.sum(axis=1, keepdims=True)
    return shares


def bench_of(folder: Path, bundle: Path, run: Path) -> Bench:
    """Read tables, contexts and asteroids of a folder, and ask a bundle that takes no context about the light curves.

    `run` is that behind the bundle: its `learnt.json` says which objects it has learnt.
    """
    data = labelled_alert_objects(folder)
    names = data.objects["object_id"].tolist()
    contexts = contexts_of(folder, names)
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    if manifest.context:
        raise ValueError(f"{bundle} takes context already: name the bundle of the light curve alone")
    asteroids = known_asteroids(folder)
    lasting = contexts_of(folder, lasting_objects(folder))
    return Bench(
        data,
        contexts,
        lasting.where(lasting.known),
        light_curve_answers(bundle, data, FIT_ON),
        not_learnt(run, names) & contexts.known,
        np.array(manifest.prior),
        np.array(manifest.calibration.temperature),
        context_prior(load_difference(folder).split("train"), data),
        asteroids,
        light_curve_answers(bundle, asteroids.data, (1,)),
    )
