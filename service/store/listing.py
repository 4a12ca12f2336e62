"""A page of the list of objects, for both engines: bounded work whatever is asked for, however many objects there are.

Rows lie in two indexes, by class and time and by class and probability. A page merges the lists of the classes. It
looks at so many entries of them at most, so a filter that hardly any object passes gives a short page, perhaps an empty
one, with a cursor that goes on from there; no request reads the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from service.store.encoding import NO_CLASS
from service.store.filters import Filters
from service.store.interface import storable
from service.store.paging import Key, Page, encode_cursor
from service.store.sky import LARGEST_RADIUS_DEG, Cone

# Entries of an index that a page looks at: some 20 ms of work, at ten million objects on a busy disk 60.
MOST_LOOKED_AT: Final = 40_000
# ... and rows, where the filter is none that an index covers: each lies on a page of its own.
MOST_ROWS: Final = 4_000
# A cone with more objects is not listed first and sorted then, which reads a row of each: its objects are found along
# the sorted list.
LARGE_CONE: Final = 1_000
FOREVER_S: Final = 1e9
# The classes in `latest`, `NO_CLASS` among them: a step in the index for each.
CLASSES: Final = """
    WITH RECURSIVE each(name) AS (
        SELECT min(top_class) FROM {tables}latest
        UNION ALL
        SELECT (SELECT min(top_class) FROM {tables}latest WHERE top_class > name) FROM each WHERE name IS NOT NULL)
    SELECT name FROM each WHERE name IS NOT NULL
"""
_NEWEST: Final = (
    f"SELECT max((SELECT max(published_at) FROM {{tables}}latest WHERE top_class = n.name)) FROM ({CLASSES}) AS n"
)
# A list's cell is that of the object's last alert, its position that of its newest: those of one source scatter.
SCATTER_DEG: Final = 3 / 3600

Row = Sequence[Any]
# SQL with `:name` placeholders, and `IN {name}` for the values of a list -> rows
Run = Callable[[str, dict[str, Any]], list[Row]]


def keys_of(run: Run, page: Page, prefix: str = "") -> tuple[list[Key], str | None]:
    """(keys of the page's objects, in their order; the cursor of the next page). `prefix` of the tables' names.

    SQL must be such that both engines take it.
    """
    return _Listing(run, page, prefix).keys()


def newest(run: Run, limit: int, prefix: str = "") -> list[str]:
    """The `limit` objects that were classified last, the newest first."""
    since = f"FROM {prefix}latest WHERE top_class IN ({CLASSES.format(tables=prefix)}) AND published_at >= :since"
    last = run(_NEWEST.format(tables=prefix), {})
    if last[0][0] is None:
        return []
    back = 3600.0
    while back < FOREVER_S and run(f"SELECT count(*) {since}", {"since": last[0][0] - back})[0][0] < limit:
        back *= 4
    rows = run(
        f"SELECT object_id {since} ORDER BY published_at DESC, object_id DESC LIMIT :limit",
        {"since": last[0][0] - back if back < FOREVER_S else 0.0, "limit": limit},
    )
    return [name for (name,) in rows]


class _Listing:
    def __init__(self, run: Run, page: Page, prefix: str) -> None:
        self._run, self._page, self._tables = run, page, prefix
        self._filters = page.filters
        self._parameters: dict[str, Any] = {"rows": page.limit + 1}
        self._value = {"newest": "published_at", "most_probable": "top_probability", "name": "0.0"}[page.sort]

    def keys(self) -> tuple[list[Key], str | None]:
        page, filters = self._page, self._filters
        names = [filters.top_class, filters.superclass, filters.survey, filters.prefix]
        if filters.top_class == NO_CLASS or any(not storable(name) for name in names if name is not None):
            return [], None
        if filters.prefix is not None or page.sort == "name":
            return self._of_names()
        inside = None if filters.cone is None else self._inside(filters.cone)
        if inside is not None:
            return self._of_ids(inside)
        return self._of_arms(self._classes())

    def _classes(self) -> list[str]:
        """The classes that have a list, `NO_CLASS` among them; read from the index, one step each."""
        if self._filters.top_class is not None:
            return [self._filters.top_class]
        found = self._run(CLASSES.format(tables=self._tables), {})
        return [name for (name,) in found if name != NO_CLASS or self._filters.min_probability <= 0]

    def _inside(self, cone: Cone) -> list[str] | None:
        """The objects in a cone; None where they are too many to be listed first."""
        cells = cone.cells()
        counted = f"""
            SELECT count(*) FROM
                (SELECT 1 FROM {self._tables}objects WHERE {_in("cell", "cells")} LIMIT {LARGE_CONE}) AS counted
        """
        if self._run(counted, {"cells": cells})[0][0] >= LARGE_CONE:
            return None
        return self._those_inside(cone, "cell", "cell", cells)

    def _those_inside(self, cone: Cone, of_objects: str, of_sources: str, values: Sequence[Any]) -> list[str]:
        """Those in the cone of the objects, and of the sources that stand alone, whose column is among the values."""
        rows = self._run(
            f"""
            SELECT object_id, ra, dec FROM {self._tables}objects WHERE {_in(of_objects, "values")}
            UNION ALL SELECT source_id, ra, dec FROM {self._tables}sources
            WHERE {_in(of_sources, "values")} AND object_id IS NULL
            """,
            {"values": list(values)},
        )
        known = [(name, ra, dec) for name, ra, dec in rows if ra is not None and dec is not None]
        return cone.select(known)

    def _of_ids(self, object_ids: Sequence[str]) -> tuple[list[Key], str | None]:
        self._parameters["object_ids"] = list(object_ids)
        where = " AND ".join([_in("object_id", "object_ids"), *self._conditions(), *self._beyond(), *self._of_class()])
        found = self._run(
            f"""
            SELECT {self._value}, object_id FROM {self._tables}latest WHERE {where}
            ORDER BY {self._order} LIMIT :rows
            """,
            self._parameters,
        )
        return self._cut([(float(value), name) for value, name in found], None)

    def _of_names(self) -> tuple[list[Key], str | None]:
        """In the order of names, which has no index of its own but that of the rows."""
        ranges = ["1 = 1"]
        if self._filters.prefix is not None:
            ranges = []
            for number, start in enumerate(spellings(self._filters.prefix)):
                self._parameters |= {f"from{number}": start, f"to{number}": start + "\U0010ffff"}
                ranges.append(f"object_id >= :from{number} AND object_id < :to{number}")
        inside = None if self._filters.cone is None else self._inside(self._filters.cone)
        if inside is not None:
            self._parameters["object_ids"] = inside
            ranges = [f"{each} AND {_in('object_id', 'object_ids')}" for each in ranges]
        return self._merged(ranges, MOST_ROWS, self._of_class())

    def _of_arms(self, classes: Sequence[str]) -> tuple[list[Key], str | None]:
        arms = []
        for number, name in enumerate(classes):
            self._parameters[f"class{number}"] = name
            arms.append(f"top_class = :class{number}")
        return self._merged(arms, MOST_LOOKED_AT, [])

    def _merged(self, arms: Sequence[str], most: int, more: Sequence[str]) -> tuple[list[Key], str | None]:
        """The first keys of several sorted lists together; each list `arm` is looked through as far as its share."""
        if not arms:
            return [], None
        share = max(most // len(arms), self._page.limit + 1)
        conditions = [*self._conditions(), *more]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        beyond = "".join(f" AND {each}" for each in self._beyond())

        def scan(arm: str) -> str:
            return f"""
                SELECT object_id, published_at, top_probability, mjd, detections, traits, cell, top_class
                FROM {self._tables}latest WHERE {arm}{beyond} ORDER BY {self._order}
            """

        found = self._run(
            " UNION ALL ".join(
                f"""
                SELECT * FROM (SELECT {number}, {self._value}, object_id FROM ({scan(arm)} LIMIT {share}) AS looked_at
                {where} LIMIT :rows) AS arm{number}
                """
                for number, arm in enumerate(arms)
            ),
            self._parameters,
        )
        keys: list[Key] = [(float(value), name) for _, value, name in found]
        counts = [0] * len(arms)
        for number, *_ in found:
            counts[number] += 1
        ends: list[Key] = []
        if conditions:
            for number, arm in enumerate(arms):
                if counts[number] <= self._page.limit:  # it did not fill the page: was there more to look at?
                    last = self._run(
                        f"""
                        SELECT {self._value}, object_id FROM ({scan(arm)} LIMIT 1 OFFSET {share - 1}) AS last
                        """,
                        self._parameters,
                    )
                    ends += [(float(value), name) for value, name in last]
        first = min if self._page.ascends else max
        keys.sort(reverse=not self._page.ascends)
        return self._cut(keys, first(ends) if ends else None)

    def _cut(self, keys: list[Key], end: Key | None) -> tuple[list[Key], str | None]:
        """`end` is how far every list was looked through; None: to its end."""
        page = self._page
        if end is not None:
            keys = [key for key in keys if (key <= end if page.ascends else key >= end)]
        if len(keys) > page.limit:
            keys, end = keys[: page.limit], keys[page.limit - 1]
        further = None if end is None else encode_cursor(page.sort, end)
        if self._filters.cone is not None and "object_ids" not in self._parameters and keys:
            names = [name for _, name in keys]
            inside = set(self._those_inside(self._filters.cone, "object_id", "source_id", names))
            keys = [key for key in keys if key[1] in inside]
        return keys, further

    @property
    def _order(self) -> str:
        return "object_id" if self._page.ascends else f"{self._value} DESC, object_id DESC"

    def _beyond(self) -> list[str]:
        """What the sorted lists themselves are cut by: where the page starts, and where the filter ends them."""
        page, found = self._page, []
        if page.after is not None:
            self._parameters |= {"after_value": page.after[0], "after_id": page.after[1]}
            if page.ascends:
                found.append("object_id > :after_id")
            else:
                found.append(f"({self._value}, object_id) < (:after_value, :after_id)")
        if page.sort == "newest" and self._filters.since is not None:
            self._parameters["since"] = self._filters.since
            found.append("published_at >= :since")
        if page.sort == "most_probable" and self._filters.min_probability > 0:
            self._parameters["min_probability"] = self._filters.min_probability
            found.append("top_probability >= :min_probability")
        return found

    def _of_class(self) -> list[str]:
        """For lists that are not those of a class."""
        if self._filters.top_class is not None:
            self._parameters["top_class"] = self._filters.top_class
            return ["top_class = :top_class"]
        if self._filters.min_probability > 0:
            self._parameters["no_class"] = NO_CLASS
            return ["top_class <> :no_class"]
        return []

    def _conditions(self) -> list[str]:
        """What an entry of an index tells."""
        filters, sort = self._filters, self._page.sort
        wanted = {
            "top_probability >= :min_probability": filters.min_probability
            if filters.min_probability > 0 and sort != "most_probable"
            else None,
            "published_at >= :since": filters.since if sort != "newest" else None,
            "mjd >= :seen_since": filters.seen_since,
            "mjd < :seen_before": filters.seen_before,
            "detections >= :min_detections": filters.min_detections,
            "detections <= :max_detections": filters.max_detections,
        }
        found = []
        for condition, value in wanted.items():
            if value is not None:
                found.append(condition)
                self._parameters[condition.rpartition(":")[2]] = value
        if filters.by_traits:
            found.append(_in("traits", "traits"))
            self._parameters["traits"] = self._traits(filters)
        if filters.cone is not None and "object_ids" not in self._parameters:
            found.append(_in("cell", "cells"))
            self._parameters["cells"] = _padded(filters.cone)
        return found

    def _traits(self, filters: Filters) -> list[int]:
        rows = self._run(f"SELECT number, survey, superclass, flags FROM {self._tables}traits", {})
        return [
            number
            for number, survey, superclass, flags in rows
            if filters.takes(survey, superclass, orjson.loads(flags))
        ]


def spellings(prefix: str) -> list[str]:
    """How a name that begins so may be spelt: ids have cases of their own, and people type any.

    ZTF's are ZTF21abcdefg; others are all of one case, or as they were typed. No one begins with another.
    """
    ztf = prefix[:3].upper() + prefix[3:].lower()
    return list(dict.fromkeys((prefix, prefix.upper(), prefix.lower(), ztf)))


def _in(column: str, parameter: str) -> str:
    """Whether a column is among the values of a list; each engine writes its own."""
    return f"{column} IN {{{parameter}}}"


def _padded(cone: Cone) -> list[int]:
    return Cone(cone.ra, cone.dec, min(cone.radius + SCATTER_DEG, LARGEST_RADIUS_DEG)).cells()
