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
from model_export.training.run import FinetuneConfig, load_run
from service.inference.bundle import FILES
from service.inference.integrity import SUMS, check_seal
from service.inference.manifest import Manifest
from service.inference.preprocessing.alert_clr import alert_tokens, windows


def export_run(data: Path, run: Path, bundle: Path, version: str) -> Manifest:
    """Write graph and manifest; raises ValueError if ONNX Runtime and torch disagree."""
    model, config = load_run(run)
    real = load_difference(data)
    prior = published_prior(real.split("train"), config.alert_share)
    softening, calibration, out_of_distribution = read_calibration(run / "calibration.json")
    publication = Publication(prior, softening)
    export_alert_clr(model, publication, bundle / "model.onnx")
    check_parity(bundle / "model.onnx", Served(model, publication), example_feeds(real, config))
    return write_manifest(
        bundle,
        name="alert-clr",
        version=version,
        description="Transformer over the points of a partial ZTF light curve, 14 classes.",
        prior=prior,
        preprocessing=("alert-clr/1", config.parameters),
        calibration=calibration,
        out_of_distribution=out_of_distribution,
        data_digest=data_digest(data),
        minimum_detections=3,
        opset=OPSET,
    )


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
        model, config = load_run(run)
        feeds = example_feeds(load_difference(data) if data else None, config)
        publication = Publication(np.array(manifest.prior), read_calibration(run / "calibration.json")[0])
        worst = check_parity(bundle / "model.onnx", Served(model, publication), feeds)
        yield f"ONNX Runtime and torch agree to {worst:.1e} on {len(feeds)} inputs"
    if manifest.preprocessing.id.startswith("alert-clr/"):
        for length in (10, 30, 50, 128):
            yield f"{length} tokens: {latency(bundle / 'model.onnx', length):.2f} ms on one core"


def example_feeds(data: Dataset | None, config: FinetuneConfig) -> list[dict[str, NDArray[Any]]]:
    """Inputs to test the graph: random ones of every shape, and forty real light curves."""
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
    return feeds
