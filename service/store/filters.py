"""What lists of objects are filtered by, and filters that are watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.store.sky import Cone


@dataclass(frozen=True, slots=True)
class Filters:
    """See `Store.query`."""

    top_class: str | None = None
    min_probability: float = 0.0
    since: float | None = None
    cone: Cone | None = None
    superclass: str | None = None
    survey: str | None = None
    seen_since: float | None = None
    seen_before: float | None = None
    min_detections: int | None = None
    max_detections: int | None = None
    flags: tuple[str, ...] = ()
    without_flags: tuple[str, ...] = ()
    prefix: str | None = None

    @property
    def by_traits(self) -> bool:
        return bool(self.superclass is not None or self.survey is not None or self.flags or self.without_flags)

    def takes(self, survey: str, superclass: str, flags: list[str]) -> bool:
        """Whether objects of these traits are wanted."""
        return (
            self.survey in (None, survey)
            and self.superclass in (None, superclass)
            and set(self.flags) <= set(flags)
            and not set(self.without_flags) & set(flags)
        )


@dataclass(frozen=True, slots=True)
class Watch:
    """A filter with a name. `url` is that of its webhook, if it has one, `secret` what its messages are signed with.

    Times are in seconds since 1970; `failures` counts deliveries that failed in a row; `waiting` what is to be sent.
    """

    name: str
    filters: Filters
    created: float
    url: str | None = None
    secret: str | None = None
    next_try: float = 0.0
    failures: int = 0
    last_error: str | None = None
    last_delivery: float | None = None
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """An object that passed a watch's filter: `document` is its classification at that time."""

    number: int
    object_id: str
    noticed_at: float
    document: dict[str, Any]
