"""Ends the process where nothing else can: a stage that never returns, a stop that takes too long.

Native code that hangs may hold the interpreter's lock, and then no Python runs, no signal handler either. So the last
resort is faulthandler's timer, which needs no lock: it is wound up again and again while all is well, and when it is
not, writes where every thread stands and ends the process with status 1. What was in hand is in the journal
(`service.stream.journal`).
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

STDERR: Final = 2
BEAT_S: Final = 1.0
# From SIGTERM, or from the moment when Python can't run, to the end. Above what a stop may take in good order: 5 s for
# open requests, 20 s to drain, 10 s for a stuck client, 15 s to leave the group. Below the 60 s that our chart and
# compose file grant.
END_WITHIN_S: Final = 55.0


class Watchdog(threading.Thread):
    """`longest_stage` gives the stage that has been working on the same batch for longest, and for how long [s]; beyond
    `give_up_s` the process ends. From the moment when `stopping` is true it has `end_within_s`.
    """

    def __init__(
        self,
        longest_stage: Callable[[], tuple[str, float] | None],
        give_up_s: float,
        stopping: Callable[[], bool],
        end_within_s: float = END_WITHIN_S,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._longest_stage = longest_stage
        self._give_up_s = give_up_s
        self._stopping = stopping
        self._end_within_s = end_within_s
        self._released = threading.Event()

    def run(self) -> None:
        while not self._released.is_set():
            self._wind_up()
            if self._stopping():
                return  # the timer runs on
            longest = self._longest_stage()
            if longest is not None and longest[1] > self._give_up_s:
                end_now(f"the stage {longest[0]} has been working on the same batch for {longest[1]:.0f} s")
            self._released.wait(BEAT_S)

    def release(self) -> None:
        """The process has nothing more to do that could hang."""
        self._released.set()
        if self.is_alive():
            self.join()
        faulthandler.cancel_dump_traceback_later()

    def _wind_up(self) -> None:
        faulthandler.dump_traceback_later(self._end_within_s, exit=True, file=STDERR)


def end_now(why: str) -> None:
    """End the process with status 1 without waiting for any thread; say why, and where each stands."""
    log.critical("the process ends, to be started anew: %s", why)
    for handler in logging.getLogger().handlers:
        handler.flush()
    faulthandler.dump_traceback(file=STDERR, all_threads=True)
    os._exit(1)
