"""Log lines reach standard error as it is now."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from service.config import LogSettings
from service.log import configure_logging


def test_a_standard_error_that_was_closed_since_swallows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given logging that was set up while standard error was another stream, when that one is closed, then lines go to
    the present one, without a traceback about a closed file.
    """
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    earlier, present = io.StringIO(), io.StringIO()
    try:
        monkeypatch.setattr(sys, "stderr", earlier)
        configure_logging(LogSettings())
        earlier.close()
        monkeypatch.setattr(sys, "stderr", present)
        logging.getLogger("night").warning("clouds")
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
    assert present.getvalue().endswith("night: clouds\n")
    assert "Logging error" not in present.getvalue()
