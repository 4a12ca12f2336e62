"""The scrape configuration and the alert rules, judged by Prometheus' own tool."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.deploy.expressions import known_metrics, metrics_in


def test_promtool_accepts_the_configuration_and_the_rules(root: Path, tool: Callable[[str], str]) -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "config", "prometheus.yml"],
        cwd=root / "deploy" / "prometheus",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout  # it did look into the rule files


@pytest.mark.parametrize("story", ["alerts_test.yml", "class_mix_test.yml"])
def test_alerts_fire_when_they_should_and_not_before(root: Path, tool: Callable[[str], str], story: str) -> None:
    done = subprocess.run(
        [tool("promtool"), "test", "rules", str(root / "tests" / "deploy" / story)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_story(root: Path) -> None:
    rules = yaml.safe_load((root / "deploy/prometheus/rules/alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    fired = {
        case["alertname"]
        for story in (root / "tests/deploy").glob("*_test.yml")
        for test in yaml.safe_load(story.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert alerts == fired


def test_every_alert_says_what_to_do(root: Path) -> None:
    """Each has a section in the guide, under its own name."""
    rules = yaml.safe_load((root / "deploy/prometheus/rules/alerts.yml").read_text())
    guide = (root / "docs/prometheus-alerts.md").read_text()
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert rule["annotations"].keys() == {"summary", "description"}
            assert f"## {rule['alert']}\n" in guide, f"docs/prometheus-alerts.md does not speak of {rule['alert']}"


def test_rules_use_only_metrics_that_exist(root: Path) -> None:
    known = known_metrics(root)
    for file in (root / "deploy/prometheus/rules").glob("*.yml"):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                unknown = metrics_in(rule["expr"]) - known
                assert not unknown, f"{rule.get('alert') or rule['record']} of {file.name} uses {unknown}"
