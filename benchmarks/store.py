"""How many alerts a store merges and records: in batches, against one by one in the same run; and bytes per object.

    python -m benchmarks.store [--objects N] [--batch N] [--url URL ...]

Without `--url`: SQLite in a temporary folder and, where its binaries are installed, a PostgreSQL of our own (both with
the durability they have in service: a commit is on the disk). Light curves are made here, like a ZTF alert with its
30 days of history and context. The last line is JSON; `ratios` there hold from machine to machine, seconds do not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks.machine import machine
from service.photometry import SURVEY_CODES, Context, Kind, LightCurve
from service.photometry.context import N_CONTEXT
from service.store import Increment, StoredClassification, open_store

CLASSES: Final = (
    "SNIa", "SNIbc", "SNII", "SLSN", "TDE", "AGN", "YSO", "CV", "LPV", "ECL", "RR", "CEP", "DSCT", "RS",
)  # fmt: skip
POINTS: Final = 55  # detections and upper limits of one object after a month, in two bands
FIRST: Final = 40  # points that the first alert of an object brings; the second brings the last 30
SHAPES: Final = 500  # different light curves, shared out among the objects
ONE_BY_ONE: Final = 400  # alerts of the baseline: a commit each, so few are enough
EMBEDDING: Final = 96


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=20_000, help="objects, each with two alerts (default 20000)")
    parser.add_argument("--batch", type=int, default=256, help="alerts per batch (default 256)")
    parser.add_argument("--url", action="append", help="store to measure; it must be empty, and is filled")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {
        "benchmark": "store",
        "machine": machine(),
        "objects": options.objects,
        "batch": options.batch,
        "engines": {},
    }
    with ExitStack() as opened:
        for url in options.url or default_urls(opened):
            engine = url.partition(":")[0]
            result["engines"][engine] = measure(url, options.objects, options.batch)
            show(engine, result["engines"][engine])
    result["ratios"] = {
        f"{engine}_{name}": value
        for engine, figures in result["engines"].items()
        for name, value in figures["ratios"].items()
    }
    print(json.dumps(result))


def default_urls(opened: ExitStack) -> Iterator[str]:
    yield f"sqlite:///{opened.enter_context(tempfile.TemporaryDirectory())}/store.db"
    try:
        from tests.integration.postgres import binaries, own_server
    except ImportError:  # pytest, which comes with the dev extra
        return
    if binaries() is not None:
        yield opened.enter_context(own_server(durable=True)).dsn


@dataclass
class Clock:
    """Wall-clock seconds of each call, and CPU seconds of this process over all of them."""

    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0
    alerts: int = 0

    def __call__(self, call: Callable[[], object], alerts: int) -> None:
        cpu, start = time.process_time(), time.perf_counter()
        call()
        self.seconds.append(time.perf_counter() - start)
        self.cpu += time.process_time() - cpu
        self.alerts += alerts

    @property
    def per_second(self) -> float:
        return self.alerts / sum(self.seconds)

    def figures(self) -> dict[str, float]:
        p50, p99 = np.percentile(self.seconds, [50, 99])
        return {
            "alerts_per_second": self.per_second,
            "ms_per_alert": 1e3 / self.per_second,
            "cpu_ms_per_alert": 1e3 * self.cpu / self.alerts,
            "batch_p50_ms": 1e3 * float(p50),
            "batch_p99_ms": 1e3 * float(p99),
            "batch_max_ms": 1e3 * max(self.seconds),
        }


def measure(url: str, objects: int, batch: int) -> dict[str, Any]:
    """Two alerts of every object, in random order, in batches; then some once more, one by one; then photometry by
    position, and new objects beside it.
    """
    store = open_store(url)
    if store.statistics().objects:
        raise SystemExit("the store is not empty: a benchmark would fill it with made-up objects")
    rng = np.random.default_rng(0)
    shapes = [draw(rng) for _ in range(SHAPES)]
    clocks = {name: Clock() for name in ("merge_new", "merge_known", "record_new", "record_known")}
    for turn, kind in enumerate(("new", "known")):
        order = rng.permutation(objects)
        for start in range(0, objects, batch):
            alerts = [alert(int(which), turn, shapes) for which in order[start : start + batch]]
            answers = [answer(increment, turn, rng) for increment in alerts]
            clocks[f"merge_{kind}"](lambda alerts=alerts: store.merge(alerts), len(alerts))
            clocks[f"record_{kind}"](lambda answers=answers: store.record(answers), len(answers))
    store.close()  # which empties SQLite's log into its file
    store = open_store(url)
    size = store.statistics().bytes

    merge_one, record_one = Clock(), Clock()
    for which in rng.permutation(objects)[:ONE_BY_ONE]:
        increment = alert(int(which), 2, shapes)
        recorded = answer(increment, 2, rng)
        merge_one(lambda increment=increment: store.merge([increment]), 1)
        record_one(lambda recorded=recorded: store.record([recorded]), 1)

    # photometry that comes for positions: for those of a quarter of the objects; then objects that are new beside it
    join, merge_beside = Clock(), Clock()
    order = rng.permutation(objects)[: objects // 4]
    for start in range(0, len(order), batch):
        messages = [photometry(int(which), shapes) for which in order[start : start + batch]]
        join(lambda messages=messages: store.join(messages), len(messages))
    for start in range(objects, objects + objects // 4, batch):
        alerts = [alert(which, 0, shapes) for which in range(start, start + batch)]
        merge_beside(lambda alerts=alerts: store.merge(alerts), len(alerts))
    store.close()
    each = {name: 1 / clock.per_second for name, clock in clocks.items()}
    merged, recorded = 1 / merge_one.per_second, 1 / record_one.per_second
    return {
        **{name: clock.figures() for name, clock in clocks.items()},
        "merge_one_by_one": merge_one.figures(),
        "record_one_by_one": record_one.figures(),
        "join": join.figures(),
        "merge_new_beside": merge_beside.figures(),
        "bytes_per_object": size / objects,
        "ratios": {
            "merge_batched_to_one_by_one": merged / each["merge_known"],
            "record_batched_to_one_by_one": recorded / each["record_known"],
            "both_batched_to_one_by_one": (merged + recorded) / (each["merge_known"] + each["record_known"]),
        },
    }


def draw(rng: np.random.Generator) -> LightCurve:
    """55 points in 30 days, 45 % of them detections, values as precise as a survey's."""
    mjd = np.sort(60000 + 30 * rng.random(POINTS)).round(7)
    detected = rng.random(POINTS) < 0.45
    detected[-1] = True  # an alert's own
    return LightCurve.from_columns(
        mjd,
        rng.integers(0, 2, POINTS),
        mag=np.where(detected, rng.normal(19, 0.5, POINTS), np.nan),
        magerr=np.where(detected, rng.uniform(0.02, 0.2, POINTS), np.nan),
        limit=rng.normal(20.4, 0.3, POINTS),
        sign=np.where(detected, 1, 0),
        kind=np.where(detected, Kind.DETECTION, Kind.UPPER_LIMIT),
        candid=np.where(detected, rng.integers(10**17, 10**18, POINTS), 0),
        magnr=np.where(detected, np.float32(19.87), np.nan),
    )


def alert(which: int, turn: int, shapes: list[LightCurve]) -> Increment:
    """The first, second or (a day later) third alert of an object."""
    points = shapes[which % SHAPES].points
    if turn == 2:
        points = points[-30:].copy()
        points["mjd"] += 1
    light_curve = LightCurve(points[:FIRST] if turn == 0 else points[-30:])
    position = which * 0.618 % 360, which * 0.382 % 120 - 30
    surroundings = np.random.default_rng(which % SHAPES).uniform(0, 20, N_CONTEXT).astype(np.float32)
    context = Context(surroundings, 60000.0 + turn, 1 + turn)
    return Increment(f"ZTF25{which:07d}", *position, light_curve, context)


def photometry(which: int, shapes: list[LightCurve]) -> Increment:
    """As many points again, by another survey, half an arcsecond beside an object."""
    points = shapes[(which + 1) % SHAPES].points.copy()
    points["survey"], points["candid"] = SURVEY_CODES["atlas"], 0
    beside = alert(which, 0, shapes)
    return Increment(f"forced {which}", beside.ra, beside.dec + 0.5 / 3600, LightCurve.from_points(points))


def answer(increment: Increment, turn: int, rng: np.random.Generator) -> StoredClassification:
    probabilities = rng.dirichlet(np.full(len(CLASSES), 0.3)).astype(np.float32)
    top = int(probabilities.argmax())
    candid = int(rng.integers(10**17, 10**18))
    now = time.time()
    document = {
        "object_id": increment.object_id,
        "candid": candid,
        "survey": "ztf",
        "mjd": 60030.0 + turn,
        "classifier": "alert-clr",
        "version": "1.0.0",
        "probabilities": dict(zip(CLASSES, probabilities.tolist(), strict=True)),
        "top_class": CLASSES[top],
        "top_probability": float(probabilities[top]),
        "superclass_probabilities": {
            "Transient": float(probabilities[:5].sum()),
            "Stochastic": float(probabilities[5:8].sum()),
            "Periodic": float(probabilities[8:].sum()),
        },
        "conformal_set": [CLASSES[i] for i in np.flatnonzero(probabilities > 0.1)],
        "ood_score": float(rng.random()),
        "n_detections": {"g": 12, "r": 13},
        "n_upper_limits": {"g": 15, "r": 15},
        "flags": [],
        "observed_at": now - 600,
        "broker_timestamp": now - 0.2,
        "received_at": now - 0.1,
        "published_at": now,
    }
    return StoredClassification(
        increment.object_id,
        candid,
        "alert-clr",
        "1.0.0",
        60030.0 + turn,
        now,
        CLASSES[top],
        float(probabilities[top]),
        document,
        embedding=rng.standard_normal(EMBEDDING),
    )


def show(engine: str, figures: dict[str, Any]) -> None:
    print(f"{engine:20s} alerts/s   ms each  CPU ms  p50 ms  p99 ms  max ms")
    for name, row in figures.items():
        if isinstance(row, dict) and "alerts_per_second" in row:
            print(
                f"  {name:18s} {row['alerts_per_second']:8.0f}  {row['ms_per_alert']:8.3f} "
                f"{row['cpu_ms_per_alert']:7.3f} "
                f"{row['batch_p50_ms']:7.1f} {row['batch_p99_ms']:7.1f} {row['batch_max_ms']:7.1f}"
            )
    print(f"  {figures['bytes_per_object']:.0f} bytes per object, indexes and two classifications included")


if __name__ == "__main__":
    main()
