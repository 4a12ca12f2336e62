"""`alert-classifier replay`: archives through the pipeline of the stream, without Kafka."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from service import jit
from service.cli.hosting import open_models, spare_collector
from service.config import load_settings
from service.log import configure_logging
from service.output.files import JsonLines, Parquet, Writer
from service.store import open_store
from service.stream.accounting import Account
from service.stream.batch import Batch
from service.stream.files.replay import replay_archive
from service.stream.files.sinks import FileSink
from service.stream.inputs import framed
from service.stream.pipeline import build_pipeline


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Classifications: .jsonl or .parquet. Default: store alone.",
)
@click.option(
    "--dead-letters",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File (JSON lines) for what can't be classified.",
)
@click.option("--store", "store_url", help="sqlite:///PATH or postgresql://... Default: store.url.")
@click.pass_obj
def replay(
    config: Path | None, paths: tuple[Path, ...], out: Path | None, dead_letters: Path | None, store_url: str | None
) -> None:
    """Send packets, folders or a night's .tar.gz through the pipeline: into the store, and a file if --out names one.

    Each alert is classified as it was known when it came, as on the stream. Doing it again changes nothing. What can't
    be read of an archive is named, the rest is read. The exit status is 0 only if everything was read: 1 where an
    archive was damaged or an alert is a dead letter, and where there was nothing to read.
    """
    if out is not None and out.suffix not in (".jsonl", ".parquet"):
        raise click.UsageError(f"--out {out}: the ending must be .jsonl or .parquet")
    settings = load_settings(config, store={"url": store_url} if store_url else {})
    configure_logging(settings.log)
    models = open_models(settings.model)
    store = open_store(settings.store.url.get_secret_value(), settings.store.join_radius_arcsec)
    writer: Writer | None = None
    if out is not None:
        writer = Parquet(out) if out.suffix == ".parquet" else JsonLines.to(out)
    pipeline = build_pipeline(settings.model_copy(update={"kafka": framed(settings)}), models, store)
    spare_collector()
    jit.when_compiled(spare_collector)
    try:
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(),
            console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        ) as progress:  # fmt: skip
            task = progress.add_task("replaying", total=None)

            def advance(batch: Batch) -> None:
                progress.advance(task, len(batch))

            done = replay_archive(paths, pipeline, FileSink(writer, dead_letters), settings.pipeline, advance)
    finally:
        store.close()
    for damage in done.damaged:
        click.echo(f"not read: {damage}", err=True)
    click.echo(summary(done.account), err=True)
    if done.damaged or done.account.dead_lettered or not done.account.consumed:
        sys.exit(1)


def summary(account: Account) -> str:
    """The accounts of a replay in one line."""
    reasons = [*account.filtered.items(), *account.dead_lettered.items()]
    why = f" ({', '.join(f'{code} {count}' for code, count in reasons)})" if reasons else ""
    return (
        f"{account.consumed} alerts = {account.published} classified + {account.filtered.total()} filtered"
        f" + {account.dead_lettered.total()} dead-lettered{why}"
    )
