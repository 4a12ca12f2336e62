"""Where settings come from and how a wrong one is refused."""

from pathlib import Path

import pytest

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
        ("[kafka]\ngroup = 'x'\n", "kafka.group: Extra inputs are not permitted"),
        ("[kafka]\ndaily_pattern = 'ztf_{day}'\n", "kafka.daily_pattern: .*only {date:...} and {programid}"),
        ("[kafka\n", "settings.toml"),
        ("[kafka]\nschema_registry_url = 'http://x'\nschema_folder = '/x'\n", "exclude one another"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, toml, message):
    file = tmp_path / "settings.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError, match=message):
        load_settings(file)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist"):
        load_settings(Path("nowhere.toml"))


def test_a_secret_never_stands_in_an_error():
    with pytest.raises(ConfigError) as caught:
        load_settings(api={"api_keys": [{"key": "very-secret"}]})
    assert "very-secret" not in str(caught.value)
