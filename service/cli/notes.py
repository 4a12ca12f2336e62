"""What `classify` says on standard error: a sentence to people on a terminal, a JSON line to programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click
import orjson


def note(source: str, code: str, message: str, **more: Any) -> None:
    """What is wrong with `source`, a file or something in it."""
    _say(f"{source}: {message}", {"source": source, "code": code, "message": message, **more})


def summary(words: str, counts: Mapping[str, Any]) -> None:
    _say(words, {"summary": words, **counts})


def _say(sentence: str, fields: Mapping[str, Any]) -> None:
    # a terminal's line may hold the progress bar, which comes again below
    click.echo(f"\r\x1b[K{sentence}" if sys.stderr.isatty() else orjson.dumps(fields), err=True)
