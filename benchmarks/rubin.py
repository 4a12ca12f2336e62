"""Rubin's packets of real size: how fast they become alerts, and go through the pipeline into SQLite; no Kafka.

    python -m benchmarks.rubin [PATH] [--schemas FOLDER] [--alerts N]

PATH: a folder of framed packets, whose writer schemas are FOLDER/<id>.avsc; default: synthetic packets of schema 11.1
(104 to 690 kB, up to a year of history). Beside each figure the same work as it is often written, on the same packets
in the same run: fastavro, a dict as the store, one alert at a time.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import fastavro
import numpy as np

from benchmarks.machine import machine
from service.alerts import Decoder, SchemaFolder
from service.config import QualitySettings
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.registry import ModelRegistry
from service.photometry import BAND_CODES, SURVEY_CODES, Kind, LightCurve
from service.photometry.flux import magnitude_from_flux
from service.photometry.tai import utc_from_tai
from service.simulate.rubin import simulate_rubin
from service.simulate.rubin_packets import write_schema
from service.store import open_store
from service.stream.batch import Batch, Message
from service.stream.pipeline import Pipeline

ALERTS: Final = 2000
BATCH: Final = 256
REPEATS: Final = 5
PLAIN_PACKETS: Final = 150  # of the plain ways: fastavro takes up to 0.2 s for one
PERCENTILES: Final = (5, 25, 50, 75, 95, 100)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rubin", description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, help="folder of framed packets (default: synthetic packets)")
    parser.add_argument("--schemas", type=Path, help="folder of their writer schemas")
    parser.add_argument("--alerts", type=int, default=ALERTS, help=f"alerts to replay (default {ALERTS})")
    options = parser.parse_args(arguments)
    if (options.path is None) != (options.schemas is None):
        parser.error("PATH and --schemas go together")
    with tempfile.TemporaryDirectory() as folder:
        schemas = options.schemas or Path(folder) / "schemas"
        if options.path is None:
            write_schema(schemas)
        raws = packets(options.path, options.alerts)
        result = {"benchmark": "rubin", **measure(raws, schemas, Path(folder)), "machine": machine()}
    result["packets"] = "given" if options.path else "simulated"
    show(result)
    print(json.dumps(result))


def packets(folder: Path | None, count: int) -> list[bytes]:
    """`count` framed packets: those of a folder over and over, or synthetic ones."""
    if folder is None:
        return [alert.packet for alert in simulate_rubin(count, seed=1)]
    found = [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]
    if not found:
        raise SystemExit(f"no packets in {folder}")
    return list(islice(cycle(found), count))


def measure(raws: list[bytes], schemas: Path, folder: Path) -> dict[str, Any]:
    sizes = np.array([len(raw) for raw in raws])
    decoder = Decoder(SchemaFolder(schemas))
    decoder.warm_up()
    rows = [len(alert.light_curve) for alert in map(decoder.decode, raws)]
    spread = raws[:: max(1, len(raws) // PLAIN_PACKETS)]
    written_by = Schemas(schemas)
    fast = np.array([_best(decoder.decode, raw, REPEATS) for raw in spread])
    plain = np.array([_best(written_by.record, raw, 1) for raw in spread])
    return {
        "alerts": len(raws),
        "kilobytes": {str(q): float(np.percentile(sizes, q) / 1000) for q in PERCENTILES},
        "points": {str(q): float(np.percentile(rows, q)) for q in PERCENTILES},
        "decode_ms": float(fast.mean()),
        "decode_slowest_ms": float(fast.max()),
        "fastavro_ms": float(plain.mean()),
        "decode_ratio": float(plain.mean() / fast.mean()),
        "compiled": decoder.fallbacks.schemas == 0,
        **replay(raws, decoder, folder),
        "plain_alerts_per_second": plain_loop(spread, written_by),
    }


def replay(raws: list[bytes], decoder: Decoder, folder: Path) -> dict[str, Any]:
    """The pipeline's stages one after the other, in batches, into a new store on the disk."""
    store = open_store(f"sqlite:///{folder}/rubin.db")
    pipeline = Pipeline(decoder, store, ModelRegistry(load_bundle(), threads=1), QualitySettings())
    stages = (pipeline.decode, pipeline.cut, pipeline.merge, pipeline.classify, pipeline.encode, pipeline.record)
    seconds = dict.fromkeys((stage.__name__ for stage in stages), 0.0)
    cpu = time.process_time()
    filtered = 0
    for start in range(0, len(raws), BATCH):
        batch = Batch.of(
            Message("rubin", 0, start + number, raw, timestamp=1.7e9, received=1.7e9)
            for number, raw in enumerate(raws[start : start + BATCH])
        )
        for stage in stages:
            begin = time.perf_counter()
            stage(batch)
            seconds[stage.__name__] += time.perf_counter() - begin
        filtered += len(batch) - sum(1 for _ in batch.published())
    cpu = time.process_time() - cpu
    objects = store.statistics().objects
    store.close()
    return {
        "replay_alerts_per_second": len(raws) / sum(seconds.values()),
        "replay_cpu_ms_per_alert": 1000 * cpu / len(raws),
        "stage_ms_per_alert": {name: 1000 * spent / len(raws) for name, spent in seconds.items()},
        "filtered": filtered,
        "objects": objects,
        "store_bytes_per_object": (folder / "rubin.db").stat().st_size / max(objects, 1),
    }


def plain_loop(raws: list[bytes], written_by: Schemas) -> float:
    """Alerts per second of fastavro, a dict, and a classifier that is asked about one alert at a time."""
    classifier = Classifier(load_bundle(), threads=1)
    classifier.warm_up()
    store: dict[int, LightCurve] = {}
    begin = time.perf_counter()
    for raw in raws:
        record = written_by.record(raw)
        name = record["diaSource"]["diaObjectId"]
        if not name:
            continue
        curve = plain_light_curve(record)
        store[name] = curve = store[name].merge(curve) if name in store else curve
        (prediction,) = classifier.classify([curve])
        json.dumps({"object": name, "flags": prediction.flags, "probabilities": prediction.probabilities.tolist()})
    return len(raws) / (time.perf_counter() - begin)


def plain_light_curve(record: dict[str, Any]) -> LightCurve:
    """The detections and the forced photometry of a record, as a table."""
    sources = [record["diaSource"], *(record["prvDiaSources"] or [])]
    points = sources + (record["prvDiaForcedSources"] or [])
    flux, error, mjd = (
        np.array([point[name] for point in points], dtype=np.float64)
        for name in ("psfFlux", "psfFluxErr", "midpointMjdTai")
    )
    mag, magerr, sign = magnitude_from_flux(1e-3 * flux, 1e-3 * error)
    return LightCurve.from_columns(
        utc_from_tai(mjd),
        [BAND_CODES[point["band"]] for point in points],
        mag=mag,
        magerr=magerr,
        limit=31.4 - 2.5 * np.log10(5 * error),
        sign=sign,
        kind=np.where(np.arange(len(points)) < len(sources), Kind.DETECTION, Kind.FORCED),
        candid=[point.get("diaSourceId", 0) for point in points],
        survey=SURVEY_CODES["lsst"],
    )


class Schemas:
    """Writer schemas of a folder, parsed by fastavro."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed: dict[int, Any] = {}

    def record(self, raw: bytes) -> dict[str, Any]:
        number = int.from_bytes(raw[1:5], "big")
        if number not in self._parsed:
            text = (self._folder / f"{number}.avsc").read_text()
            self._parsed[number] = fastavro.parse_schema(json.loads(text))
        record: Any = fastavro.schemaless_reader(io.BytesIO(raw[5:]), self._parsed[number], None)
        return dict(record)


def plain_name(record: dict[str, Any]) -> str:
    source = record["diaSource"]
    return str(source["diaObjectId"] or f"sso{source['ssObjectId']}")


def _best(function: Callable[[bytes], object], raw: bytes, repeats: int) -> float:
    """Best time [ms]: what other processes take is not the decoder's."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        function(raw)
        best = min(best, time.perf_counter() - begin)
    return 1000 * best


def show(result: dict[str, Any]) -> None:
    print(f"{result['alerts']} {result['packets']} packets; percentiles {', '.join(map(str, PERCENTILES))}:")
    for what in ("kilobytes", "points"):
        print(f"{what:>12} " + " ".join(f"{value:8.0f}" for value in result[what].values()))
    print(
        f"{'decode':>12} {result['decode_ms']:8.3f} ms each, slowest {result['decode_slowest_ms']:.2f};"
        f" fastavro {result['fastavro_ms']:.1f} ms (x {result['decode_ratio']:.0f})"
    )
    print(
        f"{'replay':>12} {result['replay_alerts_per_second']:8.0f} alerts/s, {result['replay_cpu_ms_per_alert']:.2f} ms"
        f" of processor time each; plain loop {result['plain_alerts_per_second']:.1f} alerts/s"
    )
    for stage, ms in result["stage_ms_per_alert"].items():
        print(f"{stage:>12} {ms:8.3f} ms per alert")


if __name__ == "__main__":
    main()
