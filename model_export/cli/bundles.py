"""Commands that export and verify bundles."""

from __future__ import annotations

from pathlib import Path

import click

from model_export.cli.options import BUNDLE, DATA, FRESH, RUN


@click.command()
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
@FRESH
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
    fresh: Path | None,
) -> None:
    """Write the run's model and calibration as a bundle, and verify it."""
    if stochastic:
        from model_export.bundles.stochastic import export_stochastic
        from model_export.network.stochastic_passes import Method

        try:
            export_stochastic(data, [run, *members], bundle, version, Method(stochastic, rate), passes, seed, fresh)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    else:
        from model_export.bundles.bundle import export_run

        export_run(data, run, bundle, version)
    click.echo(f"wrote {bundle}")


@click.command()
@BUNDLE
@click.option("--run", type=click.Path(path_type=Path, exists=True), help="Also compare with this run's torch weights.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Compare on real light curves too.")
def verify(bundle: Path, run: Path | None, data: Path | None) -> None:
    """Check hash, manifest, parity with torch, and latency."""
    from model_export.bundles.bundle import verify_bundle

    for line in verify_bundle(bundle, run, data):
        click.echo(line)


@click.command()
@DATA
@BUNDLE
@click.option("--kind", type=click.Choice(["int8", "float16", "float32"]), required=True)
@click.option("--run", type=click.Path(path_type=Path, exists=True), help="The run's torch weights, for GPUs.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the variant's bundle.")
def variant(data: Path, bundle: Path, kind: str, run: Path | None, out: Path) -> None:
    """Write a faster variant, if macro-F1 and calibration move by less than half a point."""
    from model_export.bundles.variants import VariantError, write_variant

    try:
        click.echo(write_variant(kind, data, bundle, out, run))
    except VariantError as error:
        raise click.ClickException(str(error)) from error


@click.command("import-astra")
@click.option("--encoder", type=click.Path(path_type=Path, exists=True), required=True, help="ONNX encoder.")
@click.option(
    "--head", type=click.Path(path_type=Path, exists=True), required=True, help="weight, bias, classes (.npz)."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Bundle folder.")
@click.option("--version", default="1.0.0", show_default=True)
def import_astra_command(encoder: Path, head: Path, out: Path, version: str) -> None:
    """Fuse a published Astra-CLR encoder, three windows and a head into a bundle."""
    from model_export.studies.astra.bundle import import_astra

    try:
        manifest = import_astra(encoder, head, out, version)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}: {manifest.name} {manifest.version}, {len(manifest.classes)} classes")
