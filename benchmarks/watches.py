"""Do watches slow the stream? A pipeline with ten of them, against one with none in the same run.

    python -m benchmarks.watches

Both stores hold ten thousand objects; alerts of these come in turns (`benchmarks.many`), most of them not their first.
Of the ten watches four have webhooks, whose receiver takes messages and never answers; the thread that tells them runs
all the time. Processor time of the pipeline's thread counts, because the clock of a busy machine says little. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.fill import fill
from benchmarks.machine import machine
from benchmarks.many import FEW, drains
from service.config import WatchSettings
from service.store import Cone, Store, open_store
from service.store.filters import Filters, Watch
from service.watches.delivery import WebhookSender
from service.watches.signing import new_secret

WATCHES: Final = (
    Filters(superclass="Transient", min_probability=0.7, without_flags=("too_few_points", "low_quality")),
    Filters(top_class="TDE"),
    Filters(top_class="AGN", min_probability=0.9),
    Filters(survey="ztf", min_detections=20),
    Filters(superclass="Periodic", max_detections=5),
    Filters(flags=("out_of_distribution",)),
    Filters(cone=Cone(150.0, 2.0, 5.0)),
    Filters(top_class="SNIa", min_probability=0.5, min_detections=3, max_detections=10),
    Filters(superclass="Stochastic", min_probability=0.5),
    Filters(min_probability=0.99),
)
WEBHOOKS: Final = 4
SEEN: Final = 0.95  # of the objects have sent an alert before: a survey's alerts are mostly of such


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watches", description=__doc__.partition("\n")[0])
    parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as silent:
        origin = f"http://127.0.0.1:{silent.getsockname()[1]}"
        paths = {name: Path(folder) / f"{name}.db" for name in ("none", "ten")}
        for path in paths.values():
            fill(path, FEW)
        with (
            closing(open_store(f"sqlite:///{paths['none']}")) as none,
            closing(open_store(f"sqlite:///{paths['ten']}")) as ten,
        ):
            watch(ten, origin)
            delivery = WebhookSender(ten, WatchSettings(webhook_origins=[origin]))
            delivery.start()
            rates = drains({"none": (none, FEW), "ten": (ten, FEW)}, int(SEEN * FEW), time.thread_time)
            noticed = sum(len(ten.notices(each.name, 100_000)) for each in ten.watches())
            delivery.stop()
    ratio = float(np.median(np.array(rates["ten"]) / np.array(rates["none"])))
    print(f"{len(WATCHES)} watches, {noticed:,} objects noticed: {ratio:.3f} of the alerts per second without")
    result = {"benchmark": "watches", "watches": len(WATCHES), "noticed": noticed, "ratio": ratio}
    print(json.dumps({**result, "machine": machine()}))


def watch(store: Store, origin: str) -> None:
    for number, filters in enumerate(WATCHES):
        url = f"{origin}/{number}" if number < WEBHOOKS else None
        store.add_watch(Watch(f"watch-{number}", filters, time.time(), url, url and new_secret()))


if __name__ == "__main__":
    main()
