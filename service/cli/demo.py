"""`alert-classifier demo`: everything at work, on a simulated night and an embedded store, with nothing to set up."""

from __future__ import annotations

import sys
import threading
from itertools import chain, islice
from pathlib import Path
from time import monotonic, time
from typing import Final

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from service import jit
from service.api.app import create_app
from service.cli.hosting import HttpServer, listen, open_models, slow_gauges, spare_collector
from service.config import LogSettings, load_settings
from service.log import configure_logging
from service.photometry.time import mjd_from_unix
from service.simulate import Sky
from service.simulate.rubin import RubinSky
from service.store import open_store
from service.stream.files.sinks import FileSink
from service.stream.pipeline import build_pipeline
from service.stream.runner import StreamRunner
from service.stream.simulated import SimulatedStream, SkySource

# A sky of this size sends some 600 alerts per clear night (one night in four is lost to weather), so objects are
# observed again within minutes of the demo, and their light curves grow visibly.
OBJECTS: Final = 4000
ALERTS_PER_NIGHT: Final = 400
# Interval of progress lines if the output is no terminal.
LOG_EVERY_S: Final = 10.0


@click.command()
@click.option("--alerts", "count", type=click.IntRange(min=1), default=20_000, show_default=True, help="How many.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, help="Alerts per second."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--survey", type=click.Choice(["ztf", "lsst", "both"]), default="ztf", show_default=True, help="lsst: Rubin's."
)
@click.pass_obj
def demo(config: Path | None, count: int, rate: float, seed: int, port: int, survey: str) -> None:
    """Send simulated nights through the true pipeline into a temporary store, and serve page, API and metrics.

    Goes on answering when they are over; Ctrl-C ends it. Simulated objects say nothing about the model's quality.
    """
    settings = load_settings(config, api={"port": port})
    configure_logging(LogSettings(level="WARNING"))
    console = Console(stderr=True)
    listening = listen(settings.api)
    console.print("loading the model and the simulated sky ...")
    models = open_models(settings.model)
    nights = 5 + count // ALERTS_PER_NIGHT
    start_mjd = int(mjd_from_unix(time())) - nights
    store = open_store("sqlite://")
    pipeline = build_pipeline(settings, models, store)
    ztf = Sky(seed, objects=OBJECTS, nights=nights, start_mjd=start_mjd)
    rubin = RubinSky(seed, start_mjd=start_mjd, framed=False)
    skies = {"ztf": [ztf.alerts()], "lsst": [rubin.alerts()], "both": [ztf.alerts(), rubin.alerts()]}[survey]
    source = SkySource(islice(chain.from_iterable(zip(*skies, strict=False)), count), rate)
    runner = StreamRunner(source, pipeline, FileSink(), settings.pipeline)
    app = create_app(settings, models, store, SimulatedStream(runner, source))
    server = HttpServer(app, settings.api, listening)
    night = threading.Thread(target=runner.run, name="night", daemon=True)
    progress = threading.Thread(target=_report, args=(console, runner, night, count), daemon=True)
    port = listening.getsockname()[1]

    def announce() -> None:
        console.print(f"page     http://localhost:{port}\nAPI      http://localhost:{port}/docs")
        console.print(f"metrics  http://localhost:{port}/metrics\nCtrl-C ends it")
        progress.start()
        jit.when_slow(console.print)
        jit.when_compiled(spare_collector)
        jit.compile_in_background()

    try:
        with slow_gauges(app, models, store):
            night.start()
            server.serve_until_stopped(announce)
    finally:
        runner.stop(drain_s=5.0)
        night.join()
        store.close()
    total = runner.accounting.total()
    console.print(f"ended: {total.consumed} alerts taken, {total.published} classified")
    sys.exit(1 if runner.failure is not None else 0)


def _report(console: Console, runner: StreamRunner, night: threading.Thread, count: int) -> None:
    """A live progress line; without a terminal a line now and then."""
    begun = monotonic()
    if not console.is_terminal:
        while night.is_alive():
            console.print(_line(runner, count, begun))
            night.join(LOG_EVERY_S)
        console.print(_line(runner, count, begun))
        return
    with Live(console=console, refresh_per_second=4) as live:
        while night.is_alive():
            live.update(_line(runner, count, begun))
            night.join(0.25)
        live.update(Text(f"the nights are over: {runner.accounting.total().published} alerts classified"))


def _line(runner: StreamRunner, count: int, begun: float) -> Text:
    total = runner.accounting.total()
    rate = total.published / max(monotonic() - begun, 1e-3)
    trouble = f"  waiting: {runner.trouble}" if runner.trouble else ""
    return Text(f"{total.published:,} of {count:,} alerts classified, {rate:.0f}/s{trouble}")
