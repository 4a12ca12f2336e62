"""The whole stream on one machine: Kafka in, SQLite beside, acknowledged classifications out.

    python -m benchmarks.stream [PATH] [--sky young mature real] [--alerts N] [--rate 250] [--seconds 20]
        [--bundle FOLDER]

Skies: `young`, simulated alerts and an empty store; `mature`, the same alerts, of objects that the store has known for
years (`benchmarks.aged`); `real`, the packets under PATH (a folder, .avro files or .tar.gz; repeated until there are
N) and an empty store. Without PATH the first two are measured, one after the other. With `--survey lsst`
the simulated packets are Rubin's, framed and of real size (104 to 690 kB: fewer of them will do), of a young sky. Three
figures of each:

- drain: a topic that holds N alerts is read to its end; alerts per second from the first message taken to the last
  acknowledgement, and processor seconds of the service per alert (the broker's are not in them);
- paced: alerts come at a fixed rate; latency from the broker's timestamp to the acknowledged output;
- baseline: the same work as it is often written: fastavro.reader, a dict as the store, one alert at a time.

A broker is started on loopback unless KAFKA_BOOTSTRAP_SERVERS names one. The service runs in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pydantic import SecretStr

from benchmarks import rubin
from benchmarks.aged import age
from benchmarks.machine import machine
from deploy.kafka.broker import Broker
from service.alerts import Alert, Decoder
from service.cli.hosting import spare_collector
from service.config import KafkaSettings, ModelSettings, Settings, StoreSettings
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.registry import ModelRegistry
from service.metrics import STAGE_SECONDS, STAGES
from service.photometry import Kind, LightCurve
from service.photometry.time import JD_OF_MJD_ZERO
from service.simulate import simulate
from service.simulate.rubin import simulate_rubin
from service.simulate.rubin_packets import write_schema
from service.store import open_store
from service.stream.batch import Batch
from service.stream.files.archives import PacketFile, read_archive
from service.stream.kafka.producer import publish
from service.stream.service import StreamService

YOUNG, MATURE, REAL = "young", "mature", "real"
WARM_UP = 1000
PARTITIONS = 4
BASELINE_ALERTS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="packets of the real sky")
    parser.add_argument("--sky", nargs="+", choices=[YOUNG, MATURE, REAL])
    parser.add_argument("--alerts", type=int, default=10_000, help="to be drained")
    parser.add_argument("--rate", type=float, default=250.0, help="alerts per second when paced")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the paced run takes")
    parser.add_argument("--delivery", default="at_least_once", choices=["at_least_once", "exactly_once"])
    parser.add_argument("--survey", default="ztf", choices=["ztf", "lsst"], help="whose packets are simulated")
    parser.add_argument("--bundle", type=Path, help="instead of the shipped one")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(**json.loads(options.serve))
        return
    if options.path and options.sky is None:
        options.sky = [REAL]
    skies = options.sky or ([YOUNG, MATURE] if options.survey == "ztf" else [YOUNG])
    if MATURE in skies and options.survey != "ztf":
        parser.error("--sky mature: only ZTF's objects are aged here")
    if (REAL in skies) != bool(options.path):
        parser.error("--sky real takes the packets under PATH; young and mature skies are simulated")
    with _kafka() as servers:
        measured = {sky: measure(sky, servers, options) for sky in skies}
    for sky, figures in measured.items():
        show(sky, figures, options.rate)
    if {YOUNG, MATURE} <= measured.keys():
        ratio = measured[MATURE]["cpu_ms_per_alert"] / measured[YOUNG]["cpu_ms_per_alert"]
        print(f"an alert of the mature sky takes {ratio:.2f} times the processor time of one of the young")
    first = measured[skies[0]]
    print(json.dumps({"benchmark": "stream", **first, "skies": measured, "machine": machine()}))


def measure(sky: str, servers: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one sky: drain, paced, and the plain loop on the same packets with an empty store."""
    path = options.path if sky == REAL else None
    with tempfile.TemporaryDirectory() as folder:
        name = f"bench-{uuid.uuid4().hex[:6]}"
        topics = {phase: f"{name}-{phase}" for phase in ("warm", "drain", "paced", "baseline")}
        make_topics(servers, [*topics.values(), f"{name}-out", f"{name}-dead", f"{name}-baseline-out"])
        schemas = Path(folder) / "schemas"
        write_schema(schemas)
        kafka = KafkaSettings(
            bootstrap_servers=servers,
            group_id=name,
            output_topic=f"{name}-out",
            dead_letter_topic=f"{name}-dead",
            delivery=options.delivery,
            transactional_id=name,
            schema_folder=schemas if options.survey == "lsst" else None,
        )
        given = path or options.survey
        sizes: list[int] = []
        paced = int(options.rate * options.seconds)
        publish(packets(given, WARM_UP, sizes), kafka, topics["warm"])
        publish(packets(given, options.alerts, sizes), kafka, topics["drain"])
        publish(packets(given, min(BASELINE_ALERTS, options.alerts), sizes), kafka, topics["baseline"])
        held = list(packets(given, paced, sizes))
        print(
            f"{sky}: {options.alerts:,} alerts of {np.mean(sizes) / 1000:.0f} kB wait in {PARTITIONS} partitions",
            flush=True,
        )
        url = f"sqlite:///{folder}/bench.db"
        aged = _age(url, max(options.alerts, paced), options.bundle) if sky == MATURE else {}
        child = {
            "settings": as_json(
                Settings(kafka=kafka, store=StoreSettings(url=url), model=ModelSettings(bundle=options.bundle))
            ),
            "topics": topics,
            "alerts": options.alerts,
            "paced": paced,
        }
        measured = _run_service(child, lambda: publish(iter(held), kafka, topics["paced"], options.rate))
        plain = rubin.Schemas(schemas) if options.survey == "lsst" else None
        count = min(BASELINE_ALERTS, options.alerts)
        baseline = _baseline(servers, topics["baseline"], f"{name}-baseline-out", count, plain)
    return {
        **measured,
        **aged,
        "baseline_alerts_per_second": baseline,
        "ratio_to_baseline": measured["alerts_per_second"] / baseline,
        "alerts": options.alerts,
        "packet_bytes": float(np.mean(sizes)),
        "packets": "given" if path else "simulated",
        "survey": options.survey,
        "rate": options.rate,
        "delivery": options.delivery,
    }


def show(sky: str, measured: dict[str, Any], rate: float) -> None:
    print(f"{sky} sky")
    if "points_mean" in measured:
        print(
            f"{'age':>10} {measured['earlier_detections_mean']:8.0f} earlier detections on average, 90 % within"
            f" {measured['earlier_detections_p90']:.0f}, {measured['points_mean']:.0f} points"
        )
    print(
        f"{'drain':>10} {measured['alerts_per_second']:8.0f} alerts/s,"
        f" {measured['cpu_ms_per_alert']:.2f} ms of processor time each"
    )
    print(
        f"{'baseline':>10} {measured['baseline_alerts_per_second']:8.0f} alerts/s"
        f" (x {measured['ratio_to_baseline']:.1f})"
    )
    print(f"{'paced':>10} p50 {measured['p50_ms']:.0f} ms, p99 {measured['p99_ms']:.0f} ms at {rate:.0f}/s")
    print(f"{'memory':>10} {measured['rss_mb']:8.0f} MB at most, store {measured['store_mb']:.0f} MB")
    for stage, ms in measured["stage_ms_per_alert"].items():
        print(f"{stage:>10} {ms:8.3f} ms per alert, wall")


def _age(url: str, alerts: int, bundle: Path | None) -> dict[str, float]:
    """Fill the store with the past of the objects that the simulated packets are of, and with what the bundle's model
    would have kept of it.
    """
    store = open_store(url)
    decoded = Decoder().decode_many([packet for _, packet in packets("ztf", alerts)])
    found = age(
        store, [alert for alert in decoded if isinstance(alert, Alert)], classifier=Classifier(load_bundle(bundle))
    )
    store.close()
    return found


def as_json(settings: Settings) -> str:
    """Settings for a process of their own, secrets included: pydantic's own JSON masks those, as the store's url."""

    def plain(value: object) -> str:
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    return json.dumps(settings.model_dump(exclude_defaults=True), default=plain)


def serve(settings: str, topics: dict[str, str], alerts: int, paced: int) -> None:
    """The service's process: warm up, drain, keep pace; figures as JSON on standard output."""
    config = Settings.model_validate_json(settings)
    store = open_store(config.store.url.get_secret_value())
    models = ModelRegistry(load_bundle(config.model.bundle), config.model.device, config.model.threads)
    for _ in range(2):  # the second finds everything compiled, connected and in the caches
        read_to_end(config, models, store, topics["warm"], WARM_UP)
    spare_collector()  # as `serve` does
    stages = _stage_seconds()
    cpu = time.process_time()
    seconds = read_to_end(config, models, store, topics["drain"], alerts)
    cpu = time.process_time() - cpu
    drained = {name: (spent - stages[name]) / alerts * 1000 for name, spent in _stage_seconds().items()}

    latencies: list[float] = []
    done = threading.Event()

    def settled(batch: Batch) -> None:
        now = time.time()
        latencies.extend(now - item.message.timestamp for item in batch.items if item.message.timestamp is not None)
        if len(latencies) >= paced:
            done.set()

    service = StreamService(_reading(config, topics["paced"]), models, store, on_settled=settled)
    service.start()
    while not service.health().ready:
        time.sleep(0.05)
    print("ready", flush=True)
    cpu_paced = time.process_time()
    done.wait(paced)
    service.stop()
    milliseconds = np.array(latencies) * 1000
    print(
        json.dumps(
            {
                "alerts_per_second": alerts / seconds,
                "cpu_ms_per_alert": cpu / alerts * 1000,
                "p50_ms": float(np.percentile(milliseconds, 50)),
                "p99_ms": float(np.percentile(milliseconds, 99)),
                "max_ms": float(milliseconds.max()),
                "paced_alerts": len(latencies),
                "paced_cpu_ms_per_alert": (time.process_time() - cpu_paced) / paced * 1000,
                "stage_ms_per_alert": drained,
                "store_mb": store.statistics().bytes / 1e6,
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )
    store.close()


def _reading(config: Settings, topic: str, suffix: str = "") -> Settings:
    kafka = config.kafka.model_copy(update={"topics": [topic], "group_id": f"{config.kafka.group_id}-{topic}{suffix}"})
    return config.model_copy(update={"kafka": kafka})


def read_to_end(config: Settings, models: ModelRegistry, store: Any, topic: str, alerts: int) -> float:
    """Seconds from the first alert taken to the last one acknowledged."""
    service = StreamService(
        _reading(config, topic, uuid.uuid4().hex[:4]),
        models,
        store,
        exit_at_end=True,
    )
    service.start()
    while not service.accounting.total().consumed:
        time.sleep(0.001)
    begin = time.perf_counter()
    while service.accounting.total().settled < alerts:
        time.sleep(0.005)
        if service.wait(0) and service.accounting.total().settled < alerts:
            raise SystemExit(f"only {service.accounting.total()} of {alerts}")
    seconds = time.perf_counter() - begin
    service.stop()
    return seconds


def _stage_seconds() -> dict[str, float]:
    sums = {s.labels["stage"]: s.value for m in STAGE_SECONDS.collect() for s in m.samples if s.name.endswith("_sum")}
    return {stage: sums.get(stage, 0.0) for stage in STAGES}


def _run_service(child: dict[str, Any], when_ready: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.stream", "--serve", json.dumps(child)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            if line.strip() == "ready":
                when_ready()
            last = line
    if process.returncode:
        raise SystemExit(f"the service ended with status {process.returncode}")
    figures: dict[str, Any] = json.loads(last)
    return figures


def _baseline(servers: str, topic: str, output: str, alerts: int, framed: rubin.Schemas | None) -> float:
    """Alerts per second of a plain loop: poll, fastavro.reader, dict, classify, produce."""
    classifier = Classifier(load_bundle(), threads=1)
    classifier.warm_up()
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"{topic}-reader", "auto.offset.reset": "earliest"})
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    consumer.subscribe([topic])
    store: dict[str, LightCurve] = {}
    done = 0
    begin = 0.0
    while done < alerts:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        begin = begin or time.perf_counter()
        if framed is None:
            record: Any = next(iter(fastavro.reader(io.BytesIO(message.value()))))
            curve, name, candid = plain_light_curve(record), record["objectId"], record["candid"]
        else:
            record = framed.record(message.value())
            curve, name, candid = rubin.plain_light_curve(record), rubin.plain_name(record), record["diaSourceId"]
        store[name] = curve = store[name].merge(curve) if name in store else curve
        (prediction,) = classifier.classify([curve])
        answer = {c: float(p) for c, p in zip(prediction.classes, prediction.probabilities, strict=True)}
        producer.produce(output, json.dumps({"objectId": name, "candid": candid, "probabilities": answer}), name)
        producer.poll(0)
        done += 1
    producer.flush()
    seconds = time.perf_counter() - begin
    consumer.close()
    return done / seconds


def plain_light_curve(record: dict[str, Any]) -> LightCurve:
    points = [record["candidate"], *(record.get("prv_candidates") or [])]
    detected = [point.get("magpsf") is not None for point in points]

    def column(name: str) -> list[float]:
        return [np.nan if point.get(name) is None else point[name] for point in points]

    return LightCurve.from_columns(
        [point["jd"] - JD_OF_MJD_ZERO for point in points],
        [point["fid"] - 1 for point in points],
        mag=column("magpsf"),
        magerr=column("sigmapsf"),
        limit=column("diffmaglim"),
        magnr=column("magnr"),
        sign=[
            (1 if point.get("isdiffpos") in ("t", "1") else -1) * found
            for point, found in zip(points, detected, strict=True)
        ],
        kind=[Kind.DETECTION if found else Kind.UPPER_LIMIT for found in detected],
        candid=[record["candid"], *([0] * (len(points) - 1))],
    )


def packets(given: Path | str | None, count: int, sizes: list[int] | None = None) -> Iterator[tuple[None, bytes]]:
    """(key, packet) pairs: those under a path over and over, or simulated ones; `sizes` is told their bytes."""
    if isinstance(given, Path):
        endless = cycle(one.value for one in read_archive(given) if isinstance(one, PacketFile))
    else:
        make = simulate_rubin if given == "lsst" else simulate
        endless = (alert.packet for alert in make(count, seed=1))
    for packet in islice(endless, count):
        if sizes is not None:
            sizes.append(len(packet))
        yield None, packet


def make_topics(servers: str, names: list[str]) -> None:
    """Topics of PARTITIONS partitions."""
    admin = AdminClient({"bootstrap.servers": servers})
    # the broker's own time of arrival: else the clock starts before the publisher has connected
    stamped = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "10485760"}
    for done in admin.create_topics([NewTopic(name, PARTITIONS, 1, config=stamped) for name in names]).values():
        done.result()


@contextmanager
def _kafka() -> Iterator[str]:
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        yield broker.bootstrap_servers


if __name__ == "__main__":
    main()
