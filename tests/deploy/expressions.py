"""PromQL expressions of the rules and dashboards, and the metrics that they may use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import yaml
from prometheus_client import REGISTRY

import service.metrics

# What comes from elsewhere: Prometheus itself, prometheus_client's process collectors, the node exporter.
FOREIGN = {"ALERTS", "up"}
FOREIGN_PREFIXES = ("process_", "python_", "node_")


def known_metrics(root: Path) -> set[str]:
    """Every series name the service shows and every recording rule of deploy/prometheus."""
    assert service.metrics.READY  # importing the module is what fills the registry
    names = set(FOREIGN)
    for family in REGISTRY.collect():
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "info": ("_info",),
            "gauge": ("",),
        }[family.type if family.type != "unknown" else "gauge"]
        names.update(family.name + suffix for suffix in suffixes)
    rules = yaml.safe_load((root / "deploy/prometheus/rules/recording.yml").read_text())
    names.update(rule["record"] for group in rules["groups"] for rule in group["rules"])
    return names


def metrics_in(expression: str) -> set[str]:
    """Names of the series that it selects, less those of other exporters. Raises ValueError on bad PromQL."""
    names: set[str] = set()

    def note(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            names.add(node.name)
        if isinstance(node, promql_parser.MatrixSelector):
            names.add(node.vector_selector.name)

    promql_parser.walk(promql_parser.parse(expression), note)
    return {name for name in names if not name.startswith(FOREIGN_PREFIXES)}


def panels(dashboard: Path) -> Iterator[tuple[str, str]]:
    """(title, expression) of each query, with Grafana's variables filled in."""
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$job", "alert-classifier").replace("$__rate_interval", "10s")
