"""The documentation is current, complete and has no broken link."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_reference_pages_are_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the docs extra is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        built = "index.html" if page.name == "index.md" else f"{page.stem}/index.html"
        assert (tmp_path / "site" / built).exists()


def test_every_page_is_in_the_navigation() -> None:
    navigation = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(navigation) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Paths of the repository in backticks, as `deploy/prometheus` or `service/config.py`, and links to files."""
    text = page.read_text()
    named = re.findall(r"`((?:service|model_export|tests|deploy|docs|benchmarks)/[\w./-]*)`", text)
    for name in named:
        assert (ROOT / name).exists(), f"{page.name} names {name}"
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_picture_is_sound_and_told_in_words() -> None:
    picture = ElementTree.parse(ROOT / "docs/architecture.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert picture.find(f"{space}title") is not None
    assert picture.find(f"{space}desc") is not None
    style = picture.findtext(f"{space}style", "")
    assert "prefers-color-scheme: dark" in style
    assert "http" not in style  # nothing is loaded from elsewhere


def test_citation_has_what_a_citation_needs() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= citation.keys()
    assert f'version = "{citation["version"]}"' in project
    assert f"[{citation['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_path_of_the_repository_named_in_a_page_exists() -> None:
    """`service/...`, `tests/test_x.py` and the like; `PLACE`, `*` and paths that a user makes are not ours."""
    named = re.compile(r"(?<![\w./-])(?:service|model_export|alert_classifier|tests|docs|deploy|benchmarks)/[\w./-]*\w")
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
    missing = [
        f"{page.name}: {path}"
        for page in pages
        for path in named.findall(page.read_text())
        if not (ROOT / path).exists()
    ]
    assert missing == []


def test_every_test_named_in_the_table_of_faults_exists() -> None:
    tests = re.findall(r"`(?:tests/\w+/)?(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "faults.md").read_text())
    assert tests
    sources = {
        path.name: path.read_text()
        for folder in ("integration", "stream")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
    }
    assert [(file, test) for file, test in tests if f"def {test}(" not in sources.get(file, "")] == []
