"""The label curve: nested draws, means over classes that have something to say, gains counted draw by draw."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.tables import UNLABELLED
from model_export.judging import probe
from model_export.network.encoder import AlertEncoder
from model_export.training.run import FinetuneConfig
from tests.model_export.two_kinds import TINY, two_kinds


def test_ten_labels_are_part_of_fifty(rng):
    data = two_kinds(rng, 240)
    data.objects.loc[::5, "label"] = UNLABELLED
    ten, fifty = (set(probe.few_labels(data, n, 3).objects["object_id"]) for n in (10, 50))
    assert len(ten) == 20
    assert ten < fifty
    assert all(probe.few_labels(data, 10, 3).labels != UNLABELLED)
    assert ten != set(probe.few_labels(data, 10, 4).objects["object_id"])


def test_a_class_of_one_test_object_does_not_move_the_figures():
    truth = np.array([0] * 10 + [1] * 10 + [2])
    decided = np.array([0] * 8 + [1] * 2 + [1] * 10 + [0])
    found = probe._scores(truth, decided)
    assert found["balanced_accuracy"] == pytest.approx(0.9)
    assert found["macro_f1"] == pytest.approx((16 / 18 + 20 / 22) / 2)
    assert probe._scores(truth, np.where(truth == 2, 2, decided)) == found


def test_the_gain_is_that_of_each_draw(rng, monkeypatch):
    data = two_kinds(rng, 120)
    config = FinetuneConfig(batch_size=16, encoder=TINY)
    monkeypatch.setattr(probe, "LABELS_PER_CLASS", (5,))
    (row,) = probe.label_curve(AlertEncoder(TINY), data, config, steps=3, draws=3).values()
    for key in ("balanced_accuracy", "macro_f1"):
        assert row["gain"][key][0] == pytest.approx(
            row["finetune_pretrained"][key][0] - row["finetune_scratch"][key][0], abs=2e-4
        )
    # draws that differ much between themselves and always by the same between the ways leave no doubt
    ways = [[{"macro_f1": x + shift} for x in (0.2, 0.5, 0.7)] for shift in (0.1, 0.0)]
    assert probe._gain(*ways)["macro_f1"] == [0.1, 0.0]
