"""What the tests of deployment files share: the repository's root, and tools that may be absent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# deploy/fetch_tools puts here what no package manager brings
FETCHED = ROOT / ".cache" / "bin"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Path of a program, or a skip that says how to get it."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path=str(FETCHED))
        if path is None:
            pytest.skip(
                f"{name} is not installed ({'apt package prometheus' if 'prom' in name else 'deploy/fetch_tools'})"
            )
        return path

    return find
