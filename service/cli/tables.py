"""Tables for people, on a terminal or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

# The width for a pipe: wide enough for our tables without line breaks.
PIPED_WIDTH: Final = 160


def print_table(table: Table) -> None:
    """Print to standard output, unless there is nothing in it."""
    if table.row_count:
        Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def class_cells(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Top class and probability of a classification; dashes where it names no class."""
    named = fields["top_class"] is not None
    return (fields["top_class"], f"{fields['top_probability']:.2f}") if named else ("–", "–")
