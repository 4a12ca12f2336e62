"""The whole chain in one command."""

from __future__ import annotations

from pathlib import Path

import click

from model_export.cli.bundles import export
from model_export.cli.judging import calibrate, evaluate, report
from model_export.cli.options import DATA
from model_export.cli.training import average, finetune, pretrain, probe, simulate_data


@click.command()
@DATA
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/chain"), show_default=True)
@click.option("--small", is_flag=True, help="Minutes instead of hours: to see that everything works.")
@click.option("--version", default="0.0.1", show_default=True)
@click.pass_context
def run(context: click.Context, data: Path, out: Path, small: bool, version: str) -> None:
    """The whole chain from tables to a judged bundle: data, pre-training, members, a student, its second round."""
    from model_export.training.configuration import CONFIGS

    simulated, bundle, steps = out / "simulated", out / "bundle", 100 if small else None
    members = [out / f"member{seed}" for seed in range(1, 2 if small else 4)]
    context.invoke(simulate_data, data=data, out=simulated, scale=0.05 if small else 3.0)
    context.invoke(
        pretrain, data=data, simulated=simulated, config=CONFIGS / "pretrain.toml", run=out / "pretrain", steps=steps
    )
    context.invoke(probe, data=data, run=out / "pretrain", steps=steps or 400, draws=2 if small else 10)
    supervised = {"data": data, "simulated": simulated, "steps": steps}
    for seed, member in enumerate(members, start=101):
        context.invoke(finetune, config=CONFIGS / "member.toml", run=member, seed=seed, **supervised)
    student, between, final = out / "student", out / "between", out / "final"
    context.invoke(
        finetune,
        config=CONFIGS / "finetune.toml",
        run=student,
        start=out / "pretrain" / "encoder.pt",
        teachers=tuple(members),
        **supervised,
    )
    early = [out / f"early_{learned.name}" for learned in (student, *members)]
    for learned, run_early in zip((student, *members), early, strict=True):
        context.invoke(finetune, config=CONFIGS / "early.toml", run=run_early, start=learned, **supervised)
    context.invoke(average, parts=((student, 0.65), (early[0], 0.35)), run=between)
    context.invoke(
        finetune,
        config=CONFIGS / "second.toml",
        run=final,
        start=between,
        teachers=(student, *members),
        early_teachers=tuple(early),
        **supervised,
    )
    fresh = out / "simulated_fresh"  # of another seed, for out-of-distribution statistics
    context.invoke(simulate_data, data=data, out=fresh, seed=7, scale=0.05 if small else 0.3)
    context.invoke(calibrate, data=data, run=final, fresh=fresh)
    context.invoke(export, data=data, run=final, bundle=bundle, version=version)
    curve = out / "pretrain" / "label_curve.json"
    context.invoke(evaluate, data=data, bundle=bundle, baselines=not small, run=final, curves=(curve,))
    context.invoke(report, bundle=bundle, out=out / "report")
