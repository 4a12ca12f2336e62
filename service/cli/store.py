"""`alert-classifier store`: look at the store of light curves and keep its size in bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from service.cli.errors import explains
from service.config import ConfigError, load_settings
from service.store import Store, StoreUnavailableError, StoreVersionError, open_store

MJD_EPOCH: Final = datetime(1858, 11, 17, tzinfo=UTC)

_url = click.option("--url", help="The store, instead of the configured one (store.url).")
_explained = explains(ConfigError, StoreUnavailableError, StoreVersionError, ValueError)


@click.group()
def store() -> None:
    """Show or prune the store of light curves and classifications."""


@store.command()
@_url
@click.pass_obj
@_explained
def stats(config: Path | None, url: str | None) -> None:
    """Objects, classifications and bytes at rest."""
    opened = _open(config, url)
    try:
        now = opened.statistics()
    finally:
        opened.close()
    each = f" ({now.bytes / now.objects / 1000:.1f} kB per object)" if now.objects else ""
    click.echo(f"{now.objects:,} objects, {now.classifications:,} classifications, {now.bytes / 1e6:,.1f} MB{each}")


@store.command()
@click.option("--older-than", "days", type=click.FloatRange(min=1), required=True, metavar="DAYS")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_url
@click.pass_obj
@_explained
def prune(config: Path | None, days: float, yes: bool, url: str | None) -> None:
    """Forget objects whose last detection is older than DAYS, with their classifications.

    An object that is seen again starts anew from the 30 days of history in its alert.
    """
    limit = datetime.now(UTC) - timedelta(days=days)
    if not yes:
        click.confirm(f"Forget every object last detected before {limit:%Y-%m-%d}?", abort=True)
    opened = _open(config, url)
    try:
        gone = opened.prune((limit - MJD_EPOCH) / timedelta(days=1))
    finally:
        opened.close()
    click.echo(f"{gone:,} objects forgotten")


def _open(config: Path | None, url: str | None) -> Store:
    return open_store(url or load_settings(config).store.url)
