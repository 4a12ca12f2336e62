"""Where the processor time of an alert goes, by the age of its object.

    python -m benchmarks.ages [--objects N] [--rounds N] [--bundle FOLDER]

Objects with so many earlier detections each lie in a SQLite store (see `benchmarks.aged`), and then come alerts of
them, night after night, on one thread. Steps: decode the packet; load what is stored (SQLite); unpack it; merge; lay
out tensors, with the census of points; the graph; pack; write (SQLite); record the answer; read and write what the
model keeps of finished blocks. The best night counts. The last line is JSON.
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

from benchmarks.aged import CANDIDS_PER_DAY, history
from benchmarks.machine import machine
from benchmarks.store import answer
from service.alerts import Alert, Decoder
from service.config import Device
from service.inference.batching import lay_end_to_end
from service.inference.block_inputs import Plan
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier, _Census
from service.photometry import LightCurve
from service.simulate import simulate
from service.store import Increment, KeptBlocks, SqliteStore
from service.store.blocks import changes
from service.store.encoding import decode_newest, encode_light_curve, with_blocks
from service.store.interface import StoredObject
from service.store.merging import merge_batch
from service.store.sqlite.rows import load_objects

AGES: Final = (0, 10, 50, 100, 250, 500, 1000, 2000)
STEPS: Final = ("decode", "load", "unpack", "merge", "tensors", "graph", "pack", "write", "record", "kept")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ages", description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=128, help="of each age")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ages", type=int, nargs="+", default=AGES, help="earlier detections")
    parser.add_argument("--bundle", type=Path, help="instead of the shipped one")
    options = parser.parse_args(arguments)
    packets = [each.packet for each in simulate(options.objects, seed=4)]
    classifier = Classifier(load_bundle(options.bundle), Device.CPU, threads=1)
    classifier.warm_up()
    rows = [by_age(age, packets, classifier, options.rounds) for age in options.ages]
    print(
        f"{'earlier':>8} {'points':>7} "
        + " ".join(f"{step:>8}" for step in STEPS)
        + f" {'but graph':>10}  over young {'all':>10}  over young"
    )
    for row in rows:
        print(
            f"{row['earlier_detections']:>8} {row['points']:>7.0f} "
            + " ".join(f"{row['ms'][step]:>8.4f}" for step in STEPS)
            + f" {row['but_graph_ms']:>10.4f}  {row['but_graph_ms'] / rows[0]['but_graph_ms']:>10.2f}"
            + f" {row['all_ms']:>10.4f}  {row['all_ms'] / rows[0]['all_ms']:>10.2f}"
        )
    print(json.dumps({"benchmark": "ages", "ages": rows, "objects": options.objects, "machine": machine()}))


def by_age(age: int, packets: list[bytes], classifier: Classifier, rounds: int) -> dict[str, Any]:
    """Milliseconds per alert of objects with `age` earlier detections, by step."""
    decoder = Decoder()
    decoder.warm_up()
    alerts = list({a.object_id: a for a in decoder.decode_many(packets) if isinstance(a, Alert)}.values())
    rng = np.random.default_rng(age)
    best = dict.fromkeys(STEPS, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "ages.db")
        store.merge([replace(_increment(a, 0), light_curve=_past(rng, age, a)) for a in alerts])
        for night in range(rounds):
            increments = [_increment(a, night) for a in alerts]
            ids = sorted(each.object_id for each in increments)
            answers = [answer(each, night, rng) for each in increments]
            spent: dict[str, float] = {}
            stored = spend(spent, "load", lambda ids=ids: load_objects(store._writer, ids))
            packed = [[encode_light_curve(b) for b in _blocks(o.light_curve, o.closed)] for o in stored.values()]
            rows = list(zip(stored.values(), packed, strict=True))
            spend(spent, "unpack", lambda rows=rows: [_unpack(stored, packed) for stored, packed in rows])
            known, changed = spend(spent, "merge", lambda s=stored, i=increments: merge_batch(s, i))
            spend(
                spent,
                "pack",
                lambda changed=changed, stored=stored: [
                    [encode_light_curve(each) for each in (found.newest, *(block for _, block in found.blocks))]
                    for found in (changes(stored[o.object_id], o) for o in changed)
                ],
            )
            spend(spent, "write", lambda increments=increments: store.merge(increments))
            curves = [each.light_curve for each in known]
            owners = [each.object_id for each in known]
            kept = spend(spent, "kept", lambda owners=owners: _kept(store, classifier, owners))
            plan = spend(spent, "tensors", lambda curves=curves, kept=kept: _tensors(classifier, curves, kept))
            changed = spend(spent, "graph", lambda plan=plan: _graph(classifier, plan))
            packed = [KeptBlocks(owners[row], classifier.embeds_as or "", found) for row, found in changed.items()]
            reading = spent["kept"]
            spend(spent, "kept", lambda packed=packed: store.keep_blocks(packed, {classifier.embeds_as or ""}))
            spent["kept"] += reading
            spend(spent, "decode", lambda: decoder.decode_many(packets))
            spend(spent, "record", lambda answers=answers: store.record(answers))
            spent["write"] -= spent["load"] + spent["merge"] + spent["pack"]
            spent["load"] -= spent["unpack"]
            for step, seconds in spent.items():
                of = len(packets) if step == "decode" else len(alerts)
                best[step] = min(best[step], max(seconds, 0.0) / of * 1000)
        store.close()
    return {
        "earlier_detections": age,
        "points": float(np.mean([len(each.light_curve) for each in known])),
        "ms": best,
        "but_graph_ms": sum(best.values()) - best["graph"],
        "all_ms": sum(best.values()),
    }


def spend(spent: dict[str, float], step: str, call: Callable[[], Any]) -> Any:
    """What `call` gives; the processor time of this thread is noted under `step`."""
    begin = time.thread_time()
    result = call()
    spent[step] = time.thread_time() - begin
    return result


def _unpack(stored: StoredObject, packed: list[bytes]) -> StoredObject:
    newest, _ = decode_newest(packed[-1], stored.object_id)
    return with_blocks(replace(stored, light_curve=newest), list(enumerate(packed[:-1])))


def _tensors(classifier: Classifier, curves: list[LightCurve], kept: list[bytes | None]) -> Plan:
    points, counts = lay_end_to_end(curves)
    _Census(points, counts, classifier._is_read)
    return classifier._plan(points, counts, classifier.bundle.context_inputs(None, len(curves)), kept)


def _graph(classifier: Classifier, plan: Plan) -> dict[int, bytes]:
    """Run what is missing, and every newest block. Returns what is to be kept anew, by light curve."""
    changed = classifier._blocks.complete(plan, classifier._embed) if classifier._blocks else {}
    classifier._run(plan.newest)
    return changed


def _kept(store: SqliteStore, classifier: Classifier, owners: list[str]) -> list[bytes | None]:
    if classifier.embeds_as is None:
        return [None] * len(owners)
    found = store.kept_blocks(owners)
    return [found.get(owner, {}).get(classifier.embeds_as) for owner in owners]


def _increment(alert: Alert, night: int) -> Increment:
    """The alert as it would be so many nights later."""
    points = alert.light_curve.points.copy()
    points["mjd"] += night
    points["candid"] += np.where(points["candid"] > 0, night * CANDIDS_PER_DAY, 0)
    points["brought_by"] += night * CANDIDS_PER_DAY
    return Increment(alert.object_id, alert.ra, alert.dec, LightCurve(points))


def _past(rng: np.random.Generator, age: int, alert: Alert) -> LightCurve:
    return history(rng, age, float(alert.light_curve.mjd[0]), alert.candid)


def _blocks(light_curve: LightCurve, closed: tuple[int, ...]) -> list[LightCurve]:
    stops = np.cumsum([0, *closed])
    ends = [*stops[1:].tolist(), len(light_curve)]
    return [LightCurve(light_curve.points[begin:end]) for begin, end in zip(stops.tolist(), ends, strict=True)]


if __name__ == "__main__":
    main()
