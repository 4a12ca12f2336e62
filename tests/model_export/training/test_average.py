"""Weights that began as the same can be averaged; others are refused with a reason. Early views are short ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.views import ViewConfig, augment
from model_export.judging.card import _training
from model_export.training.average import average_runs
from model_export.training.finetune import finetune
from model_export.training.run import FinetuneConfig, load_run
from service.inference.manifest import Preprocessing
from service.photometry import Kind
from tests.model_export.two_kinds import TINY, two_kinds

WINDOWS = Preprocessing(id="alert-clr/1")
QUICK = FinetuneConfig(steps=4, decay_steps=2, batch_size=16, validate_every=4, encoder=TINY)


@pytest.fixture
def runs(rng, tmp_path: Path) -> list[Path]:
    data = two_kinds(rng, 80)
    finetune(data, None, QUICK, tmp_path / "first")
    finetune(data, None, replace(QUICK, seed=2), tmp_path / "second", tmp_path / "first")
    return [tmp_path / "first", tmp_path / "second"]


def test_the_weights_are_the_weighted_mean_and_the_run_can_be_loaded(runs, tmp_path: Path):
    average_runs(runs, [0.75, 0.25], tmp_path / "mean")
    first, second, mean = (dict(load_run(run)[0].named_parameters()) for run in (*runs, tmp_path / "mean"))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    for name in mean:
        assert torch.allclose(mean[name], 0.75 * first[name] + 0.25 * second[name], atol=1e-6)


def test_shares_that_do_not_sum_to_one_are_refused(runs, tmp_path: Path):
    with pytest.raises(ValueError, match="sum to one"):
        average_runs(runs, [0.5, 0.6], tmp_path / "mean")
    with pytest.raises(ValueError, match="one per run"):
        average_runs(runs, [1.0], tmp_path / "mean")


def test_a_folder_that_is_no_finished_run_is_named(runs, tmp_path: Path):
    (runs[1] / "model.pt").unlink()
    with pytest.raises(ValueError, match=r"second is not a finished run: it has no model.pt"):
        average_runs(runs, [0.5, 0.5], tmp_path / "mean")


def test_the_card_tells_which_part_learnt_from_first_detections(rng, runs, tmp_path: Path):
    early = replace(QUICK, view=ViewConfig(prefix=1.0, early=1.0, early_max=3))
    finetune(two_kinds(rng, 80), None, early, tmp_path / "early", runs[0])
    average_runs([runs[0], tmp_path / "early"], [0.75, 0.25], tmp_path / "mean")
    told = {name: json.loads((tmp_path / "mean" / f"{name}.json").read_text()) for name in ("config", "lineage")}
    assert "75% after 4 steps, 25% after 4 steps with the first 3 detections alone" in _training(told, WINDOWS)
    average_runs(runs, [0.75, 0.25], tmp_path / "plain")
    told["lineage"] = json.loads((tmp_path / "plain" / "lineage.json").read_text())
    assert "first" not in _training(told, WINDOWS)


def test_the_card_tells_what_a_run_went_on_from(rng, runs, tmp_path: Path):
    average_runs(runs, [0.75, 0.25], tmp_path / "mean")
    last = tmp_path / "last"
    finetune(two_kinds(rng, 80), None, QUICK, last, tmp_path / "mean", [runs[0]], [runs[1], runs[0]])
    told = _training({name: json.loads((last / f"{name}.json").read_text()) for name in ("config", "lineage")}, WINDOWS)
    assert "going on from the mean weights of earlier runs (75% after 4 steps, 25% after 4 steps)" in told
    assert "at most 8 detections it follows 2 others instead" in told
    finetune(two_kinds(rng, 80), None, QUICK, tmp_path / "again", runs[0])
    lineage = json.loads((tmp_path / "again" / "lineage.json").read_text())
    assert lineage["went_on_from"] == {"name": "first", "steps": 4, "averaged": None}


def test_networks_of_another_shape_are_refused(rng, runs, tmp_path: Path):
    wider = replace(QUICK, encoder=replace(TINY, width=32))
    finetune(two_kinds(rng, 80), None, wider, tmp_path / "wider")
    with pytest.raises(ValueError, match="another shape"):
        average_runs([runs[0], tmp_path / "wider"], [0.5, 0.5], tmp_path / "mean")


def test_early_views_hold_no_more_than_the_first_detections(rng, end_to_end):
    points, counts = end_to_end
    view = ViewConfig(prefix=1.0, early=1.0, early_max=3, history=0.0)
    seen, n = augment(rng, points.copy(), counts, np.zeros(len(counts), dtype=bool), view)
    of = np.repeat(np.arange(len(n)), n)
    detections = np.bincount(of[seen["kind"] == Kind.DETECTION], minlength=len(n))
    assert detections.max() <= 3
    assert detections.min() >= 1
