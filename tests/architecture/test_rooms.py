"""The layout: rooms, the arrows between them, no circle, and no import hidden in a function without its reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.rooms import Layout, layout, rooms

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["service", "model_export"]
# Modules whose hidden imports still have no reason beside them: take a line away when its file is put right.
WITHOUT_REASON = {
    "model_export/bundles/graph.py",
    "model_export/cli/bundles.py",
    "model_export/cli/chain.py",
    "model_export/cli/judging.py",
    "model_export/cli/surveys.py",
    "model_export/cli/training.py",
    "model_export/studies/uncertainty/report.py",
    "model_export/studies/vision/images.py",
    "model_export/studies/vision/weights.py",
    "service/client.py",
    "service/config.py",
}


@pytest.fixture(scope="module", params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def found(package: str) -> Layout:
    return layout(package, ROOT)


def test_contracts_between_rooms_hold() -> None:
    """The arrows that pyproject.toml allows, checked by import-linter."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_modules_import_one_another_in_a_circle(found: Layout) -> None:
    assert found.circles == []


def test_an_import_in_a_function_has_its_reason_beside_it(package: str, found: Layout) -> None:
    without = {hidden.place.split(":")[0] for hidden in found.hidden if not hidden.reason}
    assert without == {file for file in WITHOUT_REASON if file.startswith(f"{package}/")}


def test_model_export_has_few_rooms_and_few_arrows() -> None:
    found = layout("model_export", ROOT)
    assert len(rooms("model_export", found)) <= 9
    assert len(found.arrows) <= 30


def test_a_circle_and_a_hidden_import_are_found(tmp_path: Path) -> None:
    """Given two modules that import one another, one of them in a function, then the script names both findings."""
    folder = tmp_path / "knotted"
    (folder / "one").mkdir(parents=True)
    (folder / "two").mkdir()
    for empty in ("__init__.py", "one/__init__.py", "two/__init__.py"):
        (folder / empty).write_text("")
    (folder / "one" / "a.py").write_text("import knotted.two.b\n")
    (folder / "two" / "b.py").write_text(
        "def late():\n    import knotted.one.a\n\n    import json  # a slow import\n\n"
        "    # for plots only\n    import csv\n"
    )
    found = layout("knotted", tmp_path)
    assert found.circles == [["knotted.one.a", "knotted.two.b"]]
    assert found.arrows == {("knotted.one", "knotted.two"): 1, ("knotted.two", "knotted.one"): 1}
    assert [(hidden.place, hidden.reason) for hidden in found.hidden] == [
        ("knotted/two/b.py:2", ""),
        ("knotted/two/b.py:4", "a slow import"),
        ("knotted/two/b.py:7", "for plots only"),
    ]
