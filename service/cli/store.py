"""`alert-classifier store`: look at the store of light curves, keep its size in bounds, repair it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from service.alerts.atlas_table import read_atlas_table
from service.config import ConfigError, load_settings
from service.photometry.table import TableError
from service.photometry.time import mjd_from_unix
from service.store import Increment, Store, open_store, sqlite_path
from service.store.sqlite import damage
from service.store.sqlite.repair import exchange
from service.store.sqlite.repair import repair as rebuild

# Tables joined per transaction, which blocks new objects of the stream for some 50 ms.
IMPORT_CHUNK: Final = 100

_url = click.option("--url", help="The store, instead of the configured one (store.url).")
# Lost objects that are named one by one.
MOST_LISTED: Final = 1000


@click.group()
def store() -> None:
    """Show, fill, prune, check or repair the store of light curves and classifications."""


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
    it again changes nothing. The exit status is 1 where a table could not be read.
    """
    opened = _open(config, url, create=True)
    measured = kept = joined = waiting = refused = 0
    try:
        for start in range(0, len(paths), IMPORT_CHUNK):
            alerts = []
            for path in paths[start : start + IMPORT_CHUNK]:
                try:
                    table = read_atlas_table(path)
                except TableError as error:
                    click.echo(f"not imported: {error}", err=True)
                    refused += 1
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
    if refused:
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


@store.command()
@_url
@click.pass_obj
def check(config: Path | None, url: str | None) -> None:
    """Read everything in an SQLite store and say what is damaged; the service may go on meanwhile.

    The exit status is 1 if anything is. A server of PostgreSQL has tools of its own: pg_amcheck, pg_checksums.
    """
    path = _sqlite_file(config, url)
    found = damage.check(path)
    for problem in found.problems:
        click.echo(problem, err=True)
    _tell_lost(found)
    click.echo(f"{_content(found)} can be read")
    if found.damaged:
        click.echo(f"{path} is damaged: stop the service, then run `alert-classifier store repair`", err=True)
        sys.exit(1)
    click.echo("no damage was found")


@store.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The new file. Default: it takes the place of the old one, which stays beside it as FILE.damaged.",
)
@_url
@click.pass_obj
def repair(config: Path | None, out: Path | None, url: str | None) -> None:
    """Make a new SQLite store of everything that can be read of a damaged one; the service must be stopped.

    Objects whose light curves are gone are listed. Each starts anew with the 30 days of history in its next alert; play
    the nights again (`serve --from`, `replay`) to have them whole.
    """
    path = _sqlite_file(config, url)
    new = out or path.with_name(f"{path.name}.repaired")
    found = rebuild(path, new)
    _tell_lost(found)
    for problem in found.problems:
        click.echo(f"the new file: {problem}", err=True)
    click.echo(f"{_content(found)} are in {new if out else path}")
    if out is None:
        click.echo(f"the damaged file is now {exchange(path, new)}")


def _sqlite_file(config: Path | None, url: str | None) -> Path:
    path = sqlite_path(url or load_settings(config).store.url.get_secret_value())
    if path is None:
        raise ConfigError("store.url: only an SQLite file can be looked into; PostgreSQL has pg_amcheck and backups")
    return path


def _tell_lost(found: damage.Findings) -> None:
    for name in found.lost[:MOST_LISTED]:
        click.echo(f"light curve lost: {name}", err=True)
    if len(found.lost) > MOST_LISTED:
        click.echo(f"... and {len(found.lost) - MOST_LISTED:,} more", err=True)


def _content(found: damage.Findings) -> str:
    sources = f", {found.sources:,} sources of photometry" if found.sources else ""
    return f"{found.objects:,} objects{sources}, {found.classifications:,} classifications"


def _open(config: Path | None, url: str | None, create: bool = False) -> Store:
    settings = load_settings(config).store
    return open_store(url or settings.url.get_secret_value(), settings.join_radius_arcsec, create=create)
