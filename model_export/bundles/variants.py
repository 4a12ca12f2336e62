"""Faster variants of a bundle: int8 for CPUs, float16 and float32 for GPUs.

Those for GPUs take padding, so that light curves of similar lengths share a run. A variant is a separate bundle. It is
only written if, on the validation split, macro-F1 of the supernova types and the calibration error each change by less
than half a point.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from model_export.bundles.bundle import served_network
from model_export.bundles.graph import Publication, export_alert_clr, latency, sha256
from model_export.data.scores import expected_calibration_error, supernova_scores
from model_export.data.tables import load_difference
from model_export.judging.calibrate import read_calibration
from model_export.judging.evaluate import ENOUGH, judge
from model_export.network.predict import ALL
from model_export.training.run import load_run
from service.inference.bundle import seal_bundle
from service.inference.manifest import Manifest

TOLERANCE: Final = 0.005  # half a point
_LENGTH: Final = 30  # tokens of a typical light curve with ten to twenty detections


class VariantError(ValueError):
    """A variant changes the answers too much; the message has the figures."""


def bucket_lengths(window: int) -> list[int]:
    """Lengths to pad light curves to: multiples of 8 with growing steps, so that above 16 points at most a third of a
    window is padding, with few different shapes.
    """
    lengths = [8]
    while lengths[-1] < window:
        lengths.append(max(lengths[-1] + 8, int(1.5 * lengths[-1]) // 8 * 8))
    return [*lengths[:-1], window]


def write_variant(kind: str, data: Path, bundle: Path, out: Path, run: Path | None = None) -> str:
    """Write a variant: `int8`, or `float16` or `float32` with padding, which need the torch weights of `run`.

    Returns its costs and gains. Raises VariantError if macro-F1 or the calibration error changes by half a point or
    more.
    """
    manifest = json.loads((bundle / "manifest.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        if kind == "int8":
            _quantize(bundle / "model.onnx", made / "model.onnx")
            manifest["batch_invariant"] = False  # activations share one scale per batch
        elif manifest.get("context"):
            raise VariantError(f"the {kind} variant is exported anew, without what stands beside the network: context")
        elif run is None:
            raise VariantError(f"the {kind} variant is exported anew and needs the run's weights: --run")
        else:
            publication = Publication(np.array(manifest["prior"]), read_calibration(run / "calibration.json")[0])
            network, config = load_run(run)
            model, *_ = served_network(run, network, config)
            export_alert_clr(model, publication, made / "model.onnx", half=kind == "float16", padded=True)
            manifest["padding"] = {"lengths": "lengths", "buckets": bucket_lengths(config.parameters["window"])}
        manifest["version"] += f"+{kind}"
        manifest["sha256"] = sha256(made / "model.onnx")
        Manifest.model_validate(manifest)
        (made / "manifest.json").write_text(json.dumps(manifest, separators=(",", ":")) + "\n")
        before, after = _figures(bundle, data), _figures(made, data)
        moved = {name: after[name] - before[name] for name in before}
        told = ", ".join(f"{name} {before[name]:.4f} -> {after[name]:.4f}" for name in before)
        if max(abs(change) for change in moved.values()) >= TOLERANCE:
            raise VariantError(f"{kind} moves the figures too much: {told}")
        out.mkdir(parents=True, exist_ok=True)
        for name in ("model.onnx", "manifest.json"):
            shutil.copyfile(made / name, out / name)
        for name in ("MODEL_CARD.md", "metrics.json"):
            shutil.copyfile(bundle / name, out / name)
        seal_bundle(out)
    fast, slow = latency(out / "model.onnx", _LENGTH), latency(bundle / "model.onnx", _LENGTH)
    return f"{told}; {_LENGTH} tokens on one core: {slow:.2f} -> {fast:.2f} ms"


def _quantize(source: Path, target: Path) -> None:
    """Convert weights of attention and feed-forward to int8; embedding of points, pooling and head stay float32."""
    nodes = onnx.load(source).graph.node
    embedding = next(node.name for node in nodes if node.op_type == "MatMul")  # of points: the first product
    kept = [node.name for node in nodes if node.op_type == "Gemm"]  # context, pooling, head
    quantize_dynamic(source, target, weight_type=QuantType.QInt8, nodes_to_exclude=[embedding, *kept])


def _figures(bundle: Path, data: Path) -> dict[str, float]:
    """Macro-F1 of supernova types and calibration error, on the validation split, with all detections."""
    real = load_difference(data)
    validation = real.where(real.in_split("validation") & (real.labels >= 0))
    judged = judge(bundle, validation, (ALL,))[ALL]
    prior = np.array(json.loads((bundle / "manifest.json").read_text())["prior"])
    transients = judged.where((judged.table == "transients") & (judged.n_detections >= ENOUGH))
    return {
        "macro-F1": supernova_scores(transients.probabilities, transients.labels, prior)["macro_f1"],
        "calibration error": expected_calibration_error(judged.probabilities, judged.labels),
    }
