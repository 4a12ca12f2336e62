"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

from service import secrets

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real packets and light curves, which is not part of the repository."""
    folder = Path(os.environ.get("ALERT_CLASSIFIER_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "alerts" / "index.csv").exists():
        pytest.skip("no real data here: set ALERT_CLASSIFIER_DATA to a folder that holds alerts/index.csv")
    return folder


@pytest.fixture(autouse=True)
def _secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are masked as long as the process lives: those of one test would be *** in the texts of another."""
    monkeypatch.setattr(secrets, "_known", dict(secrets._known))
    monkeypatch.setattr(secrets, "_pattern", secrets._pattern)
