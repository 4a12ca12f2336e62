"""`alert-classifier dead-letters`: what could not be classified, why, and another try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import orjson
from rich.table import Column, Table

from service.cli.tables import print_table
from service.config import ConfigError, Settings, load_settings
from service.output.dead_letter import DeadLetter, read_dead_letter_file
from service.stream.kafka.dead_letter_topic import read_dead_letters, replay_dead_letters

_file = click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON-lines file, instead of the topic.",
)
_code = click.option("--code", help="Only those with this reason code.")


@click.group("dead-letters")
def dead_letters() -> None:
    """Messages that could not be decoded or classified, kept with their bytes, place and reason.

    They are named by TOPIC/PARTITION/OFFSET of where they came from. Looking changes nothing.
    """


@dead_letters.command("list")
@_file
@_code
@click.option("--format", "form", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
@click.pass_obj
def list_(config: Path | None, file: Path | None, code: str | None, form: str) -> None:
    """One line each, and how many of each reason."""
    table = Table(Column("place", no_wrap=True), Column("when", no_wrap=True), "code", "bytes", "reason", box=None)
    counts: Counter[str] = Counter()
    for letter in _letters(config, file, code):
        counts[letter.code] += 1
        if form == "jsonl":
            fields = letter.as_json()
            del fields["value"]
            click.echo(orjson.dumps({"place": letter.place, **fields}))
        else:
            when = datetime.fromtimestamp(letter.refused, UTC).isoformat(sep=" ", timespec="seconds")
            table.add_row(letter.place, when, letter.code, str(letter.size), letter.message)
    if form == "table":
        print_table(table)
    reasons = ", ".join(f"{code} {count}" for code, count in counts.most_common())
    click.echo(f"{counts.total()} dead letters{': ' + reasons if reasons else ''}", err=True)


@dead_letters.command()
@click.argument("place")
@_file
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the message's bytes to this file.")
@click.pass_obj
def show(config: Path | None, place: str, file: Path | None, out: Path | None) -> None:
    """Everything known of the dead letter that came from PLACE (topic/partition/offset)."""
    letter = next((found for found in _letters(config, file, None) if found.place == place), None)
    if letter is None:
        raise click.ClickException(f"there is no dead letter from {place}; `dead-letters list` names them")
    fields = letter.as_json()
    del fields["value"]
    for name, value in fields.items():
        click.echo(f"{name:16} {value}")
    if out is not None:
        out.write_bytes(letter.value)
        click.echo(f"{len(letter.value)} bytes written to {out}", err=True)
    else:
        click.echo(f"{'first bytes':16} {letter.value[:32].hex(' ')}")


@dead_letters.command()
@click.argument("places", nargs=-1)
@_code
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--topic", help="Publish there instead of where each came from.")
@click.pass_obj
def replay(config: Path | None, places: tuple[str, ...], code: str | None, everything: bool, topic: str | None) -> None:
    """Put dead letters through again: those from PLACES, those with --code, or --all."""
    if not (places or code or everything):
        raise click.UsageError("say which: PLACES, --code CODE or --all")
    done = replay_dead_letters(_settings(config), _chosen(places, code), topic)
    for place in done.incomplete:
        click.echo(f"{place}: not sent, the dead letter holds only its first bytes; read it from its source", err=True)
    click.echo(f"{done.sent} messages sent again", err=True)


def _chosen(places: tuple[str, ...], code: str | None) -> Callable[[DeadLetter], bool]:
    return lambda letter: (not places or letter.place in places) and (code is None or letter.code == code)


def _letters(config: Path | None, file: Path | None, code: str | None) -> Iterator[DeadLetter]:
    letters = read_dead_letter_file(file) if file is not None else read_dead_letters(_settings(config).kafka)
    return (letter for letter in letters if code is None or letter.code == code)


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    if not settings.kafka.bootstrap_servers:
        raise ConfigError("kafka.bootstrap_servers is empty: name the brokers, or a --file")
    return settings
