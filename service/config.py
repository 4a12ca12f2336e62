"""All settings; only this module reads the environment.

Sources in order of precedence: the command line, `ALERT_CLASSIFIER_<GROUP>__<NAME>` in the environment, a TOML file
(`--config` or `ALERT_CLASSIFIER_CONFIG`) with one table per group, the default below.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Final, Literal, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from service import secrets
from service.errors import AlertClassifierError
from service.validation import said

ENV_PREFIX = "ALERT_CLASSIFIER_"
CONFIG_FILE_VARIABLE = f"{ENV_PREFIX}CONFIG"


class ConfigError(AlertClassifierError, ValueError):
    """An invalid setting; the message names it and says what would be right."""


class Delivery(StrEnum):
    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


class OutputFormat(StrEnum):
    """See `service.output.formats`."""

    SINGLE_OBJECT = "single_object"
    CONTAINER = "container"
    JSON = "json"
    CONFLUENT = "confluent"
    BODY = "body"
    ELASTICC = "elasticc"


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


_WEB_ADDRESS = re.compile(r"https?://([^\s@/]*@)?[^\s@/:]+(:\d+)?(/[^\s@]*)?")


_ORIGIN = re.compile(r"https?://([^\s@/?#:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?")


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, hide_input_in_errors=True)


def _checked_registry(given: SecretStr) -> SecretStr:
    """Refuse what is no URL: the client would only complain at the first framed message, and quote its password."""
    url = given.get_secret_value()
    if url and not _WEB_ADDRESS.fullmatch(url):
        raise ValueError(
            "must be a URL like https://registry:8081 (in a user or password, % is written %25, @ %40 and / %2F)"
        )
    return given


def _checked_pattern(pattern: str) -> str:
    try:
        pattern.format(date=datetime.now(UTC), programid=1)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"only {{date:...}} and {{programid}} may stand in the pattern ({error})") from error
    return pattern


class OutputSettings(_Group):
    """One more topic for classifications: it gets what meets all the conditions that are set."""

    topic: str = Field(min_length=1)
    format: OutputFormat = OutputFormat.SINGLE_OBJECT
    schema_version: int | None = Field(default=None, ge=1, le=4, description="of the classification; unset: the newest")
    classes: list[str] = Field(default_factory=list, description="its top class is one of these")
    superclasses: list[str] = Field(default_factory=list, description="its most probable superclass is one of these")
    min_probability: float = Field(
        default=0.0, ge=0, le=1, description="of the top class; with superclasses and no classes, of the superclass"
    )
    flags: list[str] = Field(default_factory=list, description="it bears all of these")
    without_flags: list[str] = Field(default_factory=list, description="it bears none of these")
    surveys: list[str] = Field(default_factory=list, description="of the alert: ztf, atlas, ...")


class KafkaSettings(_Group):
    """Where alerts come from and classifications go to. Without `bootstrap_servers` nothing is streamed."""

    bootstrap_servers: str = Field(default="", description="host:port,... of the brokers; empty: no streaming")
    topics: list[str] = Field(default_factory=list, description="explicit input topics; empty: the daily pattern")
    photometry_topics: list[str] = Field(
        default_factory=list,
        description="topics with ATLAS photometry of positions, followed beside the alerts (schema: atlas_photometry)",
    )
    daily_pattern: str = Field(
        default="ztf_{date:%Y%m%d}_programid{programid}",
        description="name of a UTC day's topic, as a Python format of `date` and `programid`",
    )
    programids: list[int] = Field(default=[1], description="program ids followed under the daily pattern (1: public)")
    days_back: int = Field(default=1, ge=0, le=30, description="past days followed besides today (ZTF keeps about 7)")
    topic_refresh_s: float = Field(default=30.0, gt=0, description="how often the window of daily topics is re-checked")
    group_id: str = Field(default="alert-classifier", min_length=1)
    group_instance_id: str = Field(default="", description="static membership: a restart does not rebalance the group")
    output_topic: str = Field(default="alert-classifications", min_length=1)
    output_format: OutputFormat = Field(default=OutputFormat.SINGLE_OBJECT, description="of `output_topic`")
    output_schema_version: int | None = Field(
        default=None, ge=1, le=4, description="of the messages in `output_topic`; unset: the newest"
    )
    outputs: list[OutputSettings] = Field(
        default_factory=list, description="further topics, each with a format and a choice of its own"
    )
    broker_name: str = Field(default="alert-classifier", description="brokerName in messages of the format `elasticc`")
    dead_letter_topic: str = Field(default="alert-classifications-dead-letters", min_length=1)
    output_bootstrap_servers: str = Field(
        default="",
        description="host:port,... of the brokers that output_topic and dead_letter_topic are on, where they are others"
        " than the input's (at_least_once only); empty: the same",
    )
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    transactional_id: str = Field(
        default="", description="exactly_once: stable per replica; default from group_id and host"
    )
    schema_registry_url: SecretStr = Field(
        default=SecretStr(""),
        description="for Confluent-framed input, and output of the format `confluent`; `user:password@` may stand"
        " before the host",
    )
    schema_folder: Path | None = Field(default=None, description="`<id>.avsc` files, instead of a registry")
    librdkafka: dict[str, SecretStr] = Field(
        default_factory=dict, description="any librdkafka property, for consumer and producer (SASL, TLS, ...)"
    )
    librdkafka_consumer: dict[str, SecretStr] = Field(default_factory=dict, description="for the consumer alone")
    librdkafka_producer: dict[str, SecretStr] = Field(default_factory=dict, description="for the producer alone")
    librdkafka_output: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="as librdkafka, for the brokers of output_bootstrap_servers, which get no other",
    )

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_is_a_url(cls, given: SecretStr) -> SecretStr:
        return _checked_registry(given)

    @model_validator(mode="after")
    def _outputs_agree(self) -> KafkaSettings:
        topics = [self.output_topic, self.dead_letter_topic, *(output.topic for output in self.outputs)]
        twice = [topic for topic in dict.fromkeys(topics) if topics.count(topic) > 1]
        if twice:
            raise ValueError(f"output_topic, dead_letter_topic and outputs must differ: {twice[0]} stands twice")
        inputs = [topic for topic in topics if topic in (*self.topics, *self.photometry_topics)]
        if inputs:
            raise ValueError(f"{inputs[0]} is read and written: the service would classify its own answers")
        formats = [self.output_format, *(output.format for output in self.outputs)]
        if OutputFormat.CONFLUENT in formats and not self.schema_registry_url.get_secret_value():
            raise ValueError("the output format confluent needs schema_registry_url")
        return self

    @field_validator("daily_pattern")
    @classmethod
    def _pattern_formats(cls, pattern: str) -> str:
        return _checked_pattern(pattern)

    @model_validator(mode="after")
    def _output_elsewhere(self) -> KafkaSettings:
        if self.output_bootstrap_servers and self.delivery is Delivery.EXACTLY_ONCE:
            raise ValueError("output_bootstrap_servers goes with at_least_once: a transaction is within one cluster")
        if self.librdkafka_output and not self.output_bootstrap_servers:
            raise ValueError("librdkafka_output is for the brokers of output_bootstrap_servers, which is empty")
        return self

    def output_side(self) -> KafkaSettings:
        """As the clients of the output's cluster see them."""
        if not self.output_bootstrap_servers:
            return self
        changes = {
            "bootstrap_servers": self.output_bootstrap_servers,
            "output_bootstrap_servers": "",
            "librdkafka": self.librdkafka_output,
            "librdkafka_output": {},
            "librdkafka_consumer": {},
        }
        return self.model_copy(update=changes)

    def input_side(self) -> KafkaSettings:
        """As a producer to the input's cluster sees them."""
        return self.model_copy(update={"librdkafka_producer": {}}) if self.output_bootstrap_servers else self


class StoreSettings(_Group):
    url: SecretStr = Field(
        default=SecretStr("sqlite:///var/alert-classifier.db"),
        description="sqlite:///PATH (embedded) or postgresql://... (shared by replicas)",
    )
    join_radius_arcsec: float = Field(
        default=1.5,
        ge=0,
        le=30,
        description="ATLAS photometry joins the nearest object within this; 0: none; the same in every replica",
    )


class ModelSettings(_Group):
    bundle: Path | None = Field(default=None, description="folder of the active model bundle; empty: the shipped one")
    of_survey: dict[str, Path] = Field(
        default_factory=dict,
        description="survey (lsst, ...) -> folder of the bundle that answers in place of the active one where all"
        " points of an object are of that survey",
    )
    shadow_bundles: list[Path] = Field(default_factory=list, description="bundles that answer beside the active one")
    trusted_keys: list[str] = Field(
        default_factory=list,
        description="minisign public keys: only bundles that one of them has signed are loaded; empty: any",
    )
    device: Device = Device.AUTO
    threads: int = Field(default=0, ge=0, description="threads that call the model; 0: one per core")


RubinFlag = Literal[
    "psfFlux_flag", "psfFlux_flag_edge", "psfFlux_flag_noGoodPixels", "centroid_flag", "shape_flag", "isDipole",
    "glint_trail", "trail_flag_edge", "pixelFlags_bad", "pixelFlags_cr", "pixelFlags_crCenter", "pixelFlags_edge",
    "pixelFlags_nodataCenter", "pixelFlags_interpolatedCenter", "pixelFlags_offimage", "pixelFlags_saturatedCenter",
    "pixelFlags_suspectCenter", "pixelFlags_streakCenter", "pixelFlags_injected", "pixelFlags_injectedCenter",
]  # fmt: skip
RUBIN_FLAGS: Final[tuple[str, ...]] = get_args(RubinFlag)  # the flags of a diaSource that are read


class RubinQualitySettings(_Group):
    """Cuts of Rubin's alerts (survey `lsst`), named as the fields of its packets."""

    action: str = Field(
        default="flag", pattern="^(flag|drop)$", description="as for ZTF, for all cuts but solar_system"
    )
    min_reliability: float | None = Field(
        default=0.5, description="the survey's real-bogus score (Lasair counts alerts above 0.5 as good)"
    )
    flags: list[RubinFlag] = Field(
        default=[
            "psfFlux_flag", "isDipole", "glint_trail", "pixelFlags_bad", "pixelFlags_crCenter",
            "pixelFlags_saturatedCenter", "pixelFlags_streakCenter", "pixelFlags_nodataCenter", "pixelFlags_offimage",
            "pixelFlags_injected", "pixelFlags_injectedCenter",
        ],
        description="an alert with one of these raised fails: the fit has no flux (psfFlux_flag), a bad subtraction"
        " (isDipole, 6 % of the sources), a satellite (glint_trail, streak), no light of the sky in the centre"
        " (the other pixel flags), or put there by the pipeline's own tests (injected)",
    )  # fmt: skip
    solar_system: str = Field(
        default="drop",
        pattern="^(flag|drop)$",
        description="known objects of the Solar System, a quarter of the alerts; they move, so a light curve tells"
        " their distance and rotation, and no class: drop filters them before anything is stored",
    )


class QualitySettings(_Group):
    """Quality cuts: `flag` classifies every alert and marks the low ones, `drop` filters them by reason. Those here are
    ZTF's; Rubin's are `quality.lsst`.
    """

    action: str = Field(default="flag", pattern="^(flag|drop)$")
    min_rb: float | None = Field(default=0.55, description="real-bogus score (Fink, ANTARES, ALeRCE cut at 0.55)")
    min_drb: float | None = Field(default=None, description="deep-learning real-bogus score (BABAMUL cuts at 0.2)")
    max_nbad: int | None = Field(default=0, description="bad pixels in a 5x5 stamp")
    max_fwhm: float | None = Field(default=None, description="pixels (the survey's 'pure' filter: 5)")
    max_elong: float | None = Field(default=None, description="axis ratio ('pure': 1.2)")
    max_abs_magdiff: float | None = Field(default=None, description="mag ('pure': 0.1)")
    max_ssdistnr: float | None = Field(
        default=5.0, description="arcsec; an alert closer than this to a known Solar System object is one"
    )
    lsst: RubinQualitySettings = RubinQualitySettings()


INPUT_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


class InputSettings(_Group):
    """One of several streams that are read together. What is unset is as in `kafka`; credentials only where the brokers
    are those of `kafka` too.
    """

    name: str = Field(description="in accounts, metrics and health; lower case")
    survey: Literal["", "ztf", "lsst"] = Field(
        default="", description="whose alerts come from it; another's become dead letters; empty: any"
    )
    bootstrap_servers: str = Field(default="", description="host:port,... of its brokers; empty: those of `kafka`")
    topics: list[str] = Field(default_factory=list, description="explicit topics; empty: the daily pattern")
    photometry_topics: list[str] = Field(default_factory=list, description="as in `kafka`")
    daily_pattern: str | None = Field(default=None, description="as in `kafka`")
    programids: list[int] | None = Field(default=None, description="as in `kafka`")
    days_back: int | None = Field(default=None, ge=0, le=30, description="as in `kafka`")
    group_id: str = Field(
        default="",
        description="Rubin's brokers want the user's name first; empty: `kafka.group_id`, a dash and the name",
    )
    group_instance_id: str | None = Field(default=None, description="as in `kafka`")
    schema_registry_url: SecretStr = Field(default=SecretStr(""), description="for framed messages of this input")
    schema_folder: Path | None = Field(default=None, description="`<id>.avsc` files, instead of a registry")
    librdkafka: dict[str, SecretStr] = Field(default_factory=dict, description="properties of its clients (SASL, ...)")
    librdkafka_consumer: dict[str, SecretStr] = Field(default_factory=dict, description="of its consumer alone")
    max_batch: int | None = Field(default=None, ge=1, le=10_000, description="as in `pipeline`")
    quality: QualitySettings | None = Field(default=None, description="cuts of its alerts, a table as `quality`")

    @field_validator("name")
    @classmethod
    def _name_is_a_word(cls, name: str) -> str:
        if not INPUT_NAME.fullmatch(name) or len(name) > 40:
            raise ValueError("must be a short name in lower case, like rubin or ztf-public")
        return name

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_is_a_url(cls, given: SecretStr) -> SecretStr:
        return _checked_registry(given)

    @field_validator("daily_pattern")
    @classmethod
    def _pattern_formats(cls, pattern: str | None) -> str | None:
        return pattern if pattern is None else _checked_pattern(pattern)

    @model_validator(mode="after")
    def _registry_or_folder(self) -> InputSettings:
        if self.schema_registry_url.get_secret_value() and self.schema_folder:
            raise ValueError("schema_registry_url and schema_folder exclude one another")
        return self


class PipelineSettings(_Group):
    max_batch: int = Field(
        default=256, ge=1, le=10_000, description="alerts per batch at most, when draining; 20 MB of packets"
    )
    linger_s: float = Field(
        default=0.01, ge=0, le=1, description="how long a batch waits for more once it has an alert: latency when idle"
    )
    batch_window_s: float | None = Field(
        default=None,
        ge=0,
        le=0.1,
        description="how long the model waits for more batches to run with one; unset: 0.004 on a GPU, else 0",
    )
    queue_depth: int = Field(default=2, ge=1, le=16, description="batches that may wait between two stages")
    max_message_bytes: int = Field(
        default=10_485_760,
        ge=10_000,
        description="larger messages are dead-lettered unread; the default is what Rubin's brokers take",
    )
    counterparts: bool | None = Field(
        default=None,
        description="whether messages name the objects of other surveys at an object's place, within"
        " store.join_radius_arcsec: a search in the store for every batch; unset: where several inputs are read",
    )
    retry_s: float = Field(default=1.0, gt=0, description="pause between tries while the store or the broker is away")
    standstill_s: float = Field(
        default=30.0, gt=0, description="not ready when a stage has been working on the same batch for longer"
    )
    give_up_s: float = Field(
        default=120.0,
        gt=0,
        description="... and `serve` ends, to be started anew, when it has been for longer than this",
    )
    journal: Path | None = Field(
        default=None,
        description="file that tells after a crash which messages were in hand; unset: beside the SQLite store,"
        " var/alert-classifier-in-flight with PostgreSQL",
    )


class ApiSettings(_Group):
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_body_bytes: int = Field(default=32_000_000, ge=1000)
    max_bodies_bytes: int = Field(
        default=128_000_000,
        ge=1000,
        description="of all bodies under way together, and never less than one; beyond it the largest is refused",
    )
    max_connections: int = Field(
        default=4000, ge=10, description="beyond it the connection that has waited longest without a request is closed"
    )
    head_timeout_s: float = Field(
        default=10.0, gt=0, description="for a new connection's first request, and for each request line and headers"
    )
    body_timeout_s: float = Field(
        default=20.0, gt=0, description="how long a body may come more slowly than 50 kB/s before it is refused"
    )
    idle_timeout_s: int = Field(
        default=75, ge=1, description="between requests on one connection; also for a client that takes no answer"
    )
    trusted_proxies: list[str] = Field(
        default_factory=list,
        description="addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed; empty: nobody's",
    )
    max_light_curves: int = Field(default=1000, ge=1, description="light curves per request")
    max_points: int = Field(default=100_000, ge=1, description="points per request")
    api_keys: list[SecretStr] = Field(
        default_factory=list, description="SHA-256 hex digests, `scope:digest`; empty: open"
    )
    rate_limit_per_s: float = Field(default=0.0, ge=0, description="requests per second and client; 0: none")
    cors_origins: list[str] = Field(default_factory=list)
    docs: bool = True
    metrics: bool = True

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, given: list[str]) -> list[str]:
        for each in given:
            try:
                ip_network(each)
            except ValueError:
                raise ValueError("each must be an address or a network like 10.0.0.0/8") from None
        return given


class WatchSettings(_Group):
    """Saved filters (`/v1/watches`): feeds need no setting, webhooks the origins that they may go to."""

    webhook_origins: list[str] = Field(
        default_factory=list,
        description="where webhooks may be sent, like https://hooks.example.org; empty: nowhere. A private address is"
        " reached only if it stands here",
    )
    interval_s: float = Field(default=2.0, gt=0, description="how often it is looked for what webhooks are to be told")

    @field_validator("webhook_origins")
    @classmethod
    def _origins(cls, given: list[str]) -> list[str]:
        for each in given:
            if not _ORIGIN.fullmatch(each):
                raise ValueError("each must be scheme, host and perhaps port, like https://hooks.example.org")
        return [each.lower() for each in given]

    def allows(self, url: str) -> bool:
        """Whether a webhook may go to `url`."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        if parts.username is not None or parts.hostname is None:
            return False
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        standing = {"https": 443, "http": 80}.get(parts.scheme)
        plain = f"{parts.scheme}://{host}"
        wanted = {plain if port in (None, standing) else f"{plain}:{port}", f"{plain}:{port or standing}"}
        return any(each in wanted for each in self.webhook_origins)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class LogSettings(_Group):
    level: Annotated[str, BeforeValidator(_upper)] = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    format: str = Field(default="text", pattern="^(text|json)$")


class Settings(BaseSettings):
    """Everything the service can be told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    inputs: dict[str, InputSettings] = Field(
        default_factory=dict, description="several streams read together, instead of the one of `kafka`"
    )
    store: StoreSettings = StoreSettings()
    model: ModelSettings = ModelSettings()
    quality: QualitySettings = QualitySettings()
    pipeline: PipelineSettings = PipelineSettings()
    api: ApiSettings = ApiSettings()
    watch: WatchSettings = WatchSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _File(settings_cls))

    @field_validator("inputs", mode="before")
    @classmethod
    def _inputs_by_name(cls, given: Any) -> Any:
        return _by_name(given)

    @model_validator(mode="after")
    def _registry_or_folder(self) -> Settings:
        if self.kafka.schema_registry_url.get_secret_value() and self.kafka.schema_folder:
            raise ValueError("kafka.schema_registry_url and kafka.schema_folder exclude one another")
        return self

    @model_validator(mode="after")
    def _inputs_agree(self) -> Settings:
        if not self.inputs:
            return self
        kafka = self.kafka
        if not kafka.bootstrap_servers:
            raise ValueError("inputs need kafka.bootstrap_servers: the brokers of the classifications")
        if kafka.topics or kafka.photometry_topics or kafka.output_bootstrap_servers:
            raise ValueError(
                "with inputs, topics and photometry_topics are set in each of them, and kafka.bootstrap_servers are the"
                " brokers of the classifications: leave kafka.topics, kafka.photometry_topics and"
                " kafka.output_bootstrap_servers out"
            )
        readers: dict[str, str] = {}
        groups: dict[tuple[str, str], str] = {}
        written = {kafka.output_topic, kafka.dead_letter_topic, *(output.topic for output in kafka.outputs)}
        for name, each in self.inputs.items():
            elsewhere = each.bootstrap_servers not in ("", kafka.bootstrap_servers)
            if elsewhere and kafka.delivery is Delivery.EXACTLY_ONCE:
                raise ValueError(
                    f"kafka.delivery = exactly_once, but the input {name} is on other brokers than the classifications:"
                    " a transaction is within one cluster; take at_least_once, or mirror its topics to"
                    " kafka.bootstrap_servers"
                )
            patterns = [] if each.topics else [each.daily_pattern or kafka.daily_pattern]
            for topic in (*each.topics, *each.photometry_topics, *patterns):
                if topic in written and not elsewhere:
                    raise ValueError(f"{topic} is read and written: the service would classify its own answers")
                # accounts, dead letters and what puts them through again go by the topic's name
                if readers.setdefault(topic, name) != name:
                    raise ValueError(f"the inputs {readers[topic]} and {name} both read {topic}")
            group = each.bootstrap_servers or kafka.bootstrap_servers, each.group_id
            if each.group_id and groups.setdefault(group, name) != name:
                raise ValueError(f"the inputs {groups[group]} and {name} have one group_id: give each its own")
        return self


def _by_name(given: Any) -> Any:
    """Inputs as a table by name, from a list of tables with a name each (`[[inputs]]`) or from such a table: only by
    name can the environment add a password to an input of the file.
    """
    if isinstance(given, list):
        named: dict[str, Any] = {}
        for number, each in enumerate(given):
            name = each.get("name") if isinstance(each, dict) else None
            if not isinstance(name, str) or name in named:
                why = "stands twice" if isinstance(name, str) else "is missing"
                raise ValueError(f"the name of input {number + 1} {why}")
            named[name] = each
        return named
    if isinstance(given, dict):
        return {name: {**table, "name": name} if isinstance(table, dict) else table for name, table in given.items()}
    return given


class _File(TomlConfigSettingsSource):
    """The TOML file, its inputs by name."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        if isinstance(values.get("inputs"), list):
            with suppress(ValueError):  # told by the validator of the settings
                values = {**values, "inputs": _by_name(values["inputs"])}
        return values


def revealed(table: Mapping[str, SecretStr]) -> dict[str, str]:
    """A table of settings in clear, for the library that it is meant for."""
    return {name: value.get_secret_value() for name, value in table.items()}


def load_settings(config_file: Path | None = None, **overrides: Any) -> Settings:
    """Settings from command line (`overrides`: group -> {name: value}), environment and file.

    Raises ConfigError with one clause per wrong setting.
    """
    file = config_file or (Path(os.environ[CONFIG_FILE_VARIABLE]) if os.environ.get(CONFIG_FILE_VARIABLE) else None)
    if file is not None and not file.is_file():
        raise ConfigError(f"the configuration file {file} does not exist")

    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    _check_environment()
    try:
        settings = FileSettings(**{group: values for group, values in overrides.items() if values})
    # `from None`: the causes quote what was given, and tracebacks show causes
    except ValidationError as error:
        raise ConfigError("; ".join(map(_clause, error.errors()))) from None
    except TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}") from None
    except SettingsError as error:  # a variable that does not parse; the message only names the group
        raise ConfigError(f"environment: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text") from None
    secrets.remember(_secrets(settings))
    return settings


def _secrets(settings: Settings) -> Iterator[str]:
    """What must never be seen outside."""
    kafka = settings.kafka
    inputs = settings.inputs.values()
    for url in (settings.store.url, kafka.schema_registry_url, *(each.schema_registry_url for each in inputs)):
        yield from secrets.in_url(url.get_secret_value())
    tables = [kafka.librdkafka, kafka.librdkafka_consumer, kafka.librdkafka_producer, kafka.librdkafka_output]
    for each in inputs:
        tables += [each.librdkafka, each.librdkafka_consumer]
    for table in tables:
        yield from secrets.in_properties(revealed(table))
    yield from (entry.get_secret_value() for entry in settings.api.api_keys)


_NAME = re.compile(r"[a-z_]+([.-][a-z_]+)*|\[key\]")
_EXAMPLES: dict[Any, str] = {list: '["a", "b"]', dict: '{"a": "b"}'}


def _check_environment() -> None:
    """Raise ConfigError for variables that would be silently ignored, or refused without their name."""
    for variable, text in os.environ.items():
        if not variable.upper().startswith(ENV_PREFIX):
            continue
        group, separator, name = variable.upper().removeprefix(ENV_PREFIX).lower().partition("__")
        if not separator:
            group, _, name = group.partition("_")
            # Kubernetes sets ..._API_PORT=tcp://... for a service whose name begins like ours
            if name in _fields((group,)) and not text.startswith("tcp://"):
                meant = f"{ENV_PREFIX}{group}__{name}".upper()
                raise ConfigError(f"{variable}: two underscores stand between group and name, as in {meant}")
            continue
        if group not in Settings.model_fields:
            raise ConfigError(f"{variable}: there is no group {group}; groups are {', '.join(Settings.model_fields)}")
        *groups, last = group, *name.split("__")
        field = _fields(groups).get(last)
        example = _EXAMPLES.get(get_origin(field.annotation)) if field else None
        if example is not None:
            try:
                json.loads(text)
            except ValueError:
                raise ConfigError(f"{variable} must be JSON, like {example}") from None


def _fields(place: Sequence[int | str]) -> dict[str, FieldInfo]:
    """The settings of a group, or at the empty place the groups; none where the place is no group."""
    group: Any = Settings
    for name in place:
        if _is_group(group):
            field = group.model_fields.get(str(name))
            group = field.annotation if field else None
        else:  # inputs by name
            group = get_args(group)[1] if get_origin(group) is dict else None
    if not _is_group(group):
        return {}
    fields: dict[str, FieldInfo] = group.model_fields
    return fields


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _clause(error: ErrorDetails) -> str:
    """One wrong setting, in words. What was given is only told where it is a number: any text may be a secret that
    stands in the wrong place.
    """
    place = ".".join(map(_readable, error["loc"])) or "settings"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), list(_fields(error["loc"][:-1])), n=1)
        return f"{place}: there is no such setting" + "".join(f"; is {name} meant?" for name in near)
    if error["type"] in ("model_type", "dict_type"):
        return f"{place}: must be a table of settings"
    given = f" (given: {error['input']:.15g})" if _is_number(error["input"]) else ""
    return f"{place}: {said(error)}{given}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _readable(part: int | str) -> str:
    """A part of a setting's place; not what can't be a name: a forgotten `=` or quotation mark makes one name of a
    property and its secret.
    """
    return str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "(no name of a setting)"
