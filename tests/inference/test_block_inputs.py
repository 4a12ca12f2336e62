"""Given long light curves, when their finished blocks are kept and given back, then every answer is that of a light
curve embedded from nothing, whatever came in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import Device
from service.inference.block_inputs import BlockInputs
from service.inference.bundle import BundleError, load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import UNUSABLE_PHOTOMETRY, Prediction
from service.photometry import Kind, LightCurve
from tests.inference.tiny_bundle import BLOCK_PARAMETERS, EMBEDDING_SIZE, forgetful, write_bundle_with_blocks

SAME = 1e-5


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle_with_blocks(tmp_path_factory.mktemp("blocks") / "bundle")


@pytest.fixture
def opened(bundle_folder: Path) -> Classifier:
    return Classifier(load_bundle(bundle_folder), Device.CPU, 1)


class Runs:
    """Counts how many light curves and blocks a classifier's graph is asked about."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.number = classifier, 0
        run = classifier._session.run

        def counted(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            self.number += len(inputs["points"])
            return run(inputs)

        classifier._session.run = counted  # type: ignore[method-assign]

    def of(self, curve: LightCurve, kept: bytes | None = None) -> tuple[Prediction, int]:
        before = self.number
        [prediction] = self.classifier.classify([curve], kept=[kept])
        return prediction, self.number - before


def years(seed: int = 0, count: int = 90, days: float = 900.0) -> LightCurve:
    rng = np.random.default_rng(seed)
    kind = rng.choice([Kind.DETECTION, Kind.UPPER_LIMIT], count, p=[0.8, 0.2])
    return LightCurve.from_columns(
        59000.0 + rng.uniform(0, days, count),
        rng.integers(0, 3, count),
        mag=np.where(kind == Kind.DETECTION, rng.uniform(16, 20, count), np.nan),
        magerr=0.1,
        limit=20.0,
        sign=rng.choice([-1, 1], count),
        kind=kind,
    )


def assert_same(a: Prediction, b: Prediction) -> None:
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=SAME, rtol=0)
    np.testing.assert_allclose(a.embedding, b.embedding, atol=SAME, rtol=0)


def steps_of(curve: LightCurve, rng: np.random.Generator) -> Iterator[LightCurve]:
    """The light curve as it is known after each alert: they come in any order, and correct earlier points."""
    order = rng.permutation(len(curve)) if rng.random() < 0.5 else np.arange(len(curve))
    known = LightCurve(curve.points[np.sort(order[:40])])
    for start in range(40, len(curve), 7):
        alert = curve.points[np.sort(order[start : start + 7])]
        known = known.merge(LightCurve(alert))
        if rng.random() < 0.3:
            corrected = known.points.copy()
            place = rng.integers(len(known))
            corrected["mag"][place] += np.float32(0.3)
            known = LightCurve(corrected)
        yield known


@pytest.fixture(scope="module")
def replicas(bundle_folder: Path) -> tuple[Classifier, Classifier, Classifier]:
    """Two replicas, and one that computes everything from nothing."""
    bundle = load_bundle(bundle_folder)
    return Classifier(bundle, Device.CPU, 1), Classifier(bundle, Device.CPU, 1), forgetful(bundle_folder)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_kept_or_not_in_any_order_the_answer_is_the_same(
    replicas: tuple[Classifier, Classifier, Classifier], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    one, other, nothing = replicas
    kept: bytes | None = None
    for known in steps_of(years(seed), rng):
        here = one if rng.random() < 0.5 else other
        [told] = here.classify([known], kept=[kept])
        [fresh] = nothing.classify([known])
        assert_same(told, fresh)
        if told.blocks is not None and rng.random() < 0.8:  # else the write was lost, or another replica's came later
            kept = told.blocks


def test_an_alert_costs_its_newest_block(opened: Classifier, bundle_folder: Path) -> None:
    curve = years()
    first, number = Runs(opened).of(curve)
    assert number == 5  # all that the manifest allows
    assert first.blocks is not None
    assert len(first.blocks) == 4 * (16 + 4 * EMBEDDING_SIZE)
    elsewhere = Runs(Classifier(load_bundle(bundle_folder), Device.CPU, 1))
    again, number = elsewhere.of(curve, first.blocks)
    assert number == 1
    assert again.blocks is None  # nothing new to keep
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    late = LightCurve.from_columns([curve.mjd[-1] - 70.0], [0], mag=[18.0], magerr=[0.1])
    corrected, number = elsewhere.of(curve.merge(late), first.blocks)
    assert number == 2  # the block that it fell into, and the newest
    assert corrected.blocks is not None


def test_what_was_embedded_once_is_remembered(opened: Classifier) -> None:
    curve = years()
    runs = Runs(opened)
    first, _ = runs.of(curve)
    second, number = runs.of(curve)
    assert number == 1
    assert second.blocks == first.blocks  # the object still has none of them
    forgetful = BlockInputs(opened.bundle, remembered=2)
    for _ in range(2):
        plan = forgetful.plan(curve.points, np.array([len(curve)]), None)
        forgetful.complete(plan, opened._embed)
    assert len(forgetful._remembered._found) == 2


def test_warming_up_runs_blocks_too(opened: Classifier) -> None:
    """What cuts and fuses them is compiled then, and not at the first alert of an old object."""
    opened.warm_up()
    assert opened._blocks is not None
    assert opened._blocks._remembered._found


@pytest.mark.parametrize("damage", [b"", b"\0", b"\xff" * 4 * (16 + 4 * EMBEDDING_SIZE)])
def test_what_was_not_kept_well_is_computed(opened: Classifier, damage: bytes) -> None:
    curve = years(3)
    [expected] = opened.classify([curve])
    [told] = opened.classify([curve], kept=[damage])
    assert_same(told, expected)


def test_several_light_curves_get_what_was_kept_of_each(opened: Classifier, bundle_folder: Path) -> None:
    """Also where others have nothing to classify."""
    empty = LightCurve.from_columns([59000.0], [0], limit=[20.0], kind=[Kind.UPPER_LIMIT])
    infinite = LightCurve.from_columns([59000.0], [0], mag=[-np.inf])
    curves = [years(1), empty, years(2, 8), infinite, years(3), years(1)]
    alone = [Classifier(load_bundle(bundle_folder), Device.CPU, 1).classify([curve])[0] for curve in curves]
    runs = Runs(opened)
    for some in (curves, curves[:3]):
        told = opened.classify(some, kept=[each.blocks for each in alone[: len(some)]])
        for a, b in zip(told, alone, strict=False):
            assert_same(a, b)
    assert UNUSABLE_PHOTOMETRY in alone[3].flags
    assert runs.number == 4 + 2  # of each light curve the newest block


def test_young_objects_have_one_block_and_nothing_to_keep(opened: Classifier) -> None:
    prediction, number = Runs(opened).of(years(5, 9))
    assert number == 1
    assert prediction.blocks is None


def test_a_bundle_says_how_it_embeds(tmp_path: Path, bundle_folder: Path) -> None:
    one = load_bundle(bundle_folder)
    same = load_bundle(write_bundle_with_blocks(tmp_path / "same", version="2.0.0"))
    other = load_bundle(write_bundle_with_blocks(tmp_path / "other", BLOCK_PARAMETERS | {"cell_days": 32.0}))
    assert one.embeds_as == same.embeds_as != other.embeds_as
    assert one.in_blocks


def test_a_graph_that_takes_other_embeddings_is_refused(tmp_path: Path) -> None:
    folder = write_bundle_with_blocks(tmp_path / "wrong", BLOCK_PARAMETERS | {"embedding": EMBEDDING_SIZE + 1})
    with pytest.raises(BundleError, match="kept"):
        Classifier(load_bundle(folder), Device.CPU, 1)
