"""Moves SQLite's write-ahead log into the file (a checkpoint) in a thread of its own, so that no batch waits for it.

By default SQLite does this within any commit that finds more than 4 MB in the log: thousands of scattered pages and two
waits for the disk, which would delay alerts by 50 to 100 ms. In its own thread it delays no batch. But under steady
writing such a checkpoint never reaches the end of the log, which grows; so once the log is long, the writer is blocked
for the last few pages, those written meanwhile.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import Final

_log = logging.getLogger(__name__)

# After a checkpoint that reached its end the log is overwritten from the start. A drain writes some 30 MB per
# second; with a shorter interval the same pages would be written to the file several times.
INTERVAL_S: Final = 1.0

# From this many pages of 4 kB (32 MB) the writer is blocked for the rest: some 20 ms, then the log starts again.
LONG_LOG: Final = 8_000

# If this thread ever fails, SQLite checkpoints by itself at 256 MB.
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
        """Call after a write, or after one failed because the disk is full: moving the log may free space."""
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
            except sqlite3.Error as error:  # the disk is full, or another process does it: the next write wakes us
                _log.debug("the log could not be moved into the file: %s", error)
            self._ended.wait(INTERVAL_S)

    def _move(self) -> int:
        """Move as many pages as possible without blocking others; returns the number of pages in the log."""
        pages: int = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        return pages
