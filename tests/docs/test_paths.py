"""Paths and module names that the documentation gives lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))
# A folder of ours, in backticks or a link, up to where the path ends.
PATH = re.compile(
    r"(?<![\w/.-])((?:service|model_export|alert_classifier|tests|docs|deploy|benchmarks)/[\w./*-]*[\w*])"
)
MODULE = re.compile(r"(?<![\w/.-])((?:service|model_export)(?:\.[a-z_]+)+)\b(?!/)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    missing = {path for path in PATH.findall(text) if not any(ROOT.glob(path))}
    for name in MODULE.findall(text):
        parts = name.split(".")
        ends = (Path(*parts), Path(*parts).with_suffix(".py"))
        if not any((ROOT / end).exists() for end in ends) and not _is_attribute(parts):
            missing.add(name)
    assert missing == set()


def _is_attribute(parts: list[str]) -> bool:
    """Whether the last part is a name in the module that the others give."""
    for module in (ROOT.joinpath(*parts[:-1]).with_suffix(".py"), ROOT.joinpath(*parts[:-1], "__init__.py")):
        if module.exists() and re.search(rf"\b{parts[-1]}\b", module.read_text()):
            return True
    return False
