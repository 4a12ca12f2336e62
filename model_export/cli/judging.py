"""Commands that calibrate runs and judge them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import click

from model_export.cli.options import BUNDLE, DATA, FRESH, RUN, write_figures

# Figures of a network that do not change with what is put beside it.
KEPT: Final = ("training", "baselines", "later_years", "label_curves")


@click.command()
@DATA
@RUN
@FRESH
def calibrate(data: Path, run: Path, fresh: Path | None) -> None:
    """Fit temperatures, conformal thresholds and the out-of-distribution score on the validation split."""
    from model_export.judging.calibrate import calibrate_run

    calibrate_run(data, run, fresh)
    click.echo(f"wrote {run / 'calibration.json'}")


@click.command()
@DATA
@click.option(
    "--run", "runs", type=click.Path(path_type=Path, exists=True), multiple=True, required=True, help="Finished runs."
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to keep the table in.")
def choose(data: Path, runs: tuple[Path, ...], out: Path | None) -> None:
    """Compare finished runs, and their mean, by log-loss on the validation split."""
    from model_export.data.tables import load_difference
    from model_export.judging.choose import POPULATIONS, table, validation_losses

    found = validation_losses(load_difference(data), runs)
    for population in POPULATIONS:
        click.echo(f"{population}\n\n{table(found, population)}\n")
    write_figures(found, out)


@click.command()
@DATA
@BUNDLE
@click.option("--baselines/--no-baselines", default=True, show_default=True)
@click.option(
    "--run", type=click.Path(path_type=Path, exists=True), help="The run behind it: tells how it was trained."
)
@click.option(
    "--label-curve",
    "curves",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="label_curve.json to include; several where the numbers of steps differ.",
)
@click.option("--later-years", type=click.Path(path_type=Path, exists=True), help="later_years.json to include.")
@click.option(
    "--judgement",
    type=click.Path(path_type=Path, exists=True),
    help="JSON of judge-alerts to include: alert objects are then left out of the test split, for that judges them.",
)
@click.option(
    "--kept",
    type=click.Path(path_type=Path, exists=True),
    help="metrics.json of the same network: label curves, later years and baselines are taken from there.",
)
def evaluate(
    data: Path,
    bundle: Path,
    baselines: bool,
    run: Path | None,
    curves: tuple[Path, ...],
    later_years: Path | None,
    judgement: Path | None,
    kept: Path | None,
) -> None:
    """Judge a bundle on the test split; writes metrics.json into it."""
    from model_export.data.tables import load_difference
    from model_export.judging.evaluate import evaluate as figures_of
    from service.inference.bundle import seal_bundle

    real = load_difference(data)
    if judgement:
        real = real.where((real.objects["table"] != "alert_objects").to_numpy())
    figures: dict[str, Any] = figures_of(bundle, real)
    if baselines:
        from model_export.judging.baselines import baseline_figures

        figures["baselines"] = baseline_figures(real)
    if run:
        figures["training"] = {name: json.loads((run / f"{name}.json").read_text()) for name in ("config", "lineage")}
    figures["label_curves"] = [json.loads(path.read_text()) for path in curves]
    if judgement:
        figures["judgement"] = json.loads(judgement.read_text())
    if kept:
        earlier = json.loads(kept.read_text())
        figures |= {name: earlier[name] for name in KEPT if name in earlier}
    if later_years:
        figures["later_years"] = json.loads(later_years.read_text())
    write_figures(figures, bundle / "metrics.json")
    seal_bundle(bundle)
    click.echo(f"wrote {bundle / 'metrics.json'}")


@click.command("later-years")
@DATA
@RUN
@click.option("--out", type=click.Path(path_type=Path), help="JSON file; by default later_years.json in the run.")
def later_years_command(data: Path, run: Path, out: Path | None) -> None:
    """Judge a run that was kept from later years (seen_before in its config) on what was found in them."""
    from model_export.data.tables import load_difference
    from model_export.judging.later_years import later_years

    figures = later_years(load_difference(data), run)
    write_figures(figures, out or run / "later_years.json")
    for name in ("later", "same_years"):
        for shown, row in figures[name].items():
            accuracy, macro = (f"{v:.3f} ({low:.3f}-{high:.3f})" for v, low, high in (row["accuracy"], row["macro_f1"]))
            click.echo(f"{name}, {shown} detections, {row['objects']} objects: accuracy {accuracy}, macro-F1 {macro}")


@click.command()
@BUNDLE
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/report"), show_default=True)
@click.option("--card", type=click.Path(path_type=Path), help="Also copy the model card here.")
def report(bundle: Path, out: Path, card: Path | None) -> None:
    """Plots, report.md and the model card from the bundle's metrics.json."""
    from model_export.judging.report import write_report

    write_report(bundle / "metrics.json", bundle, out)
    if card:
        shutil.copyfile(bundle / "MODEL_CARD.md", card)
    click.echo(f"wrote {out / 'report.md'}")


@click.command()
@DATA
@click.option(
    "--shipped", type=click.Path(path_type=Path, exists=True), required=True, help="Run of the served network."
)
@click.option(
    "--member", "members", type=click.Path(path_type=Path, exists=True), multiple=True, help="Runs of an ensemble."
)
@click.option("--hsa", type=click.Path(path_type=Path, exists=True), help="Run with stochastic attention.")
@click.option("--passes", default=20, show_default=True)
@click.option("--kept", type=click.Path(path_type=Path), default=Path("runs/uncertainty"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("model_export/results/uncertainty.json"))
@click.option("--figure", type=click.Path(path_type=Path), help="Also draw rejection and reliability curves.")
def uncertainty(
    data: Path,
    shipped: Path,
    members: tuple[Path, ...],
    hsa: Path | None,
    passes: int,
    kept: Path,
    out: Path,
    figure: Path | None,
) -> None:
    """Judge how well each uncertainty finds the classifier's own mistakes, against the plain softmax."""
    from model_export.data.tables import load_difference
    from model_export.studies.uncertainty.judge import Bench, figures, judge_all
    from model_export.studies.uncertainty.report import draw_figure, tables
    from model_export.training.run import load_run

    bench = Bench(load_difference(data), load_run(shipped)[1].alert_share)
    judged = list(judge_all(bench, shipped, list(members), hsa, passes, kept))
    told = figures(judged, bench.prior)
    write_figures(told, out)
    for title, table in tables(told).items():
        click.echo(f"{title}\n\n{table}\n")
    if figure:
        draw_figure(judged, figure)


@click.command("uncertainty-cost")
@click.option("--passes", default=20, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("model_export/results/uncertainty-cost.json"))
def uncertainty_cost(passes: int, out: Path) -> None:
    """Milliseconds per light curve of 50 points on one core, by method."""
    from model_export.studies.uncertainty.cost import costs

    told = costs(passes)
    write_figures(told, out)
    for name, value in told["milliseconds"].items():
        click.echo(f"{name}: {value:.3f} ms, {told['times_the_softmax'][name]:.1f} times the softmax")
