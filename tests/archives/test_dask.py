"""Dask with two worker processes, on plain frames and on an LSDB catalogue, answers as `classify` does. Runs where dask
(and lsdb) are: `make test-archives`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

dask = pytest.importorskip("dask", reason="dask is not installed: make test-archives")
from_pandas = pytest.importorskip("dask.dataframe").from_pandas
distributed = pytest.importorskip("distributed", reason="dask's distributed is not installed: make test-archives")

from alert_classifier.dask import answers_like, classify_frame
from service.alerts import Decoder
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.photometry import BANDS, Kind
from tests.archives.fink import packets_by_object


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[distributed.Client]:
    folder = tmp_path_factory.mktemp("dask")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(folder)
    ) as cluster, distributed.Client(cluster) as client:  # fmt: skip
        yield client


@pytest.fixture(scope="module")
def alerts() -> list:
    """Without forced photometry, which has no column in an archive of magnitudes."""
    alerts = [Decoder().decode(packet) for packet in packets_by_object(80).values()]
    return [replace(each, light_curve=each.light_curve.select(each.light_curve.kind != Kind.FORCED)) for each in alerts]


@pytest.fixture(scope="module")
def expected(alerts) -> dict[str, Prediction]:
    predictions = Classifier(load_bundle(), threads=1).classify([alert.light_curve for alert in alerts])
    return {alert.object_id: prediction for alert, prediction in zip(alerts, predictions, strict=True)}


@pytest.fixture(scope="module")
def frame(alerts) -> pd.DataFrame:
    """A row per object, an array of its points in each cell."""
    rows = []
    for alert in alerts:
        points = alert.light_curve.points
        columns = {name: points[name].astype(float) for name in ("mag", "magerr", "limit", "magnr", "sign")}
        columns |= {"midpointMjd": points["mjd"], "band": np.array(BANDS)[points["band"]]}
        rows.append(columns | {"object_id": alert.object_id, "ra": alert.ra, "dec": alert.dec})
    return pd.DataFrame(rows).set_index("object_id")


def test_frames_with_arrays(client, frame, expected) -> None:
    with dask.config.set({"dataframe.convert-string": False}):  # else it makes text of the arrays
        parts = from_pandas(frame, npartitions=4, sort=False)
        answers = parts.map_partitions(classify_frame, names={"mjd": "midpointMjd"}, meta=answers_like()).compute()
    assert_same(answers, expected)
    # every worker process has opened the bundle once, whatever the number of partitions
    opened = client.run(lambda: __import__("service.archives").archives.classifier_of.cache_info().misses)
    assert set(opened.values()) == {1}


def test_an_lsdb_catalogue_of_nested_light_curves(client, frame, expected) -> None:
    lsdb = pytest.importorskip("lsdb", reason="lsdb is not installed: make test-archives")
    from nested_pandas import NestedFrame

    flat = frame.reset_index().explode(["midpointMjd", "band", "mag", "magerr", "limit", "magnr", "sign"])
    numbers = dict.fromkeys(("midpointMjd", "mag", "magerr", "limit", "magnr", "sign"), float)
    objects = frame[["ra", "dec"]].reset_index()
    points = flat.drop(columns=["ra", "dec"]).astype(numbers | {"band": str})
    nested = NestedFrame(objects).set_index("object_id").join_nested(points.set_index("object_id"), "lightcurve")
    catalog = lsdb.from_dataframe(nested.reset_index(), ra_column="ra", dec_column="dec", partition_rows=20)

    def named(part: pd.DataFrame, **options) -> pd.DataFrame:
        return classify_frame(part, **options).assign(object_id=part["object_id"].to_numpy())

    meta = answers_like().assign(object_id=pd.Series([], dtype=nested.reset_index()["object_id"].dtype))
    answers = catalog.map_partitions(named, source="lightcurve", names={"mjd": "midpointMjd"}, meta=meta).compute()
    assert_same(answers.set_index("object_id"), expected)


def assert_same(answers: pd.DataFrame, expected: dict[str, Prediction]) -> None:
    assert sorted(answers.index) == sorted(expected)
    for object_id, answer in answers.iterrows():
        fields = expected[object_id].fields()
        assert answer["top_class"] == fields["top_class"]
        for name, probability in fields["probabilities"].items():
            assert answer[f"p_{name}"] == pytest.approx(probability, abs=1e-5)
        assert answer["conformal_set"] == " ".join(fields["conformal_set"])
        assert answer["flags"] == " ".join(fields["flags"])
