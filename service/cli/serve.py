"""`alert-classifier serve`: the stream and the HTTP API in one process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service import jit
from service.alerts import Decoder, schema_source
from service.api.app import create_app
from service.cli.hosting import (
    HttpServer,
    listen,
    open_models,
    reload_on_hangup,
    slow_gauges,
    spare_collector,
    webhooks,
)
from service.cli.watchdog import Watchdog, end_now
from service.config import ConfigError, load_settings
from service.log import configure_logging
from service.store import open_store
from service.stream.inputs import framed

if TYPE_CHECKING:
    from service.stream.service import StreamService

log = logging.getLogger(__name__)


class Time(click.ParamType[datetime]):
    """An ISO 8601 time; without a zone it is UTC, as survey nights are."""

    name = "time"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2026-01-31 or 2026-01-31T04:30", param, ctx)
        return time if time.tzinfo else time.replace(tzinfo=UTC)


@click.command()
@click.option(
    "--topic", "topics", multiple=True, help="Input topic; may be repeated. Default: the survey's daily topics."
)
@click.option("--bootstrap-servers", help="Brokers as host:port,... Default: kafka.bootstrap_servers.")
@click.option("--group", help="Consumer group. Default: kafka.group_id.")
@click.option("--from", "start", type=Time(), help="Read alerts again from this broker time on, in a group of its own.")
@click.option("--until", type=Time(), help="With --from: and until this one.")
@click.option("--exit-at-end", is_flag=True, help="End where the topics end, instead of waiting for more.")
@click.option("--store", "store_url", help="sqlite:///PATH or postgresql://... Default: store.url.")
@click.option(
    "--bundle", type=click.Path(file_okay=False, path_type=Path), help="Model bundle. Default: the shipped one."
)
@click.option("--host", help="Address of the HTTP API. Default: api.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the HTTP API. Default: api.port.")
@click.pass_obj
def serve(
    config: Path | None,
    topics: tuple[str, ...],
    bootstrap_servers: str | None,
    group: str | None,
    start: datetime | None,
    until: datetime | None,
    exit_at_end: bool,
    store_url: str | None,
    bundle: Path | None,
    host: str | None,
    port: int | None,
) -> None:
    """Classify the stream and answer HTTP until SIGTERM or Ctrl-C, which drain what is under way and lose nothing.

    Without brokers (kafka.bootstrap_servers) only HTTP is served. SIGHUP reads the model bundle's folder again: what is
    new there becomes active without a gap, or is refused. The page is at /, the API's documentation at /docs.
    """
    if until is not None and start is None:
        raise click.UsageError("--until goes with --from")
    kafka = {"topics": list(topics) or None, "bootstrap_servers": bootstrap_servers, "group_id": group}
    settings = load_settings(
        config, kafka=_given(kafka), store=_given({"url": store_url}), model=_given({"bundle": bundle}),
        api=_given({"host": host, "port": port}),
    )  # fmt: skip
    configure_logging(settings.log)
    listening = listen(settings.api)
    models = open_models(settings.model)
    reload_on_hangup(models, settings.model)
    store = open_store(settings.store.url.get_secret_value(), settings.store.join_radius_arcsec)
    watchdog = None
    try:
        stream = None
        if settings.kafka.bootstrap_servers:
            from service.stream.kafka.topics import Span  # the Kafka client, for which HTTP alone does not wait
            from service.stream.service import StreamService

            span = Span(start, until) if start is not None else None
            stream = StreamService(settings, models, store, span=span, exit_at_end=exit_at_end)
        elif start is not None or exit_at_end or topics:
            raise ConfigError("there is nothing to stream from: set kafka.bootstrap_servers or --bootstrap-servers")
        decoder = Decoder(schema_source(framed(settings)))
        decoder.try_out()
        app = create_app(settings, models, store, stream, decoder)
        server = HttpServer(app, settings.api, listening)
        with slow_gauges(app, models, store), webhooks(store, settings.watch):
            if stream is not None:
                watchdog = Watchdog(stream.longest_stage, settings.pipeline.give_up_s, lambda: server.should_exit)
                watchdog.start()
                stream.start()
                threading.Thread(target=_end_with, args=(stream, server), daemon=True).start()
            address = listening.getsockname()[:2]

            def announce() -> None:
                log.info("serving %s on http://%s:%d", models.active.bundle.label, *address)
                jit.when_slow(log.info)
                jit.when_compiled(spare_collector)
                jit.compile_in_background()

            try:
                server.serve_until_stopped(announce)
            finally:
                if stream is not None:
                    stream.stop()
                    if stream.stuck:
                        end_now(f"these threads did not end: {', '.join(stream.stuck)}")
        if stream is not None and stream.failure is not None:
            raise click.ClickException(f"the stream has failed: {stream.failure}")
    finally:
        store.close()
        if watchdog is not None:
            watchdog.release()


def _end_with(stream: StreamService, server: HttpServer) -> None:
    """End the process when the stream ends, by failure or at the end of a bounded reading."""
    try:
        stream.wait()
    except BaseException:
        pass  # reported by the command after the shutdown
    finally:
        server.stop()


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
