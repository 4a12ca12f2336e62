"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real packets and light curves, which is not part of the repository."""
    folder = Path(os.environ.get("ALERT_CLASSIFIER_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "alerts" / "index.csv").exists():
        pytest.skip("no real data here: set ALERT_CLASSIFIER_DATA to a folder that holds alerts/index.csv")
    return folder
