"""Several inputs in one process: what each takes from `kafka`, what it never gets, and what is refused at the start."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.config import ConfigError, Settings, load_settings, revealed
from service.inference.registry import ModelRegistry
from service.secrets import masked
from service.simulate import simulate
from service.simulate.rubin import simulate_rubin
from service.store import open_store
from service.stream.batch import Batch, DeadLettered, Message
from service.stream.inputs import each_input, framed, reader_of
from service.stream.journal import open_journal
from service.stream.pipeline import build_pipeline

TOML = """
[kafka]
bootstrap_servers = "ours:9092"
transactional_id = "replica-1"
group_instance_id = "replica-1"

[kafka.librdkafka]
"sasl.password" = "Our-own-password!"

[kafka.librdkafka_producer]
"acks" = "all"

[[inputs]]
name = "ztf"
survey = "ztf"

[[inputs]]
name = "rubin"
survey = "lsst"
bootstrap_servers = "survey:9094"
topics = ["lsst-alerts-v11"]
group_id = "someone-classifier"
schema_registry_url = "https://registry.example.org/schema-registry/"
max_batch = 64

[inputs.librdkafka]
"security.protocol" = "SASL_PLAINTEXT"
"sasl.username" = "someone"

[inputs.quality.lsst]
solar_system = "flag"
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    file = tmp_path / "settings.toml"
    file.write_text(TOML)
    monkeypatch.setenv(
        "ALERT_CLASSIFIER_INPUTS__RUBIN__LIBRDKAFKA", '{"sasl.password": "Their-password-of-this-test!"}'
    )
    return load_settings(file)


def test_each_input_is_as_if_it_were_read_alone(settings: Settings) -> None:
    """Given an input on our brokers and one on the survey's, then each has its own topics, group and cuts, and the
    password of the environment joins the input's table of the file.
    """
    ztf, rubin = each_input(settings)
    assert (ztf.name, rubin.name) == ("ztf", "rubin")
    assert (ztf.surveys, rubin.surveys) == ({"ztf"}, {"lsst"})
    here, there = ztf.settings.kafka, rubin.settings.kafka
    assert (here.bootstrap_servers, here.group_id, here.topics) == ("ours:9092", "alert-classifier-ztf", [])
    assert (there.group_id, there.topics) == ("someone-classifier", ["lsst-alerts-v11"])
    assert there.output_side().bootstrap_servers == here.output_side().bootstrap_servers == "ours:9092"
    assert (here.transactional_id, there.transactional_id) == ("replica-1-ztf", "replica-1-rubin")
    assert there.group_instance_id == "replica-1"
    assert (ztf.settings.pipeline.max_batch, rubin.settings.pipeline.max_batch) == (256, 64)
    assert (ztf.settings.quality.lsst.solar_system, rubin.settings.quality.lsst.solar_system) == ("drop", "flag")
    assert framed(settings).schema_registry_url.get_secret_value().startswith("https://registry.example.org")
    assert revealed(there.librdkafka) == {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.username": "someone",
        "sasl.password": "Their-password-of-this-test!",
    }


def test_no_cluster_gets_another_s_password_and_no_log_either(settings: Settings) -> None:
    ours, theirs = SecretStr("Our-own-password!"), SecretStr("Their-password-of-this-test!")
    ztf, rubin = (each.settings.kafka for each in each_input(settings))
    assert ours not in rubin.librdkafka.values()
    assert theirs not in rubin.output_side().librdkafka.values()
    assert rubin.output_side().librdkafka["sasl.password"] == ztf.librdkafka["sasl.password"] == ours
    assert rubin.input_side().librdkafka_producer == {}
    for secret in (ours, theirs):
        assert masked(f"refused: {secret.get_secret_value()}") == "refused: ***"


def test_the_old_settings_are_the_one_unnamed_input() -> None:
    settings = load_settings(kafka={"bootstrap_servers": "ours:9092", "topics": ["alerts"]})
    (only,) = each_input(settings)
    assert (only.name, only.surveys, only.settings) == ("", frozenset(), settings)
    assert framed(settings) is settings.kafka


def test_a_dead_letter_goes_back_to_the_brokers_that_it_came_from(settings: Settings) -> None:
    assert reader_of(settings, "lsst-alerts-v11").bootstrap_servers == "survey:9094"
    assert reader_of(settings, "ztf_20260101_programid1").bootstrap_servers == "ours:9092"
    assert reader_of(settings, "somewhere-else") == settings.kafka


RUBIN = {"name": "rubin", "topics": ["lsst"], "bootstrap_servers": "survey:9094"}
ZTF = {"name": "ztf", "topics": ["alerts"]}


@pytest.mark.parametrize(
    ("kafka", "inputs", "message"),
    [
        (
            {"delivery": "exactly_once"},
            [ZTF, RUBIN],
            "kafka.delivery = exactly_once, but the input rubin is on other brokers than the classifications: a"
            " transaction is within one cluster",
        ),
        ({}, [ZTF, ZTF], "the name of input 2 stands twice"),
        ({}, [{"topics": ["alerts"]}], "the name of input 1 is missing"),
        ({}, [ZTF | {"name": "Z T F"}], "inputs.Z T F.name: must be a short name in lower case"),
        ({}, [ZTF, RUBIN | {"topics": ["alerts"]}], "the inputs ztf and rubin both read alerts"),
        ({}, [{"name": "one"}, {"name": "two"}], "the inputs one and two both read ztf_{date:%Y%m%d}"),
        ({}, [ZTF | {"group_id": "g"}, RUBIN | {"group_id": "g", "bootstrap_servers": ""}], "have one group_id"),
        ({}, [ZTF | {"topics": ["alert-classifications"]}], "alert-classifications is read and written"),
        ({"topics": ["alerts"]}, [RUBIN], "with inputs, topics and photometry_topics are set in each of them"),
        ({"bootstrap_servers": ""}, [RUBIN], "inputs need kafka.bootstrap_servers"),
        ({}, [RUBIN | {"survey": "rubin"}], "inputs.rubin.survey: Input should be '', 'ztf' or 'lsst'"),
        ({}, [RUBIN | {"grup_id": "x"}], "inputs.rubin.grup_id: there is no such setting; is group_id meant?"),
    ],
)
def test_what_can_t_be_is_refused_at_the_start(
    kafka: dict[str, object], inputs: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(kafka={"bootstrap_servers": "ours:9092"} | kafka, inputs=inputs)
    assert message.replace("inputs.Z T F", "inputs.(no name of a setting)") in str(refused.value)


def test_one_cluster_may_have_several_inputs_exactly_once() -> None:
    both = [ZTF, RUBIN | {"bootstrap_servers": "ours:9092"}]
    settings = load_settings(kafka={"bootstrap_servers": "ours:9092", "delivery": "exactly_once"}, inputs=both)
    assert [each.settings.kafka.output_side().delivery for each in each_input(settings)] == ["exactly_once"] * 2


def test_an_alert_of_another_survey_is_refused(models: ModelRegistry) -> None:
    """Given an input of Rubin's alerts with one of ZTF's in it, then that one is a dead letter that says so."""
    store = open_store("sqlite://")
    (rubin,) = each_input(load_settings(kafka={"bootstrap_servers": "x:1"}, inputs=[RUBIN | {"survey": "lsst"}]))
    pipeline = build_pipeline(rubin.settings, models, store, surveys=rubin.surveys)
    packets = [next(iter(simulate_rubin(1, seed=3, framed=False))).packet, next(iter(simulate(1, seed=3))).packet]
    batch = Batch.of([Message("lsst", 0, offset, packet) for offset, packet in enumerate(packets)])
    pipeline.decode(batch)
    assert batch.items[0].outcome is None
    refused = batch.items[1].outcome
    assert refused == DeadLettered("unexpected_survey", "an alert of ztf, and this input brings lsst")
    store.close()


def test_each_input_finds_what_it_had_in_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Given a process that died with a message of each of two inputs in hand, then each input's journal tells its own
    again, in whatever order they are opened.
    """
    settings = load_settings(store={"url": f"sqlite:///{tmp_path / 'store.db'}"})
    for name in ("ztf", "rubin"):
        journal = open_journal(settings, name)
        assert journal is not None
        journal.begin(1, "decode", f'[["{name}-topic",0,7,7]]'.encode())
        journal._map.close()
        os.close(journal._file)  # its lock goes with it, as at the end of the process
    with caplog.at_level(logging.WARNING):
        for name in ("rubin", "ztf"):
            journal = open_journal(settings, name)
            assert journal is not None
            assert [(each.topic, each.first) for each in journal.suspects] == [(f"{name}-topic", 7)]
