"""A run that was kept from later years is judged on them, and on nothing that it saw."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.judging.later_years import later_years
from model_export.training.finetune import finetune
from model_export.training.run import FinetuneConfig
from service.photometry import Kind
from tests.model_export.two_kinds import TINY, two_kinds


def test_objects_of_later_years_are_kept_from_training_and_judged_afterwards(rng, tmp_path: Path):
    data = two_kinds(rng, 160)
    late = np.arange(160) >= 100
    data.points["mjd"] += np.repeat(np.where(late, 1000.0, 0.0), data.counts)
    flipped = data.objects["label"].to_numpy(copy=True)
    flipped[late] = flipped[late][::-1]  # nonsense, which would spoil the training that read it
    nonsense = type(data)(data.points, data.counts, data.objects.assign(label=flipped))
    config = FinetuneConfig(
        steps=120, decay_steps=60, warm_up=5, learning_rate=5e-3, batch_size=32, validate_every=60, average_decay=0.9,
        seen_before=59500.0, encoder=TINY,
    )  # fmt: skip
    finetune(nonsense, None, config, tmp_path / "early")
    figures = later_years(data, tmp_path / "early", ks=(0,))
    supernovae = data.labels == 0
    assert figures["later"]["all"]["objects"] == 60  # every split of them, for none was seen
    test = (data.objects["split"] == "test").to_numpy()
    assert figures["same_years"]["all"]["objects"] == (test & ~late).sum()
    assert figures["later"]["all"]["accuracy"][0] > 0.85
    assert supernovae[late].any()


def test_a_run_of_all_years_can_not_be_judged_so(rng, tmp_path: Path):
    data = two_kinds(rng, 80)
    config = FinetuneConfig(steps=2, decay_steps=1, batch_size=16, validate_every=2, encoder=TINY)
    finetune(data, None, config, tmp_path / "run")
    with pytest.raises(ValueError, match="seen_before"):
        later_years(data, tmp_path / "run")


def test_the_first_detection_is_not_an_upper_limit(rng):
    data = two_kinds(rng, 20)
    starts = np.cumsum(data.counts) - data.counts
    data.points["kind"][starts] = Kind.UPPER_LIMIT
    assert np.array_equal(data.first_detection(), data.points["mjd"][starts + 1])
