"""consumed = published + filtered + dead-lettered: the books close, and say so loudly when they do not."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.stream.accounting import Accounting, Accounts
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


def test_the_accounts_of_several_inputs_are_told_together_and_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    """Given two inputs, then totals are their sums, partitions bear their input's name, and a gap in one opens all."""
    ztf, rubin = Accounting("ztf"), Accounting("rubin")
    both = Accounts([ztf, rubin])
    for accounting, outcomes in ((ztf, [(0, PUBLISHED)]), (rubin, [(0, Filtered("solar_system")), (1, PUBLISHED)])):
        batch = batch_with(outcomes)
        accounting.take(batch)
        accounting.settle(batch)
    view = both.view()
    assert (view["closes"], view["consumed"], view["published"]) == (True, 3, 2)
    assert view["filtered"] == {"solar_system": 1}
    assert [(each["input"], each["consumed"]) for each in view["inputs"]] == [("ztf", 1), ("rubin", 2)]
    assert [(each["input"], each["partition"]) for each in view["partitions"]] == [
        ("ztf", 0), ("rubin", 0), ("rubin", 1),
    ]  # fmt: skip
    lost = batch_with([(0, PUBLISHED)])
    rubin.take(lost)
    assert (both.in_flight, both.total().consumed) == (1, 4)
    lost.items[0].outcome = None
    rubin.settle(lost)
    assert not both.closes()
    assert [each["closes"] for each in both.view()["inputs"]] == [True, False]


def test_the_one_unnamed_input_is_told_as_ever() -> None:
    alone = Accounting()
    assert Accounts([alone]).view() == alone.view()
