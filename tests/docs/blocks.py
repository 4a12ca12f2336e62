"""The commands of README and docs: fenced blocks of Markdown, and a place where they are run one after the other.

A comment line before a block says what it is; without one it is run and must succeed:

    <!-- not run: REASON -->              skipped, visibly, with that reason
    <!-- background until HOST:PORT -->   started, and ended with SIGTERM when its page is done
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RUN: Final = ("sh", "console", "python")
FENCE: Final = re.compile(
    r"^(?:<!-- (?P<directive>[^\n]*?) -->\n)?```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCK_S: Final = 120.0
BACKGROUND_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Block:
    """A runnable block and the line of its page on which it begins."""

    page: Path
    line: int
    language: str
    code: str
    directive: str

    @property
    def skip(self) -> str | None:
        return self.directive.removeprefix("not run: ") if self.directive.startswith("not run: ") else None

    @property
    def background(self) -> tuple[str, int] | None:
        found = re.fullmatch(r"background until (\S+):(\d+)", self.directive)
        return (found[1], int(found[2])) if found else None


def blocks_of(page: Path) -> list[Block]:
    """Raises ValueError on a comment that looks like a directive and is none."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        if match["language"] in RUN:
            directive = match["directive"] or ""
            block = Block(page, text[: match.start()].count("\n") + 1, match["language"], match["code"], directive)
            if directive and block.skip is None and block.background is None:
                raise ValueError(f"{page.name}:{block.line}: unknown directive {directive!r}")
            found.append(block)
    return found


class Session:
    """One reader who follows one page: a folder, an environment that `export` changes, and programs left running.

    Ports that a page names are moved to free ones, so that pages do not meet one another or what else runs here.
    """

    def __init__(self, folder: Path, repository: Path, ports: tuple[int, ...]) -> None:
        self.folder = folder
        self.broken: str | None = None
        self._done: set[int] = set()
        self._ports = {port: _free_port() for port in ports}
        self._running: list[subprocess.Popen[bytes]] = []
        (folder / "deploy").symlink_to(repository / "deploy")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ALERT_CLASSIFIER_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "ALERT_CLASSIFIER_API__PORT": str(self._ports.get(8000, 8000)),
        }

    def run(self, block: Block) -> None:
        """Raises AssertionError with what the block said when it fails."""
        script = self._script(block)
        if block.background:
            self._start(script, *block.background)
            return
        try:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script + "\nenv -0 > .environment"],
                cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=BLOCK_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"did not end within {BLOCK_S:g} s:\n{block.code}\n{error.output}") from error
        assert done.returncode == 0, f"{block.code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        variables = (self.folder / ".environment").read_text().rstrip("\0").split("\0")
        self._environment = dict(variable.split("=", 1) for variable in variables)

    def close(self) -> None:
        """End what was left running. Raises AssertionError where SIGTERM is not obeyed."""
        for process in reversed(self._running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise AssertionError(f"{process.args} does not end on SIGTERM") from None

    def _script(self, block: Block) -> str:
        code = block.code
        if block.language == "console":  # lines after the prompt; the others are what the program says
            code = "\n".join(line[2:] for line in code.splitlines() if line.startswith("$ "))
        if block.language == "python":
            code = f"python - <<'END_OF_PYTHON'\n{code}END_OF_PYTHON"
        for port, moved in self._ports.items():
            code = code.replace(f"localhost:{port}", f"localhost:{moved}")
        if 9092 in self._ports:
            code = code.replace("broker.py start", f"broker.py start --port {self._ports[9092]} --data broker")
        return code

    def _start(self, script: str, host: str, port: int) -> None:
        log = self.folder / f"background-{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", f"exec {script.strip()}"],
                cwd=self.folder, env=self._environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._running.append(process)
        deadline = time.monotonic() + BACKGROUND_S
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((host, self._ports[port])) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError(f"nothing listens on port {port} of the page:\n{script}\n{log.read_text()[-2000:]}")


def ports_named(page: Path) -> tuple[int, ...]:
    return tuple(sorted({int(port) for port in re.findall(r"localhost:(\d+)", page.read_text())} | {8000}))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
