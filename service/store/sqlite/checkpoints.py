"""Moves SQLite's write-ahead log into the file from a thread of its own, so that no batch waits for it.

Left to itself SQLite does this within every commit that finds more than 4 MB in the log: thousands of scattered pages
and two waits for the disk, 50 to 100 ms that an alert would have to stand by. Beside the writer it costs no batch
anything; but under steady writing the log then never comes to its end and grows, so that once it is long the writer is
held for the last few pages, those that came in meanwhile.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import Final

_log = logging.getLogger(__name__)

# The log is overwritten from its start after each checkpoint that reached its end. A second's worth of a drain is some
# 30 MB; moved more often, the same pages would be written to the file again and again.
INTERVAL_S: Final = 1.0

# Pages of 4 kB (32 MB) from which on the writer is held for the rest: some 20 ms, then the log starts anew.
LONG_LOG: Final = 8_000

# Should this thread ever fail, SQLite takes over at 256 MB.
BACKSTOP: Final = 64_000


class Checkpointer(threading.Thread):
    """Owns `connection`; `write_lock` is the one that every write of this process holds."""

    def __init__(self, connection: sqlite3.Connection, write_lock: threading.Lock) -> None:
        super().__init__(name="store-checkpoints", daemon=True)
        self._connection = connection
        self._write_lock = write_lock
        self._written = threading.Event()
        self._ended = threading.Event()
        self.start()

    def wake(self) -> None:
        """Something was written, or could not be because the disk is full: moving the log may make room."""
        self._written.set()

    def stop(self) -> None:
        self._ended.set()
        self._written.set()
        self.join()
        self._connection.close()

    def run(self) -> None:
        while True:
            self._written.wait()
            if self._ended.is_set():
                return
            self._written.clear()
            try:
                if self._move() > LONG_LOG:
                    with self._write_lock:
                        self._move()
            except sqlite3.Error as error:  # the disk is full, or another process is at it: the next write wakes us
                _log.debug("the log could not be moved into the file: %s", error)
            self._ended.wait(INTERVAL_S)

    def _move(self) -> int:
        """Pages in the log, after as many as possible were moved without stopping anyone."""
        pages: int = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        return pages
