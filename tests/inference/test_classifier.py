"""Given light curves and a bundle, when they are classified, then the answers are the calibrated ones, in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from service.config import Device
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import (
    NO_DETECTION,
    NO_MODEL_FOR_SURVEY,
    OUT_OF_DISTRIBUTION,
    TOO_FEW_POINTS,
    UNKNOWN_BAND,
    UNKNOWN_SURVEY,
    UNUSABLE_PHOTOMETRY,
    Prediction,
)
from service.photometry import SURVEY_CODES, Kind, LightCurve
from tests.inference.tiny_bundle import TAXONOMY, TinyGraph, WriteBundle, draw_light_curve


def classifier(folder: Path, threads: int = 1) -> Classifier:
    return Classifier(load_bundle(folder), Device.CPU, threads)


def assert_same(a: Prediction, b: Prediction, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=tolerance, rtol=0)
    np.testing.assert_allclose(a.embedding, b.embedding, atol=tolerance, rtol=0)
    assert a.superclass_probabilities == pytest.approx(b.superclass_probabilities, abs=tolerance)
    assert a.ood_score == pytest.approx(b.ood_score, rel=1e-4, nan_ok=True)
    assert (a.conformal_set, a.flags, a.n_detections, a.n_upper_limits) == (
        b.conformal_set,
        b.flags,
        b.n_detections,
        b.n_upper_limits,
    )


def test_answers_follow_the_graph_and_the_manifest_in_order(
    write_bundle: WriteBundle, light_curves: list[LightCurve]
) -> None:
    tiny = classifier(write_bundle())
    manifest = tiny.bundle.manifest
    graph = TinyGraph.drawn()
    predictions = tiny.classify(light_curves)
    assert len(predictions) == len(light_curves)
    long = 0
    for light_curve, prediction in zip(light_curves, predictions, strict=True):
        n = light_curve.n_detections
        assert sum(prediction.n_detections.values()) == n
        assert sum(prediction.n_upper_limits.values()) == len(light_curve) - n
        if len(light_curve) > 40:  # several windows: the plain reference below is of one
            long += 1
            continue
        logits, embedding = graph.answer(light_curve)
        k = 0 if n < 3 else 1 if n < 10 else 2
        expected = np.exp(logits / manifest.calibration.temperature[k])
        expected /= expected.sum()
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
        np.testing.assert_allclose(prediction.embedding, embedding, atol=1e-5)
        assert prediction.top_class == list(TAXONOMY)[int(expected.argmax())]
        assert (TOO_FEW_POINTS in prediction.flags) == (n < 2)
        assert NO_DETECTION not in prediction.flags
    assert 0 < long < len(light_curves)


def test_a_light_curve_gets_the_same_answer_whatever_it_is_classified_with(
    write_bundle: WriteBundle, light_curves: list[LightCurve]
) -> None:
    folder = write_bundle()
    alone = [classifier(folder).classify([light_curve])[0] for light_curve in light_curves]
    for threads in (1, 3):
        for prediction, reference in zip(classifier(folder, threads).classify(light_curves), alone, strict=True):
            assert_same(prediction, reference)


def test_a_bundle_whose_answers_depend_on_the_batch_is_run_one_by_one(
    write_bundle: WriteBundle, light_curves: list[LightCurve]
) -> None:
    folder = write_bundle(batch_invariant=False)
    alone = [classifier(folder).classify([light_curve])[0] for light_curve in light_curves]
    together = classifier(folder).classify(light_curves)
    for prediction, reference in zip(together, alone, strict=True):
        assert (prediction.embedding == reference.embedding).all()  # to the last bit: they were never stacked


def test_many_callers_share_one_classifier(write_bundle: WriteBundle, light_curves: list[LightCurve]) -> None:
    tiny = classifier(write_bundle(), threads=2)
    reference = tiny.classify(light_curves)
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(tiny.classify, [light_curves] * 12))
    for answer in answers:
        for prediction, expected in zip(answer, reference, strict=True):
            assert_same(prediction, expected)


def test_a_caller_does_not_wait_for_a_helper_that_is_busy_for_another(
    write_bundle: WriteBundle, light_curves: list[LightCurve]
) -> None:
    tiny = classifier(write_bundle(), threads=2)
    reference = tiny.classify(light_curves)
    other_is_done = Event()
    assert tiny._pool is not None
    busy = tiny._pool.submit(other_is_done.wait, 60)
    try:
        answers = tiny.classify(light_curves)
        assert not busy.done()
    finally:
        other_is_done.set()
    for prediction, expected in zip(answers, reference, strict=True):
        assert_same(prediction, expected)


def test_an_error_of_the_graph_reaches_the_caller_whichever_thread_met_it(
    write_bundle: WriteBundle, light_curves: list[LightCurve], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = classifier(write_bundle(), threads=3)
    with monkeypatch.context() as patch:
        patch.setattr(tiny._session, "_outputs", ["logits", "no such output"])
        with pytest.raises(Exception, match="no such output"):  # ONNX Runtime has no closer common base
            tiny.classify(light_curves)
    assert len(tiny.classify(light_curves)) == len(light_curves)  # and the next call is sound


def test_more_light_curves_than_are_prepared_at_a_time_keep_their_order(
    write_bundle: WriteBundle, light_curves: list[LightCurve], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = classifier(write_bundle())
    reference = tiny.classify(light_curves)
    monkeypatch.setattr("service.inference.classifier.CHUNK", 7)
    for prediction, expected in zip(tiny.classify(light_curves), reference, strict=True):
        assert_same(prediction, expected)
    assert tiny.classify([]) == []


def test_without_a_detection_the_answer_is_the_prior_and_says_so(write_bundle: WriteBundle) -> None:
    rng = np.random.default_rng(0)
    tiny = classifier(write_bundle())
    good = draw_light_curve(rng, 12)
    limits = draw_light_curve(rng, 0, 4)
    forced = LightCurve.from_columns([59000.0, 59001.0], 1, mag=19.0, magerr=0.1, sign=1, kind=Kind.FORCED)
    predictions = tiny.classify([LightCurve.empty(), good, limits, forced])
    assert_same(predictions[1], tiny.classify([good])[0])
    for prediction in (predictions[0], *predictions[2:]):
        assert prediction.flags == (NO_DETECTION, TOO_FEW_POINTS)
        np.testing.assert_allclose(prediction.probabilities, [0.4, 0.3, 0.15, 0.1, 0.05], rtol=1e-6)
        assert prediction.superclass_probabilities == pytest.approx(
            {"Transient": 0.7, "Stochastic": 0.15, "Periodic": 0.15}
        )
        assert prediction.conformal_set == tuple(TAXONOMY)
        assert (prediction.top_class, prediction.fields()["top_class"]) == (None, None)
        assert np.isnan(prediction.ood_score)
        assert not prediction.embedding.any()
        assert prediction.n_detections == {}
    assert sum(predictions[2].n_upper_limits.values()) == 4
    assert predictions[3].n_upper_limits == {}


def test_points_in_bands_the_model_does_not_know_are_left_out_and_flagged(
    write_bundle: WriteBundle, in_z_band: LightCurve
) -> None:
    tiny = classifier(write_bundle())
    known = draw_light_curve(np.random.default_rng(3), 6, 3)
    mixed, alone, only_z = tiny.classify([known.merge(in_z_band), known, in_z_band])
    assert UNKNOWN_BAND in mixed.flags
    assert UNKNOWN_BAND not in alone.flags
    np.testing.assert_allclose(mixed.probabilities, alone.probabilities, atol=1e-6)
    assert mixed.n_detections == {**alone.n_detections, "z": 2}
    assert set(only_z.flags) == {UNKNOWN_BAND, NO_DETECTION, TOO_FEW_POINTS}
    assert only_z.n_detections == {"z": 2}


def test_a_band_is_known_when_the_manifest_says_so(write_bundle: WriteBundle) -> None:
    in_i = LightCurve.from_columns([59000.0, 59002.0, 59004.0], [0, 1, 2], mag=18.0, magerr=0.1, sign=1)
    (two_bands,) = classifier(write_bundle(bands=["g", "r"])).classify([in_i])
    (three_bands,) = classifier(write_bundle(folder="other")).classify([in_i])
    assert UNKNOWN_BAND in two_bands.flags
    assert UNKNOWN_BAND not in three_bands.flags
    assert not np.allclose(two_bands.embedding, three_bands.embedding)


def of_survey(light_curve: LightCurve, survey: str) -> LightCurve:
    points = light_curve.points.copy()
    points["survey"] = SURVEY_CODES[survey]
    return LightCurve.from_points(points)


def test_points_of_surveys_that_the_model_does_not_read_are_left_out_and_flagged(
    write_bundle: WriteBundle, in_z_band: LightCurve
) -> None:
    """Given a model of ZTF's g, r, i, when points of LSST in these bands come, then they are counted and not read."""
    tiny = classifier(write_bundle())
    ztf, other = draw_light_curve(np.random.default_rng(3), 6, 3), draw_light_curve(np.random.default_rng(4), 5, 2)
    lsst = of_survey(other, "lsst")
    both, alone, only, beyond = tiny.classify([ztf.merge(lsst), ztf, lsst, lsst.merge(of_survey(in_z_band, "lsst"))])
    assert UNKNOWN_SURVEY not in alone.flags
    assert set(both.flags) == {*alone.flags, UNKNOWN_SURVEY}
    assert (both.probabilities == alone.probabilities).all()
    assert (both.embedding == alone.embedding).all()
    assert (both.ood_score, both.conformal_set, both.top_class) == (
        alone.ood_score,
        alone.conformal_set,
        alone.top_class,
    )
    assert sum(both.n_detections.values()) == 11
    assert set(only.flags) == {NO_DETECTION, TOO_FEW_POINTS, UNKNOWN_SURVEY, NO_MODEL_FOR_SURVEY}
    assert set(beyond.flags) == {*only.flags, UNKNOWN_BAND}
    for prediction in (only, beyond):
        assert prediction.top_class is None
        assert not prediction.embedding.any()
        np.testing.assert_allclose(prediction.probabilities, [0.4, 0.3, 0.15, 0.1, 0.05], rtol=1e-6)


def test_photometry_that_gives_no_finite_answer_is_flagged_and_harms_nobody(write_bundle: WriteBundle) -> None:
    tiny = classifier(write_bundle())
    good = draw_light_curve(np.random.default_rng(2), 4)
    nameless = LightCurve.from_columns([59000.0, 59001.0], 0, magerr=0.1, sign=1)  # detections without a magnitude
    endless = LightCurve.from_columns([59000.0, 59001.0], 0, mag=[18.0, -np.inf], magerr=0.1, sign=1)
    first, second, third, fourth = tiny.classify([good, nameless, endless, good])
    assert NO_DETECTION in second.flags
    assert UNUSABLE_PHOTOMETRY in third.flags
    assert first.top_class == first.fields()["top_class"] is not None
    for prediction in (second, third):
        assert (prediction.top_class, prediction.fields()["top_class"]) == (None, None)
        np.testing.assert_allclose(prediction.probabilities, [0.4, 0.3, 0.15, 0.1, 0.05], rtol=1e-6)
    assert_same(first, tiny.classify([good])[0])
    assert_same(first, fourth)


def test_the_distance_flag_follows_the_threshold(write_bundle: WriteBundle, light_curves: list[LightCurve]) -> None:
    tiny = classifier(write_bundle())
    predictions = tiny.classify(light_curves)
    flagged = [OUT_OF_DISTRIBUTION in prediction.flags for prediction in predictions]
    assert flagged == [prediction.ood_score > 1.5 for prediction in predictions]
    assert any(flagged)
    assert not all(flagged)
    for prediction in classifier(write_bundle(folder="without", out_of_distribution=None)).classify(light_curves[:3]):
        assert np.isnan(prediction.ood_score)
        assert OUT_OF_DISTRIBUTION not in prediction.flags


def test_warming_up_leaves_a_classifier_that_answers(write_bundle: WriteBundle) -> None:
    tiny = classifier(write_bundle(), threads=2)
    tiny.warm_up()
    (prediction,) = tiny.classify([draw_light_curve(np.random.default_rng(1), 3)])
    assert prediction.probabilities.sum() == pytest.approx(1.0)
    assert tiny.provider == "CPUExecutionProvider"
