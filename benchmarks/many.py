"""A store of very many objects: how fast it fills, and what the API's queries cost then.

    python -m benchmarks.many [--objects N] [--keep FILE] [--url URL]

Objects are drawn from a seed (see `benchmarks.fill`). Queries are what the routes under `/v1/objects` and the page ask.
With `--keep` the SQLite file is made once and used again. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.fill import FLAGS, copy, fill
from benchmarks.machine import machine
from benchmarks.memory import families
from service.api.neighbours import Neighbours
from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.store import Cone, Store, open_store
from service.store.paging import encode_cursor
from service.stream.batch import Batch, Message
from service.stream.pipeline import build_pipeline

RARE: Final = "TDE"
TURNS: Final = 100
FEW: Final = 10_000  # objects of the store that the drain is compared with
DRAINS, DRAINED = 8, 1024  # turns, alerts in each


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="SQLite file to fill, or to use where it is filled already")
    parser.add_argument(
        "--url", help="an empty PostgreSQL store, which gets what the SQLite file holds and is measured"
    )
    options = parser.parse_args(arguments)
    if options.objects < (DRAINS + 1) * DRAINED:
        parser.error(f"--objects: at least {(DRAINS + 1) * DRAINED:,}, as no alert comes twice in the drain")
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "many.db"
        begin = time.perf_counter()
        if not path.exists():
            fill(path, options.objects)
        filled = time.perf_counter() - begin
        url = options.url or f"sqlite:///{path}"
        if options.url:
            copy(path, url)
        store = open_store(url)
        size = store.statistics()
        costs = queries(store)
        few = Path(folder) / "few.db"
        fill(few, FEW)
        with closing(open_store(f"sqlite:///{few}")) as small:
            rates = drains({"few": (small, FEW), "many": (store, size.objects)})
        store.close()
    print(f"{size.objects:,} objects, {size.bytes / 1e9:.2f} GB, filled in {filled:.0f} s")
    ratio = float(np.median(np.array(rates["many"]) / np.array(rates["few"])))
    drained = {name: float(np.median(each)) for name, each in rates.items()}
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {
        name: {"p50_ms": float(np.median(ms)), "p99_ms": float(np.percentile(ms, 99)), "max_ms": max(ms)}
        for name, ms in costs.items()
    }
    print(f"{'query':38s}  p50 ms  p99 ms  max ms")
    for name, each in figures.items():
        print(f"{name:38s} {each['p50_ms']:7.1f} {each['p99_ms']:7.1f} {each['max_ms']:7.1f}")
    print(f"drain: {drained['many']:,.0f} alerts/s, over that with {FEW:,} objects: {ratio:.2f}")
    print(f"resident at most: {resident:.0f} MB")
    result = {
        "benchmark": "many",
        "objects": size.objects,
        "bytes": size.bytes,
        "queries": figures,
        "drain_per_second": drained["many"],
        "drain_to_that_of_few": ratio,
        "few": FEW,
        "rss_mb": resident,
    }
    print(json.dumps({**result, "machine": machine()}))


def queries(store: Store) -> dict[str, list[float]]:
    """Milliseconds of each of TURNS calls, by what is asked."""
    now = time.time()
    rng = np.random.default_rng(1)
    newest, _ = store.query(limit=200)
    names = [each.object_id for each in newest]
    neighbours = Neighbours(store)
    neighbours.begin(("alert-clr", "1.0.0"))  # as the service does at its start
    neighbours.renewed()
    second = store.query(limit=50)[1]
    low = encode_cursor("most_probable", (0.3, "ZTF"))

    def cone(radius: float) -> Cone:
        return Cone(float(rng.uniform(0, 360)), float(rng.uniform(0, 60)), radius)

    def name() -> str:
        return str(rng.choice(names))

    calls: dict[str, Callable[[], Any]] = {
        "newest": lambda: store.query(limit=50),
        "newest, next page": lambda: store.query(limit=50, cursor=second),
        "newest of a class": lambda: store.query(top_class="AGN", limit=50),
        "newest of a rare class": lambda: store.query(top_class=RARE, limit=50),
        "confident ones of a rare class": lambda: store.query(top_class=RARE, min_probability=0.9, limit=50),
        "confident ones, all classes": lambda: store.query(min_probability=0.95, limit=50),
        "most probable": lambda: store.query(sort="most_probable", limit=50),
        "most probable of a class": lambda: store.query(top_class="AGN", sort="most_probable", limit=50),
        "most probable of a rare class": lambda: store.query(top_class=RARE, sort="most_probable", limit=50),
        "most probable since yesterday": lambda: store.query(sort="most_probable", since=now - 86400, limit=50),
        "least probable page of a class": lambda: store.query(
            top_class="AGN", sort="most_probable", cursor=low, limit=50
        ),
        "transients without flags": lambda: store.query(superclass="Transient", without_flags=FLAGS, limit=50),
        "a hundred detections, of a rare class": lambda: store.query(top_class=RARE, min_detections=100, limit=50),
        "seen three weeks ago, all flags": lambda: store.query(seen_before=60009.0, flags=FLAGS, limit=50),
        "nothing is like that": lambda: store.query(superclass="Transient", survey="lsst", limit=50),
        "by the beginning of a name": lambda: store.query(prefix="ztf2500", limit=50),
        "cone of 5 arcsec": lambda: store.query(cone=cone(5 / 3600), limit=50),
        "cone of 10 arcmin": lambda: store.query(cone=cone(1 / 6), limit=50),
        "cone of 1 degree": lambda: store.query(cone=cone(1.0), limit=50),
        "cone of 10 degrees": lambda: store.query(cone=cone(10.0), limit=50),
        "cone of 10 degrees, a rare class": lambda: store.query(cone=cone(10.0), top_class=RARE, limit=50),
        "an object, its latest, its history": lambda: _page_of(store, name()),
        "classes of the last hour": lambda: store.class_mix(now - 3600),
        "statistics": store.statistics,
        "similar objects": lambda: neighbours.of(newest[int(rng.integers(len(newest)))], 10),
    }
    return {asked: [_milliseconds(call) for _ in range(TURNS)] for asked, call in calls.items()}


def drains(
    stores: dict[str, tuple[Store, int]], seen: int = 0, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Alerts per second, by `clock`, of a pipeline over each of the stores: alerts of objects that it knows, at random.

    One batch at a time on one thread, in turns, so that no store has the machine for itself; the decoder, the model and
    the packets are the same. No alert comes twice. The first `seen` objects have sent another one before.
    """
    settings, rng = Settings(), np.random.default_rng(2)
    models = ModelRegistry(load_bundle(), settings.model.device, threads=1)
    kin = [template for family in families(None) for template in family]
    pipelines = {name: build_pipeline(settings, models, store) for name, (store, _) in stores.items()}

    def seconds(name: str, numbers: Sequence[int], other: int = 0) -> float:
        packets = [kin[(number + other) % len(kin)].for_object(number) for number in numbers]
        messages = [Message("many", 0, offset, packet, received=1e9) for offset, packet in enumerate(packets)]
        begin = clock()
        for start in range(0, len(messages), settings.pipeline.max_batch):
            pipelines[name].run(Batch.of(messages[start : start + settings.pipeline.max_batch]))
        return clock() - begin

    for name in stores:
        for start in range(0, seen, DRAINED):
            seconds(name, range(start, min(start + DRAINED, seen)), other=1)
    chosen = {
        name: rng.choice(objects, ((DRAINS + 1), DRAINED), replace=False) for name, (_, objects) in stores.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in stores}
    for turn in range(DRAINS + 1):
        for name in stores:
            took = seconds(name, chosen[name][turn].tolist())
            if turn:  # the first warms up
                rates[name].append(DRAINED / took)
    return rates


def _page_of(store: Store, name: str) -> None:
    store.load([name])
    store.latest(name)
    store.history(name)


def _milliseconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    main()
