"""Expected failures, told in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")


def explains(*errors: type[Exception]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a command so that these errors end it with their message and exit code 1 instead of a traceback."""

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @wraps(command)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return command(*args, **kwargs)
            except errors as error:
                raise click.ClickException(str(error)) from error

        return guarded

    return decorate
