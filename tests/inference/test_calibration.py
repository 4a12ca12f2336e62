"""The calibration against the same formulas written out one light curve at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.inference.calibration import Calibrator
from service.inference.manifest import Manifest
from tests.inference.tiny_bundle import EMBEDDING_SIZE, TAXONOMY, manifest_values

CLASSES = list(TAXONOMY)


def manifest(**changes: Any) -> Manifest:
    return Manifest.model_validate(manifest_values(b"", **changes))


@given(seed=st.integers(0, 10_000), counts=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_a_batch_is_judged_as_each_light_curve_would_be(seed: int, counts: list[int]) -> None:
    known = manifest()
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 5, (len(counts), len(CLASSES))).astype(np.float32)
    embedding = rng.normal(0, 2, (len(counts), EMBEDDING_SIZE)).astype(np.float32)
    judgement = Calibrator(known).judge(logits, embedding, np.array(counts))
    calibration, ood = known.calibration, known.out_of_distribution
    assert ood is not None
    whitening = np.array(ood.whitening)
    for row, count in enumerate(counts):
        k = sum(count >= edge for edge in calibration.edges) - 1
        p = np.exp(logits[row].astype(np.float64) / calibration.temperature[k])
        p /= p.sum()
        np.testing.assert_allclose(judgement.probabilities[row], p, rtol=1e-5, atol=1e-7)
        assert judgement.probabilities[row].sum() == pytest.approx(1.0, abs=1e-6)
        for parent, share in zip(known.superclasses, judgement.superclass_probabilities[row], strict=True):
            children = [p[i] for i, name in enumerate(CLASSES) if TAXONOMY[name] == parent]
            assert share == pytest.approx(sum(children), abs=1e-6)
        expected = [1 - p[i] <= calibration.conformal_thresholds[k][i] for i in range(len(CLASSES))]
        assert judgement.in_conformal_set[row].tolist() == expected
        away = [whitening @ (embedding[row] - np.array(mean)) for mean in ood.means]
        score = min(float(d @ d) for d in away) / ood.scale
        assert judgement.ood_score[row] == pytest.approx(score, rel=1e-9)
        assert judgement.is_out_of_distribution[row] == (score > ood.threshold)


def test_light_curves_with_context_have_a_calibration_of_their_own() -> None:
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 5, (20, len(CLASSES))).astype(np.float32)
    embedding, counts = np.zeros((20, EMBEDDING_SIZE), dtype=np.float32), rng.integers(1, 40, 20)
    known = manifest().calibration
    other = known.model_copy(
        update={
            "temperature": [3.0 * t for t in known.temperature],
            "conformal_thresholds": [[0.01] * len(CLASSES) for _ in known.edges],
        }
    )
    both = Calibrator(manifest(context=["gal_b"], context_calibration=other.model_dump()))
    has_context = np.arange(20) % 2 == 0
    judged = both.judge(logits, embedding, counts, has_context)
    without = Calibrator(manifest()).judge(logits, embedding, counts)
    with_it = Calibrator(manifest(calibration=other.model_dump())).judge(logits, embedding, counts)
    for row, has in enumerate(has_context):
        expected = with_it if has else without
        assert np.array_equal(judged.probabilities[row], expected.probabilities[row])
        assert np.array_equal(judged.in_conformal_set[row], expected.in_conformal_set[row])
    assert not np.array_equal(judged.probabilities, without.probabilities)


def test_each_bin_may_have_its_own_threshold_of_the_unknown() -> None:
    known = manifest()
    assert known.out_of_distribution is not None
    everywhere = known.out_of_distribution.model_dump() | {"threshold": [1e9, 1.5, 1e-9]}
    embedding = np.random.default_rng(2).normal(0, 2, (30, EMBEDDING_SIZE)).astype(np.float32)
    counts = np.repeat([2, 5, 40], 10)
    logits = np.zeros((30, len(CLASSES)), dtype=np.float32)
    judgement = Calibrator(manifest(out_of_distribution=everywhere)).judge(logits, embedding, counts)
    flagged = judgement.is_out_of_distribution
    assert not flagged[:10].any()
    assert flagged[10:20].tolist() == (judgement.ood_score[10:20] > 1.5).tolist()
    assert flagged[20:].all()


def test_thresholds_that_do_not_fit_the_bins_are_refused() -> None:
    known = manifest().out_of_distribution
    assert known is not None
    with pytest.raises(ValidationError, match="must be one number or 3"):
        manifest(out_of_distribution=known.model_dump() | {"threshold": [1.0, 2.0]})
    with pytest.raises(ValidationError, match="must be positive"):
        manifest(out_of_distribution=known.model_dump() | {"threshold": [1.0, 0.0, 2.0]})


def test_bins_change_exactly_at_their_edges() -> None:
    logits = np.tile(np.array([3.0, 1.0, 0.0, -1.0, -2.0], dtype=np.float32), (5, 1))
    embedding = np.zeros((5, EMBEDDING_SIZE), dtype=np.float32)
    top = Calibrator(manifest()).judge(logits, embedding, np.array([1, 2, 3, 9, 10])).probabilities[:, 0]
    assert top[0] == top[1] < top[2] == top[3] < top[4]  # temperatures 2.0, 1.5, 0.8


def test_a_threshold_of_one_keeps_a_class_and_a_negative_one_never_does() -> None:
    thresholds = [[1.0, -0.1, 1.0, -0.1, 0.5]]
    calibration = {
        "edges": [1],
        "temperature": [1.0],
        "conformal_coverage": 0.9,
        "conformal_thresholds": thresholds,
    }
    logits = np.array([[-20.0, 20.0, -20.0, 0.0, 0.0]], dtype=np.float32)
    members = Calibrator(manifest(calibration=calibration)).judge(
        logits, np.zeros((1, EMBEDDING_SIZE), np.float32), np.array([4])
    )
    assert members.in_conformal_set.tolist() == [[True, False, True, False, False]]


def test_the_distance_is_mahalanobis_also_far_from_the_origin() -> None:
    rng = np.random.default_rng(4)
    spread = rng.normal(size=(EMBEDDING_SIZE, EMBEDDING_SIZE))
    covariance = spread @ spread.T + np.eye(EMBEDDING_SIZE)
    means = rng.normal(1000.0, 1.0, (len(CLASSES), EMBEDDING_SIZE))
    embedding = rng.normal(1000.0, 1.0, (50, EMBEDDING_SIZE))
    statistics = {
        "means": means.tolist(),
        "whitening": np.linalg.inv(np.linalg.cholesky(covariance)).tolist(),
        "scale": 2.0,
        "threshold": 1.0,
    }
    away = embedding[:, None] - means
    expected = np.einsum("ncd,de,nce->nc", away, np.linalg.inv(covariance), away).min(axis=1) / 2.0
    score = (
        Calibrator(manifest(out_of_distribution=statistics))
        .judge(np.zeros((50, len(CLASSES))), embedding, np.full(50, 5))
        .ood_score
    )
    np.testing.assert_allclose(score, expected, rtol=1e-8)


def test_huge_logits_stay_probabilities() -> None:
    logits = np.array([[1e4, -1e4, 0, 0, 0], [-3e38, -3e38, -3e38, -3e38, -3e38]], dtype=np.float32)
    judgement = Calibrator(manifest()).judge(logits, np.zeros((2, EMBEDDING_SIZE), np.float32), np.array([3, 3]))
    np.testing.assert_allclose(judgement.probabilities.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(judgement.probabilities[1], 0.2, atol=1e-6)


def test_nothing_to_judge_is_an_empty_judgement() -> None:
    judgement = Calibrator(manifest()).judge(
        np.empty((0, len(CLASSES)), np.float32), np.empty((0, EMBEDDING_SIZE), np.float32), np.empty(0, np.int64)
    )
    assert judgement.probabilities.shape == (0, len(CLASSES))
    assert judgement.superclass_probabilities.shape == (0, 3)
