"""`model-export`: from points tables to a bundle that the service runs."""

from __future__ import annotations

import json
import shutil
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
CONFIG = click.option(
    "--config", type=click.Path(path_type=Path, exists=True), help="TOML file, see model_export/configs."
)
RUN = click.option(
    "--run", type=click.Path(path_type=Path), required=True, help="Folder of the run: weights, config, history."
)
BUNDLE = click.option(
    "--bundle", type=click.Path(path_type=Path), default=Path("service/bundles/alert-clr"), show_default=True
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train, judge and export light-curve classifiers."""


@main.command("simulate-data")
@DATA
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/simulated"), show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--scale", default=1.0, show_default=True, help="Fraction of the usual number of objects.")
def simulate_data(data: Path, out: Path, seed: int, scale: float) -> None:
    """Make alert-like histories of variable stars and active nuclei."""
    from model_export.simulate import simulate

    simulate(data, out, seed, scale)


@main.command()
@DATA
@SIMULATED
@CONFIG
@RUN
@click.option("--model", type=click.Choice(["alert-clr", "astra-clr"]), default="alert-clr", show_default=True)
@click.option("--steps", type=int, help="Overrides the config.")
def pretrain(data: Path, simulated: Path | None, config: Path | None, run: Path, model: str, steps: int | None) -> None:
    """Contrastive pre-training on early, late and hard views; labels are not read."""
    from model_export.configuration import read_config

    _note_data(run, data)
    if model == "astra-clr":
        from model_export.astra_train import AstraPretrainConfig, load_stars, pretrain_astra

        pretrain_astra(load_stars(data), read_config(AstraPretrainConfig, config, steps=steps), run)
        return
    from model_export.contrastive import PretrainConfig
    from model_export.contrastive import pretrain as train
    from model_export.data import load_difference

    train(load_difference(data), _simulated(simulated), read_config(PretrainConfig, config, steps=steps), run)


@main.command()
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
    steps: int | None,
    seed: int | None,
) -> None:
    """Supervised training; without --start from scratch. Resumes where the run has a checkpoint."""
    from model_export.configuration import read_config

    _note_data(run, data)
    if model == "astra-clr":
        from model_export.astra_train import AstraFinetuneConfig, finetune_astra, load_stars

        finetune_astra(load_stars(data), read_config(AstraFinetuneConfig, config, steps=steps), run, start)
        return
    from model_export.data import load_difference
    from model_export.finetune import FinetuneConfig
    from model_export.finetune import finetune as train

    settings, real = read_config(FinetuneConfig, config, steps=steps, seed=seed), load_difference(data)
    first: Any = start
    if start is not None and start.is_dir():
        from model_export.centroids import taken_on

        first = taken_on(start, settings.encoder, real, settings.parameters)
    train(real, _simulated(simulated), settings, run, first, teachers)


@main.command()
@DATA
@RUN
@click.option("--steps", default=400, show_default=True, help="Fine-tuning steps for each point of the curve.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file; by default label_curve.json in the run.")
def probe(data: Path, run: Path, steps: int, out: Path | None) -> None:
    """Pre-trained against scratch at 10, 50 and 200 labels per class."""
    import torch

    from model_export.data import load_difference
    from model_export.encoder import AlertEncoder
    from model_export.finetune import FinetuneConfig
    from model_export.probe import label_curve

    config = FinetuneConfig()
    encoder = AlertEncoder(config.encoder)
    encoder.load_state_dict(torch.load(run / "encoder.pt", weights_only=True))
    curve = label_curve(encoder, load_difference(data), config, steps)
    (out or run / "label_curve.json").write_text(json.dumps(curve, indent=1))
    for size, row in curve.items():
        click.echo(
            f"{size:>4} labels: "
            + ", ".join(f"{k} {v['balanced_accuracy'][0]:.3f}" for k, v in row.items() if isinstance(v, dict))
        )


@main.command()
@DATA
@RUN
def calibrate(data: Path, run: Path) -> None:
    """Fit temperatures, conformal thresholds and the out-of-distribution score on the validation split."""
    from model_export.calibrate import calibrate_run

    calibrate_run(data, run)
    click.echo(f"wrote {run / 'calibration.json'}")


@main.command()
@DATA
@RUN
@BUNDLE
@click.option("--version", required=True, help="Version of the bundle, e.g. 1.0.0.")
@click.option(
    "--stochastic",
    type=click.Choice(["mc-dropout", "mc-dropout-points", "head-dropout", "hsa", "ha-mc", "ensemble"]),
    help="A bundle that is asked several times, and says how far its answers agree; calibrated here.",
)
@click.option("--passes", default=20, show_default=True, help="How often, with --stochastic.")
@click.option("--rate", default=0.1, show_default=True, help="Of dropout, with --stochastic.")
@click.option("--seed", default=0, show_default=True, help="Of the noise, with --stochastic.")
@click.option(
    "--member",
    "members",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Further runs of an ensemble.",
)
def export(
    data: Path,
    run: Path,
    bundle: Path,
    version: str,
    stochastic: str | None,
    passes: int,
    rate: float,
    seed: int,
    members: tuple[Path, ...],
) -> None:
    """Write the run's model and calibration as a bundle, and verify it."""
    if stochastic:
        from model_export.stochastic import Method
        from model_export.stochastic_export import export_stochastic

        try:
            export_stochastic(data, [run, *members], bundle, version, Method(stochastic, rate), passes, seed)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    else:
        from model_export.bundle import export_run

        export_run(data, run, bundle, version)
    click.echo(f"wrote {bundle}")


@main.command()
@BUNDLE
@RUN
@click.option("--dropout", default=0.1, show_default=True, help="Rate that training had: a graph does not keep it.")
def recover(bundle: Path, run: Path, dropout: float) -> None:
    """Read torch weights back from a bundle into a run folder, for commands that take one."""
    from model_export.recover import RecoveryError, recover_run

    try:
        recover_run(bundle, run, dropout)
    except RecoveryError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {run}")


@main.command()
@BUNDLE
@click.option("--run", type=click.Path(path_type=Path, exists=True), help="Also compare with this run's torch weights.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Compare on real light curves too.")
def verify(bundle: Path, run: Path | None, data: Path | None) -> None:
    """Check hash, manifest, parity with torch, and latency."""
    from model_export.bundle import verify_bundle

    for line in verify_bundle(bundle, run, data):
        click.echo(line)


@main.command()
@DATA
@BUNDLE
@click.option("--kind", type=click.Choice(["int8", "float16", "float32"]), required=True)
@click.option("--run", type=click.Path(path_type=Path, exists=True), help="The run's torch weights, for GPUs.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the variant's bundle.")
def variant(data: Path, bundle: Path, kind: str, run: Path | None, out: Path) -> None:
    """Write a faster variant, if macro-F1 and calibration move by less than half a point."""
    from model_export.variants import VariantError, write_variant

    try:
        click.echo(write_variant(kind, data, bundle, out, run))
    except VariantError as error:
        raise click.ClickException(str(error)) from error


@main.command()
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
def evaluate(
    data: Path, bundle: Path, baselines: bool, run: Path | None, curves: tuple[Path, ...], later_years: Path | None
) -> None:
    """Judge a bundle on the test split; writes metrics.json into it."""
    from model_export.data import load_difference
    from model_export.evaluate import evaluate as figures_of
    from model_export.evaluate import write_metrics

    real = load_difference(data)
    figures: dict[str, Any] = figures_of(bundle, real)
    if baselines:
        from model_export.baselines import baseline_figures

        figures["baselines"] = baseline_figures(real)
    if run:
        figures["training"] = {name: json.loads((run / f"{name}.json").read_text()) for name in ("config", "lineage")}
    figures["label_curves"] = [json.loads(path.read_text()) for path in curves]
    if later_years:
        figures["later_years"] = json.loads(later_years.read_text())
    write_metrics(figures, bundle / "metrics.json")
    click.echo(f"wrote {bundle / 'metrics.json'}")


@main.command()
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
    from model_export.bundle import load_run
    from model_export.data import load_difference
    from model_export.uncertainty import Bench, figures, judge_all
    from model_export.uncertainty_report import draw_figure, tables

    bench = Bench(load_difference(data), load_run(shipped)[1].alert_share)
    judged = list(judge_all(bench, shipped, list(members), hsa, passes, kept))
    told = figures(judged, bench.prior)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(told, indent=1) + "\n")
    for title, table in tables(told).items():
        click.echo(f"{title}\n\n{table}\n")
    if figure:
        draw_figure(judged, figure)


@main.command("uncertainty-cost")
@click.option("--passes", default=20, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("model_export/results/uncertainty-cost.json"))
def uncertainty_cost(passes: int, out: Path) -> None:
    """Milliseconds per light curve of 50 points on one core, by method."""
    from model_export.uncertainty_cost import costs

    told = costs(passes)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(told, indent=1) + "\n")
    for name, value in told["milliseconds"].items():
        click.echo(f"{name}: {value:.3f} ms, {told['times_the_softmax'][name]:.1f} times the softmax")


@main.command("later-years")
@DATA
@RUN
@click.option("--out", type=click.Path(path_type=Path), help="JSON file; by default later_years.json in the run.")
def later_years_command(data: Path, run: Path, out: Path | None) -> None:
    """Judge a run that was kept from later years (seen_before in its config) on what was found in them."""
    from model_export.data import load_difference
    from model_export.later_years import later_years

    figures = later_years(load_difference(data), run)
    (out or run / "later_years.json").write_text(json.dumps(figures, indent=1) + "\n")
    for name in ("later", "same_years"):
        for shown, row in figures[name].items():
            accuracy, macro = (f"{v:.3f} ({low:.3f}-{high:.3f})" for v, low, high in (row["accuracy"], row["macro_f1"]))
            click.echo(f"{name}, {shown} detections, {row['objects']} objects: accuracy {accuracy}, macro-F1 {macro}")


@main.command()
@BUNDLE
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/report"), show_default=True)
@click.option("--card", type=click.Path(path_type=Path), help="Also copy the model card here.")
def report(bundle: Path, out: Path, card: Path | None) -> None:
    """Plots, report.md and the model card from the bundle's metrics.json."""
    from model_export.report import write_report

    write_report(bundle / "metrics.json", bundle, out)
    if card:
        shutil.copyfile(bundle / "MODEL_CARD.md", card)
    click.echo(f"wrote {out / 'report.md'}")


@main.command("import-astra")
@click.option("--encoder", type=click.Path(path_type=Path, exists=True), required=True, help="ONNX encoder.")
@click.option(
    "--head", type=click.Path(path_type=Path, exists=True), required=True, help="weight, bias, classes (.npz)."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Bundle folder.")
@click.option("--version", default="1.0.0", show_default=True)
def import_astra_command(encoder: Path, head: Path, out: Path, version: str) -> None:
    """Fuse a published Astra-CLR encoder, three windows and a head into a bundle."""
    from model_export.import_astra import import_astra

    try:
        manifest = import_astra(encoder, head, out, version)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}: {manifest.name} {manifest.version}, {len(manifest.classes)} classes")


@main.command("compare-surveys")
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
    from model_export.compare_judge import judge
    from model_export.compare_report import write_report
    from model_export.compare_surveys import CompareConfig, run_networks
    from model_export.configuration import CONFIGS, read_config

    settings = read_config(CompareConfig, config or CONFIGS / "compare-surveys.toml")
    figures = judge(out, run_networks(out, data, settings, click.echo), settings)
    for path in filter(None, (out / "results.json", result)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n")
    write_report(figures, out / "report")
    click.echo(f"wrote {out / 'results.json'} and {out / 'report'}")


@main.command("export-two-surveys")
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
    from model_export.compare_surveys import CompareConfig, Task, tables
    from model_export.configuration import CONFIGS, read_config
    from model_export.multisurvey_bundle import write_bundle
    from model_export.two_surveys import load_two_surveys

    settings = read_config(CompareConfig, config or CONFIGS / "compare-surveys.toml")
    task = Task.of(load_two_surveys(tables(run, data, settings)), settings.training)
    write_bundle(run, task, settings, seed, bundle, version)
    click.echo(f"wrote {bundle}")


@main.command("compare-vision")
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
    from model_export.configuration import CONFIGS, read_config
    from model_export.vision_compare import VisionCompare, judge, run_networks, table

    settings = read_config(VisionCompare, config or CONFIGS / "vision-small.toml")
    try:
        figures = judge(out, run_networks(out, data, settings, weights, click.echo), settings)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    for path in filter(None, (out / "results.json", result)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n")
    click.echo(table(figures))


@main.command("export-vision")
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
    from model_export.compare_surveys import CompareConfig, tables
    from model_export.configuration import CONFIGS, read_config
    from model_export.vision_bundle import write_bundle
    from model_export.vision_compare import Task, VisionCompare

    settings = read_config(VisionCompare, config or CONFIGS / "vision-small.toml")
    simulated = CompareConfig(per_class=settings.per_class, simulation_seed=settings.simulation_seed)
    task = Task.read(tables(run, data, simulated), settings)
    write_bundle(run, task, settings, seed, bundle, version)
    click.echo(f"wrote {bundle}")


@main.command()
@DATA
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/chain"), show_default=True)
@click.option("--small", is_flag=True, help="Minutes instead of hours: to see that everything works.")
@click.option("--version", default="0.0.1", show_default=True)
@click.pass_context
def run(context: click.Context, data: Path, out: Path, small: bool, version: str) -> None:
    """The whole chain: simulate, pre-train, probe, an ensemble and its student, calibrate, export, evaluate, report."""
    from model_export.configuration import CONFIGS

    simulated, bundle, steps = out / "simulated", out / "bundle", 100 if small else None
    members = [out / f"member{seed}" for seed in range(1, 2 if small else 4)]
    context.invoke(simulate_data, data=data, out=simulated, scale=0.05 if small else 3.0)
    context.invoke(
        pretrain, data=data, simulated=simulated, config=CONFIGS / "pretrain.toml", run=out / "pretrain", steps=steps
    )
    context.invoke(probe, data=data, run=out / "pretrain", steps=steps or 400)
    supervised = {"data": data, "simulated": simulated, "steps": steps}
    for seed, member in enumerate(members, start=101):
        context.invoke(finetune, config=CONFIGS / "member.toml", run=member, seed=seed, **supervised)
    context.invoke(
        finetune,
        config=CONFIGS / "finetune.toml",
        run=out / "finetune",
        start=out / "pretrain" / "encoder.pt",
        teachers=tuple(members),
        **supervised,
    )
    context.invoke(calibrate, data=data, run=out / "finetune")
    context.invoke(export, data=data, run=out / "finetune", bundle=bundle, version=version)
    curve = out / "pretrain" / "label_curve.json"
    context.invoke(evaluate, data=data, bundle=bundle, baselines=not small, run=out / "finetune", curves=(curve,))
    context.invoke(report, bundle=bundle, out=out / "report")


def _simulated(folder: Path | None) -> Any:
    if folder is None:
        return None
    from model_export.simulate import load_simulated

    return load_simulated(folder)


def _note_data(run: Path, data: Path) -> None:
    """Every run says what it was trained on."""
    from model_export.data import data_digest

    run.mkdir(parents=True, exist_ok=True)
    (run / "data.json").write_text(json.dumps({"folder": data.name, "sha256": data_digest(data)}) + "\n")


if __name__ == "__main__":
    main()
