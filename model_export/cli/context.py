"""Commands for what a packet says beside the light curve: judge it, and give it to a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from model_export.cli.options import DATA, RUN, write_figures

LIGHT_CURVE_BUNDLE = click.option(
    "--bundle",
    type=click.Path(path_type=Path, exists=True),
    default=Path("service/bundles/alert-clr-1.2.0"),
    show_default=True,
    help="Bundle of the light curve alone.",
)


@click.command("judge-alerts")
@DATA
@LIGHT_CURVE_BUNDLE
@RUN
@click.option("--repeats", default=3, show_default=True, help="Cross-validations by object.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("model_export/results/alert-objects.json"), show_default=True
)
def judge_alerts(data: Path, bundle: Path, run: Path, repeats: int, out: Path) -> None:
    """Cross-validate light curve and context on all labelled alert objects: by object, source and schema version."""
    from model_export.judging.alert_objects import bench_of, repeated
    from model_export.judging.alert_tables import figures_of, tables

    bench = bench_of(data, bundle, run)
    figures = figures_of(bench, repeated(bench, repeats))
    for title, table in tables(figures).items():
        click.echo(f"{title}\n\n{table}\n")
    write_figures(figures, out)


@click.command("add-context")
@DATA
@LIGHT_CURVE_BUNDLE
@RUN
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@click.option("--version", required=True, help="Version of the new bundle, e.g. 2.1.0.")
def add_context(data: Path, bundle: Path, run: Path, out: Path, version: str) -> None:
    """Write a bundle that takes context too, with asteroids as a class; graph and manifest."""
    from model_export.bundles.with_context import export_with_context

    try:
        manifest = export_with_context(data, bundle, run, out, version)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}: {manifest.name} {manifest.version}, {len(manifest.context)} columns of context")
