"""Alerts come in any order, in any batches, more than once, to several replicas: the stored light curve is one."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import count
from multiprocessing import get_context

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.photometry import Context, LightCurve, merge
from service.photometry.context import newest
from service.store import Increment, Store, open_store

# A few epochs and magnitudes, so that increments overlap and copies of a measurement disagree.
points = st.tuples(
    st.sampled_from([1.0, 2.0, 2.0 + 4e-7, 3.0, 5.0]), st.integers(0, 1), st.sampled_from([18.0, 18.5, np.nan]),
    st.sampled_from([0, 7]), st.integers(0, 2), st.sampled_from([0, 7, 8, 2**40]),
)  # fmt: skip
light_curves = st.lists(points, max_size=6).map(
    lambda rows: LightCurve.from_columns(
        [r[0] for r in rows],
        np.array([r[1] for r in rows], np.int8),
        mag=np.array([r[2] for r in rows], np.float32),
        candid=np.array([r[3] for r in rows], np.int64),
        kind=np.array([r[4] for r in rows], np.int8),
        brought_by=np.array([r[5] for r in rows], np.int64),
    )
)
_fresh = count()


contexts = st.none() | st.builds(
    lambda columns, mjd, candid: Context(Context.of(columns).values, mjd, candid),
    st.sampled_from([{"gal_b": 3.0}, {"sgscore1": 0.25}, {"sgscore1": 0.75, "distnr": 1.0}]),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([0, 7]),
)


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), light_curves, contexts), max_size=12),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_and_any_batches_store_the_same_union(
    store: Store, alerts: list[tuple[str, LightCurve, Context | None]], chance: random.Random
) -> None:
    names = {name: f"{name}{next(_fresh)}" for name in "ABC"}
    increments = [Increment(names[name], 10.0 + i, 20.0, curve, c) for i, (name, curve, c) in enumerate(alerts)]
    once = {i.object_id: i for i in increments}
    expected = {name: merge([i.light_curve for i in increments if i.object_id == name]) for name in once}
    surroundings = {name: reduce(newest, [i.context for i in increments if i.object_id == name]) for name in once}

    delivered = increments + chance.sample(increments, len(increments) // 3)  # some come twice
    chance.shuffle(delivered)
    so_far = {name: LightCurve.empty() for name in once}
    newest_so_far: dict[str, Context | None] = dict.fromkeys(once)
    while delivered:
        size = chance.randint(1, len(delivered))
        batch, delivered = delivered[:size], delivered[size:]
        for increment, known in zip(batch, store.merge(batch), strict=True):
            so_far[increment.object_id] = so_far[increment.object_id].merge(increment.light_curve)
            assert known.light_curve.is_identical(so_far[increment.object_id])
            newest_so_far[increment.object_id] = newest(newest_so_far[increment.object_id], increment.context)
            assert known.context == newest_so_far[increment.object_id]

    stored = store.load(list(once))
    assert stored.keys() == expected.keys()
    assert all(thing.light_curve.is_identical(expected[name]) for name, thing in stored.items())
    assert {name: thing.context for name, thing in stored.items()} == surroundings


def night(seed: int, objects: int = 40, alerts: int = 400) -> list[Increment]:
    """Alerts of few objects in random order: batches of any two readers overlap."""
    chance = np.random.default_rng(seed)
    night: list[Increment] = []
    for which in chance.integers(0, objects, alerts):
        mjd = chance.integers(0, 60, 5).astype(float)
        curve = LightCurve.from_columns(mjd, chance.integers(0, 2, 5), mag=18 + mjd / 10, candid=mjd.astype(int) + 1)
        night.append(Increment(f"ZTF{which:03d}", float(which), 0.0, curve))
    return night


def union(increments: list[Increment]) -> dict[str, LightCurve]:
    names = {i.object_id for i in increments}
    return {name: merge([i.light_curve for i in increments if i.object_id == name]) for name in names}


def test_threads_that_meet_the_same_objects_end_with_the_union(store: Store) -> None:
    nights = [night(seed) for seed in range(4)]
    together = threading.Barrier(len(nights))

    def read(alerts: list[Increment]) -> None:
        together.wait()
        for start in range(0, len(alerts), 25):
            store.merge(alerts[start : start + 25])

    with ThreadPoolExecutor(len(nights)) as readers:
        list(readers.map(read, nights))
    expected = union([alert for alerts in nights for alert in alerts])
    stored = store.load(list(expected))
    assert {name: thing.light_curve for name, thing in stored.items()} == expected
    assert store.statistics().objects == len(expected)


def _replica(url: str, seed: int) -> None:
    store = open_store(url)
    alerts = night(seed)
    for start in range(0, len(alerts), 50):
        store.merge(alerts[start : start + 50])
    store.close()


def test_replicas_in_processes_of_their_own_end_with_the_union(store_url: str) -> None:
    """All three also find an empty store and make its tables at the same time."""
    replicas = [get_context("spawn").Process(target=_replica, args=(store_url, seed)) for seed in range(3)]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.join(60)
    assert [replica.exitcode for replica in replicas] == [0, 0, 0]
    expected = union([alert for seed in range(3) for alert in night(seed)])
    store = open_store(store_url)
    assert {name: thing.light_curve for name, thing in store.load(list(expected)).items()} == expected
    assert store.statistics().objects == len(expected)
    store.close()
