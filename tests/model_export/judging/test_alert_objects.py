"""Judged by folds that share nothing: what a source gives away is worth nothing once the source is held out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.alert_context import (
    MODEL_CONTEXT,
    Asteroids,
    Contexts,
    contexts_of,
    model_context,
    name_digest,
    not_learnt,
    spans,
)
from model_export.data.bins import EDGES
from model_export.data.tables import CLASSES, Dataset
from model_export.judging.alert_objects import (
    FIT_ON,
    FOLDS,
    Bench,
    cross_validate,
    folds_by_group,
    folds_by_object,
    repeated,
)
from model_export.judging.alert_tables import figures_of, tables
from model_export.judging.light_curve_answers import LightCurveAnswers, Shown
from model_export.network.predict import ALL
from service.photometry import LightCurve

C = len(CLASSES)
EVEN = np.full(C, 1.0 / C)
USED = np.array([0, 5, 9, 10])  # classes of the synthetic objects


def answers(rng: np.random.Generator, labels: np.ndarray, ks: tuple[int, ...]) -> LightCurveAnswers:
    """Light curves that say a little more with each detection."""
    total = rng.integers(5, 30, len(labels))
    by_shown = {}
    for k in ks:
        n = total if k == ALL else np.minimum(total, k)
        logits = np.eye(C)[labels] * 0.3 * np.log(n + 1.0)[:, None] + rng.standard_normal((len(labels), C))
        by_shown[k] = Shown(logits, np.zeros((len(labels), 2)), n, np.where(n > 1, 3.0, 0.0))
    return LightCurveAnswers(total, by_shown)


@pytest.fixture(scope="module")
def bench() -> Bench:
    """240 objects of four classes in eight repositories of one class each; `magnr` tells the repository and nothing
    else, `gal_b` tells the class a little.
    """
    rng = np.random.default_rng(1)
    repo = np.repeat(np.arange(8), 30)
    labels = USED[repo % 4]
    values = np.full((240, len(MODEL_CONTEXT)), np.nan, np.float32)
    values[:, MODEL_CONTEXT.index("magnr")] = 12 + repo
    values[:, MODEL_CONTEXT.index("gal_b")] = labels * 3 + rng.normal(0, 12, 240)
    empty = LightCurve.empty().points
    objects = pd.DataFrame({"object_id": [f"ZTF{k}" for k in range(240)], "label": labels})
    names = np.array([f"repo{k}" for k in repo], dtype=object)
    contexts = Contexts(values, names, names, np.full(240, 2020))
    far = values[:60].copy()
    far[:, MODEL_CONTEXT.index("distnr")] = 20.0
    asteroids = Asteroids(Dataset(empty, np.zeros(60, np.int64), pd.DataFrame({"label": np.full(60, -1)})), far)
    return Bench(
        Dataset(empty, np.zeros(240, np.int64), objects), contexts, contexts.where(np.zeros(240, bool)),
        answers(rng, labels, FIT_ON), np.ones(240, bool), EVEN, np.ones(len(EDGES)), EVEN, asteroids,
        answers(rng, np.zeros(60, np.int64), (1,)),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_export.context.trees.TREES", 8)
        patch.setattr("model_export.context.trees.ASTEROID_TREES", 3)
        yield


def accuracy(bench: Bench, p: np.ndarray) -> float:
    return float(np.mean(p[:, :C].argmax(axis=1) == bench.data.labels))


def test_a_source_that_gives_the_class_away_is_seen_through_by_holding_it_out(bench):
    by_object = cross_validate(bench, folds_by_object(bench.data, 0))
    by_source = cross_validate(bench, folds_by_group(bench.contexts.repo, 4), grouped="repo")
    assert accuracy(bench, by_object.trees) > 0.85
    assert accuracy(bench, by_source.trees) < 0.6
    told = cross_validate(bench, folds_by_object(bench.data, 0), source_alone=True)
    assert accuracy(bench, told.trees) > 0.95
    # and the fusion, whose weight is fitted by source, does not trust trees that only know sources
    assert max(weight for fusion in by_object.fusions for weight in fusion.weight) < 0.6


def test_folds_of_objects_hold_each_class_and_folds_of_groups_no_group_twice(bench):
    folds = folds_by_object(bench.data, 3)
    for label in USED:
        counts = np.bincount(folds[bench.data.labels == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(folds, folds_by_object(bench.data, 4))
    groups = folds_by_group(bench.contexts.repo)
    assert all(len(set(groups[bench.contexts.repo == name])) == 1 for name in set(bench.contexts.repo))
    assert len(set(groups)) == FOLDS


def test_tables_tell_all_there_is_to_tell(bench, monkeypatch):
    monkeypatch.setattr("model_export.judging.alert_tables.BOOTSTRAPS", 20)
    figures = figures_of(bench, repeated(bench, 1))
    assert figures["repeats"]["by object"] == 1
    everything = figures["shown"]["all"]
    value, low, high = everything["by object"]["accuracy"]
    assert low <= value <= high
    assert value > everything["light curve alone"]["accuracy"][0]
    assert figures["solar_system"]["by object"]["found"] > 0.9
    assert figures["solar_system"]["by object"]["3"]["all"] == 0.0
    assert set(figures["per_class"]) == {CLASSES[k] for k in USED}
    text = "\n".join(tables(figures).values())
    assert "| by source |" in text
    assert "| SNIa | 60 |" in text


def test_the_newest_context_counts_and_a_made_up_one_never(tmp_path: Path):
    rows = pd.DataFrame(
        {
            "object_id": ["A", "A", "A", "B"], "jd": [2459000.5, 2459010.5, 2459020.5, 2459000.5],
            "candid": [1, 2, 3, 4], "repo": list("xyzx"), "schemavsn": "3.3", "doctored": [False, False, True, True],
            "magnr": [18.0, 19.0, 20.0, 21.0], "sgscore1": [0.5, -999.0, 0.2, 0.9], "gal_b": [-40.0, -40.0, -40.0, 3.0],
        }
    )  # fmt: skip
    rows.to_parquet(tmp_path / "alert_context.parquet")
    found = contexts_of(tmp_path, ["B", "A"])
    assert found.known.tolist() == [False, True]
    known = dict(zip(MODEL_CONTEXT, found.values[1], strict=True))
    assert (known["magnr"], known["gal_b"], found.repo[1], found.year[1]) == (19.0, 40.0, "y", 2020)
    assert np.isnan(known["sgscore1"])
    assert "ssdistnr" not in known
    assert np.isnan(model_context(rows)[0, MODEL_CONTEXT.index("sgscore1")])


def test_a_run_says_what_it_learnt_without_names(tmp_path: Path):
    (tmp_path / "learnt.json").write_text(f'{{"alert_objects": ["{name_digest("ZTF20a")}"]}}')
    assert not_learnt(tmp_path, ["ZTF20a", "ZTF20b"]).tolist() == [False, True]


def test_the_span_is_of_detections_alone():
    curve = LightCurve.from_columns(
        [1.0, 5.0, 9.0, 30.0], 0, mag=[np.nan, 18.0, 18.0, np.nan], limit=20.0, kind=[1, 0, 0, 1]
    )
    data = Dataset(curve.points, np.array([4]), pd.DataFrame({"label": [0]}))
    assert spans(data).tolist() == [4.0]
