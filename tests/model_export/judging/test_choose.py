"""Runs are compared by the log-loss of validation objects, under the prior that is published."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.prior import published_prior
from model_export.judging.choose import MEAN, POPULATIONS, table, validation_losses
from model_export.network.predict import ALL, predict
from model_export.training.finetune import finetune
from model_export.training.run import FinetuneConfig
from tests.model_export.two_kinds import TINY, two_kinds


def test_a_trained_run_beats_an_untrained_one_and_their_mean_lies_between(rng, tmp_path: Path):
    data = two_kinds(rng, 160)
    short = {"warm_up": 1, "batch_size": 32, "learning_rate": 5e-3, "average_decay": 0.9, "encoder": TINY}
    finetune(data, None, FinetuneConfig(steps=1, **short), tmp_path / "untrained")
    model = finetune(data, None, FinetuneConfig(steps=120, decay_steps=60, **short), tmp_path / "trained")
    found = validation_losses(data, [tmp_path / "untrained", tmp_path / "trained"])
    untrained, trained, mean = (found[name]["transients"] for name in ("untrained", "trained", MEAN))
    assert list(trained) == ["1", "2", "3", "5", "8", "12", "20", "all"]
    assert trained["all"] < mean["all"] < untrained["all"]

    split = data.objects["split"].to_numpy()
    prior = published_prior(data.where(split == "train"), FinetuneConfig().alert_share)
    answers = predict(model, data.where(split == "validation"), FinetuneConfig().parameters, (ALL,))[ALL]
    enough = answers.n_detections >= 5
    weighted = torch.from_numpy(answers.logits[enough] + np.log(prior))
    expected = torch.nn.functional.cross_entropy(weighted, torch.from_numpy(answers.labels[enough]))
    assert trained["all"] == pytest.approx(float(expected), abs=1e-4)

    lines = table(found, "transients").splitlines()
    assert lines[0] == "| run | 1 | 2 | 3 | 5 | 8 | 12 | 20 | all |"
    assert lines[3].startswith("| trained | ")
    assert lines[3].endswith(f"{trained['all']:.3f} |")


def test_the_page_shows_the_figures_that_were_measured():
    root = Path(__file__).resolve().parents[3]
    found = json.loads((root / "model_export" / "results" / "rounds.json").read_text())
    page = (root / "docs" / "training.md").read_text()
    for population in POPULATIONS:
        assert f"\n\n{table(found, population)}\n\n" in page
