"""What several replicas of the service gain and cost: one topic, one group, one PostgreSQL, 1, 2 and 4 processes.

    python -m benchmarks.replicas [--alerts 6000] [--replicas 1 2 4] [--turns 2]

All replicas run on this machine, beside the broker and the store, in two ways:

- *together*: all at once, as fast as they can. One process uses all the cores there are, so this can't become faster;
  it shows what the company costs: processor time per alert, of the service and of the store.
- *apart*: by turns of 10 ms, each replica an eighth of the time and never two at a time: as if each had a machine of
  its own, eight times slower. This shows how the rate grows until what is shared, broker and store, is the limit.

The topic is filled while the replicas are members of the group already, but halted; the clock runs from their release
to the last acknowledgement. Best of the turns. The last line is JSON; it needs Java and PostgreSQL's binaries.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import machine
from benchmarks.stream import PARTITIONS, as_json, make_topics, packets, read_to_end
from deploy.kafka.broker import Broker
from service.cli.hosting import spare_collector
from service.config import KafkaSettings, Settings, StoreSettings
from service.inference.bundle import load_bundle
from service.inference.registry import ModelRegistry
from service.store import open_store
from service.stream.batch import Batch
from service.stream.kafka.producer import publish
from service.stream.service import StreamService
from tests.integration.postgres import PostgresServer, own_server

WARM_UP: Final = 300
SLICE_S: Final = 0.01
SLICES: Final = 8  # of a cycle in which each replica has one
SLOWER: Final = 4  # apart, so many times fewer alerts are drained
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__.partition("\n")[0])
    parser.add_argument("--alerts", type=int, default=6000, help="to be drained together; apart a quarter of them")
    parser.add_argument(
        "--replicas", type=int, nargs="+", default=[1, 2, 4], help=f"at most {PARTITIONS}, 1 among them"
    )
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(**json.loads(options.serve))
        return
    result: dict[str, Any] = {"benchmark": "replicas", "alerts": options.alerts, "turns": options.turns}
    load = os.getloadavg()[0]
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        broker = opened.enter_context(Broker(folder))
        postgres = opened.enter_context(own_server(durable=True))
        for way, alerts in (("together", options.alerts), ("apart", options.alerts // SLOWER)):
            best: dict[int, dict[str, float]] = {}
            for _ in range(options.turns):
                for count in options.replicas:
                    found = drain(broker, postgres, count, alerts, apart=way == "apart")
                    if count not in best or found["alerts_per_second"] > best[count]["alerts_per_second"]:
                        best[count] = found
            for row in best.values():
                row["ratio_to_one"] = row["alerts_per_second"] / best[1]["alerts_per_second"]
            result[way] = {str(count): row for count, row in best.items()}
            show(way, best)
    print(json.dumps({**result, "load_average_before": load, "machine": machine()}))


def drain(broker: Broker, postgres: PostgresServer, count: int, alerts: int, apart: bool) -> dict[str, float]:
    """Figures of one drain by `count` replicas over an empty database."""
    name = f"replicas-{uuid.uuid4().hex[:6]}"
    topics = {phase: f"{name}-{phase}" for phase in ("warm", "drain")}
    make_topics(broker.bootstrap_servers, [*topics.values(), f"{name}-out", f"{name}-dead"])
    kafka = KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        group_id=name,
        output_topic=f"{name}-out",
        dead_letter_topic=f"{name}-dead",
    )
    publish(packets(None, WARM_UP), kafka, topics["warm"])
    with _database(postgres, name.replace("-", "_")) as url:
        replicas = []
        for number in range(count):
            # a static member is given up after 45 s, not 15: it is halted while the topic is filled
            member = kafka.model_copy(update={"group_instance_id": f"{name}-{number}"})
            settings = as_json(Settings(kafka=member, store=StoreSettings(url=url)))
            replicas.append(Replica({"settings": settings, "topics": topics}))
        try:
            _wait_for(lambda: all(replica.partitions for replica in replicas), replicas)
            for replica in replicas:
                replica.halt()
            # with keys partitions are of equal size; without, the client fills one for a while and then another
            keyed = ((str(number).encode(), packet) for number, (_, packet) in enumerate(packets(None, alerts)))
            publish(keyed, kafka, topics["drain"])
            shared = {"store": postgres, "broker": broker}
            before = {who: cpu_seconds(server) for who, server in shared.items()}
            begin = time.time()
            with _by_turns(replicas) if apart else _at_once(replicas):
                _wait_for(lambda: sum(replica.settled for replica in replicas) >= alerts, replicas)
            spent = {who: cpu_seconds(server) - before[who] for who, server in shared.items()}
            spent["service"] = sum(replica.cpu for replica in replicas)
            seconds = max(replica.last for replica in replicas) - begin
        finally:
            for replica in replicas:
                replica.end()
    return {
        "alerts_per_second": alerts / seconds,
        **{f"{who}_cpu_ms_per_alert": 1000 * value / alerts for who, value in spent.items()},
        "smallest_share": min(replica.settled for replica in replicas) / alerts,
    }


class Replica:
    """A process of the service, and what it has said of itself."""

    def __init__(self, child: dict[str, Any]) -> None:
        self.partitions = self.settled = 0
        self.cpu = self.last = 0.0  # processor seconds since it was ready; time of the last acknowledgement
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.replicas", "--serve", json.dumps(child)],
            stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            for name, value in json.loads(line).items():
                setattr(self, name, value)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def halt(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def release(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.release()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def serve(settings: str, topics: dict[str, str]) -> None:
    """A replica: warm up, join the group, and tell how far it is, until standard input is closed."""
    config = Settings.model_validate_json(settings)
    store = open_store(config.store.url.get_secret_value())
    models = ModelRegistry(load_bundle(), config.model.device, config.model.threads)
    read_to_end(config, models, store, topics["warm"], WARM_UP)
    spare_collector()
    begin = time.process_time()
    settled = 0

    def tell(batch: Batch) -> None:
        nonlocal settled
        settled += len(batch)
        _say(settled=settled, last=time.time(), cpu=time.process_time() - begin)

    reading = config.kafka.model_copy(update={"topics": [topics["drain"]]})
    service = StreamService(config.model_copy(update={"kafka": reading}), models, store, on_settled=tell)
    service.start()
    # the first of several members has all partitions for a moment: only a group that stays as it is counts
    held, since = 0, time.monotonic()
    while time.monotonic() - since < 4.0 or not held:
        if len(service.health().partitions) != held:
            held, since = len(service.health().partitions), time.monotonic()
        time.sleep(0.05)
    begin = time.process_time()
    _say(partitions=held)
    sys.stdin.read()
    service.stop()
    store.close()


def _say(**values: float) -> None:
    print(json.dumps(values), flush=True)


@contextmanager
def _at_once(replicas: Sequence[Replica]) -> Iterator[None]:
    for replica in replicas:
        replica.release()
    yield


@contextmanager
def _by_turns(replicas: Sequence[Replica]) -> Iterator[None]:
    """Each replica one slice of every cycle, while the block runs."""
    ended = threading.Event()

    def turn() -> None:
        while not ended.is_set():
            for number in range(SLICES):
                mine = replicas[number] if number < len(replicas) else None
                if mine:
                    mine.release()
                time.sleep(SLICE_S)
                if mine:
                    mine.halt()

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _wait_for(reached: Any, replicas: Sequence[Replica]) -> None:
    end = time.monotonic() + 300
    while not reached():
        if not all(replica.alive for replica in replicas) or time.monotonic() > end:
            raise SystemExit("a replica has ended, or stands still")
        time.sleep(0.02)


@contextmanager
def _database(postgres: PostgresServer, name: str) -> Iterator[str]:
    import psycopg

    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{postgres.dsn.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def cpu_seconds(server: Broker | PostgresServer) -> float:
    """Processor seconds so far of a server and its children, those that have ended too."""
    assert server._process is not None
    leader, total = server._process.pid, 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        itself = stat.parent.name == str(leader)
        if itself or int(after_name[1]) == leader:
            total += sum(map(int, after_name[11 : 15 if itself else 13]))  # user and system; of ended children
    return total / TICKS_PER_S


def show(way: str, rows: dict[int, dict[str, float]]) -> None:
    for count, row in rows.items():
        told = ", ".join(f"{who} {row[f'{who}_cpu_ms_per_alert']:.2f}" for who in ("service", "store", "broker"))
        print(
            f"{way}, {count} replicas: {row['alerts_per_second']:8.0f} alerts/s, x {row['ratio_to_one']:.2f};"
            f" ms of processor per alert: {told}; smallest share {row['smallest_share']:.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
