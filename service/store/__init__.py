"""Partial light curves and their classifications at rest: one interface, SQLite (embedded), PostgreSQL (shared)."""

from __future__ import annotations

from pathlib import Path

from service.errors import AlertClassifierError
from service.store.interface import (
    Counterpart,
    Increment,
    Sort,
    Store,
    StoredClassification,
    StoredObject,
    StoreStatistics,
    StoreUnavailableError,
    StoreVersionError,
)
from service.store.joining import JOIN_RADIUS_ARCSEC
from service.store.sky import Cone
from service.store.sqlite.store import SqliteStore

__all__ = [
    "JOIN_RADIUS_ARCSEC",
    "Cone",
    "Counterpart",
    "Increment",
    "Sort",
    "SqliteStore",
    "Store",
    "StoreStatistics",
    "StoreUnavailableError",
    "StoreVersionError",
    "StoredClassification",
    "StoredObject",
    "open_store",
]


class StoreUrlError(AlertClassifierError, ValueError):
    """An invalid store.url."""


def open_store(url: str, join_radius_arcsec: float = JOIN_RADIUS_ARCSEC, *, create: bool = True) -> Store:
    """The store at `url`: `sqlite:///PATH`, `sqlite://` (temporary, for trials and tests) or `postgresql://...`.

    `sqlite:///var/x.db` is relative to the working directory, `sqlite:////var/x.db` absolute. Photometry by position
    joins objects within `join_radius_arcsec` (0: none). Without `create` no new store is made. Raises StoreUrlError on
    any other url, StoreUnavailableError if SQLite's file can't be opened (PostgreSQL may come up later), and
    MissingExtraError if the extra for PostgreSQL is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        if rest in ("", "/", "/:memory:"):
            return SqliteStore(None, join_radius_arcsec)
        if rest.startswith("/"):
            return SqliteStore(Path(rest[1:]), join_radius_arcsec, create=create)
    if separator and scheme in ("postgresql", "postgres"):
        from service.store.postgres.store import PostgresStore  # an optional extra

        return PostgresStore(url, join_radius_arcsec, create=create)
    raise StoreUrlError(f"store url {_without_password(url)!r} is neither sqlite:///PATH nor postgresql://...")


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}...@{rest.rpartition('@')[2]}" if "@" in rest else url
