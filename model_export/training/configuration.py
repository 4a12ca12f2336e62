"""TOML files -> the dataclasses that hold every hyper-parameter."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

CONFIGS: Final = Path(__file__).parent / "configs"
Config = TypeVar("Config")


def read_config(kind: type[Config], path: Path | None, **overrides: Any) -> Config:
    """An instance of the dataclass `kind` from a TOML file; unknown names raise ValueError naming them.

    Overrides that are None are left out.
    """
    values = tomllib.loads(path.read_text()) if path else {}
    return build(kind, values | {k: v for k, v in overrides.items() if v is not None}, path.name if path else "")


def build(kind: type[Config], values: dict[str, Any], where: str) -> Config:
    """`kind(**values)`, tables becoming nested dataclasses."""
    types = get_type_hints(kind)
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(types))}")
    built = {
        name: build(types[name], value, f"{where}:{name}") if dataclasses.is_dataclass(types[name]) else value
        for name, value in values.items()
    }
    return kind(**built)
