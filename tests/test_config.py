"""Where settings come from and how a wrong one is refused."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from service.config import ConfigError, Delivery, load_settings


def test_the_command_line_beats_the_environment_which_beats_the_file(tmp_path, monkeypatch):
    file = tmp_path / "settings.toml"
    file.write_text('[kafka]\ngroup_id = "file"\noutput_topic = "file"\ndead_letter_topic = "file"\n')
    monkeypatch.setenv("ALERT_CLASSIFIER_KAFKA__GROUP_ID", "environment")
    monkeypatch.setenv("ALERT_CLASSIFIER_KAFKA__OUTPUT_TOPIC", "environment")
    settings = load_settings(file, kafka={"group_id": "command-line"})
    assert settings.kafka.group_id == "command-line"
    assert settings.kafka.output_topic == "environment"
    assert settings.kafka.dead_letter_topic == "file"
    assert settings.kafka.delivery is Delivery.AT_LEAST_ONCE


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[kafka]\ndays_back = 99\n", "kafka.days_back: .*less than or equal to 30"),
        ("[kafka]\ngroup = 'x'\n", r"kafka\.group: there is no such setting; is group_id meant\?"),
        ("[kafak]\ngroup_id = 'x'\n", r"kafak: there is no such setting; is kafka meant\?"),
        ("[api]\nxyz = 'x'\n", r"api\.xyz: there is no such setting$"),
        (
            "[kafka]\ndaily_pattern = 'ztf_{day}'\n",
            "kafka.daily_pattern: (?!Value error).*only {date:...} and {programid}",
        ),
        ("[kafka\n", "settings.toml"),
        ("[kafka]\nschema_registry_url = 'http://x'\nschema_folder = '/x'\n", "exclude one another"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, toml, message):
    file = tmp_path / "settings.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError, match=message):
        load_settings(file)


def test_a_group_within_a_group_is_set_and_refused_as_any(tmp_path, monkeypatch):
    file = tmp_path / "settings.toml"
    file.write_text('[quality.lsst]\nmin_reliability = 0.7\nflags = ["isDipole"]\n')
    monkeypatch.setenv("ALERT_CLASSIFIER_QUALITY__LSST__ACTION", "drop")
    cuts = load_settings(file).quality.lsst
    assert (cuts.min_reliability, cuts.flags, cuts.action, cuts.solar_system) == (0.7, ["isDipole"], "drop", "drop")
    file.write_text('[quality.lsst]\nflags = ["isDipol"]\n')
    with pytest.raises(ConfigError, match=r"quality\.lsst\.flags\.0: .*'psfFlux_flag'"):
        load_settings(file)
    file.write_text("[quality.lsst]\nreliability = 1\n")
    with pytest.raises(ConfigError, match=r"lsst\.reliability: there is no such setting; is min_reliability meant\?"):
        load_settings(file)
    monkeypatch.setenv("ALERT_CLASSIFIER_QUALITY__LSST__FLAGS", "isDipole")
    with pytest.raises(ConfigError, match=r"QUALITY__LSST__FLAGS must be JSON, like \[\"a\", \"b\"\]"):
        load_settings()


def test_a_level_is_known_in_either_case(monkeypatch):
    monkeypatch.setenv("ALERT_CLASSIFIER_LOG__LEVEL", "debug")
    assert load_settings().log.level == "DEBUG"
    monkeypatch.setenv("ALERT_CLASSIFIER_LOG__LEVEL", "loud")
    with pytest.raises(ConfigError, match=r"log\.level: .*DEBUG"):
        load_settings()


def test_a_group_in_the_environment_that_there_is_not_is_named(monkeypatch):
    monkeypatch.setenv("ALERT_CLASSIFIER_KAFAK__GROUP_ID", "x")
    with pytest.raises(ConfigError, match=r"KAFAK__GROUP_ID: there is no group kafak; .* kafka, inputs, store"):
        load_settings()


def test_one_underscore_where_two_belong_is_told(monkeypatch):
    monkeypatch.setenv("ALERT_CLASSIFIER_KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    with pytest.raises(ConfigError, match=r"as in ALERT_CLASSIFIER_KAFKA__BOOTSTRAP_SERVERS"):
        load_settings()


@pytest.mark.parametrize("name", ["PORT", "API_PORT"])
def test_other_variables_of_the_name_are_left_alone(monkeypatch, name):
    monkeypatch.setenv(f"ALERT_CLASSIFIER_{name}", "tcp://10.0.0.1:80")  # Kubernetes sets it for a service of this name
    load_settings()


@pytest.mark.parametrize("name", ["KAFKA__TOPICS", "KAFKA__LIBRDKAFKA", "MODEL__SHADOW_BUNDLES", "API__API_KEYS"])
def test_a_list_in_the_environment_that_is_none_is_named_and_not_shown(monkeypatch, name):
    monkeypatch.setenv(f"ALERT_CLASSIFIER_{name}", "first-one,second-one")
    with pytest.raises(ConfigError, match=f"ALERT_CLASSIFIER_{name} must be JSON") as caught:
        load_settings()
    assert "first-one" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist"):
        load_settings(Path("nowhere.toml"))


def test_a_secret_never_stands_in_an_error():
    with pytest.raises(ConfigError) as caught:
        load_settings(api={"api_keys": [{"key": "very-secret"}]})
    assert "very-secret" not in str(caught.value)


def test_the_survey_s_password_never_goes_to_our_own_brokers():
    """Given an output on other brokers, then each side's clients get their own properties alone."""
    theirs, ours = {"sasl.password": SecretStr("secret")}, {"sasl.password": SecretStr("other")}
    values = {
        "bootstrap_servers": "survey:9094",
        "librdkafka": theirs,
        "librdkafka_producer": {"acks": SecretStr("all")},
    }
    settings = load_settings(kafka=values | {"output_bootstrap_servers": "ours:9092", "librdkafka_output": ours}).kafka
    output = settings.output_side()
    assert (output.bootstrap_servers, output.librdkafka) == ("ours:9092", ours)
    assert output.librdkafka_producer == {"acks": SecretStr("all")}
    assert (settings.input_side().librdkafka, settings.input_side().librdkafka_producer) == (theirs, {})
    one = load_settings(kafka=values).kafka
    assert one.output_side() == one.input_side() == one
    with pytest.raises(ConfigError, match="a transaction is within one cluster"):
        load_settings(kafka={"output_bootstrap_servers": "ours:9092", "delivery": "exactly_once"})
    with pytest.raises(ConfigError, match="output_bootstrap_servers, which is empty"):
        load_settings(kafka={"librdkafka_output": ours})
