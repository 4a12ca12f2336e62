"""Shared by `serve` and `demo`: models, the HTTP server on a socket, slow gauges."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click
from fastapi import FastAPI

from service import metrics
from service.api.operations import check_readiness
from service.api.server import Server
from service.config import ApiSettings, ModelSettings, WatchSettings
from service.inference.bundle import BundleError, default_bundle_folder, load_bundle
from service.inference.registry import ModelRegistry
from service.inference.session import DeviceError
from service.store.interface import Store, StoreUnavailableError
from service.watches.delivery import WebhookSender

log = logging.getLogger(__name__)

# Readiness and the store's size take a query or two; this is often enough for a scrape interval of 15 s.
GAUGES_S: Final = 10.0
# Time for open requests at SIGTERM; the stream drains after them.
HTTP_DRAIN_S: Final = 5
# Threshold of the garbage collector (containers allocated minus freed); Python's default of 700 is a tenth of a batch.
GARBAGE: Final = 50_000
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def open_models(settings: ModelSettings) -> ModelRegistry:
    """The configured bundles, loaded and warm. Raises BundleError, DeviceError."""
    registry = ModelRegistry(
        load_bundle(settings.bundle or default_bundle_folder(), settings.trusted_keys),
        device=settings.device,
        threads=settings.threads,
        trusted_keys=settings.trusted_keys,
    )
    for survey, folder in settings.of_survey.items():
        registry.choose(survey, folder)
    for folder in settings.shadow_bundles:
        registry.add_shadow(folder)
    return registry


def spare_collector() -> None:
    """Exclude everything loaded so far (code, compiled functions, models) from garbage collection. Call it when
    everything is warm.

    Walking these 200,000 permanent objects blocked all threads for 100 to 200 ms each time. Without that, the 99th
    percentile of the latency at a steady 250 alerts/s falls from 170 ms to 27 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])


def reload_on_hangup(models: ModelRegistry, settings: ModelSettings) -> None:
    """On SIGHUP read the configured bundle folders again; new bundles become active, or shadows, without a gap.

    A bundle that can't be served is refused with a log line, and the active model stays.
    """

    def reload() -> None:
        try:
            models.activate(settings.bundle or default_bundle_folder())
            for survey, folder in settings.of_survey.items():
                models.choose(survey, folder)
            for folder in settings.shadow_bundles:
                models.add_shadow(folder)
        except (BundleError, DeviceError) as error:
            log.error("the new model is refused, %s goes on: %s", models.active.bundle.label, error)

    # in a thread: loading takes a second, and the signal handler interrupts the main thread
    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=reload, name="reload", daemon=True).start())


def listen(settings: ApiSettings) -> socket.socket:
    """A listening socket, opened before anything slow starts. Raises click.ClickException if the port is in use."""
    try:
        return socket.create_server((settings.host, settings.port), reuse_port=False)
    except OSError as error:
        raise click.ClickException(
            f"can't listen on {settings.host}:{settings.port} ({error.strerror}); choose another port with --port"
        ) from error


class HttpServer(Server):
    """The application on a listening socket, until SIGTERM, SIGINT or `stop`."""

    def __init__(self, app: FastAPI, settings: ApiSettings, listening: socket.socket) -> None:
        super().__init__(app, settings, HTTP_DRAIN_S)
        self._socket = listening
        if settings.host not in LOOPBACK and not settings.api_keys:
            log.warning("the API is open to whoever reaches %s: set api.api_keys to close it", settings.host)

    def serve_until_stopped(self, on_answering: Callable[[], None]) -> None:
        """Blocks; calls `on_answering` once requests are answered.

        uvicorn listens to signals only once it runs, and re-raises the one that ended it. Our handlers are there before
        it, so that no signal is lost, and let the caller shut down in order.
        """
        self.on_answering = on_answering
        with _signals_to(self.stop):
            self.run(sockets=[self._socket])

    def stop(self) -> None:
        self.should_exit = True


@contextmanager
def _signals_to(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT end the server and nothing else: what comes after it in the caller must run."""
    former = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def slow_gauges(app: FastAPI, models: ModelRegistry, store: Store) -> Iterator[None]:
    """Keep the gauges of readiness, store and model current while the block runs."""
    ended = threading.Event()

    def look() -> None:
        while True:
            active = models.active
            metrics.MODEL.info({"name": active.name, "version": active.version, "provider": active.provider})
            metrics.READY.set(not check_readiness(app.state.context)[1])
            try:
                now = store.statistics()
            except StoreUnavailableError:
                pass  # reported by readiness
            else:
                metrics.STORE_OBJECTS.set(now.objects)
                metrics.STORE_BYTES.set(now.bytes)
            if ended.wait(GAUGES_S):
                return

    thread = threading.Thread(target=look, name="gauges", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def webhooks(store: Store, settings: WatchSettings) -> Iterator[None]:
    """Tell the webhooks of watches what was noticed while the block runs."""
    delivery = WebhookSender(store, settings)
    delivery.start()
    try:
        yield
    finally:
        delivery.stop()
