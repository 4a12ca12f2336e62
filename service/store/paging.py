"""Queries for pages of the latest classifications, as SQL for both engines, and their cursors."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import orjson

from service.store.encoding import NO_CLASS
from service.store.interface import Sort, StoredClassification, storable

SORT_COLUMNS: Final[dict[Sort, str]] = {"newest": "published_at", "most_probable": "top_probability"}


class Page:
    """One page of `Store.query`: its SQL, with `:name` placeholders for `parameters`, and its length.

    A page starts after the last key of the page before, not at a row number, so later pages cost no more than the
    first. Raises ValueError naming the invalid argument.
    """

    def __init__(
        self,
        top_class: str | None,
        min_probability: float,
        since: float | None,
        within: bool,
        sort: Sort,
        limit: int,
        cursor: str | None,
    ) -> None:
        """`within`: limit the page to a set of objects too, given by the parameter that `where` names."""
        if sort not in SORT_COLUMNS:
            raise ValueError(f"sort must be one of {', '.join(SORT_COLUMNS)}, not {sort!r}")
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._sort, self._limit, self._within = sort, limit, within
        column = SORT_COLUMNS[sort]
        self.order = f"ORDER BY {column} DESC, object_id DESC"
        self.parameters: dict[str, Any] = {"rows": limit + 1}  # one more row shows that there is a next page
        self._conditions = ["1 = 1"]
        if top_class is not None and (top_class == NO_CLASS or not storable(top_class)):
            self._conditions.append("1 = 0")
        elif top_class is not None:
            self._add("top_class = :top_class", top_class=top_class)
        if min_probability > 0:
            self._add(
                "top_probability >= :min_probability AND top_class <> :no_class",
                min_probability=min_probability,
                no_class=NO_CLASS,
            )
        if since is not None:
            self._add("published_at >= :since", since=since)
        if cursor is not None:
            value, object_id = decode_cursor(cursor, sort)
            self._add(f"({column}, object_id) < (:after_value, :after_id)", after_value=value, after_id=object_id)

    def chosen(self, table: str, object_ids: str) -> str:
        """SELECT of the page's object ids from `table`; `object_ids` is the engine's expression for a set of objects.

        It uses only columns of the index `latest_by_time`, so whole rows are read only for the page's objects.
        """
        within = [f"object_id IN {object_ids}"] if self._within else []
        where = " AND ".join(self._conditions + within)
        return f"SELECT object_id FROM {table} WHERE {where} {self.order} LIMIT :rows"

    def cut(self, found: list[StoredClassification]) -> tuple[list[StoredClassification], str | None]:
        """The result of `Store.query` from the rows that the SQL returned."""
        if len(found) <= self._limit:
            return found, None
        last = found[self._limit - 1]
        value = last.published_at if self._sort == "newest" else last.top_probability
        return found[: self._limit], encode_cursor(self._sort, value, last.object_id)

    def _add(self, condition: str, **parameters: Any) -> None:
        self._conditions.append(condition)
        self.parameters |= parameters


def encode_cursor(sort: Sort, value: float, object_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([sort, value, object_id])).decode().rstrip("=")


def decode_cursor(cursor: str, sort: Sort) -> tuple[float, str]:
    """Raises ValueError on a cursor that `encode_cursor` did not make for this `sort`."""
    try:
        given, value, object_id = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error):
        raise ValueError("cursor is not one that a previous page gave") from None
    if given != sort or not isinstance(value, float) or not isinstance(object_id, str) or not storable(object_id):
        raise ValueError(f"cursor was not given for sort {sort!r}")
    return value, object_id
