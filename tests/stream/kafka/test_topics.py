"""The bounded window of daily topics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import KafkaSettings
from service.stream.kafka.topics import Span, live_topics, missing_topics, wanted_topics


def test_today_and_the_days_before_it_in_utc() -> None:
    """Given the evening in California, then the window is that of the UTC day, which has begun already."""
    evening = datetime(2026, 3, 1, 20, 0, tzinfo=timezone(timedelta(hours=-8)))
    settings = KafkaSettings(days_back=2, programids=[1, 2])
    assert wanted_topics(settings, evening) == {
        f"ztf_202603{day}_programid{programid}" for day in ("02", "01") for programid in (1, 2)
    } | {"ztf_20260228_programid1", "ztf_20260228_programid2"}


def test_given_names_are_followed_alone() -> None:
    assert wanted_topics(KafkaSettings(topics=["mine"]), datetime.now(UTC)) == {"mine"}


def test_topics_of_photometry_are_followed_beside_the_alerts() -> None:
    assert wanted_topics(KafkaSettings(topics=["mine"], photometry_topics=["atlas"]), datetime.now(UTC)) == {
        "mine",
        "atlas",
    }
    span = Span(datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 13, tzinfo=UTC))
    followed = wanted_topics(KafkaSettings(photometry_topics=["atlas"]), datetime(2026, 3, 2, tzinfo=UTC), span)
    assert followed == {"atlas", "ztf_20260228_programid1", "ztf_20260301_programid1"}


def test_a_span_names_its_own_days() -> None:
    span = Span(datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 2, 12, tzinfo=UTC))
    assert wanted_topics(KafkaSettings(), datetime(2026, 5, 1, tzinfo=UTC), span) == {
        "ztf_20260228_programid1",
        "ztf_20260301_programid1",
        "ztf_20260302_programid1",
    }


def daily(*days: int) -> set[str]:
    return {f"ztf_202603{day:02d}_programid1" for day in days}


def test_a_complete_reading_needs_the_days_of_its_span() -> None:
    """Given nothing that is alive, then all of its days are missing; the day before may be absent, and midnight belongs
    to the day that it ends.
    """
    span = Span(datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))
    now = datetime(2026, 5, 1, tzinfo=UTC)
    assert missing_topics(KafkaSettings(), set(), now, span) == daily(1, 2)
    assert missing_topics(KafkaSettings(topics=["mine"]), {"other"}, now, span) == {"mine"}
    assert missing_topics(KafkaSettings(photometry_topics=["atlas"]), daily(1, 2), now, span) == {"atlas"}


def test_a_night_without_observations_is_no_gap_and_an_expired_one_is() -> None:
    """Given days whose topics are not there, then those older than any that is may have expired; one between others, or
    after them, was never made.
    """
    span = Span(datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 15, 12, tzinfo=UTC))
    now = datetime(2026, 3, 15, 13, tzinfo=UTC)

    def missing(*alive: int) -> set[str]:
        return missing_topics(KafkaSettings(), daily(*alive), now, span)

    assert missing(10, 11, 13, 14) == set()
    assert missing(12, 14) == daily(10, 11)
    assert missing(5) == set(), "an older one is alive: nothing was observed since"
    assert missing(16) == daily(10, 11, 12, 13, 14, 15)


def test_without_a_span_one_day_of_the_window_is_enough() -> None:
    """Given no days that were asked for, then a reading of what is there is complete, and one of nothing is not."""
    now = datetime(2026, 3, 15, 1, tzinfo=UTC)
    assert missing_topics(KafkaSettings(days_back=3), daily(13), now) == set()
    assert missing_topics(KafkaSettings(days_back=1), daily(13), now) == daily(14, 15)


def test_topics_without_a_living_partition_are_left_alone() -> None:
    """Given a topic past its retention that the cluster still lists, then it is not followed."""

    def topic(*leaders: int, error: object = None) -> SimpleNamespace:
        return SimpleNamespace(error=error, partitions={n: SimpleNamespace(leader=at) for n, at in enumerate(leaders)})

    metadata = SimpleNamespace(
        topics={"alive": topic(1, 2), "half": topic(-1, 2), "dead": topic(-1, -1), "none": topic(),
                "broken": topic(1, error="unknown topic"), "other": topic(1)}
    )  # fmt: skip
    assert live_topics(metadata, {"alive", "half", "dead", "none", "broken", "absent"}) == {"alive", "half"}


def test_a_span_must_make_sense() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with pytest.raises(ValueError, match="before it starts"):
        Span(noon, noon)
    with pytest.raises(ValueError, match="time zone"):
        Span(datetime(2026, 3, 1))


@given(
    instants=st.lists(
        st.datetimes(datetime(2018, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)), min_size=3, max_size=3
    ).filter(lambda instants: len({instant.replace(microsecond=0) for instant in instants}) == 3),
    offset_ms=st.integers(-2, 2),
)
def test_of_two_spans_that_meet_each_message_belongs_to_exactly_one(instants: list[datetime], offset_ms: int) -> None:
    """Given spans that meet within a millisecond, then a message of that millisecond is read by one of them alone."""
    first, middle, last = sorted(instants)
    before, after = Span(first, middle), Span(middle, last)
    timestamp_ms = (middle - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) + offset_ms
    assert before.holds(timestamp_ms) + after.holds(timestamp_ms) == 1
    assert after.holds(timestamp_ms) == (offset_ms >= 0)
