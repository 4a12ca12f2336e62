"""Apache Kafka on this machine without Docker: one node in KRaft mode on loopback, for tests, benchmarks and trials.

    python deploy/kafka/broker.py start [--port 9092] [--data .cache/kafka/data]

The broker's jars come from Maven Central (pom.xml) into `.cache/kafka`; Java 17 and Maven must be there. As a library:

    with Broker(folder) as broker:
        broker.bootstrap_servers        # "127.0.0.1:PORT"
        broker.kill()                   # SIGKILL, as a power cut
        broker.start()                  # again, on the same data
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HERE: Final = Path(__file__).resolve().parent
CACHE: Final = HERE.parent.parent / ".cache" / "kafka"
# Any 22 characters of base64 name a cluster; a constant lets a data folder be formatted again without harm.
CLUSTER_ID: Final = "YWxlcnQtY2xhc3NpZmllcg"
COPY_DEPENDENCIES: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
START_SECONDS: Final = 180.0  # takes 3 to 5 on two idle cores, a minute and more on overloaded ones
STOP_SECONDS: Final = 30.0


class BrokerError(RuntimeError):
    """The broker can't be fetched or does not come up; the message says why and where its log is."""


def missing_tools() -> str | None:
    """Why no broker can be started here, or None."""
    missing = [tool for tool in ("java", *(() if _is_fetched() else ("mvn",))) if shutil.which(tool) is None]
    return f"{' and '.join(missing)} not installed" if missing else None


def why_absent() -> str | None:
    """Why there is no Kafka to start here, after having fetched it if need be, or None. One that is here must start."""
    if why := missing_tools():
        return why
    try:
        fetch()
    except BrokerError as error:
        return str(error)
    return None


def fetch() -> Path:
    """The folder of the broker's jars, filled from Maven Central if need be (43 MB). Raises BrokerError."""
    folder = _jars()
    if _is_fetched():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), COPY_DEPENDENCIES]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={scratch}/jars"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokerError(f"Maven could not fetch Apache Kafka: {(done.stdout + done.stderr)[-500:]}")
        if not _is_fetched():  # another process may have been quicker
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(f"{scratch}/jars", folder)
    return folder


class Broker:
    """A one-node Kafka cluster whose data live in `folder`; ports of 0 are chosen free and then kept.

    `advertised_port` is the port that clients are sent to, where a proxy stands before the broker. `properties` add to
    or replace those of `server_properties`; `format_options` go to kafka.tools.StorageTool, which makes
    SCRAM users.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        advertised_port: int | None = None,
        heap_mb: int = 512,
        properties: dict[str, str] | None = None,
        format_options: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.controller_port = free_port()
        self.advertised_port = advertised_port or self.port
        self.heap_mb = heap_mb
        self.extra_properties = properties or {}
        self.format_options = format_options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.advertised_port}"

    @property
    def log_file(self) -> Path:
        return self.folder / "broker.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start, or start again on the same data, and return when the broker answers. Raises BrokerError."""
        if self.running:
            return self
        jars = fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in self.server_properties().items()))
        if not (self.folder / "data" / "meta.properties").exists():
            arguments = ["format", "--standalone", "-t", CLUSTER_ID, "-c", str(properties), *self.format_options]
            done = subprocess.run(
                self._java(jars, "kafka.tools.StorageTool", *arguments), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise BrokerError(f"kafka.tools.StorageTool could not format {self.folder}: {done.stderr[-500:]}")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._java(jars, "kafka.Kafka", str(properties)),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for the caller, which then stops the broker
            )
        self._await_answer()
        return self

    def stop(self) -> None:
        """Stop in good order (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop as a power cut would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def wait(self) -> int:
        """Wait until the broker ends by itself; its exit status."""
        return self._process.wait() if self._process else 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def server_properties(self) -> dict[str, str]:
        """Settings for one node: every replication factor is 1, and what waits for absent peers or people is quick."""
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.advertised_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str((self.folder / "data").resolve()),
            "num.partitions": "4",
            # a topic must be made on purpose: a mistyped name shall not become an empty stream
            "auto.create.topics.enable": "false",
            "delete.topic.enable": "true",
            # alerts have 75 KB; tests of oversized messages need room for 10 MB and their wrapping
            "message.max.bytes": "24000000",
            "replica.fetch.max.bytes": "24000000",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # groups form and notice a death within seconds
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "group.consumer.min.session.timeout.ms": "1000",
            "group.consumer.min.heartbeat.interval.ms": "300",
            # compacted topics are compacted while one waits
            "log.cleaner.backoff.ms": "500",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
            **self.extra_properties,
        }

    def _java(self, jars: Path, main: str, *arguments: str) -> list[str]:
        options = [f"-Xmx{self.heap_mb}m", "-Xms128m", "-XX:+UseSerialGC"]
        options += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        return ["java", *options, "-cp", f"{jars}/*", main, *arguments]

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.running:
                raise BrokerError(f"the broker ended while starting: {self._log_tail()}")
            if _answers(self.port):
                return
            time.sleep(0.1)
        self.kill()
        raise BrokerError(f"the broker did not answer within {START_SECONDS:.0f} s: {self._log_tail()}")

    def _log_tail(self) -> str:
        return f"{self.log_file.read_text(errors='replace')[-500:]} ({self.log_file})"

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


def free_port() -> int:
    """A TCP port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _jars() -> Path:
    return CACHE / "jars"


def _is_fetched() -> bool:
    return any(_jars().glob("kafka_2.13-*.jar"))


def _answers(port: int) -> bool:
    # ApiVersions request (key 18, version 0, correlation id 1, null client): answered once the broker takes clients
    request = b"\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(len(request).to_bytes(4, "big") + request)
            return len(connection.recv(4)) == 4
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Run Apache Kafka on loopback, without Docker.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch the broker's jars from Maven Central and stop")
    start = commands.add_parser("start", help="start the broker and stay until Ctrl-C")
    start.add_argument("--port", type=int, default=9092)
    start.add_argument("--data", type=Path, default=CACHE / "data", help="kept between starts")
    start.add_argument("--heap-mb", type=int, default=512)
    start.add_argument("--auto-create-topics", action="store_true", help="make topics when they are first named")
    options = parser.parse_args()
    try:
        if options.command == "fetch":
            print(fetch())
            return
        properties = {"auto.create.topics.enable": "true"} if options.auto_create_topics else {}
        with Broker(options.data, options.port, heap_mb=options.heap_mb, properties=properties) as broker:
            print(f"Apache Kafka answers on {broker.bootstrap_servers}; Ctrl-C stops it", flush=True)
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            broker.wait()
    except KeyboardInterrupt:
        pass
    except BrokerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
