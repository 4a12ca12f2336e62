"""The lock files: what CI, the image and `make` install, by hash, from whatever index pip is told to use."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = {"cpu": ("cpu", "postgres"), "gpu": ("gpu", "postgres"), "dev": ("dev", "cpu", "postgres", "docs")}


def locked(root: Path, name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """Package -> (requirement, number of hashes) of each line; a package may stand twice, for different platforms."""
    found: dict[str, list[tuple[Requirement, int]]] = {}
    text = (root / "requirements" / f"{name}.txt").read_text()
    for entry in re.split(r"\n(?=[a-z])", re.sub(r"(?m)^ *#.*\n", "", text)):
        line, *hashes = (part.strip() for part in entry.split("\\\n"))
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", part) for part in hashes), line
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), []).append((requirement, len(hashes)))
    return found


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_names_versions_and_hashes_and_no_index(root: Path, name: str) -> None:
    text = (root / "requirements" / f"{name}.txt").read_text()
    assert not re.search(r"://|^--|index-url|find-links| @ ", text, re.MULTILINE)
    for entries in locked(root, name).values():
        for requirement, hashes in entries:
            assert re.fullmatch(r"==[0-9a-z.!+]+", str(requirement.specifier)), requirement
            assert hashes, requirement


@pytest.mark.parametrize("name", EXTRAS)
def test_what_pyproject_asks_for_is_locked(root: Path, name: str) -> None:
    """A dependency that is added or raised is not forgotten: `make lock`."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(root / "requirements" / "build.in").read_text().splitlines()]
    for extra in EXTRAS[name]:
        wanted += project["optional-dependencies"][extra]
    pins = locked(root, name)
    for requirement in map(Requirement, wanted):
        if requirement.name == "alert-classifier":
            continue
        entries = pins.get(canonicalize_name(requirement.name))
        assert entries, f"{requirement} is not in requirements/{name}.txt: run `make lock`"
        for pin, _ in entries:
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version, prereleases=True), f"{pin} does not meet {requirement}"


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_what_is_served_is_what_is_tested(root: Path, name: str) -> None:
    served, tested = locked(root, name), locked(root, "dev")
    for package, entries in served.items():
        if package in tested:
            assert {str(pin.specifier) for pin, _ in entries} <= {str(pin.specifier) for pin, _ in tested[package]}
        else:
            assert name == "gpu", f"{package} is served but not tested"
