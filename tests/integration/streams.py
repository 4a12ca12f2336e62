"""What the Kafka tests share: topics of their own, alerts in, everything out, and the service as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from benchmarks.stream import as_json
from service.config import KafkaSettings, PipelineSettings, Settings, StoreSettings
from service.inference.registry import ModelRegistry
from service.output.avro import decode_classification
from service.output.dead_letter import DeadLetter
from service.store import Store, open_store
from service.stream.kafka.producer import publish
from service.stream.service import StreamService

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Cluster:
    """A Kafka cluster and the names of one test in it."""

    bootstrap_servers: str
    name: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def alerts(self) -> str:
        return f"alerts-{self.name}"

    @property
    def output(self) -> str:
        return f"classifications-{self.name}"

    @property
    def dead_letters(self) -> str:
        return f"dead-letters-{self.name}"

    def kafka(self, **changes: Any) -> KafkaSettings:
        values: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "topics": [self.alerts],
            "group_id": f"group-{self.name}",
            "output_topic": self.output,
            "dead_letter_topic": self.dead_letters,
            "topic_refresh_s": 1.0,
            "librdkafka": self.options,
            # a test can't wait 15 s to see a dead member noticed
            "librdkafka_consumer": {"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"},
        }
        return KafkaSettings(**{**values, **changes})

    def settings(self, store_url: str, **changes: Any) -> Settings:
        return Settings(
            kafka=self.kafka(**changes), store=StoreSettings(url=store_url), pipeline=PipelineSettings(retry_s=0.2)
        )

    def reading(self, store_url: str, inputs: list[dict[str, Any]], **changes: Any) -> Settings:
        """As `settings`, with several inputs."""
        return Settings(
            kafka=self.kafka(**{"topics": []} | changes),
            inputs=inputs,
            store=StoreSettings(url=store_url),
            pipeline=PipelineSettings(retry_s=0.2),
        )

    def make_topic(self, name: str, partitions: int = 4, **config: str) -> str:
        topic = NewTopic(name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()})
        admin = self._admin()
        for done in admin.create_topics([topic]).values():
            done.result(10)
        return name

    def delete_topic(self, name: str) -> None:
        admin = self._admin()
        for done in admin.delete_topics([name]).values():
            done.result(10)

    def make_topic_again(self, name: str, partitions: int = 4) -> None:
        """Delete a topic and make it anew as quickly as the brokers allow."""
        self.delete_topic(name)

        def made() -> bool:
            try:
                self.make_topic(name, partitions)
            except KafkaException:  # the old one still goes
                return False
            return True

        eventually(made, every_s=0.02)

    def add_partitions(self, name: str, total: int) -> None:
        admin = self._admin()  # it must live until the answer is there
        for done in admin.create_partitions([NewPartitions(name, total)]).values():
            done.result(10)

    def change_topic(self, name: str, **config: str) -> None:
        """Set configuration of a topic that is there."""
        entries = [
            ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        admin = self._admin()
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(10)

    def expire(self, topic: str, partition: int, before: int) -> None:
        """Remove everything before an offset, as retention does."""
        admin = self._admin()
        for done in admin.delete_records([TopicPartition(topic, partition, before)]).values():
            done.result()

    def ends(self, topic: str) -> dict[int, int]:
        """Partition -> the offset behind its last message or marker."""
        admin = self._admin()
        found = admin.list_topics(topic, timeout=10).topics[topic].partitions
        asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in found}
        return {part.partition: done.result().offset for part, done in admin.list_offsets(asked).items()}

    def committed(self, topic: str, group_id: str = "") -> dict[int, int]:
        """Partition -> the offset that a group, by default that of `kafka()`, has committed."""
        partitions = [TopicPartition(topic, partition) for partition in self.ends(topic)]
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": group_id or f"group-{self.name}"})
        try:
            return {part.partition: part.offset for part in consumer.committed(partitions, timeout=10)}
        finally:
            consumer.close()

    def transaction(
        self, packets: Iterable[bytes], commit: bool = True, partition: int = 0, key: bytes | None = None
    ) -> None:
        """Messages in one transaction, committed or aborted."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "transactional.id": f"sender-{self.name}"})
        producer.init_transactions(30)
        producer.begin_transaction()
        for packet in packets:
            producer.produce(self.alerts, packet, key, partition=partition)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    def send_at(self, packets: Iterable[tuple[bytes, int]], partition: int = 0, topic: str | None = None) -> None:
        """(packet, broker timestamp in milliseconds) in this order to one partition."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers})
        for packet, timestamp in packets:
            producer.produce(topic or self.alerts, packet, partition=partition, timestamp=timestamp)
        assert producer.flush(30) == 0

    def send_keyed(self, packets: Iterable[tuple[bytes, bytes]], partition: int = 0) -> None:
        """(key, packet), each in a batch of its own."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers})
        for key, packet in packets:
            producer.produce(self.alerts, packet, key, partition=partition)
            assert producer.flush(30) == 0

    def send(self, packets: Iterable[bytes], topic: str | None = None, rate_per_s: float | None = None) -> int:
        messages = ((None, packet) for packet in packets)
        return publish(messages, self.kafka(), topic or self.alerts, rate_per_s)

    def classifications(self, isolation: str = "read_committed") -> list[dict[str, Any]]:
        """Every classification that a reader at this isolation level sees by now."""
        return [decode_classification(value) for _, value in self.read(self.output, isolation)]

    def refused(self) -> list[DeadLetter]:
        return [DeadLetter.decode(value) for _, value in self.read(self.dead_letters)]

    def published_candids(self, isolation: str = "read_committed") -> Counter[int]:
        return Counter(answer["candid"] for answer in self.classifications(isolation))

    def read(self, topic: str, isolation: str = "read_committed") -> list[tuple[bytes, bytes]]:
        """(key, value) of everything in a topic up to its present end; nothing where it does not exist."""
        return [(raw.key(), raw.value()) for raw in self.messages(topic, isolation)]

    def timestamps(self, topic: str) -> list[int]:
        """The broker timestamps of everything that a topic holds now, in milliseconds."""
        return [raw.timestamp()[1] for raw in self.messages(topic, "read_committed")]

    def messages(self, topic: str, isolation: str = "read_committed") -> list[Any]:
        """Everything in a topic up to its present end, with headers; nothing where it does not exist."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": f"reader-{self.name}",
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                **self.options,
            }
        )
        try:
            found = consumer.list_topics(timeout=10).topics.get(topic)
            if found is None:
                return []
            consumer.assign([TopicPartition(topic, partition, 0) for partition in found.partitions])
            open_partitions = set(found.partitions)
            messages = []
            while open_partitions:
                for raw in consumer.consume(1000, 1.0):
                    error = raw.error()
                    if error is None:
                        messages.append(raw)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        open_partitions.discard(raw.partition())
                    else:
                        raise AssertionError(str(error))
            return messages
        finally:
            consumer.close()

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, **self.options})


@contextmanager
def streaming(settings: Settings, models: ModelRegistry, **options: Any) -> Iterator[tuple[StreamService, Store]]:
    """The stream side of the service in this process, drained and stopped at the end."""
    store = open_store(settings.store.url.get_secret_value())
    service = StreamService(settings, models, store, **options)
    service.start()
    try:
        yield service, store
    finally:
        service.stop()
        store.close()


@contextmanager
def sending(cluster: Cluster, packets: list[bytes], rate_per_s: float) -> Iterator[threading.Thread]:
    """Send in the background at a steady rate; everything is sent at the end."""
    thread = threading.Thread(target=cluster.send, args=(packets,), kwargs={"rate_per_s": rate_per_s}, daemon=True)
    thread.start()
    yield thread
    thread.join()


class Replica:
    """The service as a process of its own, so that it can be killed."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Replica:
        environment = {
            **os.environ,
            "REPLICA_SETTINGS": as_json(self._settings),
            "OMP_NUM_THREADS": "1",
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "integration" / "replica.py")],
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        return self

    def kill(self) -> None:
        """As the kernel does it when memory is short."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """As Kubernetes does it first; the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        status: int = self.process.wait(60)
        return status

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def said(self) -> str:
        return self._log.read_text(errors="replace")


def eventually(holds: Callable[[], Any], within_s: float = 30.0, every_s: float = 0.1) -> Any:
    """The first true answer of `holds`; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"still not so after {within_s} s: {holds}"
        time.sleep(every_s)
    return answer
