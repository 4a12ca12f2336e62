"""A store of very many objects: how fast it fills, and what the API's queries cost then.

    python -m benchmarks.many [--objects N] [--url URL] [--keep FILE]

Objects are drawn from a seed (positions over the northern sky, five hundred light curves of a month, 14 classes of
which a few are rare, embeddings of 96) and written through the store in large batches. Queries are what the routes
under `/v1/objects` and the page ask. With `--keep` the SQLite file is made once and used again. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.machine import machine
from benchmarks.store import CLASSES, SHAPES, alert, answer, draw
from service.api.neighbours import Neighbours
from service.store import Cone, Increment, Store, StoredClassification, open_store

BATCH: Final = 2000
DAYS: Final = 30.0  # over which the latest classifications are spread
RARE: Final = "TDE"
SHARES: Final = np.array([0.05, 0.01, 0.02, 0.005, 0.001, 0.2, 0.05, 0.02, 0.15, 0.2, 0.1, 0.02, 0.1, 0.074])
TURNS: Final = 20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--url", help="a store that is empty; default: SQLite in a temporary folder")
    parser.add_argument("--keep", type=Path, help="SQLite file to fill, or to use where it is filled already")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{options.keep or Path(folder) / 'many.db'}"
        store = open_store(url)
        begin = time.perf_counter()
        if store.statistics().objects < options.objects:
            fill(store, options.objects)
        filled = time.perf_counter() - begin
        size = store.statistics()
        costs = queries(store)
        store.close()
    print(f"{size.objects:,} objects, {size.bytes / 1e9:.2f} GB, filled in {filled:.0f} s")
    print(f"{'query':36s}  p50 ms  max ms")
    for name, milliseconds in costs.items():
        print(f"{name:36s} {np.median(milliseconds):7.1f} {max(milliseconds):7.1f}")
    figures = {name: {"p50_ms": float(np.median(ms)), "max_ms": max(ms)} for name, ms in costs.items()}
    result = {"benchmark": "many", "objects": size.objects, "bytes": size.bytes, "queries": figures}
    print(json.dumps({**result, "machine": machine()}))


def fill(store: Store, objects: int, seed: int = 0) -> None:
    """Write `objects` with a latest classification each; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    shapes = [draw(rng) for _ in range(SHAPES)]
    samples = [answer(alert(0, 0, shapes), 0, rng) for _ in range(SHAPES)]
    for start in range(0, objects, BATCH):
        count = min(BATCH, objects - start)
        store.merge([_placed(alert(which, 0, shapes), rng) for which in range(start, start + count)])
        store.record([_answered(which, samples, rng) for which in range(start, start + count)])


def queries(store: Store) -> dict[str, list[float]]:
    """Milliseconds of each of TURNS calls, by what is asked."""
    now = time.time()
    rng = np.random.default_rng(1)
    newest, _ = store.query(limit=200)
    names = [each.object_id for each in newest]
    neighbours = Neighbours(store)
    second = store.query(limit=50)[1]

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
        "cone of 5 arcsec": lambda: store.query(cone=cone(5 / 3600), limit=50),
        "cone of 1 degree": lambda: store.query(cone=cone(1.0), limit=50),
        "cone of 10 degrees": lambda: store.query(cone=cone(10.0), limit=50),
        "an object, its latest, its history": lambda: _page_of(store, name()),
        "classes of the last day": lambda: store.class_mix(now - 86400),
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


def _placed(increment: Increment, rng: np.random.Generator) -> Increment:
    dec = float(np.degrees(np.arcsin(rng.uniform(-0.5, 1.0))))
    return replace(increment, ra=float(rng.uniform(0, 360)), dec=dec)


def _answered(which: int, samples: list[StoredClassification], rng: np.random.Generator) -> StoredClassification:
    """The latest classification of an object, its document one of a few."""
    sample = samples[which % len(samples)]
    return replace(
        sample,
        object_id=f"ZTF25{which:07d}",
        candid=10**17 + which,
        published_at=time.time() - DAYS * 86400 * float(rng.random()),
        top_class=str(rng.choice(CLASSES, p=SHARES)),
        top_probability=float(rng.beta(4, 2)),
        embedding=rng.standard_normal(96),
    )


if __name__ == "__main__":
    main()
