"""How long an image of a light curve takes to draw, against matplotlib, and to be looked at by a transformer.

    python -m benchmarks.images [--repeats N]

Light curves are made here. Processor time of one thread, the best of many turns: what else the machine does only ever
adds. matplotlib and the networks need the training environment. The last line is JSON; `ratios` there hold from machine
to machine, milliseconds do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.classify import Stopwatch
from benchmarks.machine import machine
from service.inference.batching import lay_end_to_end
from service.inference.preprocessing.images import SIZE, light_curve_image, light_curve_images
from service.photometry import LightCurve

LENGTHS: Final = (10, 50, 100, 200, 1000)
SIZES: Final = (64, 128, 256)
TYPICAL: Final = 100  # points
TOGETHER: Final = 64  # light curves in one call
NETWORK_BATCH: Final = 4


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=20, help="turns per figure; the best is reported")
    repeats = parser.parse_args(arguments).repeats
    result: dict[str, Any] = {
        "benchmark": "images",
        "machine": machine(),
        "size": SIZE,
        "by_length": {str(length): by_length(length, repeats) for length in LENGTHS},
        "by_size": {str(size): by_size(size, repeats) for size in SIZES},
        "matplotlib": against_matplotlib(repeats),
        "networks": networks(repeats),
    }
    result["ratios"] = ratios(result)
    show(result)
    print(json.dumps(result))


def draw(rng: np.random.Generator, count: int) -> LightCurve:
    """A rise and a decline in g and r within 100 days, with its noise: long lines and many error bars."""
    mjd = 60000.0 + rng.uniform(0, 100, count)
    error = rng.uniform(0.02, 0.2, count)
    mag = 18.0 + np.abs(mjd - 60030.0) / 40.0 + error * rng.standard_normal(count)
    return LightCurve.from_columns(mjd, rng.integers(0, 2, count), mag=mag, magerr=error, sign=1)


def milliseconds(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Processor time of each call, taken in turns; the best."""
    return Stopwatch(repeats, time.process_time)(calls)


def by_length(length: int, repeats: int) -> dict[str, float]:
    """Per light curve of `length` points: drawn alone, and many in one call."""
    rng = np.random.default_rng(length)
    curves = [draw(rng, length) for _ in range(TOGETHER)]
    found = milliseconds(
        {
            "alone_ms": lambda: light_curve_image(curves[0], {}),
            "together_ms": lambda: light_curve_images(*lay_end_to_end(curves), {}),
        },
        repeats,
    )
    return {"alone_ms": found["alone_ms"], "together_ms": found["together_ms"] / TOGETHER}


def by_size(size: int, repeats: int) -> float:
    """Per light curve of TYPICAL points, many in one call."""
    rng = np.random.default_rng(size)
    curves = [draw(rng, TYPICAL) for _ in range(TOGETHER)]
    return (
        milliseconds({"ms": lambda: light_curve_images(*lay_end_to_end(curves), {"size": size})}, repeats)["ms"]
        / TOGETHER
    )


def against_matplotlib(repeats: int) -> dict[str, Any]:
    """One figure per light curve, as it is usually done, and how far the two images are apart."""
    if importlib.util.find_spec("matplotlib") is None:
        return {"measured": False, "why": "matplotlib is not installed here; run this in the training environment"}
    from model_export.studies.vision.images import compare, reference_image

    found: dict[str, Any] = {"measured": True, "by_length": {}}
    rng = np.random.default_rng(0)
    differences = []
    for length in LENGTHS:
        curve = draw(rng, length)
        times = milliseconds(
            {"ours": lambda c=curve: light_curve_image(c, {}), "matplotlib": lambda c=curve: reference_image(c, {})},
            max(repeats // 4, 1),
        )
        found["by_length"][str(length)] = {f"{name}_ms": value for name, value in times.items()}
        apart = compare(light_curve_image(curve, {})["image"], reference_image(curve, {}))
        differences.append((apart.mean, apart.share))
    found["largest_mean_difference"], found["largest_share_of_pixels"] = np.max(differences, axis=0).tolist()
    return found


def networks(repeats: int) -> dict[str, Any]:
    """One image embedded by SwinV2-tiny and by the small network of the repository, random weights, in ONNX Runtime and
    in torch on one thread.
    """
    if importlib.util.find_spec("timm") is None:
        return {"measured": False, "why": "timm is not installed here; run this in the training environment"}
    import torch

    from model_export.studies.vision.compare import VisionCompare
    from model_export.training.configuration import CONFIGS, read_config

    torch.set_num_threads(1)
    return {"measured": True} | {
        name: network(read_config(VisionCompare, CONFIGS / file).training.vision, repeats)
        for name, file in {"swinv2_tiny": "vision-swinv2-tiny.toml", "small": "vision-small.toml"}.items()
    }


def network(config: Any, repeats: int) -> dict[str, float]:
    """Milliseconds per image of the network of a `VisionConfig`, and how far its graph is from torch."""
    import torch

    from model_export.bundles.graph import export_graph, open_graph
    from model_export.studies.vision.network import VisionBranch

    branch, shape = VisionBranch(config).eval(), (NETWORK_BATCH, 3, config.image, config.image)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_graph(branch, (images,), path, ["image"], ({0: torch.export.Dim("batch", min=1)},), ["embedding"])
        run, size = open_graph(path), path.stat().st_size
    with torch.inference_mode():
        times = milliseconds(
            {
                "onnx_alone": lambda: run.run(None, {"image": images[:1].numpy()}),
                "onnx_together": lambda: run.run(None, {"image": images.numpy()}),
                "torch_alone": lambda: branch(images[:1]),
            },
            max(repeats // 4, 1),
        )
        expected = branch(images).numpy()
    return {
        "pixels": config.image,
        "graph_mb": size / 1e6,
        "onnx_alone_ms": times["onnx_alone"],
        "onnx_together_ms": times["onnx_together"] / NETWORK_BATCH,
        "torch_alone_ms": times["torch_alone"],
        "largest_difference_from_torch": float(np.abs(run.run(None, {"image": images.numpy()})[0] - expected).max()),
    }


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Figures that a faster machine does not change."""
    found = {}
    if result["matplotlib"]["measured"]:
        typical = result["matplotlib"]["by_length"][str(TYPICAL)]
        found["matplotlib_to_ours"] = typical["matplotlib_ms"] / typical["ours_ms"]
    if result["networks"]["measured"]:
        drawn = result["by_length"][str(TYPICAL)]["together_ms"]
        found["looking_to_drawing"] = result["networks"]["swinv2_tiny"]["onnx_alone_ms"] / drawn
    return found


def show(result: dict[str, Any]) -> None:
    for length, row in result["by_length"].items():
        print(f"{length:>5} points: {row['alone_ms']:.3f} ms alone, {row['together_ms']:.3f} ms of {TOGETHER} together")
    for size, value in result["by_size"].items():
        print(f"{size:>5} pixels: {value:.3f} ms")
    other = result["matplotlib"]
    if other["measured"]:
        for length, row in other["by_length"].items():
            print(f"{length:>5} points: matplotlib {row['matplotlib_ms']:.1f} ms, ours {row['ours_ms']:.3f} ms")
        print(
            f"images differ by {other['largest_mean_difference']:.2f} of 255 on average and by more than an eighth in"
            f" {100 * other['largest_share_of_pixels']:.2f} % of the pixels, at most"
        )
    if result["networks"]["measured"]:
        for name in ("swinv2_tiny", "small"):
            row = result["networks"][name]
            print(
                f"{name}: {row['onnx_alone_ms']:.1f} ms in ONNX Runtime, {row['torch_alone_ms']:.1f} ms in torch;"
                f" they differ by {row['largest_difference_from_torch']:.0e}"
            )


if __name__ == "__main__":
    main()
