"""What keeping pictures costs: `python -m benchmarks.cutouts`.

The stages of the stream, from bytes to the store, over the same packets with and without `store.cutouts_bytes`, turn by
turn in one process; each turn begins with an empty store. Also the time to find the pictures in a packet.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import click

from service.alerts import Decoder
from service.alerts.cutouts import CutoutReader
from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.store import open_store
from service.stream.batch import Batch, Message
from service.stream.pipeline import Pipeline

BATCH = 256


@click.command()
@click.option("--alerts", default=4000, show_default=True)
@click.option("--turns", default=5, show_default=True)
@click.option("--most-bytes", default=100_000_000, show_default=True, help="the bound; a smaller one deletes more")
def main(alerts: int, turns: int, most_bytes: int) -> None:
    packets = [alert.packet for alert in simulate(alerts, seed=1)]
    models = ModelRegistry(load_bundle(), threads=1)
    decoder = Decoder()
    decoder.warm_up()
    _seconds(packets[:BATCH], decoder, models, most_bytes)  # warm
    off, on = [], []
    for _ in range(turns):
        off.append(_seconds(packets, decoder, models, 0))
        on.append(_seconds(packets, decoder, models, most_bytes))
    reader = CutoutReader()
    start = perf_counter()
    for packet in packets:
        reader.read(packet)
    find = (perf_counter() - start) / alerts
    start = perf_counter()
    decoder.decode_many(packets)
    decode = (perf_counter() - start) / alerts
    click.echo(f"without: {alerts / median(off):.0f} alerts/s, with: {alerts / median(on):.0f} alerts/s")
    ratios = sorted(a / b for a, b in zip(off, on, strict=True))
    click.echo(f"with / without, turn by turn: median {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    click.echo(f"finding the pictures {1e6 * find:.0f} us a packet, decoding {1e6 * decode:.0f} us")


def _seconds(packets: list[bytes], decoder: Decoder, models: ModelRegistry, most_bytes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'store.db'}")
        pipeline = Pipeline(decoder, store, models, Settings().quality, cutouts_bytes=most_bytes)
        start = perf_counter()
        for first in range(0, len(packets), BATCH):
            chunk = packets[first : first + BATCH]
            pipeline.run(Batch.of([Message("bench", 0, first + i, raw, 1e9, 1e9) for i, raw in enumerate(chunk)]))
        seconds = perf_counter() - start
        store.close()
    return seconds


if __name__ == "__main__":
    main()
