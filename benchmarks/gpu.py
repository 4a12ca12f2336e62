"""Light curves per second on a GPU, by batch and length: our graphs as the service runs them, and torch beside them.

    python -m benchmarks.gpu [--device cpu] [--batches 1 16 256 1024] [--lengths 16 48 128]

needs the training environment with `onnxruntime-gpu` in it and a CUDA device; `--device cpu` runs the very same on a
CPU, on one thread. The network is alert-clr in its default size, untrained: its speed does not depend on its weights.
Inputs lie in the host's memory before a call and answers after it. Torch's compiler works for each shape on its own,
and its time is not counted. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.classify import Stopwatch, draw, mixed_lengths
from benchmarks.machine import machine
from service.config import Device
from service.inference.batching import CUDA_BATCH, equal_shapes
from service.inference.bundle import Bundle, load_bundle, seal_bundle
from service.inference.classifier import Classifier
from service.inference.session import DeviceError, Session

BATCHES: Final = (1, 16, 256, 1024)
LENGTHS: Final = (16, 48, 128)
WINDOW: Final = 128
# how the graph is exported: (half precision, takes padding)
GRAPHS: Final = {"exact": (False, False), "float32": (False, True), "float16": (True, True)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", type=Device, choices=[Device.CUDA, Device.CPU], default=Device.CUDA)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--mixed", type=int, default=4096, help="light curves in the set of mixed lengths")
    parser.add_argument("--repeats", type=int, default=15, help="turns per figure; the best is reported")
    parser.add_argument("--without-compiler", action="store_true", help="leave out torch's compiler, slow on a CPU")
    options = parser.parse_args(arguments)
    try:
        import torch
    except ImportError:
        sys.exit("torch is not installed here; run this in the training environment (make model makes it)")
    if options.device is Device.CUDA and not torch.cuda.is_available():
        sys.exit("there is no CUDA device here, so there is nothing to measure; --device cpu runs the same on a CPU")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    best = Stopwatch(options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        bundles = {name: _bundle(Path(folder) / name, *kind) for name, kind in GRAPHS.items()}
        try:
            rows = [
                by_shape(bundles, options.device, batch, length, best, not options.without_compiler)
                for length in options.lengths
                for batch in options.batches
            ]
            mixed = {name: of_mixed_lengths(bundles[name], options.device, options.mixed, best) for name in GRAPHS}
        except DeviceError as error:
            sys.exit(str(error))
    result = {
        "benchmark": "gpu",
        "device": torch.cuda.get_device_name() if options.device is Device.CUDA else "cpu",
        "by_shape": rows,
        "mixed": {"light_curves": options.mixed, **mixed},
        "machine": machine(),
    }
    show(result)
    print(json.dumps(result))


def by_shape(
    bundles: dict[str, Bundle], device: Device, batch: int, length: int, best: Stopwatch, compiled: bool
) -> dict[str, Any]:
    """Light curves per second of one batch of equal length: both graphs for GPUs, torch eager and compiled."""
    import torch

    rng = np.random.default_rng(length)
    config = _model(half=False).config
    points = rng.standard_normal((batch, 1, length, config.point_features)).astype(np.float32)
    context = rng.standard_normal((batch, config.context_features)).astype(np.float32)
    lengths = np.full(batch, length)
    calls: dict[str, Callable[[], object]] = {}
    for name in ("float32", "float16"):
        one = {"points": points[0], "context": context[0], "lengths": lengths[0]}
        session = Session(bundles[name], device, one, bound=True)
        inputs = {"points": points, "context": context, "lengths": lengths}
        calls[f"graph_{name}"] = lambda session=session, inputs=inputs: session.run(inputs)
        model = _model(half=name == "float16").to(device.value)
        calls[f"torch_eager_{name}"] = lambda model=model: _ask(model, device, points, context)
        if compiled:
            torch._dynamo.reset()  # it refuses more than a few shapes of the same code
            fast = torch.compile(model, dynamic=False)
            calls[f"torch_compiled_{name}"] = lambda fast=fast: _ask(fast, device, points, context)
    with torch.inference_mode():
        times = best(calls)
    return {"batch": batch, "length": length} | {name: 1000 * batch / ms for name, ms in times.items()}


def of_mixed_lengths(bundle: Bundle, device: Device, count: int, best: Stopwatch) -> dict[str, float]:
    """A set of mixed lengths through the service's own classifier: light curves per second, runs of the graph at
    CUDA_BATCH light curves each, and how much of what they are given is padding.
    """
    rng = np.random.default_rng(0)
    curves = [draw(rng, int(length)) for length in mixed_lengths(rng, count)]
    classifier = Classifier(bundle, device, threads=1)
    inputs = bundle.tensors(curves)
    given = sum(arrays["points"].shape[0] * arrays["points"].shape[1] for arrays in inputs)
    real = sum(arrays["points"].shape[0] * _length(arrays) for arrays in inputs)
    ((_, ms),) = best({"classify": lambda: classifier.classify(curves)}).items()
    return {
        "per_second": 1000 * count / ms,
        "runs": len(equal_shapes(inputs, CUDA_BATCH)),
        "padding": 1 - real / given,
    }


def show(result: dict[str, Any]) -> None:
    names = list(result["by_shape"][0])
    print(" ".join(f"{name:>22}" for name in names))
    for row in result["by_shape"]:
        print(" ".join(f"{row[name]:>22,.0f}" for name in names))
    for name in GRAPHS:
        row = result["mixed"][name]
        print(f"mixed, {name}: {row['per_second']:,.0f}/s in {row['runs']} runs, {row['padding']:.0%} padding")


def _ask(network: Any, device: Device, points: NDArray[Any], context: NDArray[Any]) -> object:
    import torch

    logits, embedding = network(*(torch.from_numpy(array).to(device.value) for array in (points, context)))
    return logits.cpu(), embedding.cpu()


def _model(half: bool) -> Any:
    """alert-clr in its default size; `half`: the blocks in float16, as in the exported graph."""
    from model_export.network.encoder import AlertClassifier, EncoderConfig

    model = AlertClassifier(EncoderConfig()).eval()
    if half:
        model.encoder.blocks.half()
    return model


def _bundle(folder: Path, half: bool, padded: bool) -> Bundle:
    """The untrained network as a bundle, with a calibration that says nothing."""
    from model_export.bundles.graph import Publication, export_alert_clr, write_manifest
    from model_export.bundles.variants import bucket_lengths
    from model_export.data.tables import CLASSES
    from service.inference.manifest import Calibration, Padding

    prior = np.full(len(CLASSES), 1 / len(CLASSES))
    export_alert_clr(_model(half=False), Publication(prior), folder / "model.onnx", half, padded)
    manifest = write_manifest(
        folder,
        name="untrained",
        version="0",
        description="",
        prior=prior,
        preprocessing=("alert-clr/1", {"window": WINDOW, "max_windows": 4}),
        calibration=Calibration(
            edges=[1], temperature=[1.0], conformal_coverage=0.9, conformal_thresholds=[[1.0] * len(CLASSES)]
        ),
        out_of_distribution=None,
        data_digest="0" * 64,
        minimum_detections=1,
    )
    if padded:
        padding = Padding(lengths="lengths", buckets=bucket_lengths(WINDOW))
        (folder / "manifest.json").write_text(manifest.model_copy(update={"padding": padding}).model_dump_json())
    (folder / "MODEL_CARD.md").write_text("# untrained\n")
    (folder / "metrics.json").write_text("{}")
    seal_bundle(folder)
    return load_bundle(folder)


def _length(arrays: dict[str, NDArray[Any]]) -> int:
    return int(arrays["lengths"]) if "lengths" in arrays else arrays["points"].shape[1]


if __name__ == "__main__":
    main()
