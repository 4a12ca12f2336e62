"""The dashboards: written by deploy/grafana/build.py, true to the metrics, and answered by a real Prometheus."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.expressions import known_metrics, metrics_in, panels

DASHBOARDS = ("operations.json", "host.json")
# Scrapes come every second here: rates need two of them, recording rules one more.
PATIENCE_S = 30.0


def test_the_files_are_what_the_builder_writes(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "deploy/grafana/build.py", "--check"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_asks_for_metrics_that_exist(root: Path, name: str) -> None:
    known = known_metrics(root)
    found = list(panels(root / "deploy/grafana/dashboards" / name))
    assert len(found) > 10
    for title, expression in found:
        unknown = metrics_in(expression) - known
        assert not unknown, f"panel {title!r} of {name} asks for {unknown}"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_their_own_place_and_number(root: Path, name: str) -> None:
    boxes = json.loads((root / "deploy/grafana/dashboards" / name).read_text())["panels"]
    assert len({panel["id"] for panel in boxes}) == len(boxes)
    cells = [
        (x, y)
        for panel in boxes
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24


def test_provisioning_points_at_the_datasource_and_the_dashboards(root: Path) -> None:
    compose = yaml.safe_load((root / "docker-compose.yml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    provider = yaml.safe_load((root / "deploy/grafana/provisioning/dashboards/alert-classifier.yml").read_text())
    assert provider["providers"][0]["options"]["path"] == mounts["./deploy/grafana/dashboards"]
    source = yaml.safe_load((root / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"  # the service's name in docker-compose.yml
    assert "prometheus" in compose["services"]


def test_a_real_prometheus_answers_every_panel(prometheus: str, root: Path) -> None:
    """Given a process that shows each metric, no panel of the service stays empty."""
    wanted = [
        (f"{name}: {title}", expression)
        for name in DASHBOARDS
        for title, expression in panels(root / "deploy/grafana/dashboards" / name)
        if metrics_in(expression) or "process_" in expression
    ]
    assert not _empty(prometheus, wanted)


def test_a_real_prometheus_answers_the_machine_panels(prometheus: str, root: Path, tool: Callable[[str], str]) -> None:
    tool("prometheus-node-exporter")
    wanted = [
        (title, expression)
        for title, expression in panels(root / "deploy/grafana/dashboards/host.json")
        if "node_" in expression
    ]
    # a sandbox may have no disk or network device that the exporter counts
    assert {title for title, _ in _empty(prometheus, wanted)} <= {"Disk", "Network", "Disk space used"}


@pytest.fixture(scope="module")
def prometheus(root: Path, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a Prometheus with our rules that scrapes `exposition.py` and, if there is one, a node exporter."""
    binary = tool("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    for file in (root / "deploy/prometheus/rules").glob("*.yml"):
        rules = yaml.safe_load(file.read_text())
        for group in rules["groups"]:
            group.pop("interval", None)  # minutes are too long to wait for
        (folder / file.name).write_text(yaml.safe_dump(rules))
    with ExitStack() as stack:
        shown = stack.enter_context(
            _running([sys.executable, str(root / "tests/deploy/exposition.py")], cwd=root, stdout=subprocess.PIPE)
        )
        assert shown.stdout is not None
        ports = {"alert-classifier": int(shown.stdout.readline())}
        if exporter := shutil.which("prometheus-node-exporter"):
            ports["node"] = _free_port()
            stack.enter_context(_running([exporter, f"--web.listen-address=127.0.0.1:{ports['node']}"]))
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["recording.yml", "alerts.yml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in ports.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        port = _free_port()
        command = [binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        stack.enter_context(_running([*command, f"--web.listen-address=127.0.0.1:{port}"]))
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen(command, **{**quiet, **options})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _empty(base: str, queries: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of `queries` that find nothing, after some patience."""
    deadline = time.monotonic() + PATIENCE_S
    while queries and time.monotonic() < deadline:
        time.sleep(1)
        queries = [(title, expression) for title, expression in queries if not _query(base, expression)]
    return queries


def _query(base: str, expression: str) -> list[Any]:
    """What Prometheus finds now; nothing while it starts. A refused expression fails the test."""
    url = f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            result: list[Any] = json.load(answer)["data"]["result"]
            return result
    except urllib.error.HTTPError as error:
        if error.code == 400:
            pytest.fail(f"{expression}: {error.read().decode()}")
        return []
    except OSError:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
