"""Numbered SQL files per engine. A released file is never edited: to change the tables, add a file."""

from __future__ import annotations

from importlib import resources


def migrations(engine: str) -> list[tuple[int, str]]:
    """(version, SQL) of every migration of `engine` (a subfolder), ascending from version 1."""
    files = sorted(
        (file for file in (resources.files(__name__) / engine).iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    numbered = [(int(file.name.split("_", 1)[0]), file.read_text(encoding="utf-8")) for file in files]
    if [version for version, _ in numbered] != list(range(1, len(numbered) + 1)):
        raise AssertionError(f"migrations of {engine} are not numbered 1, 2, 3, ...")
    return numbered
