"""consumed = published + filtered + dead-lettered: the books close, and say so loudly when they do not."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.stream.accounting import Accounting
from service.stream.batch import Batch, DeadLettered, Filtered, Message, Outcome, Published, Returned

PUBLISHED = Published(None, ())  # type: ignore[arg-type]
OUTCOMES = st.sampled_from([PUBLISHED, Filtered("rb"), Filtered("nbad"), DeadLettered("truncated", "cut"), Returned()])


def batch_with(outcomes: list[tuple[int, Outcome]]) -> Batch:
    batch = Batch.of(Message("alerts", partition, number, b"") for number, (partition, _) in enumerate(outcomes))
    for item, (_, outcome) in zip(batch.items, outcomes, strict=True):
        item.outcome = outcome
    return batch


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), OUTCOMES), max_size=20), max_size=10), st.integers(0, 10))
def test_the_books_close_at_every_moment(batches: list[list[tuple[int, Outcome]]], settled: int) -> None:
    accounting = Accounting()
    walking = [batch_with(outcomes) for outcomes in batches]
    for batch in walking:
        accounting.take(batch)
        assert accounting.closes()
    for batch in walking[:settled]:
        accounting.settle(batch)
        assert accounting.closes()
    total = accounting.total()
    assert total.consumed == sum(map(len, walking))
    assert accounting.in_flight == sum(map(len, walking[settled:]))
    assert total.settled + accounting.in_flight == total.consumed
    view = accounting.view()
    assert view["closes"]
    assert sum(partition["consumed"] for partition in view["partitions"]) == total.consumed


def test_a_message_without_an_outcome_is_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    """Given a step that forgot an alert, then the books do not close and an error names the partition."""
    accounting = Accounting()
    batch = batch_with([(0, PUBLISHED), (1, PUBLISHED)])
    accounting.take(batch)
    batch.items[1].outcome = None
    accounting.settle(batch)
    with caplog.at_level(logging.ERROR):
        assert not accounting.closes()
    assert "alerts/1 has +1 messages without an outcome" in caplog.text
    assert not accounting.view()["closes"]
