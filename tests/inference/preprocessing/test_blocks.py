"""Given long light curves, when they are cut into blocks, then each depends on the points of its own cell alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.batching import lay_end_to_end
from service.inference.preprocessing.alert_clr import alert_tokens
from service.inference.preprocessing.blocks import KEPT_FACTS, cut_into_blocks, digests_of, kept_input, points_of
from service.photometry import Kind, LightCurve

PARAMETERS = {"window": 10, "many": 60, "short_block": 6, "cell_days": 64.0, "max_blocks": 6}


@st.composite
def long_light_curves(draw: st.DrawFn) -> LightCurve:
    """Detections, some without a magnitude, limits and forced photometry, in clumps over years."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    clumps = draw(st.lists(st.tuples(st.integers(0, 700), st.integers(1, 40)), min_size=1, max_size=6))
    mjd = np.concatenate([59000.0 + day + rng.uniform(0, 20, count) for day, count in clumps])
    kind = rng.choice([Kind.DETECTION, Kind.UPPER_LIMIT, Kind.FORCED], len(mjd), p=[0.6, 0.3, 0.1])
    measured = (kind != Kind.UPPER_LIMIT) & (rng.random(len(mjd)) < 0.95)
    return LightCurve.from_columns(
        mjd,
        rng.integers(0, 3, len(mjd)),
        mag=np.where(measured, rng.uniform(16, 20, len(mjd)), np.nan),
        magerr=np.where(measured, 0.1, np.nan),
        limit=20.0,
        sign=rng.choice([-1, 1], len(mjd)),
        kind=kind,
    )


def plain_cut(points: Any, low: float, width: float, most: float) -> list[tuple[float, float]]:
    """The cells of the rule, as it is told, by counting the tokens of each."""
    inside = points[(points["mjd"] >= low) & (points["mjd"] < low + width)]
    seen = (inside["kind"] == Kind.DETECTION) & np.isfinite(inside["mag"])
    if not len(inside) or tokens_of(inside) <= most:
        return [(low, low + width)] if seen.any() else []
    return [
        *plain_cut(points, low, width / 2, most),
        *plain_cut(points, low + width / 2, width / 2, most),
    ]


def tokens_of(points: Any) -> int:
    with_magnitudes = points.copy()
    with_magnitudes["mag"][(points["kind"] == Kind.DETECTION) & np.isnan(points["mag"])] = 18.0
    try:
        return int(alert_tokens(with_magnitudes, np.array([len(points)]), {}).counts[0])
    except ValueError:  # limits alone make no token
        return 0


@settings(max_examples=60, deadline=None)
@given(long_light_curves())
def test_blocks_are_the_cells_of_the_rule(curve: LightCurve) -> None:
    found = cut_into_blocks(curve.points, np.array([len(curve)]), PARAMETERS)
    blocks = [curve.points[begin:end] for begin, end in found.bounds.tolist()]
    assert found.numbers.tolist() == [len(blocks)]
    if tokens_of(curve.points) <= PARAMETERS["window"]:
        assert found.bounds.tolist() == [[0, len(curve)]]
        return
    longest = PARAMETERS["short_block" if tokens_of(curve.points) > PARAMETERS["many"] else "window"]
    cells = [
        cell
        for low in np.unique(np.floor(curve.mjd / 64.0) * 64.0).tolist()
        for cell in plain_cut(curve.points, low, 64.0, longest)
    ][-PARAMETERS["max_blocks"] :]
    if not cells:
        return
    expected = [curve.points[(curve.mjd >= low) & (curve.mjd < high)] for low, high in cells]
    assert [block.tobytes() for block in blocks] == [block.tobytes() for block in expected]
    for block, facts in zip(blocks, found.facts, strict=True):
        seen = block[(block["kind"] == Kind.DETECTION) & np.isfinite(block["mag"])]
        assert facts.tolist() == [len(seen), seen["mag"].min(), seen["mjd"].min(), seen["mjd"].max()]
    together = alert_tokens(*points_of(curve.points, found.bounds), {})
    assert together.counts.max() <= longest


@settings(max_examples=60, deadline=None)
@given(long_light_curves(), st.integers(0, 2**32))
def test_a_late_or_corrected_point_changes_its_own_block_only(curve: LightCurve, seed: int) -> None:
    parameters = PARAMETERS | {"max_blocks": 10**3}
    before = cut_into_blocks(curve.points, np.array([len(curve)]), parameters)
    if len(before.bounds) < 3 or abs(tokens_of(curve.points) - PARAMETERS["many"]) < 4:  # of another kind afterwards
        return
    rng = np.random.default_rng(seed)
    place = rng.integers(len(before.bounds))
    begin, end = before.bounds[place].tolist()
    late = LightCurve.from_columns([rng.uniform(*curve.mjd[[begin, end - 1]])], [0], mag=[17.5], magerr=[0.1])
    corrected = curve.points[begin:end].copy()
    corrected["magerr"] += np.float32(0.01)
    for after in (
        curve.merge(late),
        LightCurve(np.concatenate((curve.points[:begin], corrected, curve.points[end:]))),
    ):
        found = cut_into_blocks(after.points, np.array([len(after)]), parameters)
        digests = digests_of(curve.points, before.bounds)
        now = digests_of(after.points, found.bounds)
        assert set(digests) - set(now) <= {digests[place]}
        assert digests[:place] + digests[place + 1 :] == [d for d in now if d in digests and d != digests[place]]


def test_a_digest_is_of_what_the_model_reads(long_curve: LightCurve) -> None:
    digest = digest_of(long_curve.points)
    for name, change in (("candid", 1), ("brought_by", 7)):
        other = long_curve.points.copy()
        other[name] += change
        assert digest_of(other) == digest
    forced = LightCurve.from_columns([59001.0], [0], mag=[18.0], kind=Kind.FORCED)
    assert digest_of(long_curve.merge(forced).points) == digest
    for name, change in (("mjd", 1e-4), ("mag", 0.01), ("magerr", 0.01), ("limit", 0.1), ("magnr", 0.1), ("sign", 1)):
        other = long_curve.points.copy()
        other[name][3] += change
        assert digest_of(other) != digest


def digest_of(points: Any) -> bytes:
    [digest] = digests_of(LightCurve(points.copy()).points, np.array([[0, len(points)]]))
    return digest


@pytest.fixture
def long_curve() -> LightCurve:
    rng = np.random.default_rng(0)
    mjd = 59000.0 + np.sort(rng.uniform(0, 900, 60))
    return LightCurve.from_columns(
        mjd, rng.integers(0, 2, 60), mag=rng.uniform(17, 19, 60), magerr=0.1, limit=20.0, magnr=18.0
    )


def test_what_is_kept_describes_the_blocks_before_the_newest() -> None:
    rng = np.random.default_rng(1)
    embeddings = rng.random((3, 4)).astype(np.float32)
    facts = np.array(
        [[5, 18.0, 100.0, 120.0], [3, 16.0, 200.0, 230.0], [9, 17.0, 300.0, 310.0], [2, 19.0, 400.0, 401.0]]
    )
    kept = kept_input(facts, embeddings, 4)
    weight = facts[:, 0] * 10 ** (-0.4 * (facts[:, 1] - 16.0))
    share = weight[:3] / weight[:3].sum()
    mean = share @ embeddings
    np.testing.assert_allclose(kept[:4], mean, rtol=1e-6)
    np.testing.assert_allclose(kept[4:8], share @ (embeddings - mean) ** 2, rtol=1e-5)
    offsets = np.array([2.0, 0.0, 1.0, 3.0])
    expected = (
        weight[:3].sum() / weight.sum(), np.log(4), offsets.mean(), offsets.std(), np.log1p(301.0),
        np.log(weight.sum() ** 2 / (weight**2).sum()),
    )  # fmt: skip
    np.testing.assert_allclose(kept[8:], expected, rtol=1e-6)
    assert len(KEPT_FACTS) == len(expected)
    assert not kept_input(facts[:1], embeddings[:0], 4).any()


def test_light_curves_end_to_end_are_cut_as_each_alone(long_curve: LightCurve) -> None:
    short = LightCurve(long_curve.points[:5])
    curves = [short, long_curve, LightCurve.empty(), long_curve, short]
    together = cut_into_blocks(*lay_end_to_end(curves), PARAMETERS)
    starts = np.cumsum([0, *map(len, curves[:-1])])
    alone = [cut_into_blocks(*lay_end_to_end([curve]), PARAMETERS) for curve in curves]
    assert together.numbers.tolist() == [int(each.numbers[0]) for each in alone]
    expected = np.concatenate([each.bounds + start for each, start in zip(alone, starts, strict=True)])
    assert together.bounds.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "wrong",
    [{"window": 0}, {"many": 0}, {"short_block": 0}, {"max_blocks": 0}, {"cell_days": 0.0}, {"cell_days": np.inf}],
)
def test_parameters_that_cut_nothing_are_refused(long_curve: LightCurve, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        cut_into_blocks(long_curve.points, np.array([len(long_curve)]), PARAMETERS | wrong)


def test_a_night_of_observations_without_end_still_ends() -> None:
    mjd = 59000.0 + np.arange(3000) * 2e-6  # as dense as epochs can be told apart
    curve = LightCurve.from_columns(mjd, np.zeros(3000, np.int8), mag=18.0, magerr=0.1)
    found = cut_into_blocks(curve.points, np.array([len(curve)]), PARAMETERS | {"max_blocks": 10**4})
    assert (found.bounds[:, 1] - found.bounds[:, 0]).max() <= PARAMETERS["short_block"]
    assert found.bounds[-1, 1] == len(curve)
