"""Does the service stay small? Resident memory, disk and processor time while the store fills with objects.

    python -m benchmarks.memory [PATH] [--objects 100000] [--url URL]

Packets of real size go through the service's pipeline (threads, queues, SQLite, shipped bundle) without a broker: some
hundred simulated packets (or those of PATH) come again and again under new names and positions, so that every object is
a new one, and brings its later alerts when a fifth of all others have come between. The last line is JSON.

`rss_last_half_mb` is what the resident memory grew by over the last half, as the slope of a straight line: single
samples hold what batches happen to be under way.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import struct
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fastavro
import numpy as np

from benchmarks.machine import machine
from service.alerts import Alert, Decoder
from service.api.app import create_app
from service.cli.hosting import spare_collector
from service.config import Settings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.store import Store, open_store
from service.stream.batch import Batch, Message
from service.stream.files.archives import PacketFile, read_archive
from service.stream.files.sinks import FileSink
from service.stream.pipeline import build_pipeline
from service.stream.runner import StreamRunner

FAMILIES: Final = 200  # different objects whose packets are repeated; some 20 MB, which count as the service's
SAMPLES: Final = 50
NAME_LENGTH: Final = 12  # ZTF26abcdefg


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, help="packets to use instead of simulated ones")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--url", help="an empty store to fill (default: SQLite in a temporary folder)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.url or f"sqlite:///{folder}/memory.db", families(options.path), options.objects)
    show(result)
    print(json.dumps(result))


@dataclass(frozen=True, slots=True)
class Template:
    """A packet, and where in it lie the object's name and its position (right ascension, then declination)."""

    packet: bytes
    name: int
    ra: int
    dec: int

    @classmethod
    def of(cls, packet: bytes, alert: Alert) -> Template:
        name, ra, dec = (
            packet.index(wanted)
            for wanted in (alert.object_id.encode(), struct.pack("<d", alert.ra), struct.pack("<d", alert.dec))
        )
        return cls(packet, name, ra, dec)

    def for_object(self, number: int) -> bytes:
        """The packet as that of another object, somewhere else in the sky."""
        packet = bytearray(self.packet)
        packet[self.name : self.name + NAME_LENGTH] = b"ZTF25%07d" % number
        struct.pack_into("<d", packet, self.ra, number * 0.618034 % 360)
        struct.pack_into("<d", packet, self.dec, number * 0.381966 % 120 - 30)
        return bytes(packet)


def families(path: Path | None) -> list[list[Template]]:
    """The packets of up to FAMILIES objects, each object's in order of time."""
    packets = (
        (one.value for one in read_archive(path) if isinstance(one, PacketFile))
        if path
        else (a.packet for a in simulate(3 * FAMILIES))
    )
    decoder = Decoder()
    found: dict[str, list[tuple[float, Template]]] = defaultdict(list)
    for packet in packets:
        alert = decoder.decode(packet)
        if len(alert.object_id) == NAME_LENGTH and (alert.object_id in found or len(found) < FAMILIES):
            found[alert.object_id].append((alert.mjd, Template.of(packet, alert)))
    if not found:
        raise SystemExit(f"no packets in {path}")
    return [[template for _, template in sorted(dated, key=lambda pair: pair[0])] for dated in found.values()]


class Sky:
    """Ever new objects: object n has the packets of family n, each a fifth of all objects after the one before."""

    def __init__(self, kin: list[list[Template]], objects: int) -> None:
        self.begun = 0  # objects that have sent an alert
        self.sent = 0
        self._objects = objects
        self._paused = False
        self._coming = self._packets(kin)
        self.exhausted = False

    def poll(self, maximum: int, linger_s: float) -> list[Message]:
        messages: list[Message] = []
        if self._paused:
            return messages
        now = time.time()
        for packet in self._coming:
            messages.append(Message("memory", 0, self.sent, packet, timestamp=now, received=now))
            self.sent += 1
            if len(messages) == maximum:
                return messages
        self.exhausted = True
        return messages

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def acknowledge(self, batch: Batch) -> None: ...

    def close(self) -> None: ...

    def _packets(self, kin: list[list[Template]]) -> Iterator[bytes]:
        for newest in range(self._objects):
            self.begun = newest + 1
            for which, number in enumerate(range(newest, -1, -self._objects // 5)):
                family = kin[number % len(kin)]
                if which < len(family):
                    yield family[which].for_object(number)


def measure(url: str, kin: list[list[Template]], objects: int) -> dict[str, Any]:
    settings = Settings()
    store = open_store(url)
    if store.statistics().objects:
        raise SystemExit("the store is not empty: a benchmark would fill it with made-up objects")
    models = ModelRegistry(load_bundle(), settings.model.device, settings.model.threads)
    create_app(settings, models, store)  # as in `serve`: what it takes is the service's
    spare_collector()
    source = Sky(kin, objects)
    samples: list[dict[str, float]] = [_sample(store, 0, 0)]

    def settled(batch: Batch) -> None:
        arrived = runner.accounting.total().published
        if source.begun >= len(samples) * objects / SAMPLES:
            samples.append(_sample(store, store.statistics().objects, arrived))

    pipeline = build_pipeline(settings, models, store)
    runner = StreamRunner(source, pipeline, FileSink(), settings.pipeline, on_settled=settled)
    begin, cpu = time.perf_counter(), time.process_time()
    runner.run()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    books = runner.accounting.total()
    samples.append(_sample(store, store.statistics().objects, books.published))
    store.close()  # which empties SQLite's log into its file
    store = open_store(url)
    kept = store.statistics()
    store.close()
    if kept.objects != objects or books.published != source.sent:
        raise SystemExit(
            f"{kept.objects} of {objects} objects kept, {books.published} of {source.sent} alerts answered"
        )
    half = [sample for sample in samples if objects / 2 <= sample["objects"]]
    slope = float(np.polyfit([s["objects"] for s in half], [s["rss_mb"] for s in half], 1)[0])
    plain = _plain_bytes_per_object(kin)
    return {
        "benchmark": "memory",
        "objects": objects,
        "alerts": source.sent,
        "packet_bytes": float(np.mean([len(t.packet) for family in kin for t in family])),
        "rss_start_mb": samples[0]["rss_mb"],
        "rss_half_mb": half[0]["rss_mb"],
        "rss_end_mb": half[-1]["rss_mb"],
        "rss_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rss_last_half_mb": slope * objects / 2,
        "store_bytes_per_object": kept.bytes / objects,
        "store_bytes": kept.bytes,
        "alerts_per_second": source.sent / seconds,
        "cpu_ms_per_alert": 1e3 * cpu / source.sent,
        "cpu_ms_per_alert_first_tenth": _cpu_per_alert(samples, 0, objects / 10),
        "cpu_ms_per_alert_last_tenth": _cpu_per_alert(samples, 0.9 * objects, objects),
        "baseline_bytes_per_object": plain,
        "ratios": {"plain_python_to_store": plain / (kept.bytes / objects)},
        "samples": samples,
        "machine": machine(),
    }


def _sample(store: Store, objects: int, alerts: int) -> dict[str, float]:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "objects": objects,
        "alerts": alerts,
        "rss_mb": pages * resource.getpagesize() / 2**20,
        "store_mb": store.statistics().bytes / 2**20,
        "cpu_s": time.process_time(),
    }


def _cpu_per_alert(samples: list[dict[str, float]], start: float, end: float) -> float:
    """Milliseconds of processor time per alert, between two numbers of objects."""
    part = [sample for sample in samples if start <= sample["objects"] <= end]
    alerts = part[-1]["alerts"] - part[0]["alerts"]
    return 1e3 * (part[-1]["cpu_s"] - part[0]["cpu_s"]) / alerts if alerts else float("nan")


def _plain_bytes_per_object(kin: list[list[Template]]) -> float:
    """What a dict of each object's last packet, as fastavro gives it and without its images, takes in memory."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = []
    for family in kin:
        record: Any = next(iter(fastavro.reader(io.BytesIO(family[-1].packet))))
        held.append({name: value for name, value in record.items() if not name.startswith("cutout")})
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return size / len(held)


def show(result: dict[str, Any]) -> None:
    print(f"{'objects':>9} {'alerts':>9} {'RSS MB':>8} {'store MB':>9}")
    for sample in result["samples"]:
        print(f"{sample['objects']:>9,} {sample['alerts']:>9,} {sample['rss_mb']:>8.0f} {sample['store_mb']:>9.0f}")
    print(
        f"RSS {result['rss_end_mb']:.0f} MB at the end, {result['rss_last_half_mb']:+.1f} MB over the last half,"
        f" peak {result['rss_peak_mb']:.0f} MB; {result['store_bytes_per_object']:.0f} bytes per object on disk"
        f" (as plain Python objects in memory: {result['baseline_bytes_per_object']:.0f})"
    )
    print(
        f"{result['alerts_per_second']:.0f} alerts/s, {result['cpu_ms_per_alert']:.2f} ms of processor time each;"
        f" {result['cpu_ms_per_alert_first_tenth']:.2f} over the first tenth of the objects,"
        f" {result['cpu_ms_per_alert_last_tenth']:.2f} over the last"
    )


if __name__ == "__main__":
    main()
