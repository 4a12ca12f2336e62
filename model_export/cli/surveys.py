"""Commands for objects that two surveys watch."""

from __future__ import annotations

from pathlib import Path

import click

from model_export.cli.options import CONFIG, write_figures


@click.command("compare-surveys")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="ALERT_CLASSIFIER_DATA",
    help="Folder of two_surveys_points.parquet and two_surveys_objects.parquet; of cadence.parquet alone: simulate on"
    " ZTF's pointings; left out: simulate on a plain cadence.",
)
@CONFIG
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/two-surveys"), show_default=True)
@click.option("--result", type=click.Path(path_type=Path), help="Also write the figures (JSON) here.")
def compare_surveys(data: Path | None, config: Path | None, out: Path, result: Path | None) -> None:
    """Train and judge every way of joining two surveys; resumes where --out holds some of the runs."""
    from model_export.studies.two_surveys.judge import compare_strategies
    from model_export.studies.two_surveys.report import write_report
    from model_export.studies.two_surveys.strategies import CompareConfig, run_networks
    from model_export.training.configuration import CONFIGS, read_config

    settings = read_config(CompareConfig, config or CONFIGS / "compare-surveys.toml")
    figures = compare_strategies(out, run_networks(out, data, settings, click.echo), settings)
    write_figures(figures, out / "results.json", result)
    write_report(figures, out / "report")
    click.echo(f"wrote {out / 'results.json'} and {out / 'report'}")


@click.command("export-two-surveys")
@click.option(
    "--run", type=click.Path(path_type=Path, exists=True), required=True, help="Folder that compare-surveys wrote."
)
@click.option("--seed", default=1, show_default=True, help="Which of its seeds; the joint model with a linear head.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Its tables, where they were not simulated.")
@CONFIG
@click.option("--bundle", type=click.Path(path_type=Path), default=Path("runs/two-survey"), show_default=True)
@click.option("--version", required=True, help="Version of the bundle, e.g. 1.0.0.")
def export_two_surveys(
    run: Path, seed: int, data: Path | None, config: Path | None, bundle: Path, version: str
) -> None:
    """Write a two-survey model as a bundle, calibrated on its validation split."""
    from model_export.studies.two_surveys.bundle import bundle_two_surveys
    from model_export.studies.two_surveys.simulate import load_two_surveys
    from model_export.studies.two_surveys.strategies import CompareConfig, Task, tables
    from model_export.training.configuration import CONFIGS, read_config

    settings = read_config(CompareConfig, config or CONFIGS / "compare-surveys.toml")
    task = Task.of(load_two_surveys(tables(run, data, settings)), settings.training)
    bundle_two_surveys(run, task, settings, seed, bundle, version)
    click.echo(f"wrote {bundle}")


@click.command("compare-vision")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="ALERT_CLASSIFIER_DATA",
    help="As for compare-surveys; with the same simulation settings the objects are the same.",
)
@CONFIG
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Pre-trained SwinV2 (.safetensors or .pth; timm, torchvision or transformers); left out: from scratch.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/vision"), show_default=True)
@click.option("--result", type=click.Path(path_type=Path), help="Also write the figures (JSON) here.")
def compare_vision(
    data: Path | None, config: Path | None, weights: Path | None, out: Path, result: Path | None
) -> None:
    """Train and judge vision transformers on images of two surveys; resumes where --out holds some of the runs."""
    from model_export.studies.vision.compare import VisionCompare, compare_images, run_networks, table
    from model_export.training.configuration import CONFIGS, read_config

    settings = read_config(VisionCompare, config or CONFIGS / "vision-small.toml")
    try:
        figures = compare_images(out, run_networks(out, data, settings, weights, click.echo), settings)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    write_figures(figures, out / "results.json", result)
    click.echo(table(figures))


@click.command("export-vision")
@click.option(
    "--run", type=click.Path(path_type=Path, exists=True), required=True, help="Folder that compare-vision wrote."
)
@click.option("--seed", default=1, show_default=True, help="Which of its seeds; the joint model with a linear head.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Its tables, where they were not simulated.")
@CONFIG
@click.option("--bundle", type=click.Path(path_type=Path), default=Path("runs/two-survey-vision"), show_default=True)
@click.option("--version", required=True, help="Version of the bundle, e.g. 1.0.0.")
def export_vision(run: Path, seed: int, data: Path | None, config: Path | None, bundle: Path, version: str) -> None:
    """Write a two-survey vision model as a bundle, calibrated on its validation split."""
    from model_export.studies.two_surveys.strategies import tables
    from model_export.studies.vision.bundle import bundle_vision
    from model_export.studies.vision.compare import Task, VisionCompare
    from model_export.training.configuration import CONFIGS, read_config

    settings = read_config(VisionCompare, config or CONFIGS / "vision-small.toml")
    task = Task.read(tables(run, data, settings), settings)
    bundle_vision(run, task, settings, seed, bundle, version)
    click.echo(f"wrote {bundle}")
