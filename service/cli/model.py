"""`alert-classifier model`: look at a bundle before it is trusted with a stream."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from service.config import Device, load_settings
from service.inference.bundle import default_bundle_folder as shipped
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier

Folder = click.Path(file_okay=False, path_type=Path)


@click.group()
def model() -> None:
    """Show or check a model bundle (the configured or shipped one, or a folder)."""


@model.command()
@click.argument("folder", type=Folder, required=False)
@click.option("--card", is_flag=True, help="Print the bundle's model card too.")
@click.pass_obj
def show(config: Path | None, folder: Path | None, card: bool) -> None:
    """Name, version, classes and calibration of a bundle."""
    bundle = load_bundle(_folder(config, folder))
    manifest = bundle.manifest
    facts = Table(show_header=False, box=None)
    for name, value in (
        ("bundle", f"{bundle.label}, {len(bundle.graph) / 1e6:.1f} MB"),
        ("folder", bundle.folder),
        ("created", manifest.created),
        ("preprocessing", manifest.preprocessing.id),
        ("bands", " ".join(manifest.bands)),
        ("context", " ".join(manifest.context) or "none"),
        ("classes", ", ".join(f"{name} ({parent})" for name, parent in manifest.taxonomy.items())),
        ("conformal coverage", f"{manifest.calibration.conformal_coverage:.0%}"),
        ("detection bins", " ".join(map(str, manifest.calibration.edges))),
        ("sha256", manifest.sha256),
        ("data digest", manifest.data_digest),
    ):
        facts.add_row(name, str(value))
    console = Console()
    console.print(facts)
    if card:
        console.print(Markdown(bundle.card))


@model.command()
@click.argument("folder", type=Folder, required=False)
@click.option("--device", type=click.Choice([*Device]), default=Device.AUTO, show_default=True)
@click.pass_obj
def verify(config: Path | None, folder: Path | None, device: str) -> None:
    """Check a bundle's hash, manifest and graph by loading it and classifying sample light curves."""
    bundle = load_bundle(_folder(config, folder))
    classifier = Classifier(bundle, Device(device), threads=1)
    classifier.warm_up()
    click.echo(f"{bundle.label} is sound and runs on {classifier.provider}")


def _folder(config: Path | None, folder: Path | None) -> Path:
    return folder or load_settings(config).model.bundle or shipped()
