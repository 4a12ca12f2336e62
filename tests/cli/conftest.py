"""The command as its users call it."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.cli import main
from service.simulate import simulate, write_packets

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def night(tmp_path_factory) -> Path:
    """A folder of 40 simulated packets and truth.csv."""
    folder = tmp_path_factory.mktemp("night")
    write_packets(simulate(40, seed=3), folder)
    return folder


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Without the tester's own settings, and with a store in the test's folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ALERT_CLASSIFIER_")}
    return clean | {"ALERT_CLASSIFIER_STORE__URL": f"sqlite:///{tmp_path}/store.db"}


@pytest.fixture
def command() -> list[str]:
    return [sys.executable, "-c", "from service.cli import main; main()"]


@pytest.fixture
def run(environment, monkeypatch, capfd) -> Run:
    """Call the command in this process: a start of Python each would take longer than all the tests."""

    def run(*arguments: str | Path, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        for name in [name for name in os.environ if name.startswith("ALERT_CLASSIFIER_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        handlers, level = logging.root.handlers[:], logging.root.level  # a command's own log ends with it
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
        out, err = capfd.readouterr()
        assert status is None or code == status, err
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run
