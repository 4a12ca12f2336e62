"""The Helm chart: linted, rendered, valid for Kubernetes, and true to the service's settings."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from fastapi.routing import APIRoute, APIRouter

from service.api import operations
from service.config import Delivery, load_settings, revealed

CHART = Path("deploy/kubernetes/alert-classifier")
KUBERNETES = "1.31"
# kinds of operators: their definitions are not among Kubernetes' own
FOREIGN = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule"}
CASES = ("smallest", "everything")

Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def render(root: Path, tool: Callable[[str], str]) -> Render:
    """`helm template` with a values file of the ci folder and --set arguments. Raises ValueError with its error."""

    def run(case: str | None, *sets: str) -> list[dict[str, Any]]:
        command = [tool("helm"), "template", "night", str(CHART), "--namespace", "survey", "--kube-version", KUBERNETES]
        command += ["-f", str(CHART / "ci" / f"{case}-values.yaml")] if case else []
        command += [word for pair in sets for word in ("--set", pair)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(done.stderr)
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return run


def kinds(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in documents}


@pytest.mark.parametrize("case", CASES)
def test_helm_lints_it(root: Path, tool: Callable[[str], str], case: str) -> None:
    command = [tool("helm"), "lint", "--strict", str(CHART), "-f", str(CHART / "ci" / f"{case}-values.yaml")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("case", CASES)
def test_kubernetes_accepts_what_it_renders(render: Render, case: str) -> None:
    documents = render(case)
    assert {"StatefulSet", "Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy"} <= kinds(documents).keys()
    for document in documents:
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_everything_brings_scaling_monitoring_and_dashboards(render: Render) -> None:
    assert kinds(render("everything")).keys() >= FOREIGN
    assert not kinds(render("smallest")).keys() & FOREIGN


def test_the_service_understands_the_settings_it_is_given(
    render: Render, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Given the rendered file and environment, with secrets in place, the service's own settings load."""
    documents = render("everything")
    settings = _settings_of_first_replica(documents, monkeypatch, tmp_path)
    assert settings.kafka.delivery is Delivery.EXACTLY_ONCE
    assert settings.kafka.topics == ["ztf_public"]
    assert settings.kafka.group_instance_id == "night-alert-classifier-0"
    assert settings.kafka.transactional_id == "survey-night-alert-classifier-0"
    assert revealed(settings.kafka.librdkafka) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "secret kafka-login/username",
        "sasl.password": "secret kafka-login/password",
        "ssl.ca.location": "/etc/kafka-tls/ca.crt",
        "ssl.certificate.location": "/etc/kafka-tls/tls.crt",
        "ssl.key.location": "/etc/kafka-tls/tls.key",
    }
    assert settings.store.url.get_secret_value() == "secret postgres/url"
    assert settings.quality.min_rb == 0.65


def test_the_smallest_installation_has_no_security_settings(
    render: Render, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = _settings_of_first_replica(render("smallest"), monkeypatch, tmp_path)
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert revealed(settings.kafka.librdkafka) == {}


@pytest.mark.parametrize("case", CASES)
def test_pods_have_no_rights_and_no_writable_root(render: Render, case: str) -> None:
    pod = kinds(render(case))["StatefulSet"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # what the image writes to is a volume (Dockerfile: NUMBA_CACHE_DIR under /tmp, the store's folder)
    assert {"/tmp", "/var/lib/alert-classifier"} <= {mount["mountPath"] for mount in container["volumeMounts"]}


def test_probes_ask_what_the_service_answers(render: Render, root: Path) -> None:
    container = kinds(render("smallest"))["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]
    routers = [thing for thing in vars(operations).values() if isinstance(thing, APIRouter)]
    served = {route.path for router in routers for route in router.routes if isinstance(route, APIRoute)}
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}
    assert set(probes.values()) <= served
    assert "/health/live" in (root / "Dockerfile").read_text()


@pytest.mark.parametrize("case", CASES)
def test_every_selector_finds_the_pods(render: Render, case: str) -> None:
    found = kinds(render(case))
    labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"].items()
    assert found["Service"]["spec"]["selector"].items() <= labels
    assert found["StatefulSet"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    if "ServiceMonitor" in found:
        service = found["Service"]["metadata"]["labels"]
        assert found["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= service.items()
        # the rules and dashboards look for this job
        assert service[found["ServiceMonitor"]["spec"]["jobLabel"]] == "alert-classifier"


def test_an_embedded_store_survives_its_pod_and_a_shared_one_needs_no_volume(render: Render) -> None:
    embedded, shared = (kinds(render(case))["StatefulSet"]["spec"] for case in CASES)
    assert [claim["metadata"]["name"] for claim in embedded["volumeClaimTemplates"]] == ["data"]
    assert "volumeClaimTemplates" not in shared


def test_keda_scales_the_group_that_the_service_joins(render: Render) -> None:
    found = kinds(render("everything"))
    scaled = found["ScaledObject"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == found["StatefulSet"]["metadata"]["name"]
    assert "replicas" not in found["StatefulSet"]["spec"]  # else each upgrade would undo the scaling
    metadata = scaled["triggers"][0]["metadata"]
    assert metadata["consumerGroup"] == "broker-classifier"
    assert metadata["topic"] == "ztf_public"
    daily = kinds(render("everything", "settings.kafka.topics=null"))["ScaledObject"]["spec"]["triggers"][0]["metadata"]
    assert "topic" not in daily  # KEDA then sums over all topics of the group


@pytest.mark.parametrize(
    ("sets", "complaint"),
    [
        ((), "settings.kafka.bootstrap_servers is empty"),
        (("settings.kafka.bootstrap_servers=k:9092", "replicaCount=2"), "several replicas need one shared store"),
        (
            ("settings.kafka.bootstrap_servers=k:9092", "autoscaling.enabled=true"),
            "several replicas need one shared store",
        ),
        (("settings.kafka.bootstrap_servers=k:9092", "replicas=2"), "replicas"),
        (
            ("settings.kafka.bootstrap_servers=k:9092", "api.existingSecret=keys", "serviceMonitor.enabled=true"),
            "Prometheus needs one too",
        ),
        (("settings.kafka.bootstrap_servers=k:9092", "kafka.sasl.mechanism=GSSAPI"), "mechanism"),
    ],
)
def test_what_can_not_work_is_refused_with_a_reason(render: Render, sets: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        render(None, *sets)


def test_prometheus_gets_a_key_where_the_api_asks_for_one(render: Render) -> None:
    endpoint = kinds(render("everything"))["ServiceMonitor"]["spec"]["endpoints"][0]
    assert endpoint["authorization"]["credentials"] == {"name": "api-keys", "key": "prometheus"}
    open_api = kinds(render("smallest", "serviceMonitor.enabled=true"))["ServiceMonitor"]["spec"]["endpoints"][0]
    assert "authorization" not in open_api


def test_its_prometheus_rule_holds_all_the_rules(render: Render, root: Path) -> None:
    groups = kinds(render("everything"))["PrometheusRule"]["spec"]["groups"]
    files = (root / "deploy/prometheus/rules").glob("*.yml")
    ours = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert {group["name"]: group for group in groups} == {group["name"]: group for group in ours}


def test_templates_read_only_values_that_have_a_default(root: Path) -> None:
    """Needs no helm: every .Values path of the templates stands in values.yaml, and the schema knows that file."""
    values = yaml.safe_load((root / CHART / "values.yaml").read_text())
    jsonschema.validate(values, yaml.safe_load((root / CHART / "values.schema.json").read_text()))
    # settings that the service has a default for, and that a template reads if they are given
    optional = {"settings.kafka.topics"}
    for template in (root / CHART / "templates").iterdir():
        for path in re.findall(r"\.Values\.([\w.]+)", template.read_text()):
            if path not in optional:
                reduce(lambda node, name: node[name], path.split("."), values)  # raises KeyError


def _settings_of_first_replica(documents: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Any:
    config_map = next(d for d in documents if d["kind"] == "ConfigMap" and "config.toml" in d["data"])
    (folder / "config.toml").write_text(config_map["data"]["config.toml"])
    stateful_set = kinds(documents)["StatefulSet"]
    environment = {"POD_NAME": f"{stateful_set['metadata']['name']}-0"}
    for variable in stateful_set["spec"]["template"]["spec"]["containers"][0]["env"]:
        if "value" in variable:
            environment[variable["name"]] = variable["value"].replace("$(POD_NAME)", environment["POD_NAME"])
        elif "secretKeyRef" in variable["valueFrom"]:
            secret = variable["valueFrom"]["secretKeyRef"]
            environment[variable["name"]] = f"secret {secret['name']}/{secret['key']}"
    environment["ALERT_CLASSIFIER_CONFIG"] = str(folder / "config.toml")
    environment.pop("ALERT_CLASSIFIER_API__API_KEYS", None)  # a JSON list, see the API's own tests
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()
