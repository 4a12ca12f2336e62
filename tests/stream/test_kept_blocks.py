"""Given alerts of old objects, when finished blocks are kept with them, then an alert costs its newest block, and its
answer is that of the light curve embedded from nothing: in any order, on any replica, after any swap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.aged import history
from service.alerts.decode import Decoder
from service.config import Device, QualitySettings
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.registry import ModelRegistry
from service.photometry import LightCurve
from service.simulate import SimulatedAlert
from service.store import Increment, SqliteStore, Store, open_store
from service.stream.batch import Batch
from service.stream.pipeline import Pipeline
from tests.inference.tiny_bundle import BLOCK_PARAMETERS, forgetful, write_bundle_with_blocks
from tests.integration.postgres import postgres_server_dsn, postgres_url

__all__ = ["postgres_server_dsn", "postgres_url"]

BatchOf = Callable[..., Batch]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    other = BLOCK_PARAMETERS | {"cell_days": 100.0}
    return (
        write_bundle_with_blocks(folder / "one"),
        write_bundle_with_blocks(folder / "other", other, version="2.0.0"),
    )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """One store, opened by two replicas."""
    url = f"sqlite:///{tmp_path / 'store.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = open_store(url), open_store(url)
    yield opened
    for each in opened:
        each.close()


def grow_old(store: Store, decoder: Decoder, alerts: Sequence[SimulatedAlert]) -> None:
    """Give each object sixty earlier detections."""
    rng = np.random.default_rng(1)
    first: dict[str, SimulatedAlert] = {}
    for alert in alerts:
        first.setdefault(alert.object_id, alert)
    for alert in first.values():
        decoded = decoder.decode(alert.packet)
        past = history(rng, 60, float(decoded.light_curve.mjd[0]), alert.candid)
        store.merge([Increment(alert.object_id, decoded.ra, decoded.dec, past)])


def run(pipeline: Pipeline, batch: Batch, fresh: Classifier) -> Batch:
    pipeline.run(batch)
    for item in batch.items:
        assert item.prediction is not None
        assert item.light_curve is not None
        assert (item.prediction.classifier, item.prediction.version) == (fresh.name, fresh.version)
        [expected] = fresh.classify([item.light_curve])
        np.testing.assert_allclose(item.prediction.probabilities, expected.probabilities, atol=1e-5, rtol=0)
        np.testing.assert_allclose(item.prediction.embedding, expected.embedding, atol=1e-5, rtol=0)
    return batch


def test_answers_are_those_from_nothing(
    stores: tuple[Store, Store],
    bundles: tuple[Path, Path],
    decoder: Decoder,
    alerts: list[SimulatedAlert],
    batch_of: BatchOf,
) -> None:
    """Two replicas in turn, alerts in no order, a swap of bundles and the way back, with a shadow meanwhile."""
    one, other = (forgetful(each) for each in bundles)
    registries = [ModelRegistry(one.bundle, Device.CPU, 1) for _ in stores]
    replicas = [
        Pipeline(decoder, store, models, QualitySettings()) for store, models in zip(stores, registries, strict=True)
    ]
    grow_old(stores[0], decoder, alerts)
    order = np.random.default_rng(2).permutation(len(alerts)).tolist()
    parts = [[alerts[k].packet for k in order[start::6]] for start in range(6)]
    run(replicas[0], batch_of(*parts[0]), one)
    run(replicas[1], batch_of(*parts[1]), one)
    names = sorted({alert.object_id for alert in alerts})
    assert stores[0].kept_blocks(names)
    assert {key for found in stores[1].kept_blocks(names).values() for key in found} == {one.embeds_as}
    registries[0].add_shadow(bundles[1])
    run(replicas[0], batch_of(*parts[2]), one)  # the shadow's are kept too
    assert {key for found in stores[0].kept_blocks(names).values() for key in found} == {one.embeds_as, other.embeds_as}
    for models in registries:
        models.activate(bundles[1])
    run(replicas[1], batch_of(*parts[3]), other)
    registries[0].rollback()
    run(replicas[0], batch_of(*parts[4], *parts[0]), one)
    run(replicas[1], batch_of(*parts[5]), other)


def test_an_alert_costs_its_newest_block(
    store: SqliteStore, bundles: tuple[Path, Path], decoder: Decoder, alerts: list[SimulatedAlert], batch_of: BatchOf
) -> None:
    """Also of a replica that has never seen the object, and after what came late only the block that it fell into."""
    grow_old(store, decoder, alerts)
    by_object = list({alert.object_id: alert for alert in alerts}.values())
    packets = [alert.packet for alert in by_object]
    before = Counted(bundles[0])
    batch = batch_of(*packets)
    Pipeline(decoder, store, before.models, QualitySettings()).run(batch)
    assert before.number > 2 * len(packets)
    after = Counted(bundles[0])
    again = Pipeline(decoder, store, after.models, QualitySettings())
    again.run(batch_of(*packets))
    assert after.number == len(packets)
    item = batch.items[0]
    assert item.light_curve is not None
    assert item.subject is not None
    late = LightCurve.from_columns([float(item.light_curve.mjd[-1]) - 45.0], [0], mag=[18.2], magerr=[0.1])
    store.merge([Increment(item.subject.object_id, np.nan, np.nan, late)])
    again.run(batch_of(packets[0]))
    assert len(packets) < after.number <= len(packets) + 3  # its cell may have become two


class Counted:
    """A registry whose classifier counts how many blocks its graph is asked about."""

    def __init__(self, folder: Path) -> None:
        self.models = ModelRegistry(load_bundle(folder), Device.CPU, 1)
        self.number = 0
        session = self.models.active._session
        original = session.run

        def counted(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            self.number += len(inputs["points"])
            return original(inputs)

        session.run = counted  # type: ignore[method-assign]
