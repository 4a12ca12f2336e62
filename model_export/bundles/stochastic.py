"""Bundles with stochastic passes: one graph with noise as inputs, calibrated for the mean of the passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_export.bundles.bundle import example_feeds
from model_export.bundles.graph import Publication, Served, check_parity, export_served, write_manifest
from model_export.data.prior import published_prior
from model_export.data.simulate import load_simulated
from model_export.data.tables import Dataset, data_digest, load_difference
from model_export.judging.calibrate import calibrate, fit_softening, soften
from model_export.judging.examples import PREFIXES, examples
from model_export.judging.out_of_distribution import out_of_distribution_of
from model_export.network.encoder import AlertClassifier
from model_export.network.predict import Answers, predict
from model_export.network.stochastic_passes import Method, Passes, predict_passes, together
from model_export.training.run import load_run
from service.inference.manifest import Manifest, Stochastic

ENSEMBLE: Final = "ensemble"


class Members(nn.Module):
    """An ensemble as the passes of one graph: points, context -> logits (B, P, C), mean embedding (B, D)."""

    def __init__(self, models: Sequence[AlertClassifier]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, points: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        answers = [model(points, context) for model in self.models]
        return torch.stack([a[0] for a in answers], dim=1), torch.stack([a[1] for a in answers]).mean(dim=0)


def export_stochastic(
    data: Path,
    runs: Sequence[Path],
    bundle: Path,
    version: str,
    method: Method,
    passes: int,
    seed: int = 0,
    simulated: Path | None = None,
) -> Manifest:
    """Write a newly calibrated bundle of a finished run with `passes` passes, or of an ensemble of runs.

    Temperatures are for the mean of the passes, out-of-distribution statistics for the mean of their embeddings;
    `simulated` as in `calibrate_run`. Raises ValueError if the run's network has no noise of that kind, or if ONNX
    Runtime and torch disagree.
    """
    loaded = [load_run(run) for run in runs]
    model, config = loaded[0]
    real = load_difference(data)
    parameters = config.parameters
    noise: dict[str, NDArray[np.float32]] = (
        {} if method.name == ENSEMBLE else method.draws(model, config.window, passes, seed)
    )

    def ask(some: Dataset, ks: tuple[int, ...]) -> dict[int, Answers]:
        if method.name == ENSEMBLE:
            return together([predict(member, some, parameters, ks) for member, _ in loaded])
        return predict_passes(model, some, parameters, ks, noise)

    train = real.split("train")
    prior = published_prior(train, config.alert_share)
    seen = examples(ask(real.where(real.in_split("validation") & (real.labels >= 0)), PREFIXES), prior)
    publication = Publication(prior, fit_softening(seen))
    calibration = calibrate(replace(seen, logits=soften(seen.logits, publication.softening)))
    fresh = load_simulated(simulated) if simulated else None
    known = out_of_distribution_of(ask, train, seen, fresh, config.alert_share)

    sampled = Members([m for m, _ in loaded]) if method.name == ENSEMBLE else Passes(model, method, config.window)
    served = Served(sampled, publication)
    export_served(served, bundle / "model.onnx", noise)
    check_parity(bundle / "model.onnx", served, (feed | noise for feed in example_feeds(real, config)))
    each = Stochastic(
        method=method.name,
        passes=len(runs) if method.name == ENSEMBLE else passes,
        seed=seed,
        noise=[] if method.name == ENSEMBLE else method.noises(model),
    )
    return write_manifest(
        bundle,
        name="alert-clr",
        version=version,
        description=f"Transformer over the points of a partial ZTF light curve, 14 classes; {each.passes} passes of"
        f" {method.name}.",
        prior=prior,
        preprocessing=("alert-clr/1", parameters),
        calibration=calibration,
        out_of_distribution=known,
        data_digest=data_digest(data),
        minimum_detections=3,
        stochastic=each,
    )
