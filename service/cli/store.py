"""`alert-classifier store`: look at the store of light curves and keep its size in bounds."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from service.alerts.atlas_table import read_atlas_table
from service.config import load_settings
from service.photometry.table import TableError
from service.photometry.time import mjd_from_unix
from service.store import Increment, Store, open_store

# Tables joined per transaction, which blocks new objects of the stream for some 50 ms.
IMPORT_CHUNK: Final = 100

_url = click.option("--url", help="The store, instead of the configured one (store.url).")


@click.group()
def store() -> None:
    """Show, fill or prune the store of light curves and classifications."""


@store.command()
@_url
@click.pass_obj
def stats(config: Path | None, url: str | None) -> None:
    """Objects, classifications and bytes at rest."""
    opened = _open(config, url)
    try:
        now = opened.statistics()
    finally:
        opened.close()
    each = f" ({now.bytes / now.objects / 1000:.1f} kB per object)" if now.objects else ""
    sources = f", {now.sources:,} sources of photometry" if now.sources else ""
    click.echo(
        f"{now.objects:,} objects{sources}, {now.classifications:,} classifications, {now.bytes / 1e6:,.1f} MB{each}"
    )


@store.command("import-atlas")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_url
@click.pass_obj
def import_atlas(config: Path | None, paths: tuple[Path, ...], url: str | None) -> None:
    """Add tables of the ATLAS forced photometry server (text, a position each) to the objects that are there.

    Where no object is within store.join_radius_arcsec, the photometry waits for one. What joins an object is
    classified with its next alert; to have it classified at once, send it by a topic of kafka.photometry_topics. Doing
    it again changes nothing. The exit status is 0 unless nothing could be read.
    """
    opened = _open(config, url, create=True)
    measured = kept = joined = waiting = 0
    try:
        for start in range(0, len(paths), IMPORT_CHUNK):
            alerts = []
            for path in paths[start : start + IMPORT_CHUNK]:
                try:
                    table = read_atlas_table(path)
                except TableError as error:
                    click.echo(f"not imported: {error}", err=True)
                    continue
                alerts.append(table.alert())
                measured += len(table.exposures.mjd)
                kept += len(alerts[-1].light_curve)
            for alert in alerts:
                if not len(alert.light_curve):
                    click.echo(f"nothing worth keeping: {alert.object_id}", err=True)
            worth = [alert for alert in alerts if len(alert.light_curve)]
            found = opened.join([Increment(a.object_id, a.ra, a.dec, a.light_curve) for a in worth])
            names = {a.object_id for a in worth}
            waiting += sum(thing.object_id in names for thing in found)
            joined += sum(thing.object_id not in names for thing in found)
    finally:
        opened.close()
    click.echo(
        f"{joined + waiting:,} tables, {kept:,} of {measured:,} exposures kept: {joined:,} have joined an object,"
        f" {waiting:,} wait for one"
    )
    if not measured:
        sys.exit(1)


@store.command()
@click.option("--older-than", "days", type=click.FloatRange(min=1), required=True, metavar="DAYS")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_url
@click.pass_obj
def prune(config: Path | None, days: float, yes: bool, url: str | None) -> None:
    """Delete objects and photometry whose last detection is older than DAYS, with their classifications.

    An object that is detected again starts with the 30 days of history in its alert.
    """
    limit = datetime.now(UTC) - timedelta(days=days)
    if not yes:
        click.confirm(f"Forget every object last detected before {limit:%Y-%m-%d}?", abort=True)
    opened = _open(config, url)
    try:
        gone = opened.prune(mjd_from_unix(limit.timestamp()))
    finally:
        opened.close()
    click.echo(f"{gone:,} objects forgotten")


def _open(config: Path | None, url: str | None, create: bool = False) -> Store:
    settings = load_settings(config).store
    return open_store(url or settings.url.get_secret_value(), settings.join_radius_arcsec, create=create)
