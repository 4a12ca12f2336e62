"""The rooms: arrows between them point one way (contracts of pyproject.toml, kept by import-linter), none is hidden."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.rooms import survey

ROOT = Path(__file__).resolve().parents[2]
# Its commands import what they need when they are called: torch takes seconds, and `--help` should not. Its docstring
# says so once, instead of forty lines.
LATE = "model_export.cli"


def test_the_arrows_between_rooms_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("package", ["service", "model_export"])
def test_nothing_goes_in_circles_and_no_import_hides_without_a_reason(package: str) -> None:
    house = survey(package)
    assert house.circle == []
    hidden = [
        f"{module}:{line}" for module, line, explained in house.hidden if not explained and not module.startswith(LATE)
    ]
    assert hidden == []


def test_the_training_package_stays_a_house_of_few_rooms() -> None:
    house = survey("model_export")
    assert len(house.rooms) <= 9
    assert len(house.arrows) <= 30
    assert not {end for (start, end) in house.arrows if start not in ("cli", "studies")} & {"cli", "studies"}
