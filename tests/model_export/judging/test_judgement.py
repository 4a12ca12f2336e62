"""The figures mean what they say: checked against brute force, and on synthetic truths that are known exactly."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.bins import EDGES, bin_of
from model_export.data.scores import (
    brier,
    expected_calibration_error,
    half_prior_decision,
    macro_f1,
    softmax,
    superclass_decision,
    supernova_scores,
    weighted_quantile,
)
from model_export.data.tables import CLASSES, TAXONOMY
from model_export.judging.calibrate import apply as publish
from model_export.judging.calibrate import (
    calibrate,
    conformal_sets,
    fit_softening,
    fit_temperature,
    soften,
)
from model_export.judging.out_of_distribution import out_of_distribution, squared_distance
from model_export.network.predict import Answers

C = len(CLASSES)


def honest(rng: np.random.Generator, n: int, sharpness: float = 2.0):
    """Logits, and labels drawn from their softmax: perfectly calibrated by construction."""
    logits = rng.standard_normal((n, C)) * sharpness
    labels = np.array([rng.choice(C, p=p) for p in softmax(logits)])
    return logits, labels


def test_half_of_the_prior_is_taken_out():
    prior = np.array([0.9, 0.1])
    assert half_prior_decision(np.array([[0.7, 0.3], [0.8, 0.2]]), prior).tolist() == [1, 0]  # odds 3 count


def test_calibration_error_is_zero_for_honest_and_large_for_boastful_probabilities(rng):
    logits, labels = honest(rng, 20000)
    assert expected_calibration_error(softmax(logits), labels) < 0.015
    assert expected_calibration_error(softmax(3 * logits), labels) > 0.1
    assert brier(softmax(logits), labels) < brier(softmax(3 * logits), labels)


def test_the_temperature_undoes_a_known_scaling(rng):
    logits, labels = honest(rng, 8000)
    assert fit_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.05)


def test_macro_f1_is_the_mean_over_classes_that_occur():
    truth, decided = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 5])
    assert macro_f1(truth, decided) == pytest.approx((2 / 3 + 0.5) / 2)


def test_a_superclass_wins_by_the_sum_of_its_children():
    p = np.zeros((1, C))
    p[0, CLASSES.index("SNIa")] = 0.4
    for name in ("LPV", "ECL", "RR"):
        p[0, CLASSES.index(name)] = 0.2
    assert list(dict.fromkeys(TAXONOMY.values()))[superclass_decision(p)[0]] == "Periodic"


def test_supernova_types_compete_with_all_classes():
    p = np.full((3, C), 0.01)
    p[0, CLASSES.index("SNIa")] = p[1, CLASSES.index("SNII")] = p[2, CLASSES.index("RR")] = 0.9
    truth = np.array([CLASSES.index(x) for x in ("SNIa", "SNII", "SNIbc")])
    scores = supernova_scores(p, truth, np.full(C, 1 / C))
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx(2 / 4)


def test_detection_bins_are_closed_below():
    assert [EDGES[b] for b in bin_of(np.array([1, 2, 4, 5, 19, 20, 500]))] == [1, 2, 3, 5, 12, 20, 20]


def test_conformal_sets_cover_new_objects_of_every_class_and_bin(rng):
    logits, labels = honest(rng, 42000)
    n_seen = rng.choice([1, 2, 3, 6, 9, 15, 40], len(labels))
    half = np.arange(len(labels)) < 30000
    table = np.full(len(labels), "transients", dtype=object)
    calibration = calibrate(
        Answers(2 * logits[half], logits[half], labels[half], n_seen[half], n_seen[half], table[half])
    )
    assert np.allclose(calibration.temperature, 2, rtol=0.06)
    p = publish(calibration, 2 * logits[~half], n_seen[~half])
    inside = conformal_sets(calibration, p, n_seen[~half])
    covered = inside[np.arange(len(p)), labels[~half]]
    assert covered.mean() == pytest.approx(0.9, abs=0.01)
    for label in range(C):
        assert covered[labels[~half] == label].mean() == pytest.approx(0.9, abs=0.04)
    for b in range(len(EDGES)):
        assert covered[bin_of(n_seen[~half]) == b].mean() == pytest.approx(0.9, abs=0.03)


def test_a_rare_class_is_not_ruled_out_by_the_confidence_of_a_common_one(rng):
    """Too few for a threshold of their own, TDEs may not be given that of the thousand SNIa beside them."""
    common, rare = CLASSES.index("SNIa"), CLASSES.index("TDE")
    labels = np.array([common] * 1000 + [rare] * 6)
    logits = rng.normal(0, 1.0, (1006, C))
    logits[np.arange(1000), common] += 4.0
    logits[1000:, rare] += 2.0  # found with far less confidence
    every_bin, times = np.repeat(EDGES, 1006), len(EDGES)
    table = np.full(1006 * times, "transients", dtype=object)
    everywhere = np.tile(logits, (times, 1))
    calibration = calibrate(Answers(everywhere, everywhere, np.tile(labels, times), every_bin, every_bin, table))
    nine = np.full(1006, 9)
    inside = conformal_sets(calibration, publish(calibration, logits, nine), nine)
    assert inside[1000:, rare].mean() >= 0.8
    assert inside[:1000, common].mean() == pytest.approx(0.9, abs=0.02)


def test_softening_finds_overconfidence_that_only_variable_stars_have(rng):
    logits, labels = honest(rng, 6000)
    sure = rng.random(6000) < 0.5
    logits[sure, 5:] -= 20  # transients, and honest
    labels[sure] = [rng.choice(C, p=p) for p in softmax(logits[sure])]
    logits[~sure, :5] -= 20
    labels[~sure] = [rng.choice(C, p=p) for p in softmax(logits[~sure])]
    logits[~sure] /= 0.6  # boastful
    table = np.where(sure, "transients", "alert_objects").astype(object)
    nine = np.full(6000, 9)
    found = Answers(logits, logits, labels, nine, nine, table)
    assert fit_softening(found) == pytest.approx(0.6, abs=0.04)
    assert np.array_equal(soften(logits, 0.6).argmax(axis=1), logits.argmax(axis=1))
    assert np.allclose(soften(logits[sure], 0.6), logits[sure], atol=1e-4)


def test_what_lies_far_from_every_class_is_out_of_distribution(rng):
    centres = rng.standard_normal((C, 8)) * 4
    labels = np.repeat(np.arange(C), 60)

    def embeddings(noise: float) -> np.ndarray:
        return centres[labels] + rng.standard_normal((len(labels), 8)) * noise

    n = np.full(len(labels), 50)
    name = np.full(len(labels), "transients", dtype=object)
    name[::20] = "alert_objects"
    logits = np.zeros((len(labels), C))
    train = Answers(logits, embeddings(1.0), labels, n, n, name)
    # with three detections all is vaguer, with whole light curves as in training
    early, late = embeddings(3.0), embeddings(1.0)
    n_seen = np.concatenate([np.full(len(labels), k) for k in (1, 2, 3, 5, 8, 12, 50)])
    embedding = np.concatenate([early] * 6 + [late])
    found = Answers(np.tile(logits, (7, 1)), embedding, np.tile(labels, 7), n_seen, n_seen, np.tile(name, 7))
    ood = out_of_distribution([train], found, 0.3)
    means, whitening = np.array(ood.means), np.array(ood.whitening)

    def flagged(embedding: np.ndarray, b: int) -> float:
        return float(np.mean(squared_distance(embedding, means, whitening) / ood.scale > ood.thresholds[b]))

    assert ood.thresholds[0] > 2 * ood.thresholds[-1]
    assert flagged(embeddings(3.0), 0) < 0.04
    assert flagged(embeddings(1.0), 6) < 0.04
    assert flagged(embeddings(3.0), 6) > 0.5  # what is common early would be odd late
    assert flagged(embeddings(1.0) + 60, 0) == flagged(embeddings(1.0) + 60, 6) == 1.0


def test_what_was_learnt_from_simulated_objects_alone_is_not_out_of_distribution(rng):
    """Long histories of stars: real ones are few and short, the simulated ones lie elsewhere in the embedding."""
    centres = rng.standard_normal((C, 8)) * 4
    away = rng.standard_normal(8) * 3  # where long histories lie, of every class
    labels, n = np.repeat(np.arange(C), 60), np.full(C * 60, 50)

    def answers(table: str, at: np.ndarray | float) -> tuple[Answers, Answers]:
        name = np.full(len(labels), table, dtype=object)
        embedding = centres[labels] + at + rng.standard_normal((len(labels), 8))
        logits = np.zeros((len(labels), C))
        everywhere = np.repeat(EDGES, len(labels))
        times = len(EDGES)
        seen = Answers(
            np.tile(logits, (times, 1)),
            np.tile(embedding, (times, 1)),
            np.tile(labels, times),
            everywhere,
            everywhere,
            np.tile(name, times),
        )
        return Answers(logits, embedding, labels, n, n, name), seen

    (real, seen), (made, seen_made) = answers("transients", 0.0), answers("simulated", away)
    alerts, seen_alerts = answers("alert_objects", 0.0)
    seen = Answers.concatenate([seen, seen_alerts])
    alone = out_of_distribution([real], seen, 0.3)
    both = out_of_distribution([real, made], Answers.concatenate([seen, seen_made]), 0.3)

    def flagged(ood, embedding: np.ndarray) -> float:
        distance = squared_distance(embedding, np.array(ood.means), np.array(ood.whitening)) / ood.scale
        return float(np.mean(distance > ood.thresholds[-1]))

    assert flagged(alone, made.embedding) > 0.5 > 0.03 > flagged(both, made.embedding)
    assert flagged(both, real.embedding) < 0.03
    assert flagged(both, alerts.embedding) < 0.03
    assert flagged(both, real.embedding + 60) == 1.0


def test_a_quantile_by_weight_counts_a_heavy_object_as_many_light_ones():
    values = np.array([4.0, 1.0, 3.0, 2.0])
    assert weighted_quantile(values, np.ones(4), 0.5) == 2.0
    assert weighted_quantile(values, np.array([5.0, 1.0, 1.0, 1.0]), 0.5) == 4.0
    assert weighted_quantile(np.repeat(values, [2, 1, 3, 1]), np.ones(7), 0.6) == weighted_quantile(
        values, np.array([2, 1, 3, 1]), 0.6
    )
