"""Offsets that are passed over, told by reason: in the accounts, a metric, and readiness where alerts were lost."""

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
# Of these somebody must hear: there were alerts that nobody will answer.
LOST: Final = (EXPIRED, DELETED, TRUNCATED)
# Readiness tells of them for this long: a watcher must see it, but a loss of the past is no trouble of now.
TOLD_S: Final = 60.0

OnSkipped = Callable[[Partition, str, int], None]


class Skipped:
    """Hands every count on to the accounts, and remembers those that were lost."""

    def __init__(self, on_skipped: OnSkipped) -> None:
        self._on_skipped = on_skipped
        self._lost: Counter[str] = Counter()
        self._lost_at = -TOLD_S

    def tell(self, partition: Partition, reason: str, count: int) -> None:
        if count == 0:
            return
        self._on_skipped(partition, reason, count)
        if reason in LOST:
            log.error("%d offsets of %s/%d were never read: %s", count, *partition, reason)
            self._lost[f"{partition[0]}/{partition[1]} ({reason})"] += count
            self._lost_at = monotonic()

    @property
    def lost(self) -> str:
        """What was lost since the process began, in words; empty: nothing."""
        each = ", ".join(f"{count} of {where}" for where, count in sorted(self._lost.items()))
        return f"offsets were never read: {each}" if each else ""

    @property
    def lost_lately(self) -> str:
        return self.lost if monotonic() - self._lost_at < TOLD_S else ""
