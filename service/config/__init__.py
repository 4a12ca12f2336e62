"""All settings; only `loading` reads the environment.

Sources in order of precedence: the command line, `ALERT_CLASSIFIER_<GROUP>__<NAME>` in the environment, a TOML file
(`--config` or `ALERT_CLASSIFIER_CONFIG`) with one table per group, the default below.
"""

from service.config.groups import (
    ApiSettings,
    LogSettings,
    ModelSettings,
    PipelineSettings,
    StoreSettings,
    WatchSettings,
)
from service.config.inputs import INPUT_NAME, InputSettings
from service.config.kafka import KafkaSettings, OutputSettings
from service.config.kinds import ConfigError, Delivery, Device, OutputFormat
from service.config.loading import CONFIG_FILE_VARIABLE, load_settings, revealed
from service.config.quality import RUBIN_FLAGS, QualitySettings, RubinQualitySettings
from service.config.settings import ENV_PREFIX, Settings

__all__ = [
    "CONFIG_FILE_VARIABLE",
    "ENV_PREFIX",
    "INPUT_NAME",
    "RUBIN_FLAGS",
    "ApiSettings",
    "ConfigError",
    "Delivery",
    "Device",
    "InputSettings",
    "KafkaSettings",
    "LogSettings",
    "ModelSettings",
    "OutputFormat",
    "OutputSettings",
    "PipelineSettings",
    "QualitySettings",
    "RubinQualitySettings",
    "Settings",
    "StoreSettings",
    "WatchSettings",
    "load_settings",
    "revealed",
]
