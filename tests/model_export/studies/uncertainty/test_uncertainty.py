"""Scores that find mistakes are told from scores that do not, and nothing of the test split is tuned on."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from dataclasses import asdict, replace

from sklearn.metrics import roc_auc_score

from model_export.data.tables import CLASSES, Dataset
from model_export.judging.calibrate import EDGES
from model_export.network.encoder import AlertClassifier
from model_export.studies.uncertainty.cost import costs
from model_export.studies.uncertainty.judge import (
    SEEN,
    Bench,
    JudgedMethod,
    PublishedPasses,
    figures,
    judge_all,
    with_rate,
)
from model_export.studies.uncertainty.report import cost_table, draw_figure, tables
from model_export.studies.uncertainty.scores import rejection_curve, roc_auc, uncertainty
from model_export.training.run import FinetuneConfig, load_run
from tests.model_export.two_kinds import TINY, two_kinds

ROOT = Path(__file__).resolve().parents[4]


def test_scores_by_hand():
    certain, torn, doubtful = [[1.0, 0.0]] * 2, [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5]] * 2
    found = uncertainty(np.array([certain, torn, doubtful]))
    np.testing.assert_allclose(found["maximum"], [0, 0.5, 0.5])
    np.testing.assert_allclose(found["entropy"], [0, np.log(2), np.log(2)], atol=1e-12)
    np.testing.assert_allclose(found["variance"], [0, 0.25, 0])  # passes that disagree, not passes in doubt
    np.testing.assert_allclose(found["bald"], [0, np.log(2), 0], atol=1e-12)
    assert set(uncertainty(np.array([certain])[:, :1])) == {"maximum", "entropy"}


def test_the_area_is_that_of_scikit_learn_ties_included(rng):
    wrong = rng.random(200) < 0.3
    score = np.round(rng.normal(size=200) + wrong, 1)
    assert roc_auc(score, wrong) == pytest.approx(roc_auc_score(wrong, score))
    assert np.isnan(roc_auc(score, np.zeros(200, dtype=bool)))


def test_rejecting_what_a_perfect_score_doubts_leaves_no_mistake(rng):
    wrong = rng.random(100) < 0.2
    curve = rejection_curve(wrong.astype(float), wrong)
    assert curve[(~wrong).sum() - 1] == 1.0
    assert curve[-1] == pytest.approx(1 - wrong.mean())


def judgement(rng, name: str, informed: float) -> JudgedMethod:
    """Answers of six passes whose spread tells mistakes as well as `informed` says."""
    told = {}
    labels = rng.integers(0, 3, 300)
    for k in SEEN:
        wrong = rng.random(300) < 0.25
        answered = np.where(wrong, (labels + 1) % 3, labels)
        sharpness = 2.0 + informed * 2.0 * ~wrong + rng.normal(0, 0.3, 300)
        logits = sharpness[:, None, None] * np.eye(len(CLASSES))[answered][:, None] + rng.normal(0, 0.01, (300, 6, 14))
        passes = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        told[k] = PublishedPasses(passes, labels, np.full(300, 2))
    return JudgedMethod(name, "plain", None, 6, "maximum", told, told)


def test_gains_have_intervals_that_hold_zero_only_where_nothing_is_gained(rng, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("model_export.studies.uncertainty.judge.BOOTSTRAPS", 200)
    plain, better = judgement(rng, "plain", 0.2), judgement(rng, "better", 2.0)
    again = replace(plain, name="again")
    told = figures([plain, better, again], np.full(len(CLASSES), 1 / len(CLASSES)))
    gain = told["methods"]["better"]["3"]["gain"]["maximum"]
    assert gain[1] > 0
    assert gain[1] < gain[0] < gain[2]
    assert told["methods"]["again"]["3"]["gain"]["maximum"] == [0.0, 0.0, 0.0]  # the same objects are drawn for both
    assert told["methods"]["plain"]["3"]["auc"]["set_size"][0] == 0.5  # all sets alike tell nothing
    assert all("better" in table for table in tables(json.loads(json.dumps(told))).values())
    draw_figure([plain, better], tmp_path / "figure.svg")
    assert "svg" in (tmp_path / "figure.svg").read_text()[:300]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        folder = tmp_path / f"run{seed}"
        folder.mkdir()
        torch.save(AlertClassifier(TINY).state_dict(), folder / "model.pt")
        (folder / "config.json").write_text(json.dumps(asdict(FinetuneConfig(encoder=TINY))))
        folders.append(folder)
    return folders


@pytest.fixture
def data(rng) -> Dataset:
    data = two_kinds(rng, 160)
    data.objects["n_detections"] = rng.choice([*EDGES, 30], len(data))  # every bin has objects to be calibrated on
    return data


def test_every_method_is_judged_and_kept(data: Dataset, runs: list[Path], tmp_path: Path, monkeypatch):
    monkeypatch.setattr("model_export.studies.uncertainty.judge.RATES", (0.1, 0.3))
    judged = list(judge_all(Bench(data, 0.3), runs[0], runs, None, 3, tmp_path))
    assert [each.name for each in judged][-2:] == ["ensemble of 2", "shipped and 2 members"]
    assert [each.passes for each in judged][-2:] == [2, 3]
    again = judge_all(Bench(data, 0.3), Path(runs[0]), runs, None, 3, tmp_path)
    for one, other in zip(judged, again, strict=True):
        assert (one.name, one.score, one.rate) == (other.name, other.score, other.rate)
        np.testing.assert_array_equal(one.test[3].passes, other.test[3].passes)


def test_labels_of_the_test_split_change_nothing_that_is_published(data: Dataset, runs: list[Path], monkeypatch):
    monkeypatch.setattr("model_export.studies.uncertainty.judge.RATES", (0.1, 0.3))
    model, config = load_run(runs[0])
    swapped = replace(data, objects=data.objects.copy())
    test = (swapped.objects["split"] == "test").to_numpy()
    swapped.objects.loc[test, "label"] = swapped.objects.loc[test, "label"].to_numpy()[::-1]
    one, other = (
        Bench(some, 0.3).tuned("head", "head", with_rate(model, config, "head-dropout"), 3) for some in (data, swapped)
    )
    assert (one.score, one.rate) == (other.score, other.rate)
    np.testing.assert_array_equal(one.test[3].passes, other.test[3].passes)
    assert (one.test[3].labels != other.test[3].labels).any()


def test_the_page_shows_the_figures_that_were_measured():
    folder, page = ROOT / "model_export" / "results", (ROOT / "docs" / "uncertainty.md").read_text()
    told = json.loads((folder / "uncertainty.json").read_text())
    for title, table in tables(told).items():
        assert f"### {title}\n\n{table}\n" in page
    assert cost_table(json.loads((folder / "uncertainty-cost.json").read_text())) in page


def test_costs_are_told_beside_those_of_the_softmax():
    told = costs(2, TINY, ("head-dropout",), repeats=3)
    assert told["times_the_softmax"]["softmax"] == 1.0
    assert told["milliseconds"].keys() == {"softmax", "ensemble of 5", "head-dropout"}
    assert told["times_the_softmax"]["ensemble of 5"] > 1.5
