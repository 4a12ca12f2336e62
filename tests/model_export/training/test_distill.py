"""A student follows its teachers where labels are missing, and the labels where nobody teaches."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.batches import length_batches
from model_export.data.tables import UNLABELLED
from model_export.network.predict import ALL, predict
from model_export.training.distill import Teachers, classification_loss, detections
from model_export.training.finetune import finetune
from model_export.training.run import FinetuneConfig
from service.inference.preprocessing.alert_clr import alert_tokens
from tests.model_export.two_kinds import TINY, two_kinds


def test_without_teachers_the_loss_is_the_cross_entropy_of_what_is_labelled():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 3, UNLABELLED, 1, UNLABELLED, 2])
    known = labels >= 0
    expected = torch.nn.functional.cross_entropy(logits[known], labels[known])
    assert torch.allclose(classification_loss(logits, labels, None, 0.7), expected)


def test_with_teachers_each_object_has_its_own_mixture_of_label_and_soft_label():
    logits, labels = torch.randn(5, 3), torch.tensor([2, UNLABELLED, 0, 1, UNLABELLED])
    soft = torch.randn(5, 3).softmax(dim=1)
    expected = 0.0
    for row in range(5):
        log_p = logits[row].log_softmax(dim=0)
        following = -(soft[row] * log_p).sum()
        if labels[row] < 0:
            expected += following / 5
        else:
            expected += (0.3 * -log_p[labels[row]] + 0.7 * following) / 5
    assert torch.allclose(classification_loss(logits, labels, soft, 0.7), expected)


def test_a_student_learns_objects_without_labels_from_its_teachers(rng, tmp_path: Path):
    data = two_kinds(rng, 160)
    config = FinetuneConfig(
        steps=120, decay_steps=60, warm_up=5, learning_rate=5e-3, batch_size=32, validate_every=60, average_decay=0.9,
        unlabelled_share=0.8, encoder=TINY,
    )  # fmt: skip
    finetune(data, None, config, tmp_path / "teacher")
    train = np.flatnonzero((data.objects["split"] == "train").to_numpy())
    hidden = data.objects["label"].to_numpy(copy=True)
    hidden[train[6:]] = UNLABELLED  # a handful of labels is left
    poor = type(data)(data.points, data.counts, data.objects.assign(label=hidden))
    student = finetune(poor, None, config, tmp_path / "student", teachers=[tmp_path / "teacher"])
    lineage = json.loads((tmp_path / "student" / "lineage.json").read_text())
    assert lineage["labelled"] == {"transients": 6}
    assert lineage["unlabelled"] == len(train) - 6
    assert lineage["teachers"] == [{"name": "teacher", "steps": 120}]
    assert lineage["pretraining_steps"] is None
    test = data.where((data.objects["split"] == "test").to_numpy())
    found = predict(student, test, config.parameters, (ALL,))[ALL]
    assert np.mean(found.logits.argmax(axis=1) == test.labels) > 0.85


def test_views_with_few_detections_ask_the_early_teachers(rng, tmp_path: Path):
    data = two_kinds(rng, 60)
    config = FinetuneConfig(steps=2, warm_up=1, batch_size=16, validate_every=2, encoder=TINY)
    early = finetune(data, None, config, tmp_path / "early")
    late = finetune(data, None, FinetuneConfig(**{**vars(config), "seed": 9}), tmp_path / "late")
    tokens = alert_tokens(data.points, data.counts, config.parameters)
    limit = int(np.median(data.objects["n_detections"]))
    teachers = Teachers([tmp_path / "late"], [tmp_path / "early"], limit)
    shift = torch.zeros(config.encoder.classes)
    asked = set()
    for batch in length_batches(tokens, np.arange(len(data)), 16, config.window):
        assert np.array_equal(detections(batch), data.objects["n_detections"].to_numpy()[batch.rows])
        few = data.objects["n_detections"].to_numpy()[batch.rows] <= limit
        soft = teachers(batch, shift)
        for rows, model in ((few, early), (~few, late)):
            alone = model.head(model.encoder(batch.points, batch.context, batch.bias)).softmax(dim=1)
            assert torch.allclose(soft[rows], alone[rows], atol=1e-5)
        asked |= set(few.tolist())
    assert asked == {True, False}


def test_early_teachers_alone_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="other teachers are missing"):
        Teachers([], [tmp_path], 8)
