"""One replica of the stream service as a process; its settings come as JSON in REPLICA_SETTINGS. SIGTERM drains it."""

import signal
import sys
import threading

asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())  # before the slow imports: a stop may come at any time

import logging
import os

from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.store import open_store
from service.stream.interfaces import StreamError
from service.stream.service import StreamService


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(threadName)s %(name)s %(levelname)s %(message)s")
    settings = Settings.model_validate_json(os.environ["REPLICA_SETTINGS"])
    store = open_store(settings.store.url.get_secret_value())
    service = StreamService(settings, ModelRegistry(load_bundle(), threads=1), store)
    service.start()
    try:
        while not asked.is_set():
            if service.wait(0.1):
                break
    except StreamError as error:
        sys.exit(str(error))
    service.stop()
    store.close()


if __name__ == "__main__":
    main()
