"""Commands that make training data and weights.

Each command imports its code when it runs, because torch takes seconds to load and `--help` does not need it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from model_export.cli.options import CONFIG, DATA, RUN, SIMULATED


@click.command("simulate-data")
@DATA
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/simulated"), show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--scale", default=1.0, show_default=True, help="Fraction of the usual number of objects.")
@click.option("--span", default=400.0, show_default=True, help="Days each is followed.")
def simulate_data(data: Path, out: Path, seed: int, scale: float, span: float = 400.0) -> None:
    """Make alert-like histories of variable stars and active nuclei."""
    from model_export.data.simulate import simulate

    simulate(data, out, seed, scale, span)


@click.command()
@DATA
@SIMULATED
@CONFIG
@RUN
@click.option("--model", type=click.Choice(["alert-clr", "astra-clr"]), default="alert-clr", show_default=True)
@click.option("--steps", type=int, help="Overrides the config.")
def pretrain(data: Path, simulated: Path | None, config: Path | None, run: Path, model: str, steps: int | None) -> None:
    """Contrastive pre-training on early, late and hard views; labels are not read."""
    from model_export.training.configuration import read_config

    _note_data(run, data)
    if model == "astra-clr":
        from model_export.studies.astra.training import AstraPretrainConfig, load_stars, pretrain_astra

        pretrain_astra(load_stars(data), read_config(AstraPretrainConfig, config, steps=steps), run)
        return
    from model_export.data.tables import load_difference
    from model_export.training.pretrain import PretrainConfig
    from model_export.training.pretrain import pretrain as train

    train(load_difference(data), _simulated(simulated), read_config(PretrainConfig, config, steps=steps), run)


@click.command()
@DATA
@SIMULATED
@CONFIG
@RUN
@click.option("--model", type=click.Choice(["alert-clr", "astra-clr"]), default="alert-clr", show_default=True)
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True),
    help="encoder.pt of a pre-training run, or the folder of a finished run: then its whole network is taken on, with"
    " stochastic attention where the config has centroids.",
)
@click.option(
    "--teacher",
    "teachers",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Finished run to learn from, besides the labels; several make an ensemble.",
)
@click.option(
    "--early-teacher",
    "early_teachers",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Finished run that is asked instead of the teachers where a view has few detections (early_teacher_max).",
)
@click.option("--steps", type=int, help="Overrides the config.")
@click.option("--seed", type=int, help="Overrides the config: members of an ensemble differ by it.")
def finetune(
    data: Path,
    simulated: Path | None,
    config: Path | None,
    run: Path,
    model: str,
    start: Path | None,
    teachers: tuple[Path, ...],
    early_teachers: tuple[Path, ...],
    steps: int | None,
    seed: int | None,
) -> None:
    """Supervised training; without --start from scratch. Resumes where the run has a checkpoint."""
    from model_export.training.configuration import read_config

    if early_teachers and not teachers:
        raise click.UsageError("--early-teacher needs a --teacher for views with more detections")
    _note_data(run, data)
    if model == "astra-clr":
        from model_export.studies.astra.training import AstraFinetuneConfig, finetune_astra, load_stars

        finetune_astra(load_stars(data), read_config(AstraFinetuneConfig, config, steps=steps), run, start)
        return
    from model_export.data.tables import load_difference
    from model_export.training.finetune import finetune as train
    from model_export.training.run import FinetuneConfig

    settings = read_config(FinetuneConfig, config, steps=steps, seed=seed)
    train(load_difference(data), _simulated(simulated), settings, run, start, teachers, early_teachers)


@click.command()
@click.option(
    "--part",
    "parts",
    type=(click.Path(path_type=Path, exists=True), float),
    multiple=True,
    required=True,
    help="A run and its share; the runs must have gone on from the same weights, and shares sum to one.",
)
@RUN
def average(parts: tuple[tuple[Path, float], ...], run: Path) -> None:
    """Write a run with the mean weights of several: one network that keeps something of each."""
    from model_export.training.average import average_runs

    try:
        average_runs([part for part, _ in parts], [share for _, share in parts], run)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {run}")


@click.command()
@DATA
@RUN
@click.option("--steps", default=400, show_default=True, help="Fine-tuning steps for each point of the curve.")
@click.option("--draws", default=10, show_default=True, help="Draws of labels for each point of the curve.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file; by default label_curve.json in the run.")
def probe(data: Path, run: Path, steps: int, draws: int, out: Path | None) -> None:
    """Pre-trained against scratch at 10, 50 and 200 labels per class."""
    from model_export.data.tables import load_difference
    from model_export.judging.probe import label_curve
    from model_export.network.encoder import AlertEncoder
    from model_export.training.run import FinetuneConfig, read_weights

    config = FinetuneConfig()
    encoder = AlertEncoder(config.encoder)
    encoder.load_state_dict(read_weights(run / "encoder.pt"))
    curve = label_curve(encoder, load_difference(data), config, steps, draws)
    (out or run / "label_curve.json").write_text(json.dumps(curve, indent=1))
    for size, row in curve.items():
        click.echo(
            f"{size:>4} labels: "
            + ", ".join(f"{k} {v['balanced_accuracy'][0]:.3f}" for k, v in row.items() if isinstance(v, dict))
        )


def _simulated(folder: Path | None) -> Any:
    if folder is None:
        return None
    from model_export.data.simulate import load_simulated

    return load_simulated(folder)


def _note_data(run: Path, data: Path) -> None:
    """Write the data of a run into its folder."""
    from model_export.data.tables import data_digest
    from model_export.training.run import write_note

    write_note(run, "data", {"folder": data.name, "sha256": data_digest(data)})
