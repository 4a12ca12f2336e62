"""On a terminal `classify` speaks to people: sentences, where a pipe gets JSON lines."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path


def on_terminal(command: list[str], environment: dict[str, str], *arguments: str | Path) -> tuple[int, str]:
    """Exit status, and what a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command, *map(str, arguments)], env=environment | {"TERM": "xterm"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            some = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not some:
            break
        written += some
    os.close(ours)
    return process.wait(60), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()).replace("\r", "\n")


def test_people_get_sentences_and_programs_json(command, environment, night, tmp_path) -> None:
    bad = tmp_path / "bad.avro"
    bad.write_bytes(b"no packet")
    status, written = on_terminal(command, environment, "classify", night, bad)
    assert status == 1
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    assert any(line.startswith(f"{bad}: ") for line in lines)
    assert re.fullmatch(r"\d+ objects classified from 40 packets and 0 tables; 1 could not be read", lines[-1])
    assert not any(line.startswith("{") for line in lines)
    piped = subprocess.run(
        [*command, "classify", night, bad], env=environment, capture_output=True, text=True, timeout=60
    )
    refused, summary = map(json.loads, piped.stderr.splitlines())
    assert (refused["source"], refused["code"]) == (str(bad), "bad_magic")
    assert summary["summary"] == lines[-1]
