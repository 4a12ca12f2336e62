"""`alert-classifier watch`: new classifications as they come, from the output topic or a service's API."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import sleep, time
from typing import Any, Final

import click
import httpx
import orjson
from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition
from rich.console import Console
from rich.live import Live
from rich.table import Table

from service import secrets
from service.cli.tables import class_cells
from service.config import ConfigError, KafkaSettings, load_settings, revealed
from service.inference.prediction import names_a_class
from service.output.avro import decode_classification
from service.stream.kafka.client_settings import client_config, made

POLL_S: Final = 1.0
ROWS: Final = 20


@click.command()
@click.option(
    "--url", help="A service's API, e.g. http://localhost:8000. Default: the output topic, if brokers are set."
)
@click.option("--api-key", envvar="ALERT_CLASSIFIER_API_KEY", help="For an API that asks for one.")
@click.option("--class", "wanted", multiple=True, help="Only this top class; may be repeated.")
@click.option("--min-probability", type=click.FloatRange(0, 1), default=0.0, show_default=True)
@click.option("--format", "form", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
@click.pass_obj
def watch(
    config: Path | None,
    url: str | None,
    api_key: str | None,
    wanted: tuple[str, ...],
    min_probability: float,
    form: str,
) -> None:
    """Show classifications as they are published, newest first, until Ctrl-C."""
    kafka = load_settings(config).kafka
    if url is not None:
        secrets.remember(filter(None, (*secrets.in_url(url), api_key)))
        news = _named(url, _from_api(url, api_key))
    elif kafka.bootstrap_servers:
        news = _named(kafka.bootstrap_servers, _from_topic(kafka))
    else:
        raise ConfigError("there is nothing to watch: give --url, or set kafka.bootstrap_servers")
    chosen = (
        each
        for each in news
        if not each or ((not wanted or each["top_class"] in wanted) and _probability(each) >= min_probability)
    )
    if form == "jsonl":
        for each in filter(None, chosen):
            sys.stdout.buffer.write(orjson.dumps(each, default=str) + b"\n")
            sys.stdout.flush()
        return
    rows: deque[dict[str, Any]] = deque(maxlen=ROWS)
    with Live(_table(rows), console=Console(), auto_refresh=False) as live:
        for each in chosen:
            if each:
                rows.appendleft(each)
            else:  # nothing more at the moment
                live.update(_table(rows), refresh=True)


def _named(where: str, news: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """`news`; an error of the source is raised as one sentence that names it."""
    try:
        yield from news
    except (httpx.HTTPError, httpx.InvalidURL, KafkaException) as error:
        raise click.ClickException(f"nothing can be read from {where}: {error}") from error


def _from_api(url: str, api_key: str | None) -> Iterator[dict[str, Any]]:
    """Classifications from a service's API, and {} after each request."""
    headers = {"x-api-key": api_key} if api_key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=10.0) as client:
        since = time() - 60.0
        seen: set[tuple[str, int]] = set()
        while True:
            answer = client.get("/v1/objects", params={"since": since, "limit": 100})
            answer.raise_for_status()
            fresh = [each for each in answer.json()["objects"] if (each["object_id"], each["candid"]) not in seen]
            seen = {(each["object_id"], each["candid"]) for each in answer.json()["objects"]}
            yield from reversed(fresh)
            yield {}
            since = time() - 60.0
            sleep(POLL_S)


def _from_topic(kafka: KafkaSettings) -> Iterator[dict[str, Any]]:
    """Classifications published from now on to the output topic, and {} whenever there is none. Joins no group."""
    consumer = made(
        Consumer,
        {
            **client_config(kafka),
            "group.id": f"{kafka.group_id}-watch",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            **revealed(kafka.librdkafka | kafka.librdkafka_consumer),
        },
    )
    try:
        topic = consumer.list_topics(kafka.output_topic, timeout=10.0).topics[kafka.output_topic]
        if topic.error is not None:
            raise ConfigError(f"the output topic {kafka.output_topic} is not there: {topic.error}")
        consumer.assign([TopicPartition(kafka.output_topic, number, OFFSET_END) for number in topic.partitions])
        while True:
            message = consumer.poll(0.5)
            value = message.value() if message is not None and message.error() is None else None
            yield _of_message(value) if value is not None else {}
    finally:
        consumer.close()


def _of_message(value: bytes) -> dict[str, Any]:
    """Its fields as the API has them: no class where none is named."""
    fields = decode_classification(value)
    return fields if names_a_class(fields["flags"]) else fields | {"top_class": None}


def _probability(fields: dict[str, Any]) -> float:
    return 0.0 if fields["top_class"] is None else float(fields["top_probability"])


def _table(rows: deque[dict[str, Any]]) -> Table:
    table = Table("published", "object", "class", "probability", "conformal set", "detections", "flags", box=None)
    for each in rows:
        table.add_row(
            _time(each["published"]),
            each["object_id"],
            *class_cells(each),
            " ".join(each["conformal_set"]),
            str(sum(each["n_detections"].values())),
            " ".join(each["flags"]),
        )
    return table


def _time(published: Any) -> str:
    """A clock time of a datetime (topic), ISO text or microseconds (API)."""
    if isinstance(published, str):
        published = datetime.fromisoformat(published)
    elif not isinstance(published, datetime):
        published = datetime.fromtimestamp(published / 1e6, UTC)
    return f"{published:%H:%M:%S}"
