"""How far a partition is read and settled, and of which log its newest messages are."""

from __future__ import annotations

from time import monotonic

from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from service.stream.kafka.assignment import Assignment, FormerLog
from service.stream.kafka.positions import cut_at


def taken(assignment: Assignment, *offsets: int) -> Assignment:
    for offset in offsets:
        assignment.pass_to(offset)
        assignment.take(offset, -offset)
        assignment.pass_to(offset + 1)
    return assignment


def test_what_lies_between_messages_is_passed_and_settled_with_them() -> None:
    part = taken(Assignment(1, "a", position=3), 3)
    assert part.pass_to(6) == 2
    assert part.settled is None, "the message at 3 is under way"
    part.done = 4
    assert part.settled == 6


def test_a_message_of_the_new_log_that_was_answered_as_of_the_former_is_passed_over() -> None:
    """Given offsets 3 and 4 taken after the topic was last known to be the same, and 4 found again in the new log."""
    part = taken(Assignment(1, "a", position=0, end=9), 0, 1, 2)
    part.confirm(monotonic())
    taken(part, 3, 4)
    part.done = 5
    known = part.to_remember()
    assert known is not None
    assert known.is_of_another_log("b")
    former = known.as_former()
    assert former == FormerLog(3, 9, {3: -3, 4: -4})
    new = Assignment(2, "b", position=0, former=former)
    assert [new.take(offset, fingerprint) for offset, fingerprint in ((3, 7), (4, -4))] == [True, False]
    new.pass_to(5)
    assert new.unread_of_former(at_end=False) == 5, "3 was of the former log, 4 was not: 4 to 8 were never read"
    assert new.unread_of_former(at_end=True) == 0, "it is told once"


def test_what_was_not_settled_is_answered_when_the_partition_comes_back() -> None:
    part = taken(Assignment(1, "a", position=0), 0, 1, 2)
    part.done = 1
    known = part.to_remember()
    assert known is not None
    assert (known.position, set(known.recent)) == (1, {0})


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_each_offset_of_both_logs_is_read_or_counted(confirmed: int, more: int, unread: int, read_of_new: int) -> None:
    """Given a log read to `confirmed` for certain and `more` after that, with `unread` left, when a new log of
    `read_of_new` messages is filled and read on at the old position, then each offset of both has one account.
    """
    end_of_old = confirmed + more + unread
    position = confirmed + more
    part = taken(Assignment(1, "old", position=0), *range(confirmed))
    part.recent.clear()
    taken(part, *range(confirmed, position))
    part.position = position
    answered = position
    for offset in range(position, read_of_new):  # of the new log, unnoticed
        answered += part.take(offset, 1000 + offset)
        part.pass_to(offset + 1)
    part.end, part.done = end_of_old, part.polled
    known = part.to_remember()
    assert known is not None
    new = Assignment(2, "new", position=0, former=known.as_former())
    skipped = new.unread_of_former(at_end=False)
    for offset in range(read_of_new):
        answered += new.take(offset, 1000 + offset)
        new.pass_to(offset + 1)
        skipped += new.unread_of_former(at_end=False)
    skipped += new.unread_of_former(at_end=True)
    assert answered + skipped == end_of_old + read_of_new


def test_the_place_where_a_log_was_cut_is_read_from_the_text_of_the_error() -> None:
    def told(text: str) -> int | None:
        return cut_at(KafkaError(KafkaError._AUTO_OFFSET_RESET, text))

    assert (
        told("Partition log truncation detected at offset 10 (leader epoch 1): broker end offset is 6 (epoch 0)") == 6
    )
    assert told("No epoch found less or equal to 3: Local: Partition log truncation detected") == 0
    assert told("fetch failed due to requested offset not available on the broker: Broker: Offset out of range") is None
