"""A local Spark with two workers answers as `classify` does. Runs where pyspark and Java are: `make test-archives`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: make test-archives")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java", allow_module_level=True)

from pyspark.sql import SparkSession, functions

from alert_classifier.spark import classifier_udf, classify_alerts
from service.alerts import Decoder
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from tests.archives.fink import packets_by_object, write_alerts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.executorEnv.PYTHONPATH", str(ROOT))
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="module")
def packets() -> dict[str, bytes]:
    return packets_by_object(80)


@pytest.fixture(scope="module")
def expected(packets: dict[str, bytes]) -> dict[str, tuple[Prediction, Prediction]]:
    """Per object the answer to its packet, and that to its light curve alone."""
    alerts = [Decoder().decode(packet) for packet in packets.values()]
    classifier, curves = Classifier(load_bundle(), threads=1), [alert.light_curve for alert in alerts]
    in_context = classifier.classify(curves, [alert.context for alert in alerts])
    return dict(zip(packets, zip(in_context, classifier.classify(curves), strict=True), strict=True))


def test_fink_s_alerts_are_answered_as_classify_answers_their_packets(spark, packets, expected, tmp_path) -> None:
    write_alerts(packets, tmp_path / "alerts.parquet")
    alerts = spark.read.parquet(str(tmp_path / "alerts.parquet")).repartition(4)
    rows = classify_alerts(alerts).select("objectId", "classification").collect()
    assert {row.objectId for row in rows} == set(expected)
    for row in rows:
        assert_same(row.classification, expected[row.objectId][0])


def test_the_udf_takes_the_columns_that_fink_joins(spark, packets, expected, tmp_path) -> None:
    write_alerts(packets, tmp_path / "alerts.parquet")
    frame = spark.read.parquet(str(tmp_path / "alerts.parquet")).repartition(2)
    names = ("jd", "fid", "magpsf", "sigmapsf", "isdiffpos", "diffmaglim", "magnr")
    for name in names:  # as fink_utils' concat_col does
        own = functions.array(f"candidate.{name}")
        frame = frame.withColumn(f"c{name}", functions.coalesce(functions.concat(f"prv_candidates.{name}", own), own))
    rows = frame.withColumn("answer", classifier_udf()(*[f"c{name}" for name in names])).collect()
    assert len(rows) == len(expected)
    for row in rows:
        assert_same(row.answer, expected[row.objectId][1])


def test_a_worker_opens_the_bundle_once(spark) -> None:
    """Given many batches for two workers, then no process has opened it twice."""
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "2")

    def opened(batches):
        import os

        import pandas as pd

        from service.archives import classifier_of, predictions

        for batch in batches:
            columns = {"mjd": [[6e4, 6e4 + 3]] * len(batch), "band": [["g", "r"]] * len(batch)}
            predictions(columns | {"mag": [[18.0, 18.5]] * len(batch)})
            yield pd.DataFrame({"process": [os.getpid()], "opened": [classifier_of.cache_info().misses]})

    found = spark.range(0, 40, numPartitions=4).mapInPandas(opened, "process long, opened long").collect()
    assert len(found) >= 20
    assert {row.opened for row in found} == {1}


def assert_same(answer, prediction: Prediction) -> None:
    fields = prediction.fields()
    assert answer.top_class == fields["top_class"]
    assert answer.probabilities == pytest.approx(fields["probabilities"], abs=1e-5)
    assert answer.superclass_probabilities == pytest.approx(fields["superclass_probabilities"], abs=1e-5)
    assert list(answer.conformal_set) == fields["conformal_set"]
    assert answer.ood_score == pytest.approx(fields["ood_score"], rel=1e-4)
    assert (list(answer.flags), answer.version) == (fields["flags"], fields["version"])
