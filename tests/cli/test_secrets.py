"""Secrets never leave the process: not in messages about wrong settings, not in logs, tracebacks or answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import pytest

from service.config import ENV_PREFIX, ConfigError, InputSettings, Settings, load_settings
from service.secrets import masked
from tests.cli.test_serving import answer_of, free_port

CORE = "Geheim7Marker"  # survives every encoding
SECRET = f"pw %{CORE}/ä@9"
HASH = "ab" * 32

WHERE_SECRETS_BELONG = {
    "STORE__URL": f"postgresql://user:{quote(SECRET, safe='')}@127.0.0.1:9/alerts?sslpassword={quote(SECRET)}",
    "KAFKA__SCHEMA_REGISTRY_URL": f"http://user:{quote(SECRET, safe='')}@127.0.0.1:9",
    "KAFKA__LIBRDKAFKA": json.dumps({"sasl.password": SECRET, "security.protocol": "SASL_PLAINTEXT"}),
    "KAFKA__LIBRDKAFKA_CONSUMER": json.dumps({"sasl.oauthbearer.client.secret": SECRET}),
    "KAFKA__LIBRDKAFKA_PRODUCER": json.dumps({"ssl.key.password": SECRET}),
    "API__API_KEYS": json.dumps([f"read:{HASH}"]),
}
WRONG = (
    SECRET,
    json.dumps([SECRET]),
    json.dumps({"sasl.password": [SECRET]}),
    json.dumps({"sasl.password": {"a": SECRET}, f"sasl.password={SECRET}": 1}),
    '{"sasl.password" "' + SECRET + '"}',
    f"[{SECRET}",
    "-1e99",
)
GROUPS = {
    name: field.annotation.model_fields
    for name, field in Settings.model_fields.items()
    if field.annotation is not None and name != "inputs"
} | {"inputs__rubin": InputSettings.model_fields}


def is_clean(text: str) -> bool:
    forms = (CORE, SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), HASH)
    return not any(form in text for form in forms)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("group", GROUPS)
def test_every_setting_wrong_in_turn_shows_no_secret(clean_environment: pytest.MonkeyPatch, group: str) -> None:
    """Given a secret wherever one belongs, and another one in the wrong place, when each setting is wrong in each way,
    then neither the message nor its causes nor the settings themselves show it.
    """
    for name, value in WHERE_SECRETS_BELONG.items():
        clean_environment.setenv(ENV_PREFIX + name, value)
    if group.startswith("inputs"):
        clean_environment.setenv(f"{ENV_PREFIX}KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9")
        clean_environment.setenv(f"{ENV_PREFIX}INPUTS__RUBIN__LIBRDKAFKA", json.dumps({"sasl.password": SECRET}))
    assert is_clean(repr(load_settings()))
    refused = 0
    for variable in (group.upper(), *(f"{group.upper()}__{name.upper()}" for name in GROUPS[group])):
        for wrong in WRONG:
            with pytest.MonkeyPatch.context() as once:
                once.setenv(ENV_PREFIX + variable, wrong)
                try:
                    load_settings()
                except ConfigError as error:
                    refused += 1
                    told = "".join(traceback.format_exception(error))
                    assert is_clean(told), (variable, wrong)
    assert refused >= len(GROUPS[group])


@pytest.mark.parametrize(
    "toml",
    [
        f"[kafka]\nschema_registry_url = 'http://u:{CORE}@x'\nschema_folder = '/x'\n",
        f"kafka = '{CORE}'\n",
        f"[kafka]\nlibrdkafka = '{CORE}'\n",
        f"[kafka.librdkafka]\n'sasl.password={CORE}' = 7\n",
        f"[kafka.librdkafka]\nsasl.password = '{CORE}'\n",  # without quotation marks it is a table of a table
        f"[store]\nurl = '{CORE}\n",
        f"[store]\nurl = 7\n{CORE} = 8\n",
        f"[api]\napi_keys = '{CORE}'\n",
        f"[api]\nport = '{CORE}'\ntrusted_proxies = ['{CORE}']\n",
    ],
)  # fmt: skip
def test_a_wrong_file_shows_no_secret(clean_environment: pytest.MonkeyPatch, tmp_path: Path, toml: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    told = "".join(traceback.format_exception(caught.value))
    assert is_clean(told)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql//u:{CORE}@h/d",
        f"postgresql:/u:{CORE}@h/d",
        f"postgresql://u:100%{CORE}@h/d",
        f"postgresql://u:a@{CORE}@h/d",
        f"postgresql://u:a/{CORE}@h/d",
        f"postgresql://u@h/d?pasword={CORE}",
        f"mysql://u:{CORE}@h/d",
        f"u:{CORE}@h",
        CORE,
    ],
)
def test_a_wrong_store_url_is_told_without_its_password(run, url: str) -> None:
    told = run("serve", "--port", "0", "--store", url, status=1)
    assert is_clean(told.stdout + told.stderr)
    assert "store url" in told.stderr


@pytest.mark.parametrize("url", [f"http//u:{CORE}@h", f"u:{CORE}@h", f"http://u:a@{CORE}@h", f"http://u:a/{CORE}@h"])
def test_a_wrong_registry_url_is_told_without_its_password(run, environment, url: str) -> None:
    environment[f"{ENV_PREFIX}KAFKA__SCHEMA_REGISTRY_URL"] = url
    told = run("serve", "--port", "0", status=1)
    assert is_clean(told.stdout + told.stderr)
    assert "kafka.schema_registry_url: must be a URL" in told.stderr


@pytest.mark.parametrize(
    "command",
    [("watch",), ("dead-letters", "list"), ("simulate", "--alerts", "1", "--topic", "x"), ("serve", "--port", "0")],
)
def test_a_property_that_is_refused_is_told_without_its_value(run, environment, command: tuple[str, ...]) -> None:
    """A password may stand at the wrong property."""
    environment |= {
        f"{ENV_PREFIX}KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
        f"{ENV_PREFIX}KAFKA__LIBRDKAFKA": json.dumps({"security.protocol": CORE, "sasl.password": SECRET}),
    }
    told = run(*command, status=1)
    assert is_clean(told.stdout + told.stderr)
    assert 'Error: kafka.librdkafka: Invalid value "***" for configuration property "security.protocol"' in told.stderr


def test_a_watched_url_is_told_without_its_password(run) -> None:
    told = run("watch", "--url", f"http://user:{quote(SECRET, safe='')}@127.0.0.1:9", status=1)
    assert is_clean(told.stdout + told.stderr)
    assert "nothing can be read from http://user:***@127.0.0.1:9" in told.stderr


@pytest.mark.faults  # half a minute: every question waits for the store
def test_a_service_whose_neighbours_are_away_tells_no_secret(command, environment, tmp_path: Path) -> None:
    """Given broker, store and registry that don't answer, and secrets for all of them, when it is asked everything,
    then no answer, no log line at level DEBUG and no trace shows them; and readiness, without a key, names no host.
    """
    port = free_port()
    secret = {ENV_PREFIX + name: value for name, value in WHERE_SECRETS_BELONG.items()}
    del secret[f"{ENV_PREFIX}API__API_KEYS"]  # open, to see every answer
    environment |= secret | {
        f"{ENV_PREFIX}KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9", f"{ENV_PREFIX}LOG__LEVEL": "DEBUG",
        f"{ENV_PREFIX}KAFKA__LIBRDKAFKA": json.dumps(
            {"sasl.password": SECRET, "sasl.username": "u", "security.protocol": "SASL_PLAINTEXT",
             "sasl.mechanism": "PLAIN"}),
    }  # fmt: skip
    del environment[f"{ENV_PREFIX}KAFKA__LIBRDKAFKA_CONSUMER"], environment[f"{ENV_PREFIX}KAFKA__LIBRDKAFKA_PRODUCER"]
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "serve", "--port", str(port)], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        answer_of(f"{url}/health/live", process)
        answers = [httpx.get(url + path, timeout=30) for path in (
            "/health/ready", "/v1/pulse", "/metrics", "/v1/accounting", "/v1/objects", "/v1/objects/ZTF21aaaaaaa",
            "/v1/models", "/openapi.json", "/v2/health/ready", f"/v1/objects?since={CORE[:3]}",
        )]  # fmt: skip
        framed = b"\0" + (7).to_bytes(4, "big") + b"x" * 30
        answers.append(httpx.post(f"{url}/v1/classify/alert", content=framed, timeout=30))
        assert {answer.status_code for answer in answers} >= {200, 503}
        ready = answers[0]
        assert ready.status_code == 503
        assert "127.0.0.1" not in ready.text
        assert "alerts" not in ready.json()["detail"]
        assert "127.0.0.1" in answers[1].text  # whoever may ask finds it
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert "does not answer" in log.read_text() or "do not answer" in log.read_text()
    assert is_clean(log.read_text())
    assert all(is_clean(answer.text + str(answer.headers)) for answer in answers)


def test_every_setting_that_may_hold_a_secret_is_masked() -> None:
    """Given a secret of its own in each table of properties and address, of inputs too, then none is left readable."""
    inside = {table: f"Marker-{table}-1" for table in ("librdkafka", "librdkafka_consumer")}
    own = {table: f"Marker-{table}-2" for table in (*inside, "librdkafka_producer", "librdkafka_output")}
    properties = {table: {"sasl.password": secret} for table, secret in own.items()}
    rubin = {table: {"sasl.password": secret} for table, secret in inside.items()}
    kafka = {"bootstrap_servers": "a:9092", "schema_registry_url": "http://user:Marker-url-2@registry", **properties}
    input_of = {"schema_registry_url": "http://user:Marker-url-1@registry", "topics": ["b"], **rubin}
    load_settings(kafka={**kafka, "output_bootstrap_servers": "b:9092"})
    del kafka["librdkafka_output"]
    load_settings(kafka=kafka, inputs={"rubin": input_of})
    for secret in (*own.values(), *inside.values(), "Marker-url-1", "Marker-url-2"):
        assert secret not in masked(f"said by a library: {secret}")
