"""What a list of objects asks for, and the cursors of its pages."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import orjson

from service.store.filters import Filters
from service.store.interface import Sort, storable

SORTS: Final[tuple[Sort, ...]] = ("newest", "most_probable", "name")

Key = tuple[float, str]  # of a row in its list: the value that sorts it (0 for names), then the object id


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: it starts after the last key of the page before, not at a row number, so later pages cost no
    more than the first. Raises ValueError naming the invalid argument.
    """

    filters: Filters
    sort: Sort
    limit: int
    after: Key | None

    @classmethod
    def of(cls, filters: Filters, sort: Sort, limit: int, cursor: str | None) -> Page:
        if filters.prefix is not None:
            sort = "name"
        if sort not in SORTS:
            raise ValueError(f"sort must be one of {', '.join(SORTS)}, not {sort!r}")
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        return cls(filters, sort, limit, None if cursor is None else decode_cursor(cursor, sort))

    @property
    def ascends(self) -> bool:
        return self.sort == "name"


def encode_cursor(sort: Sort, key: Key) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([sort, *key])).decode().rstrip("=")


def decode_cursor(cursor: str, sort: Sort) -> Key:
    """Raises ValueError on a cursor that `encode_cursor` did not make for this `sort`."""
    given: Any
    try:
        given, value, object_id = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error):
        raise ValueError("cursor is not one that a previous page gave") from None
    if given != sort or not isinstance(value, float) or not isinstance(object_id, str) or not storable(object_id):
        raise ValueError(f"cursor was not given for sort {sort!r}")
    if not isfinite(value):
        raise ValueError("cursor is not one that a previous page gave")
    return value, object_id
