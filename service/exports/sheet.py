"""What every kind of file is read into: columns of values as they were written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.photometry.table import TableError


class ExportError(TableError):
    """A file that holds no light curves that can be read; the message says what it is or what it lacks."""


class WrongFileError(ExportError):
    """Not a table at all: an image, a document, a damaged file."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows of one table.

    `columns` are lists of equal length by name in lower case; a missing value is None. `object_id` names the rows that
    do not name their object themselves; `read_as` says in words whose export it is, where the file as a whole tells.
    `all_names` are those of the file where only the columns that some format has were kept.
    """

    columns: dict[str, list[Any]]
    object_id: str = ""
    read_as: str = ""
    all_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(values) for values in self.columns.values()}
        if len(lengths) > 1:
            raise AssertionError("the columns of a sheet differ in length")

    @property
    def length(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def sheet_of_rows(rows: list[dict[str, Any]], object_id: str = "", read_as: str = "") -> Sheet:
    """A sheet of dictionaries; a key that a row lacks is None there."""
    names = {name: name.lower() for row in rows for name in row}
    return Sheet({lower: [row.get(name) for row in rows] for name, lower in names.items()}, object_id, read_as)


def columns_by_name(names: list[str], values: Sequence[list[Any]], file: str) -> dict[str, list[Any]]:
    """Columns by lower-case name. Raises ExportError if two have the same one, because it is unclear which is meant."""
    lower = [name.strip().lower() for name in names]
    for name in lower:
        if lower.count(name) > 1:
            raise ExportError(f"{file} has the column {name} twice")
    return dict(zip(lower, values, strict=True))


_ZTF_NAME: Final = re.compile(r"ZTF\d{2}[a-z]{7}")


def object_id_of_file(stem: str) -> str:
    """The object that a file's name (without its ending) is about: the ZTF name in it, or all of it."""
    named = _ZTF_NAME.search(stem)
    return named[0] if named else stem
