"""A process that can't go on ends with status 1, whatever its threads do, and says where they stood."""

from __future__ import annotations

import subprocess
import sys
import time

SCRIPT = """
import ctypes, logging, sys, threading
from service.cli.watchdog import Watchdog

logging.basicConfig()
hangs = {hangs}
began = threading.Event()
def stage_that_hangs():
    began.set()
    hangs(60)
watchdog = Watchdog({longest}, 5.0, {stopping}, end_within_s=1.5)
watchdog.start()
threading.Thread(target=stage_that_hangs).start()  # not a daemon: Python's own end waits for it
began.wait()
{then}
"""
RELEASES_THE_LOCK, HOLDS_THE_LOCK = "ctypes.CDLL(None).sleep", "ctypes.PyDLL(None).sleep"


def ended(**parts: str) -> tuple[int, str, float]:
    """(exit status, what it said, how long it took)"""
    whole = {"longest": "lambda: None", "stopping": "lambda: False", "then": "pass", **parts}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(**whole)], capture_output=True, text=True, timeout=50)
    return done.returncode, done.stderr, time.monotonic() - began


def test_native_code_that_holds_the_lock() -> None:
    """Given native code that never gives Python its lock back, so that no signal handler and no thread of ours runs."""
    status, said, _ = ended(hangs=HOLDS_THE_LOCK)
    assert status == 1
    assert "stage_that_hangs" in said


def test_a_stop_that_takes_too_long() -> None:
    status, said, _ = ended(hangs=RELEASES_THE_LOCK, stopping="lambda: True")
    assert status == 1
    assert "stage_that_hangs" in said


def test_a_stage_without_progress() -> None:
    status, said, _ = ended(hangs=RELEASES_THE_LOCK, longest='lambda: ("decode", 7.0) if began.is_set() else None')
    assert status == 1
    assert "the stage decode has been working on the same batch for 7 s" in said
    assert "stage_that_hangs" in said


def test_where_all_is_well_nothing_ends() -> None:
    status, said, took = ended(hangs="lambda _: None", then="import time; time.sleep(2.5); watchdog.release()")
    assert (status, said) == (0, "")
    assert took > 2.5


def test_a_released_watchdog_is_silent() -> None:
    status, _, _ = ended(
        hangs=RELEASES_THE_LOCK, then="watchdog.release(); import os, time; time.sleep(2); os._exit(7)"
    )
    assert status == 7
