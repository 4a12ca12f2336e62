"""Given a bundle whose graph takes the object's context, then each light curve is judged with its own, or without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.config import Device
from service.inference.bundle import BundleError, load_bundle
from service.inference.classifier import Classifier
from service.photometry import Context, LightCurve
from tests.inference.tiny_bundle import CONTEXT, CONTEXT_WEIGHTS, TAXONOMY, TinyGraph, WriteBundle

COLUMNS, WEIGHTS = list(CONTEXT), CONTEXT_WEIGHTS
# one temperature for all, so that probabilities follow from logits in a line
CALIBRATION = {
    "edges": [1], "temperature": [1.0], "conformal_coverage": 0.9, "conformal_thresholds": [[0.9] * len(TAXONOMY)],
}  # fmt: skip


def classifier(folder: Path, threads: int = 1) -> Classifier:
    return Classifier(load_bundle(folder), Device.CPU, threads)


def with_context(write_bundle: WriteBundle, **changes: object) -> Path:
    graph = TinyGraph.drawn().model(weights=WEIGHTS)
    return write_bundle(graph, **{"folder": "with", "context": COLUMNS, "calibration": CALIBRATION, **changes})


def drawn_contexts(count: int) -> list[Context | None]:
    """Every third light curve has none, and one value or another is missing."""
    rng = np.random.default_rng(8)
    contexts: list[Context | None] = []
    for number in range(count):
        columns = {"sgscore1": rng.uniform(), "distnr": rng.uniform(0, 5), "gal_b": rng.uniform(0, 90), "magnr": 18.0}
        del columns[rng.choice(list(columns))]
        contexts.append(Context.of(columns) if number % 3 else None)
    return contexts


@pytest.mark.parametrize("threads", [1, 2])
def test_each_light_curve_is_judged_with_its_own_context(
    write_bundle: WriteBundle, light_curves: list[LightCurve], threads: int
) -> None:
    tiny = classifier(with_context(write_bundle), threads)
    plain = classifier(write_bundle(calibration=CALIBRATION), threads)
    # light curves that can't be judged lie between: the next one must not get their context
    in_z = LightCurve.from_columns([59000.0], 3, mag=18.0)
    light_curves = [LightCurve.empty(), *light_curves, in_z, *light_curves]
    contexts = drawn_contexts(len(light_curves))
    answers = tiny.classify(light_curves, contexts)
    without = plain.classify(light_curves)
    for context, answer, reference in zip(contexts, answers, without, strict=True):
        known = context.known() if context else {}
        values = np.array([known.get(name, 0.0) for name in COLUMNS])
        expected = reference.probabilities.astype(np.float64)
        if reference.top_class is not None:
            expected = expected * np.exp(values @ WEIGHTS)
            expected /= expected.sum()
        np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)
    assert [answer.flags for answer in answers] == [answer.flags for answer in without]


def test_without_contexts_all_values_are_missing(write_bundle: WriteBundle, light_curves: list[LightCurve]) -> None:
    tiny = classifier(with_context(write_bundle))
    unknown = tiny.classify(light_curves)
    for contexts in ([None] * len(light_curves), [Context.of({"magnr": 18.0})] * len(light_curves)):
        for one, other in zip(unknown, tiny.classify(light_curves, contexts), strict=True):
            assert one.probabilities.tobytes() == other.probabilities.tobytes()


def test_a_bundle_that_takes_no_context_answers_the_same_with_it(
    write_bundle: WriteBundle, light_curves: list[LightCurve]
) -> None:
    plain = classifier(write_bundle())
    contexts = drawn_contexts(len(light_curves))
    for one, other in zip(plain.classify(light_curves), plain.classify(light_curves, contexts), strict=True):
        assert one.probabilities.tobytes() == other.probabilities.tobytes()
        assert one.embedding.tobytes() == other.embedding.tobytes()


def test_one_context_per_light_curve_is_needed(write_bundle: WriteBundle, light_curves: list[LightCurve]) -> None:
    tiny = classifier(with_context(write_bundle))
    with pytest.raises(ValueError, match="2 contexts for 3 light curves"):
        tiny.classify(light_curves[:3], [None, None])


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (["sgscore1", "redshift"], "context has no redshift; it has gal_b"),
        (["sgscore1", "sgscore1", "distnr"], "context names sgscore1 twice"),
    ],
)
def test_a_manifest_with_impossible_columns_is_refused(
    write_bundle: WriteBundle, context: list[str], said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        load_bundle(with_context(write_bundle, context=context))


def test_a_graph_that_does_not_fit_the_columns_is_refused(write_bundle: WriteBundle) -> None:
    with pytest.raises(BundleError, match=r"takes input packet_context of shape \(batch, 3\), but .* \(batch, 2\)"):
        classifier(with_context(write_bundle, context=COLUMNS[:2]))
    with pytest.raises(BundleError, match="packet_context"):
        classifier(with_context(write_bundle, context=None, folder="graph_alone"))
    with pytest.raises(BundleError, match="packet_context"):
        classifier(write_bundle(context=COLUMNS, folder="manifest_alone"))
