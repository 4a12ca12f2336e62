"""Partial light curves and their classifications at rest: one interface, SQLite (embedded), PostgreSQL (shared)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from service.errors import AlertClassifierError
from service.store.interface import (
    Counterpart,
    Increment,
    LightCurveDamagedError,
    Sort,
    Store,
    StoreDamagedError,
    StoredClassification,
    StoredDataError,
    StoredObject,
    StoreStatistics,
    StoreUnavailableError,
    StoreVersionError,
)
from service.store.joining import JOIN_RADIUS_ARCSEC
from service.store.kept import KeptBlocks
from service.store.sky import Cone
from service.store.sqlite.store import SqliteStore

__all__ = [
    "JOIN_RADIUS_ARCSEC",
    "Cone",
    "Counterpart",
    "Increment",
    "KeptBlocks",
    "LightCurveDamagedError",
    "Sort",
    "SqliteStore",
    "Store",
    "StoreDamagedError",
    "StoreStatistics",
    "StoreUnavailableError",
    "StoreVersionError",
    "StoredClassification",
    "StoredDataError",
    "StoredObject",
    "open_store",
    "sqlite_path",
]

# What follows sqlite:// where the store goes with the process.
TEMPORARY: Final = ("", "/", "/:memory:")


class StoreUrlError(AlertClassifierError, ValueError):
    """An invalid store.url."""


_NOT_POSTGRESQL = (
    "the store url is not one that PostgreSQL takes, like postgresql://user:password@host/database"
    " (in user and password, % is written %25, @ %40 and / %2F)"
)


def open_store(url: str, join_radius_arcsec: float = JOIN_RADIUS_ARCSEC, *, create: bool = True) -> Store:
    """The store at `url`: `sqlite:///PATH`, `sqlite://` (temporary, for trials and tests) or `postgresql://...`.

    `sqlite:///var/x.db` is relative to the working directory, `sqlite:////var/x.db` absolute. Photometry by position
    joins objects within `join_radius_arcsec` (0: none). Without `create` no new store is made. Raises StoreUrlError on
    any other url, StoreUnavailableError if SQLite's file can't be opened (PostgreSQL may come up later), and
    MissingExtraError if the extra for PostgreSQL is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        if rest in TEMPORARY:
            return SqliteStore(None, join_radius_arcsec)
        if (path := sqlite_path(url)) is not None:
            return SqliteStore(path, join_radius_arcsec, create=create)
    if separator and scheme in ("postgresql", "postgres"):
        # libpq takes what follows a bare @ or / in a password for host, port or database, and would name it in errors
        authority, _, database = rest.partition("?")[0].partition("/")
        if authority.count("@") > 1 or "@" in database:
            raise StoreUrlError(_NOT_POSTGRESQL)
        from service.store.postgres.store import PostgresStore  # an optional extra

        try:
            return PostgresStore(url, join_radius_arcsec, create=create)
        except ValueError:
            raise StoreUrlError(_NOT_POSTGRESQL) from None
    # not quoted: whatever is wrong with it, there may be a password in it
    named = f"begins with {scheme}://" if separator and re.fullmatch(r"[a-z0-9+.-]{1,20}", scheme) else "has no scheme"
    raise StoreUrlError(f"the store url {named}: it must be sqlite:///PATH or postgresql://...")


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite store; None for a temporary one, or another engine."""
    scheme, _, rest = url.partition("://")
    return Path(rest[1:]) if scheme == "sqlite" and rest.startswith("/") and rest not in TEMPORARY else None
