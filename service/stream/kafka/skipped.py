"""Skipped offsets by reason: reported in the accounts, a metric and, where alerts were lost, readiness."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Final

from service.stream.batch import Partition

log = logging.getLogger(__name__)

# `skipped` in the accounts, `reason` of alert_classifier_skipped_offsets_total.
EXPIRED: Final = "expired"  # retention or DeleteRecords removed them before they were read
DELETED: Final = "deleted"  # the topic was deleted before they were read
TRUNCATED: Final = "truncated"  # the log's end went back (an unclean election of a leader) before they were read
OUTSIDE_SPAN: Final = "outside_span"  # messages of another time than --from and --until ask for
NO_MESSAGE: Final = "no_message"  # nothing to read: markers and aborted messages of transactions, compacted ones
# Reasons by which alerts were lost: logged as errors and reported by readiness.
LOST: Final = (EXPIRED, DELETED, TRUNCATED)
# Readiness reports a loss for this long: enough for a monitor to see it.
REPORT_LOSS_S: Final = 60.0

OnSkipped = Callable[[Partition, str, int], None]


class Skipped:
    """Passes every count to the accounts, and remembers the lost offsets."""

    def __init__(self, on_skipped: OnSkipped) -> None:
        self._on_skipped = on_skipped
        self._lost: Counter[str] = Counter()
        self._lost_at = -REPORT_LOSS_S

    def count(self, partition: Partition, reason: str, number: int) -> None:
        if number == 0:
            return
        self._on_skipped(partition, reason, number)
        if reason in LOST:
            log.error("%d offsets of %s/%d were never read: %s", number, *partition, reason)
            self._lost[f"{partition[0]}/{partition[1]} ({reason})"] += number
            self._lost_at = monotonic()

    @property
    def lost(self) -> str:
        """What was lost since the process began, as text; empty: nothing."""
        losses = ", ".join(f"{count} of {where}" for where, count in sorted(self._lost.items()))
        return f"offsets were never read: {losses}" if losses else ""

    @property
    def lost_lately(self) -> str:
        return self.lost if monotonic() - self._lost_at < REPORT_LOSS_S else ""
