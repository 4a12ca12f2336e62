"""A store of very many objects: how fast it fills, and what the API's queries cost then.

    python -m benchmarks.many [--objects N] [--keep FILE]

Objects are drawn from a seed (see `benchmarks.fill`). Queries are what the routes under `/v1/objects` and the page ask.
With `--keep` the SQLite file is made once and used again. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.fill import FLAGS, fill
from benchmarks.machine import machine
from service.api.neighbours import Neighbours
from service.store import Cone, Store, open_store
from service.store.paging import encode_cursor

RARE: Final = "TDE"
TURNS: Final = 100


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="SQLite file to fill, or to use where it is filled already")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "many.db"
        begin = time.perf_counter()
        if not path.exists():
            fill(path, options.objects)
        filled = time.perf_counter() - begin
        store = open_store(f"sqlite:///{path}")
        size = store.statistics()
        costs = queries(store)
        store.close()
    print(f"{size.objects:,} objects, {size.bytes / 1e9:.2f} GB, filled in {filled:.0f} s")
    figures = {
        name: {"p50_ms": float(np.median(ms)), "p99_ms": float(np.percentile(ms, 99)), "max_ms": max(ms)}
        for name, ms in costs.items()
    }
    print(f"{'query':38s}  p50 ms  p99 ms  max ms")
    for name, each in figures.items():
        print(f"{name:38s} {each['p50_ms']:7.1f} {each['p99_ms']:7.1f} {each['max_ms']:7.1f}")
    result = {"benchmark": "many", "objects": size.objects, "bytes": size.bytes, "queries": figures}
    print(json.dumps({**result, "machine": machine()}))


def queries(store: Store) -> dict[str, list[float]]:
    """Milliseconds of each of TURNS calls, by what is asked."""
    now = time.time()
    rng = np.random.default_rng(1)
    newest, _ = store.query(limit=200)
    names = [each.object_id for each in newest]
    neighbours = Neighbours(store)
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
