"""Average the weights of several networks that were trained on from the same weights.

A network trained on for a few thousand steps with only first detections learns them well but forgets some of the rest.
The mean of it and its starting point keeps most of both, at the cost of one network (Wortsman et al. 2022,
arXiv:2203.05482).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from model_export.training.run import read_note, read_weights, write_note


def average_runs(runs: Sequence[Path], shares: Sequence[float], out: Path) -> None:
    """Write a run whose weights are the weighted mean of those of `runs`; its config is the first one's.

    Raises ValueError if a run is not finished, if shares don't sum to one or are not one per run, or if the networks
    differ in shape, because only weights with a common start can be averaged.
    """
    if len(shares) != len(runs) or abs(sum(shares) - 1.0) > 1e-6:
        raise ValueError(f"shares must be {len(runs)}, one per run, and sum to one; they are {list(shares)}")
    for run, needed in itertools.product(runs, ("model.pt", "config.json", "lineage.json")):
        if not (run / needed).exists():
            raise ValueError(f"{run} is not a finished run: it has no {needed}")
    states = [read_weights(run / "model.pt") for run in runs]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    for run, found in zip(runs, shapes, strict=True):
        if found != shapes[0]:
            raise ValueError(f"{run} holds a network of another shape than {runs[0]}")
    out.mkdir(parents=True, exist_ok=True)
    mean = {name: sum(share * state[name] for share, state in zip(shares, states, strict=True)) for name in states[0]}
    torch.save(mean, out / "model.pt")
    write_note(out, "config", read_note(runs[0], "config"))
    lineage = read_note(runs[0], "lineage")
    lineage["averaged"] = [_part(run, share) for run, share in zip(runs, shares, strict=True)]
    write_note(out, "lineage", lineage)


def _part(run: Path, share: float) -> dict[str, Any]:
    """A run's part in the mean, for the report; with `early_max` if it was trained on only first detections."""
    config = read_note(run, "config")
    early = config["view"].get("early", 0.0) == config["view"]["prefix"] == 1.0
    return {"name": run.name, "share": share, "steps": config["steps"]} | (
        {"early_max": config["view"]["early_max"]} if early else {}
    )
