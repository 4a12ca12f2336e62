"""Objects stay on one side of the split, and a view is something a broker could have seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.tables import CLASSES, DETECTION_SNR, Dataset, assign_splits, load_difference
from model_export.data.views import (
    ViewConfig,
    augment,
    detections_before,
    dim,
    history,
    log_uniform,
    owner,
    prefix,
    withhold_context,
)
from service.inference.preprocessing.alert_clr import CONTEXT_FEATURES, alert_tokens
from service.photometry import Kind


def objects(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = [f"ZTF{i:05d}" for i in range(n)]
    frame = pd.DataFrame(
        {"object_id": names, "table": "transients", "label": rng.choice([0, 1, 2], n, p=[0.7, 0.2, 0.1])}
    )
    again = frame.iloc[: n // 10].assign(table="alert_objects")
    return pd.concat([frame, again], ignore_index=True)


def test_an_object_in_two_tables_is_on_one_side_and_every_class_on_every_side():
    frame = objects(2000)
    frame["split"] = assign_splits(frame)
    assert frame.groupby("object_id")["split"].nunique().max() == 1
    for _, group in frame[frame["table"] == "transients"].groupby("label"):
        shares = group["split"].value_counts(normalize=True)
        assert shares["test"] == pytest.approx(0.128, abs=0.02)
        assert shares["validation"] == pytest.approx(0.105, abs=0.02)


def test_more_objects_do_not_reshuffle_the_split():
    frame = objects(1500)
    before = pd.Series(assign_splits(frame), index=frame["object_id"]).groupby(level=0).first()
    fewer = frame[frame["object_id"] < "ZTF01400"]
    after = pd.Series(assign_splits(fewer), index=fewer["object_id"]).groupby(level=0).first()
    assert (before.loc[after.index] == after).mean() > 0.9


def test_taking_rows_repeats_and_orders_them(end_to_end):
    points, counts = end_to_end
    data = Dataset(points, counts, pd.DataFrame({"label": np.zeros(len(counts), dtype=int)}))
    stops = np.cumsum(counts)
    taken, n = data.take(np.array([3, 0, 3]))
    assert n.tolist() == [counts[3], counts[0], counts[3]]
    third = points[stops[3] - counts[3] : stops[3]]
    assert taken[: n[0]].tobytes() == third.tobytes() == taken[-n[2] :].tobytes()


def test_a_prefix_of_many_is_first_detections_of_each(supernovae, end_to_end):
    for k in (1, 3, 100):
        points, counts = prefix(*end_to_end, np.full(len(supernovae), k))
        expected = [curve.first_detections(k).points for curve in supernovae]
        assert counts.tolist() == [len(e) for e in expected]
        assert points.tobytes() == np.concatenate(expected).tobytes()


def test_a_history_is_the_thirty_days_before_a_detection(rng, end_to_end):
    points, counts = history(rng, *end_to_end, np.ones(len(end_to_end[1]), dtype=bool))
    stops = np.cumsum(counts)
    for stop, n in zip(stops, counts, strict=True):
        own = points[stop - n : stop]
        assert own["kind"][-1] == Kind.DETECTION
        assert own["mjd"][-1] - own["mjd"][0] < 30


def test_prefix_lengths_are_log_uniform_and_never_more_than_there_is(rng):
    k = log_uniform(rng, np.full(20000, 40))
    assert k.min() == 1
    assert k.max() == 40
    octaves = [np.mean((k >= low) & (k < 2 * low + 1)) for low in (1, 3, 7, 15)]
    assert np.std(octaves) < 0.03
    assert log_uniform(rng, np.array([1, 1, 1])).tolist() == [1, 1, 1]


def test_moving_away_loses_the_faint_points_and_keeps_the_noise(rng, end_to_end):
    points, counts = end_to_end
    moved, _ = dim(rng, points, counts, np.full(len(counts), 1.5))
    was, still = points["kind"] == Kind.DETECTION, moved["kind"] == Kind.DETECTION
    assert 0 < still.sum() < was.sum()
    assert np.all(moved["magerr"][still] > points["magerr"][still])
    # the brightest of each is kept at the threshold whatever happens
    assert np.all(1.0857362 / moved["magerr"][still] >= DETECTION_SNR * 0.999)
    brighter = moved["mag"][still].mean() - points["mag"][still].mean()
    assert 1.0 < brighter < 1.6
    lost = was & ~still
    assert np.isnan(moved["mag"][lost]).all()
    assert np.isfinite(moved["limit"][lost]).all()
    nothing, _ = dim(rng, points, counts, np.zeros(len(counts)))
    assert nothing.tobytes() == points.tobytes()


def test_every_view_keeps_a_detection_and_time_order(rng, end_to_end):
    for _ in range(30):
        points, counts = augment(
            rng, end_to_end[0].copy(), end_to_end[1], rng.random(len(end_to_end[1])) < 0.5, ViewConfig()
        )
        _, total = detections_before(points, counts)
        assert total.min() >= 1
        same = np.diff(owner(counts)) == 0
        assert np.all(np.diff(points["mjd"])[same] >= 0)
        assert np.isfinite(alert_tokens(points, counts, {}).points).all()


def test_withheld_context_is_zero_with_its_flag(rng):
    context = np.ones((4000, len(CONTEXT_FEATURES)), dtype=np.float32)
    withhold_context(rng, context, ViewConfig(reference_drop=0.5, magnitude_drop=0.25, counts_drop=0.0))
    gone = context[:, 3] == 0
    assert gone.mean() == pytest.approx(0.5, abs=0.03)
    assert np.all(context[gone, 2:6] == 0)
    assert (context[:, 1] == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert np.all(context[:, 6:] == 1)


@pytest.mark.real_data
def test_real_tables_load_with_every_class_in_training(real_data: Path):
    data = load_difference(real_data)
    train = data.where((data.objects["split"] == "train").to_numpy())
    assert set(np.unique(train.labels)) == {-1, *range(len(CLASSES))}
    assert data.objects.groupby("object_id")["split"].nunique().max() == 1
    assert data.objects["n_detections"].min() >= 1
    assert set(data.objects["mag_kind"]) == {"difference", "forced_difference"}
    forced = np.repeat((data.objects["mag_kind"] == "forced_difference").to_numpy(), data.counts)
    seen = data.points[forced & (data.points["kind"] == Kind.DETECTION)]
    assert (1.0857362 / seen["magerr"]).min() >= DETECTION_SNR * 0.999
