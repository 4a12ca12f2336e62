"""A real PostgreSQL server for tests: started from the machine's own binaries, or one that is given.

`ALERT_CLASSIFIER_TEST_POSTGRES` (a DSN whose user may create databases) points at a running server; else the binaries
of an installed package are used. With neither, tests that need it skip with that reason.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

DSN_VARIABLE = "ALERT_CLASSIFIER_TEST_POSTGRES"


def binaries() -> Path | None:
    """Folder of `initdb` and `postgres`, the newest version where several are installed."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: float(p.parts[-3]))
    found = [str(path) for path in packaged] + [shutil.which("postgres") or ""]
    return next((Path(path).resolve().parent for path in reversed(found) if path), None)


class PostgresServer:
    """A server of our own on a free loopback port, its data in a folder that `stop` removes."""

    def __init__(self, folder: Path, bin_folder: Path, *, durable: bool = False) -> None:
        """`durable` False: commits are not waited for on the disk, for tests kill the server, never the machine."""
        self._fsync = "on" if durable else "off"
        self._bin = bin_folder
        # postgres refuses to run as root
        self._user = "nobody" if os.geteuid() == 0 else None
        self._data = folder / "data"
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        subprocess.run(
            [self._bin / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
            check=True, capture_output=True, user=self._user, cwd=folder,
        )  # fmt: skip

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._bin / "postgres", "-D", self._data, "-p", str(self.port), "-k", "",
                    "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60",
                    "-c", f"fsync={self._fsync}",
                ],
                stdout=log, stderr=log, user=self._user, cwd=self._data, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        ready = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut would: the server and its backends, at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            # a backend that is still dying holds the shared memory and keeps the next server from starting
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None


@contextmanager
def own_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server that the test may kill. Skips where no binaries are installed."""
    bin_folder = binaries()
    if bin_folder is None:
        pytest.skip("no PostgreSQL server binaries here (install the postgresql package)")
    with tempfile.TemporaryDirectory(prefix="postgres-test-") as folder:
        server = PostgresServer(Path(folder), bin_folder, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server_dsn() -> Iterator[str]:
    """DSN of a server in which tests may create databases."""
    given = os.environ.get(DSN_VARIABLE)
    if given:
        yield given
        return
    with own_server() as server:
        yield server.dsn


@pytest.fixture
def postgres_url(postgres_server_dsn: str) -> Iterator[str]:
    """URL of a fresh, empty database that is dropped afterwards."""
    psycopg = pytest.importorskip("psycopg", reason="the postgres extra is not installed")
    name = f"alert_classifier_test_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_server_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    base, _, query = postgres_server_dsn.partition("?")
    yield f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    with psycopg.connect(postgres_server_dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
