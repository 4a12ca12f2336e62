"""Log lines reach standard error as it is now."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from service.config import LogSettings, load_settings
from service.log import WRITTEN, _Floods, configure_logging
from service.metrics import LOG_MESSAGES


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


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was written to standard error since it was last asked; the root logger is as it was afterwards."""
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = kept
    root.setLevel(level)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_shows_a_secret_that_the_settings_hold(told: Callable[[], str], form: str) -> None:
    """In clear, in a URL, in JSON, in a traceback."""
    secret = 'a "Wort" 100% / ä'
    load_settings(kafka={"librdkafka": {"sasl.password": secret, "security.protocol": "SASL_SSL"}})
    configure_logging(LogSettings(format=form))
    log = logging.getLogger("night")
    log.warning("the broker refuses %s over SASL_SSL", secret)
    log.warning("http://user:%s@host and %s", quote(secret, safe=""), json.dumps({"password": secret}))
    try:
        raise ValueError(f"password={secret}")
    except ValueError:
        log.exception("it failed")
    text = told()
    assert text.count("SASL_SSL") == 1
    assert text.count("***") == 4
    assert "Wort" not in text


def test_a_flood_is_counted_and_not_written(told: Callable[[], str]) -> None:
    """Given a thousand warnings of one kind and one of another, then twenty are written, the other too, and when the
    minute is over the rest as a number.
    """
    configure_logging(LogSettings())
    now = 0.0
    floods = _Floods(tell=logging.getLogger().handlers[0].emit, clock=lambda: now)
    logging.getLogger().handlers[0].filters[:] = [floods]
    counted = LOG_MESSAGES.labels("warning")._value.get()
    log = logging.getLogger("night")
    for number in range(1000):
        log.warning("clouds %d", number)
    log.warning("rain")
    lines = told().splitlines()
    assert len(lines) == WRITTEN + 1
    assert lines[-1].endswith("rain")
    assert LOG_MESSAGES.labels("warning")._value.get() == counted + 1001
    now = 61.0
    log.warning("clouds again")
    assert "980 more like this within 61 s were not written: clouds %d" in told()
    log.info("dawn")
    for _ in range(100):
        log.warning("clouds %d", 7)
    floods.flush()
    assert "80 more like this" in told()
