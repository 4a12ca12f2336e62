"""How a model ages: trained on objects first detected before a date, judged on later ones.

With a split only by object, training and test share seasons, follow-up programmes and detector. In operation the model
meets later ones, so this test is harder and more realistic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model_export.data.prior import published_prior
from model_export.data.scores import softmax, supernova_scores
from model_export.data.tables import Dataset
from model_export.judging.evaluate import ENOUGH, with_intervals
from model_export.network.predict import ALL, predict
from model_export.training.run import load_run


def later_years(data: Dataset, run: Path, ks: tuple[int, ...] = (3, 8, ALL)) -> dict[str, Any]:
    """Supernova figures with intervals, uncalibrated, of a run with a finite `seen_before`, by detections shown.

    `later`: all labelled transients first detected from that date on, of any split, as none was used for training;
    `same_years`: those of the test split first detected before it. Raises ValueError for a run without such a date.
    """
    model, config = load_run(run)
    if config.seen_before is None:
        raise ValueError(f"{run} was trained on all years: its config must set seen_before (mjd)")
    later = data.first_detection() >= config.seen_before
    prior = published_prior(data.where(data.in_split("train") & ~later), config.alert_share)
    transients = (data.objects["table"] == "transients").to_numpy() & (data.labels >= 0)
    transients &= data.objects["n_detections"].to_numpy() >= ENOUGH
    figures: dict[str, Any] = {"seen_before": config.seen_before}
    for name, mine in (("later", transients & later), ("same_years", transients & ~later & data.in_split("test"))):
        found = predict(model, data.where(mine), config.parameters, ks)
        figures[name] = {
            "all" if k == ALL else str(k): with_intervals(
                softmax(p.logits + np.log(prior)), p.labels, prior, supernova_scores
            )
            for k, p in found.items()
        }
    return figures
