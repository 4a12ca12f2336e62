"""The rooms: arrows between them point one way (contracts of pyproject.toml, kept by import-linter), names differ."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path


def test_the_arrows_between_rooms_hold() -> None:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_two_test_files_share_a_name() -> None:
    """Rooms of tests are no packages: of two files of one name pytest collects neither, which only a full run shows."""
    names = Counter(path.name for path in Path(__file__).resolve().parent.rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
