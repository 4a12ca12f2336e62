"""Export a finished run as a bundle, and verify a bundle before it is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.bundles.graph import (
    OPSET,
    Publication,
    Served,
    check_parity,
    export_alert_clr,
    latency,
    sha256,
    write_manifest,
)
from model_export.data.prior import published_prior
from model_export.data.tables import Dataset, data_digest, load_difference
from model_export.judging.calibrate import read_calibration
from model_export.network.block_fusion import BlockClassifier
from model_export.network.encoder import AlertClassifier
from model_export.training.fuse_blocks import has_blocks, load_blocks
from model_export.training.run import FinetuneConfig, load_run
from service.inference.bundle import FILES
from service.inference.integrity import SUMS, check_seal
from service.inference.manifest import Manifest
from service.inference.preprocessing.alert_clr import alert_tokens, windows
from service.inference.preprocessing.blocks import KEPT_INPUT


def export_run(data: Path, run: Path, bundle: Path, version: str) -> Manifest:
    """Write graph and manifest; raises ValueError if ONNX Runtime and torch disagree."""
    network, config = load_run(run)
    served, preprocessing, prior = served_network(run, network, config)
    real = load_difference(data)
    if prior is None:
        prior = published_prior(real.split("train"), config.alert_share)
    softening, calibration, out_of_distribution = read_calibration(run / "calibration.json")
    publication = Publication(prior, softening)
    export_alert_clr(served, publication, bundle / "model.onnx")
    check_parity(bundle / "model.onnx", Served(served, publication), example_feeds(real, config, kept_size(served)))
    return write_manifest(
        bundle,
        name="alert-clr",
        version=version,
        description="Transformer over the points of a partial ZTF light curve, 14 classes.",
        prior=prior,
        preprocessing=preprocessing,
        calibration=calibration,
        out_of_distribution=out_of_distribution,
        data_digest=data_digest(data),
        minimum_detections=3,
        opset=OPSET,
    )


def served_network(
    run: Path, model: AlertClassifier, config: FinetuneConfig
) -> tuple[AlertClassifier | BlockClassifier, tuple[str, dict[str, Any]], NDArray[np.float64] | None]:
    """What of a run is served, its preprocessing, and the prior that it has to be published with, if any: the network,
    with a fusion of blocks where the run has one.
    """
    if not has_blocks(run):
        return model, ("alert-clr/1", config.parameters), None
    blocks, parameters, prior = load_blocks(run, model)
    return blocks, ("alert-clr/2", parameters), prior


def kept_size(model: AlertClassifier | BlockClassifier) -> int | None:
    """Values of the input `kept`, of a network that has it."""
    return model.kept_size if isinstance(model, BlockClassifier) else None


def verify_bundle(bundle: Path, run: Path | None, data: Path | None) -> Iterator[str]:
    """One line per check; raises ValueError at the first that fails."""
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    if sha256(bundle / "model.onnx") != manifest.sha256:
        raise ValueError(f"sha256 of {bundle / 'model.onnx'} is not that of the manifest")
    yield f"{manifest.name} {manifest.version}: hash and manifest agree"
    there = {name: (bundle / name).read_bytes() for name in FILES if (bundle / name).is_file()}
    digest = check_seal(bundle, there)
    yield f"sha256 of all files: {digest}" if digest else f"{SUMS} is missing: nothing holds the files together"
    if run and manifest.context:
        raise ValueError(f"{bundle} has trees beside the network: compare the bundle it was made of with {run}")
    if run:
        network, config = load_run(run)
        model, *_ = served_network(run, network, config)
        feeds = example_feeds(load_difference(data) if data else None, config, kept_size(model))
        publication = Publication(np.array(manifest.prior), read_calibration(run / "calibration.json")[0])
        worst = check_parity(bundle / "model.onnx", Served(model, publication), feeds)
        yield f"ONNX Runtime and torch agree to {worst:.1e} on {len(feeds)} inputs"
    if manifest.preprocessing.id.startswith("alert-clr/"):
        for length in (10, 30, 50, 128):
            yield f"{length} tokens: {latency(bundle / 'model.onnx', length):.2f} ms on one core"


def example_feeds(
    data: Dataset | None, config: FinetuneConfig, kept: int | None = None
) -> list[dict[str, NDArray[Any]]]:
    """Inputs to test the graph: random ones of every shape, and forty real light curves. With `kept` values of finished
    blocks each, for a graph that takes them: random ones, and none.
    """
    rng = np.random.default_rng(0)
    features, context = config.encoder.point_features, config.encoder.context_features
    feeds = [
        {
            "points": rng.standard_normal((b, w, n, features)).astype(np.float32),
            "context": rng.standard_normal((b, context)).astype(np.float32),
        }
        for b, w, n in ((1, 1, 1), (1, 1, 50), (4, 3, 128), (7, 1, 9))
    ]
    if data is not None:
        some = data.where(np.isin(np.arange(len(data)), rng.integers(0, len(data), 40)))
        tokens = alert_tokens(some.points, some.counts, config.parameters)
        stops = np.cumsum(tokens.counts)
        feeds += [
            {"points": windows(tokens.points[stop - n : stop], config.parameters)[None], "context": row[None]}
            for stop, n, row in zip(stops, tokens.counts, tokens.context, strict=True)
        ]
    if kept is not None:
        for number, feed in enumerate(feeds):
            of_blocks = rng.random((len(feed["points"]), kept)) if number % 2 else np.zeros((len(feed["points"]), kept))
            feed[KEPT_INPUT] = of_blocks.astype(np.float32)
    return feeds
