"""Answers per second and core: `classify`'s own code, Spark and Dask, on the same simulated alerts.

    .venv-archives/bin/python -m benchmarks.archives [--alerts 4000]

Everything is started and warm before the clock runs. Spark and Dask have two worker processes, so their rates are
halved; distributing and collecting count. What is not installed is left out, and said so. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.machine import machine
from service.archives import classifier_of, predictions
from service.simulate import simulate
from tests.archives.fink import write_alerts

WORKERS = 2
TURNS = 3
NAMES = {
    "jd": "jd", "fid": "band", "magpsf": "mag", "sigmapsf": "magerr", "isdiffpos": "sign", "diffmaglim": "limit",
    "magnr": "magnr",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archives", description=__doc__.partition("\n")[0])
    parser.add_argument("--alerts", type=int, default=4000)
    alerts = parser.parse_args(arguments).alerts
    found: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "alerts.parquet"
        write_alerts({str(number): alert.packet for number, alert in enumerate(simulate(alerts, seed=1))}, path)
        for what, prepare, cores in (("columns", _columns, 1), ("spark", _spark, WORKERS), ("dask", _dask, WORKERS)):
            try:
                run = prepare(path)
            except ImportError as error:
                found[what] = str(error)
                print(f"{what}: left out, {error}")
                continue
            run()
            least = min(_seconds(run) for _ in range(TURNS))
            found[what] = round(alerts / least / cores, 1)
            print(f"{what}: {found[what]} alerts per second and core")
    print(json.dumps({"benchmark": "archives", "alerts": alerts, "per_core": found, "machine": machine()}))


def _seconds(run: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _lists(path: Path) -> dict[str, list[list[Any]]]:
    rows = pq.read_table(path).to_pylist()
    points = [[*(row["prv_candidates"] or ()), row["candidate"]] for row in rows]
    return {ours: [[point[name] for point in some] for some in points] for name, ours in NAMES.items()}


def _columns(path: Path) -> Callable[[], Any]:
    """What `classify` does once the light curves are read, on one thread."""
    columns = _lists(path)
    classifier_of(None).warm_up()
    return lambda: predictions(columns)


def _spark(path: Path) -> Callable[[], Any]:
    from alert_classifier.spark import classify_alerts

    if shutil.which("java") is None:
        raise ImportError("Spark needs Java")
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master(f"local[{WORKERS}]").config("spark.ui.enabled", "false").getOrCreate()
    alerts = session.read.parquet(str(path)).repartition(2 * WORKERS).cache()
    return lambda: classify_alerts(alerts).select("classification.top_class", "classification.probabilities").collect()


def _dask(path: Path) -> Callable[[], Any]:
    import dask
    import pandas as pd
    from dask.dataframe import from_pandas
    from distributed import Client, LocalCluster

    from alert_classifier.dask import answers_like, classify_frame

    client = Client(LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None))
    with dask.config.set({"dataframe.convert-string": False}):
        frame = pd.DataFrame(_lists(path))
        parts = client.persist(from_pandas(frame, npartitions=2 * WORKERS))
    meta, turns = answers_like(), count()

    def classify(part: pd.DataFrame, turn: int) -> pd.DataFrame:
        return classify_frame(part)

    def run() -> pd.DataFrame:
        with dask.config.set({"dataframe.convert-string": False}):
            # with the turn's number, or Dask would hand out what it has computed before
            return parts.map_partitions(classify, next(turns), meta=meta).compute()

    return run


if __name__ == "__main__":
    main()
