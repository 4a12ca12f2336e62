"""Every command of README and docs does what the page says, in the order of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.docs.blocks import Block, Session, blocks_of, ports_named

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Session]]:
    """One session per page, made at its first block."""
    made: dict[Path, Session] = {}
    yield made
    for session in made.values():
        session.close()


def _name(block: Block) -> str:
    return f"{block.page.name}:{block.line}"


def _parameter(block: Block) -> ParameterSet:
    marks = [pytest.mark.kafka] if block.page.name == "stream.md" else []
    return pytest.param(block, marks=marks, id=_name(block))


@pytest.mark.parametrize("block", [_parameter(block) for block in BLOCKS])
def test_command(block: Block, sessions: dict[Path, Session], tmp_path_factory: pytest.TempPathFactory) -> None:
    if block.skip:
        pytest.skip(block.skip)
    if block.page not in sessions:
        for finished in list(sessions):
            sessions.pop(finished).close()
        folder = tmp_path_factory.mktemp(block.page.stem)
        sessions[block.page] = Session(folder, ROOT, ports_named(block.page))
    session = sessions[block.page]
    if session.broken:
        pytest.skip(session.broken)
    missing = [tool for tool in _tools(block) if shutil.which(tool) is None]
    if missing:
        session.broken = f"{' and '.join(missing)} not installed"
        pytest.skip(session.broken)
    try:
        session.run(block)
    except AssertionError:
        session.broken = f"{_name(block)} has failed, and what follows builds on it"
        raise


def test_pages_hold_commands_that_are_run() -> None:
    """Guards the extraction itself: the pages a newcomer follows have commands, and most of them run."""
    for page in ("README.md", "quick-start.md", "tutorial.md", "stream.md"):
        ours = [block for block in BLOCKS if block.page.name == page]
        assert any(block.skip is None for block in ours), f"nothing of {page} is run"


def _tools(block: Block) -> list[str]:
    tools = ["java", "mvn"] if "deploy/kafka/broker.py" in block.code else []
    return [*tools, *(["curl"] if "curl " in block.code else [])]
