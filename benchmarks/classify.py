"""How long a light curve takes to classify, by length, by threads and by the way light curves are put together.

    python -m benchmarks.classify [--bundle FOLDER] [--repeats N]

Light curves are made here. Times are the best of many turns: what else the machine does only ever adds. The last
line is JSON; `ratios` there hold from machine to machine, milliseconds do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.machine import machine
from service.config import Device
from service.inference.batching import CPU_BATCH, equal_shapes, stack
from service.inference.bundle import Bundle, load_bundle
from service.inference.classifier import Classifier
from service.inference.session import CPU, session_options
from service.photometry import LightCurve

LENGTHS: Final = (10, 25, 50, 100, 200)
# Lengths of the mixed set: what thirty days of alerts look like, mostly short with a long tail (log-normal).
MIXED: Final = 512
MEDIAN_LENGTH: Final = 20
PADDED_BATCH: Final = 32  # a usual batch of services that pad
# Short turns find the moments when nothing else runs; a thousand times the clock's grain is long enough.
SECONDS_PER_TURN: Final = 0.03


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classify", description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="folder of a model bundle (default: the shipped one)")
    parser.add_argument("--repeats", type=int, default=25, help="turns per figure; the best is reported")
    options = parser.parse_args(arguments)
    bundle = load_bundle(options.bundle) if options.bundle else load_bundle()
    best = Stopwatch(options.repeats)

    classifiers = {threads: Classifier(bundle, Device.CPU, threads) for threads in (1, 2)}
    for classifier in classifiers.values():
        classifier.warm_up()
    result: dict[str, Any] = {
        "benchmark": "classify",
        "machine": machine(),
        "bundle": bundle.label,
        "graph_bytes": len(bundle.graph),
        "provider": classifiers[1].provider,
        "by_length": {str(length): by_length(classifiers, length, best) for length in LENGTHS},
        "mixed": mixed(classifiers, best),
        "options": options_compared(bundle, best),
        "torch_eager": torch_eager(bundle, best),
    }
    result["ratios"] = ratios(result)
    show(result)
    print(json.dumps(result))


class Stopwatch:
    """Milliseconds of calls that are to be compared: taken in turns, so that all meet the same machine; best of all."""

    def __init__(self, repeats: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.repeats, self.clock = repeats, clock

    def __call__(self, calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        number = {}
        for name, call in calls.items():
            call()
            number[name] = max(1, int(SECONDS_PER_TURN / max(self._seconds(call, 1), 1e-6)))
        best = dict.fromkeys(calls, float("inf"))
        for _ in range(self.repeats):
            for name, call in calls.items():
                best[name] = min(best[name], 1e3 * self._seconds(call, number[name]) / number[name])
        return best

    def _seconds(self, call: Callable[[], object], number: int) -> float:
        start = self.clock()
        for _ in range(number):
            call()
        return self.clock() - start


def by_length(classifiers: dict[int, Classifier], length: int, best: Stopwatch) -> dict[str, float]:
    """Milliseconds per light curve of one length."""
    rng = np.random.default_rng(length)
    light_curves = [draw(rng, length) for _ in range(64)]
    bundle, run = classifiers[1].bundle, classifiers[1]._session.run
    alone = stack(bundle.tensors(light_curves[:1]))
    stacked = stack(bundle.tensors(light_curves[:CPU_BATCH]))
    times = best(
        {
            "graph": lambda: run(alone),
            "graph_stacked": lambda: run(stacked),
            "tensors": lambda: bundle.tensors(light_curves),
            "one_call_each": lambda: classifiers[1].classify(light_curves[:1]),
            "one_thread": lambda: classifiers[1].classify(light_curves),
            "two_threads": lambda: classifiers[2].classify(light_curves),
        }
    )
    members = {"graph": 1, "graph_stacked": CPU_BATCH, "one_call_each": 1}
    return {f"{name}_ms": value / members.get(name, len(light_curves)) for name, value in times.items()}


def mixed(classifiers: dict[int, Classifier], best: Stopwatch) -> dict[str, float]:
    """Milliseconds per light curve of a set of mixed lengths, by the way the graph is given them."""
    rng = np.random.default_rng(0)
    lengths = mixed_lengths(rng, MIXED)
    light_curves = [draw(rng, int(length)) for length in lengths]
    bundle, run = classifiers[1].bundle, classifiers[1]._session.run
    inputs = bundle.tensors(light_curves)
    by_size = sorted(inputs, key=lambda arrays: arrays["points"].size)
    starts = range(0, MIXED, PADDED_BATCH)
    graph = {
        "graph_one_by_one": [stack([arrays]) for arrays in inputs],
        "graph_stacked": [stack([inputs[row] for row in batch]) for batch in equal_shapes(inputs, CPU_BATCH)],
        "graph_padded": [pad(inputs[start : start + PADDED_BATCH]) for start in starts],
        "graph_sorted_and_padded": [pad(by_size[start : start + PADDED_BATCH]) for start in starts],
    }
    calls: dict[str, Callable[[], object]] = {
        name: lambda batches=batches: [run(arrays) for arrays in batches] for name, batches in graph.items()
    }
    calls["tensors"] = lambda: bundle.tensors(light_curves)
    calls["one_thread"] = lambda: classifiers[1].classify(light_curves)
    calls["two_threads"] = lambda: classifiers[2].classify(light_curves)
    times = {f"{name}_ms": value / MIXED for name, value in best(calls).items()}
    times["beside_the_graph_ms"] = times["one_thread_ms"] - times["graph_stacked_ms"]
    return {"light_curves": MIXED, "mean_length": float(lengths.mean()), **times}


def options_compared(bundle: Bundle, best: Stopwatch) -> dict[str, float]:
    """Milliseconds at 50 points under the options the service sets, and with one of them changed."""
    sample = stack(bundle.tensors([draw(np.random.default_rng(1), 50)]))
    outputs = list(bundle.manifest.outputs.values())

    def opened(disabled_optimizers: list[str] | None = None, **changes: bool) -> ort.InferenceSession:
        options = session_options()
        for name, value in changes.items():
            setattr(options, name, value)
        return ort.InferenceSession(bundle.graph, options, providers=[CPU], disabled_optimizers=disabled_optimizers)

    sessions = {
        "ours": opened(),
        "without_memory_patterns": opened(enable_mem_pattern=False),
        "without_memory_arena": opened(enable_cpu_mem_arena=False),
        "without_skip_layer_norm_fusion": opened(["SkipLayerNormFusion"]),
    }
    times = best({name: lambda one=one: one.run(outputs, sample) for name, one in sessions.items()})
    return {f"{name}_ms": value for name, value in times.items()}


def torch_eager(bundle: Bundle, best: Stopwatch) -> dict[str, Any]:
    """Milliseconds per light curve of alert-clr in its default size, untrained, run by torch on one thread, and of the
    bundle's graph in the same turns.
    """
    if importlib.util.find_spec("torch") is None:
        return {"measured": False, "why": "torch is not installed here; run this in the training environment"}
    import torch

    from model_export.network.encoder import AlertClassifier, EncoderConfig

    torch.set_num_threads(1)
    config = EncoderConfig()
    model = AlertClassifier(config).eval()
    graph = Classifier(bundle, Device.CPU, threads=1)._session
    calls: dict[str, Callable[[], object]] = {}
    for length in (length for length in LENGTHS if length <= 100):  # one window
        points = torch.randn(1, 1, length, config.point_features)
        context = torch.randn(1, config.context_features)
        inputs = {"points": points.numpy(), "context": context.numpy()}
        calls[f"torch_{length}"] = lambda points=points, context=context: model(points, context)
        calls[f"graph_{length}"] = lambda inputs=inputs: graph.run(inputs)
    with torch.inference_mode():
        times = best(calls)
    return {"measured": True, "model": f"alert-clr, d {config.width} x {config.layers}", "milliseconds": times}


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Figures that a faster machine does not change."""
    whole, eager = result["mixed"], result["torch_eager"]
    found = {
        "one_by_one_to_stacked": whole["graph_one_by_one_ms"] / whole["graph_stacked_ms"],
        "padded_to_stacked": whole["graph_padded_ms"] / whole["graph_stacked_ms"],
        "sorted_and_padded_to_stacked": whole["graph_sorted_and_padded_ms"] / whole["graph_stacked_ms"],
        "one_thread_to_two": whole["one_thread_ms"] / whole["two_threads_ms"],
        "classify_to_graph": whole["one_thread_ms"] / whole["graph_stacked_ms"],
    }
    if eager["measured"]:
        found["torch_eager_to_graph_at_50"] = eager["milliseconds"]["torch_50"] / eager["milliseconds"]["graph_50"]
    return found


def pad(inputs: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Zero-padded to the longest. A graph without a mask answers that wrongly: only its cost is of interest."""
    shape = np.max([arrays["points"].shape for arrays in inputs], axis=0)
    points = np.zeros((len(inputs), *shape), dtype=np.float32)
    for row, arrays in enumerate(inputs):
        w, n, _ = arrays["points"].shape
        points[row, :w, :n] = arrays["points"]
    others = {name: np.stack([arrays[name] for arrays in inputs]) for name in inputs[0] if name != "points"}
    return {"points": points, **others}


def mixed_lengths(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    return np.clip(np.rint(rng.lognormal(np.log(MEDIAN_LENGTH), 0.8, count)), 1, 250).astype(np.int64)


def draw(rng: np.random.Generator, length: int) -> LightCurve:
    """`length` detections in g and r of a source that rises and fades within a month or two."""
    mjd = 60000.0 + np.sort(rng.uniform(0, 60, length))
    return LightCurve.from_columns(
        mjd,
        rng.integers(0, 2, length),
        mag=18.0 + 0.03 * np.abs(mjd - 60020.0) + rng.normal(0, 0.1, length),
        magerr=rng.uniform(0.03, 0.2, length),
        limit=20.5,
        sign=1,
    )


def show(result: dict[str, Any]) -> None:
    print(f"{result['bundle']} on {result['machine']['cpu']}, {result['provider']}; ms per light curve\n")
    columns = list(result["by_length"]["50"])
    print("points  " + "  ".join(f"{name.removesuffix('_ms'):>15}" for name in columns))
    for length, row in result["by_length"].items():
        print(f"{length:>6}  " + "  ".join(f"{row[name]:>15.3f}" for name in columns))
    for part in ("mixed", "options", "ratios"):
        print(f"\n{part}")
        for name, value in result[part].items():
            print(f"  {name:<32} {value:.3f}")
    eager = result["torch_eager"]
    print("\ntorch eager: " + (str(eager["milliseconds"]) if eager["measured"] else eager["why"]) + "\n")


if __name__ == "__main__":
    main()
