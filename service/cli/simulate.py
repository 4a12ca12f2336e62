"""`alert-classifier simulate`: a synthetic night, as files or as messages on a topic."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from service.config import ConfigError, load_settings
from service.simulate import BALANCED, STREAM, write_packets
from service.simulate import simulate as simulated
from service.simulate.packets import SCHEMA_VERSIONS
from service.simulate.rubin import simulate_rubin
from service.simulate.rubin_packets import write_schema
from service.stream.kafka.producer import publish


@click.command()
@click.option("--alerts", "count", type=click.IntRange(min=1), default=1000, show_default=True, help="How many.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for one .avro file per alert.")
@click.option("--topic", help="Kafka topic to produce to (kafka.bootstrap_servers must be set).")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Alerts per second; default: as fast as it goes."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--balanced", is_flag=True, help="All classes alike, instead of in the proportions of a stream.")
@click.option("--survey", type=click.Choice(["ztf", "lsst"]), default="ztf", show_default=True, help="lsst: Rubin's.")
@click.option(
    "--schema-version", type=click.Choice(SCHEMA_VERSIONS), help=f"Of ZTF's packets; default: {SCHEMA_VERSIONS[0]}."
)
@click.option(
    "--schemas",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the writer schema of Rubin's messages, to be used as kafka.schema_folder.",
)
@click.pass_obj
def simulate(
    config: Path | None,
    count: int,
    out: Path | None,
    topic: str | None,
    rate: float | None,
    seed: int,
    balanced: bool,
    survey: str,
    schema_version: str | None,
    schemas: Path | None,
) -> None:
    """Make alert packets of a simulated sky: real schema and size, 14 classes, histories, upper limits, cutouts.

    Rubin's are of schema 11.1, with up to a year of history in six bands: container files with --out, framed messages
    with --topic, as the survey sends them.

    With --out, truth.csv beside the packets holds the true classes. Simulated objects are for showing and for load,
    never evidence of how good a classifier is.
    """
    if (out is None) == (topic is None):
        raise click.UsageError("say where to: either --out FOLDER or --topic TOPIC")
    if out is not None and rate is not None:
        raise click.UsageError("--rate goes with --topic: files have no rate")
    weights = BALANCED if balanced else STREAM
    if survey == "lsst":
        if schema_version is not None:
            raise click.UsageError("--schema-version is for ZTF's packets: Rubin's are of 11.1")
        if schemas is not None:
            write_schema(schemas)
        alerts = simulate_rubin(count, seed, weights=weights, framed=out is None)
    else:
        if schemas is not None:
            raise click.UsageError("--schemas is for --survey lsst: ZTF's packets hold their schema")
        alerts = simulated(count, seed, weights=weights, schema_version=schema_version or SCHEMA_VERSIONS[0])
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        watched = progress.track(alerts, total=count, description="simulating")
        if out is not None:
            written = write_packets(watched, out)
            where = str(out)
        else:
            assert topic is not None
            kafka = load_settings(config).kafka
            if not kafka.bootstrap_servers:
                raise ConfigError("kafka.bootstrap_servers is empty: --topic needs a broker")
            written = publish(((None, alert.packet) for alert in watched), kafka, topic, rate)
            where = f"topic {topic}"
    click.echo(f"{written} alerts written to {where}", err=True)
