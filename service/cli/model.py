"""`alert-classifier model`: look at a bundle before it is trusted with a stream."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from service.config import Device, load_settings
from service.inference.bundle import Bundle, load_bundle, seal_bundle
from service.inference.bundle import default_bundle_folder as shipped
from service.inference.classifier import Classifier
from service.inference.integrity import SUMS

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
    bundle = _load(config, folder)
    manifest = bundle.manifest
    facts = Table(show_header=False, box=None)
    for name, value in (
        ("bundle", f"{bundle.label}, {len(bundle.graph) / 1e6:.1f} MB"),
        ("folder", bundle.folder),
        ("created", manifest.created),
        ("preprocessing", manifest.preprocessing.id),
        ("bands", " ".join(manifest.bands)),
        ("classes", ", ".join(f"{name} ({parent})" for name, parent in manifest.taxonomy.items())),
        ("conformal coverage", f"{manifest.calibration.conformal_coverage:.0%}"),
        ("detection bins", " ".join(map(str, manifest.calibration.edges))),
        ("sha256", manifest.sha256),
        ("sha256 of all files", bundle.digest or f"unknown: there is no {SUMS}"),
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
    """Check a bundle's hashes, signature, manifest and graph by loading it and classifying sample light curves."""
    bundle = _load(config, folder)
    classifier = Classifier(bundle, Device(device), threads=1)
    classifier.warm_up()
    known = "" if bundle.digest else f"; without {SUMS} nothing says that its manifest is the one it was made with"
    click.echo(f"{bundle.label} is sound and runs on {classifier.provider}{known}")


@model.command()
@click.argument("folder", type=Folder)
def seal(folder: Path) -> None:
    """Write a bundle's SHA256SUMS over all its files; do so again when one has changed on purpose.

    To sign it: minisign -Sm FOLDER/SHA256SUMS
    """
    digest = seal_bundle(folder)
    bundle = load_bundle(folder)
    click.echo(f"{bundle.label} is sealed: sha256 of all files {digest}")


def _load(config: Path | None, folder: Path | None) -> Bundle:
    settings = load_settings(config).model
    return load_bundle(folder or settings.bundle or shipped(), settings.trusted_keys)
