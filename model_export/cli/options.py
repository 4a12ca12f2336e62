"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="ALERT_CLASSIFIER_DATA",
    default=Path("../shared/data"),
    show_default=True,
    help="Folder of points and objects tables (or ALERT_CLASSIFIER_DATA).",
)
SIMULATED = click.option(
    "--simulated",
    type=click.Path(path_type=Path),
    help="Folder that simulate-data wrote; left out: real objects alone.",
)
FRESH = click.option(
    "--simulated",
    "fresh",
    type=click.Path(path_type=Path, exists=True),
    help="Folder that simulate-data wrote with another seed than for training; without it whatever is like simulated"
    " objects, from which the network learnt, is out of distribution.",
)
CONFIG = click.option(
    "--config", type=click.Path(path_type=Path, exists=True), help="TOML file, see model_export/training/configs."
)
RUN = click.option(
    "--run", type=click.Path(path_type=Path), required=True, help="Folder of the run: weights, config, history."
)
BUNDLE = click.option(
    "--bundle", type=click.Path(path_type=Path), default=Path("service/bundles/alert-clr"), show_default=True
)


def write_figures(figures: Mapping[str, Any], *paths: Path | None) -> None:
    for path in filter(None, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n")
