"""Has anything become slower? Ratios, never seconds, against those kept in the repository.

    python -m benchmarks.regression [--keep]

Each ratio says how many times cheaper our way is than the usual one doing the same work in the same turns. Processor
time of one thread counts, and the best of many short turns: so a busy machine changes little. It fails where a ratio
has fallen by more than a fifth below `benchmarks/results/regression.json`; `--keep` writes that file. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import fastavro
import numpy as np

from benchmarks.machine import machine
from benchmarks.store import SHAPES, alert, answer, draw
from benchmarks.stream import plain_light_curve
from service.alerts import Alert, Decoder
from service.config import Device, QualitySettings
from service.inference.batching import CPU_BATCH, CPU_TOKENS, equal_shapes, stack
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.registry import ModelRegistry
from service.photometry import LightCurve
from service.simulate import simulate
from service.store import Increment, StoredClassification, open_store
from service.stream.batch import Batch, Message
from service.stream.pipeline import Pipeline

KEPT: Final = Path(__file__).parent / "results" / "regression.json"
ALLOWED_FALL: Final = 0.2
ALERTS: Final = 256
TURNS: Final = 7
# What disturbs a run seldom lasts; what has become slower stays so.
ATTEMPTS: Final = 4


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regression", description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="make these ratios the ones to compare with")
    options = parser.parse_args(arguments)
    if options.keep:
        found = typical(ATTEMPTS)
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps({"ratios": found, "machine": machine()}, indent=2) + "\n")
        print(json.dumps({"benchmark": "regression", "ratios": found}))
        return
    found, fallen = check()
    for name, kept in kept_ratios().items():
        print(f"{name:<32} {found[name]:6.2f} (kept: {kept:.2f}){'  FALLEN' if name in fallen else ''}")
    print(json.dumps({"benchmark": "regression", "ratios": found, "fallen": fallen, "machine": machine()}))
    if fallen:
        sys.exit(f"slower than before, against the same baseline in the same run: {', '.join(fallen)}")


def check() -> tuple[dict[str, float], list[str]]:
    """The ratios now, and the names of those that fell by more than ALLOWED_FALL."""
    kept = kept_ratios()
    found: dict[str, float] = {}
    for _ in range(ATTEMPTS):
        found = _larger(found, measure())
        if not fallen_below(kept, found):
            break
    return found, fallen_below(kept, found)


def fallen_below(kept: Mapping[str, float], found: Mapping[str, float]) -> list[str]:
    """A ratio that is no longer measured counts as fallen."""
    return [name for name, ratio in kept.items() if not found.get(name, 0.0) >= (1 - ALLOWED_FALL) * ratio]


def kept_on() -> str:
    """The processor on which the ratios were kept: on another one they are others, by more than a fifth."""
    processor: str = json.loads(KEPT.read_text())["machine"]["cpu"]
    return processor


def kept_ratios() -> dict[str, float]:
    ratios: dict[str, float] = json.loads(KEPT.read_text())["ratios"]
    return ratios


def typical(runs_made: int) -> dict[str, float]:
    """The median of each ratio: a kept figure must be one that another run reproduces."""
    runs = [measure() for _ in range(runs_made)]
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def measure() -> dict[str, float]:
    """How many times cheaper each way of ours is, in processor time."""
    packets = [simulated.packet for simulated in simulate(ALERTS, seed=2)]
    decoder = Decoder()
    alerts = [found for found in decoder.decode_many(packets) if isinstance(found, Alert)]
    curves = [found.light_curve for found in alerts]
    classifier = Classifier(load_bundle(), Device.CPU, threads=1)
    classifier.warm_up()
    seen = [curve for curve in curves if _is_seen(curve)]
    with _stores() as stores, _pipeline(decoder) as pipeline:
        return {
            "decode_to_fastavro": _ratio(
                lambda: [next(iter(fastavro.reader(io.BytesIO(packet)))) for packet in packets[:32]],
                lambda: decoder.decode_many(packets[:32]),
            ),
            "classify_to_its_graph": _ratio(
                _graph_alone(classifier, seen, CPU_BATCH), lambda: classifier.classify(seen)
            ),
            "classify_one_to_its_graph": _ratio(
                _graph_alone(classifier, seen, 1), lambda: [classifier.classify([curve]) for curve in seen]
            ),
            "store_to_one_by_one": _ratio(stores(1), stores(ALERTS)),
            "pipeline_to_plain_loop": _ratio(
                lambda: _plain_loop(packets[:64], classifier), lambda: pipeline(packets), 64, len(packets)
            ),
        }


def _ratio(theirs: Callable[[], object], ours: Callable[[], object], n_theirs: int = 1, n_ours: int = 1) -> float:
    """Their processor time over ours, per piece of work; the best turn of each."""
    best = {theirs: float("inf"), ours: float("inf")}
    for turn in range(TURNS + 1):
        for call in best:
            begin = time.thread_time()
            call()
            if turn:  # the first warms up
                best[call] = min(best[call], time.thread_time() - begin)
    return (best[theirs] / n_theirs) / (best[ours] / n_ours)


def _graph_alone(classifier: Classifier, curves: list[LightCurve], largest: int) -> Callable[[], object]:
    inputs = classifier.bundle.tensors(curves)
    batches = [stack([inputs[row] for row in batch]) for batch in equal_shapes(inputs, largest, CPU_TOKENS)]
    return lambda: [classifier._session.run(batch) for batch in batches]


@contextmanager
def _stores() -> Iterator[Callable[[int], Callable[[], object]]]:
    """Makes calls that merge and record ALERTS alerts, so many at a time; each call brings new objects."""
    rng = np.random.default_rng(0)
    shapes = [draw(rng) for _ in range(SHAPES)]
    objects = iter(range(10**9))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/store.db")

        def calls(size: int) -> Callable[[], object]:
            turns = iter([[work(size) for _ in range(0, ALERTS, size)] for _ in range(1 + TURNS)])

            def call() -> None:
                for increments, answers in next(turns):
                    store.merge(increments)
                    store.record(answers)

            return call

        def work(size: int) -> tuple[list[Increment], list[StoredClassification]]:
            increments = [alert(next(objects), 0, shapes) for _ in range(size)]
            return increments, [answer(increment, 0, rng) for increment in increments]

        yield calls
        store.close()


@contextmanager
def _pipeline(decoder: Decoder) -> Iterator[Callable[[list[bytes]], object]]:
    """Takes packets through all steps of the service: decode, cut, merge, classify, encode, record."""
    store = open_store("sqlite://")
    models = ModelRegistry(load_bundle(), Device.CPU, threads=1)
    whole = Pipeline(decoder, store, models, QualitySettings())

    def run(packets: list[bytes]) -> None:
        batch = Batch.of(Message("regression", 0, offset, packet) for offset, packet in enumerate(packets))
        whole.run(batch)
        if sum(1 for _ in batch.published()) != len(packets):
            raise RuntimeError("the pipeline did not answer every alert: there is nothing to compare")

    yield run
    store.close()


def _plain_loop(packets: list[bytes], classifier: Classifier) -> None:
    """The same as it is often written: fastavro.reader, a dict as the store, one alert at a time, JSON."""
    store: dict[str, LightCurve] = {}
    for packet in packets:
        record: Any = next(iter(fastavro.reader(io.BytesIO(packet))))
        curve = plain_light_curve(record)
        name = record["objectId"]
        store[name] = curve = store[name].merge(curve) if name in store else curve
        (prediction,) = classifier.classify([curve])
        json.dumps(dict(zip(prediction.classes, prediction.probabilities.tolist(), strict=True)))


def _is_seen(curve: LightCurve) -> bool:
    """Whether it has a detection: else there is nothing for the graph to do."""
    return bool((curve.kind == 0).any())


def _larger(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: max(one.get(name, 0.0), ratio) for name, ratio in other.items()}


if __name__ == "__main__":
    main()
