"""docker-compose.yml and Dockerfile, as far as they can be judged without an engine that runs them."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from service.config import Settings, load_settings


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((root / "docker-compose.yml").read_text())
    return document


def test_the_reference_parser_accepts_it(root: Path, tool: Callable[[str], str]) -> None:
    done = subprocess.run([tool("compose-config"), "docker-compose.yml"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"kafka", "topics", "classifier", "alerts", "prometheus", "grafana"} <= yaml.safe_load(done.stdout)[
        "services"
    ].keys()


def test_services_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                # the classifier's health check stands in the Dockerfile
                assert "healthcheck" in services[other] or "build" in services[other], (
                    f"{name} waits for {other} in vain"
                )
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert "restart" not in services[other], f"{other} never ends: it is restarted"


def test_volumes_and_mounted_folders_exist(compose: dict[str, Any], root: Path) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (root / source).is_dir()
            elif not source.startswith("/"):
                assert source in compose["volumes"]


def test_nothing_is_reachable_from_other_machines(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_our_containers_have_no_rights(compose: dict[str, Any]) -> None:
    for name in ("classifier", "alerts"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]


def test_its_settings_are_settings(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(compose["services"]["classifier"]["environment"], monkeypatch)
    topics = compose["services"]["topics"]["command"][0]
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    for topic in (*settings.kafka.topics, settings.kafka.output_topic, settings.kafka.dead_letter_topic):
        assert f"{topic}:" in topics, f"nobody creates {topic}"


@pytest.mark.parametrize("name", ["classifier", "alerts"])
def test_its_commands_are_commands(compose: dict[str, Any], name: str) -> None:
    from service.cli import cli

    defaults = {"ALERT_RATE": "20", "ALERTS": "1000000"}
    words = compose["services"][name].get("command", ["serve"])
    words = [re.sub(r"\$\{(\w+):-(\w+)\}", lambda found: defaults.get(found[1], found[2]), word) for word in words]
    command = cli.get_command(None, words[0])  # type: ignore[arg-type]
    assert command is not None
    command.make_context(words[0], words[1:])  # raises on an option that is not there


@pytest.fixture(scope="module")
def dockerfile(root: Path, tmp_path_factory: pytest.TempPathFactory) -> DockerfileParser:
    parser = DockerfileParser(path=str(tmp_path_factory.mktemp("image")))
    parser.content = (root / "Dockerfile").read_text()
    return parser


def test_the_image_runs_without_rights(dockerfile: DockerfileParser) -> None:
    last = {step["instruction"]: step["value"] for step in dockerfile.structure}
    uid = int(last["USER"].split(":")[0])
    assert uid >= 10_000  # no user of the host, whatever its distribution
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert "/health/live" in last["HEALTHCHECK"]
    assert last["CMD"] == '["serve"]'


def test_the_image_holds_no_training_code(dockerfile: DockerfileParser, root: Path) -> None:
    copied = [word for step in _steps(dockerfile, "COPY") if "--from" not in step for word in step.split()[:-1]]
    assert "service" in copied
    assert not [word for word in copied if word.startswith("model_export")]
    extras = next(step for step in _steps(dockerfile, "ARG") if step.startswith("EXTRAS="))
    assert "train" not in extras
    # what the Dockerfile asks for must pass .dockerignore: everything is left out but the lines with !
    kept = [line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for word in copied:
        if word.startswith("--"):
            continue
        assert (root / word).exists()
        assert any(fnmatch.fnmatch(word, pattern) or word.startswith(f"{pattern}/") for pattern in kept), word


def test_the_image_sets_settings_that_exist(dockerfile: DockerfileParser, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(dockerfile.envs, monkeypatch)
    assert settings.api.host == "0.0.0.0"  # a container's own address is not known beforehand
    volume = next(iter(_steps(dockerfile, "VOLUME")))
    assert settings.store.url.get_secret_value().startswith(f"sqlite:///{volume}/")


def test_the_entrypoint_starts_the_service_in_its_own_place(root: Path) -> None:
    """`exec`, so that SIGTERM reaches the service and not a shell."""
    script = root / "deploy/docker/entrypoint"
    assert script.stat().st_mode & 0o111
    assert script.read_text().splitlines()[-1] == 'exec alert-classifier "$@"'
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0


def _settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        if name.startswith("ALERT_CLASSIFIER_"):
            monkeypatch.setenv(name, value)
    return load_settings()


def _steps(dockerfile: DockerfileParser, instruction: str) -> list[str]:
    return [step["value"] for step in dockerfile.structure if step["instruction"] == instruction]
