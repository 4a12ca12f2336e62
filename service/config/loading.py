"""Command line, environment and file -> settings, or what is wrong with them in words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict, SettingsError

from service import secrets
from service.config.kinds import ConfigError
from service.config.settings import ENV_PREFIX, Settings
from service.validation import said

CONFIG_FILE_VARIABLE: Final = f"{ENV_PREFIX}CONFIG"


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


def _secrets(group: BaseModel) -> Iterator[str]:
    """What must never be seen outside: every SecretStr, wherever it stands, so that no new setting is forgotten."""
    for _, value in group:
        if isinstance(value, SecretStr):
            yield from secrets.in_url(value.get_secret_value())
        elif isinstance(value, BaseModel):
            yield from _secrets(value)
        elif isinstance(value, dict):
            yield from secrets.in_properties(revealed({k: v for k, v in value.items() if isinstance(v, SecretStr)}))
            for each in value.values():
                if isinstance(each, BaseModel):
                    yield from _secrets(each)
        elif isinstance(value, list):
            yield from (each.get_secret_value() for each in value if isinstance(each, SecretStr))


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
