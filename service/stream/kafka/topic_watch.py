"""Asks the brokers again and again which topics are alive, which ids they have, and where their logs begin and end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from service.config import KafkaSettings
from service.stream.batch import Partition
from service.stream.kafka.client_settings import KAFKA_LOG
from service.stream.kafka.topics import Span, live_topics, missing_topics, topics_to_look_for, wanted_topics

log = logging.getLogger(__name__)

# Interval while no topic exists yet or the cluster does not answer: looking is cheap then, and saves waiting.
EAGER_REFRESH_S: Final = 2.0
LIST_TIMEOUT_S: Final = 3.0
# A topic that is deleted and made again is noticed within this time. One small request is no load for a broker.
TOPIC_ID_INTERVAL_S: Final = 5.0
# The answer of a broker without topic ids (before Kafka 2.8).
NO_TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"


@dataclass(frozen=True, slots=True)
class TopicIds:
    """Topic name -> topic id, as requested from the brokers at `asked` (monotonic time).

    A topic that is deleted and made again gets a new id, and its offsets start again.
    """

    asked: float = 0.0
    of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Log:
    """The log of a partition: its topic's id (None from brokers without ids), first offset, and last offset + 1."""

    topic_id: str | None
    first: int
    end: int


class TopicWatch:
    """Keeps checking which wanted topics are alive, in its own thread so that the poll loop never waits.

    `topics` is the last answer of the cluster; `reachable` says whether the last request was answered, `error` why not;
    `looked` whether any was ever answered. `ids` are the ids of `topics`, requested more often.
    """

    def __init__(
        self,
        client_config: dict[str, Any],
        settings: KafkaSettings,
        span: Span | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.topics: frozenset[str] = frozenset()
        self._alive: frozenset[str] = frozenset()
        self._followed: set[str] = set()
        self.wanted: frozenset[str] = frozenset()
        self.ids = TopicIds()
        self.reachable = False
        self.looked = False
        self.error = ""
        config: dict[str, Any] = {**client_config, "error_cb": self._on_error}
        self._client = AdminClient(config, logger=KAFKA_LOG)
        self._settings = settings
        self._span = span
        self._clock = clock
        self._closing = threading.Event()
        self._again = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look_again(self) -> None:
        """Look now, without waiting for the interval."""
        self._again.set()

    def close(self) -> None:
        self._closing.set()
        self._again.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def missing(self) -> list[str]:
        """Configured topics that don't exist. A daily topic may be absent: not every night is observed."""
        named = {*self._settings.topics, *self._settings.photometry_topics}
        return sorted((self.wanted & named) - self.topics) if self.looked else []

    @property
    def missing_for_a_complete_reading(self) -> list[str]:
        """See `missing_topics`; and what was followed and has gone."""
        if not self.looked:
            return []
        missing = missing_topics(self._settings, self._alive, self._clock(), self._span)
        return sorted(missing | (self._followed & self.wanted) - self.topics)

    def ask_ids(self, topics: Iterable[str]) -> TopicIds:
        """The ids of the `topics` that exist. Raises KafkaException while the brokers don't answer."""
        asked, ids = monotonic(), {}
        for name, answer in self._client.describe_topics(
            TopicCollection(sorted(topics)), request_timeout=LIST_TIMEOUT_S
        ).items():
            try:
                topic_id = str(answer.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
            else:
                if topic_id != NO_TOPIC_ID:
                    ids[name] = topic_id
        return TopicIds(asked, ids)

    def ask_logs(self, places: Iterable[Partition]) -> dict[Partition, Log]:
        """The logs of partitions as they are now, without those that their topics don't have (any more).

        Raises KafkaException where the brokers don't tell one.
        """
        places = list(places)
        ids = self.ask_ids({topic for topic, _ in places}).of
        first, ends = (
            self._client.list_offsets(
                {TopicPartition(*place): which for place in places}, request_timeout=LIST_TIMEOUT_S
            )
            for which in (OffsetSpec(OFFSET_BEGINNING), OffsetSpec(OFFSET_END))  # type: ignore[abstract]
        )
        ends_at = {(part.topic, part.partition): answer for part, answer in ends.items()}
        logs = {}
        for part, answer in first.items():
            end = ends_at[part.topic, part.partition]
            if not _is_missing(answer) and not _is_missing(end):
                logs[part.topic, part.partition] = Log(ids.get(part.topic), answer.result().offset, end.result().offset)
        return logs

    def _run(self) -> None:
        next_look = 0.0
        while not self._closing.is_set():
            if self._again.is_set() or monotonic() >= next_look:
                self._again.clear()
                self._look()
                settled = self.reachable and self.topics and not self.missing
                interval = self._settings.topic_refresh_s
                next_look = monotonic() + (interval if settled else min(interval, EAGER_REFRESH_S))
            self._look_at_ids()
            self._again.wait(max(0.0, min(TOPIC_ID_INTERVAL_S, next_look - monotonic())))

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # a single broker's error is more specific
            self.error = error.str()

    def _look(self) -> None:
        self.wanted = frozenset(wanted_topics(self._settings, self._clock(), self._span))
        try:
            metadata = self._client.list_topics(timeout=LIST_TIMEOUT_S)
        except KafkaException as error:
            self.error = error.args[0].str()
            self._client.poll(0)  # `_on_error` gets the reason
            if self.reachable or not self.looked:
                KAFKA_LOG.warning("the brokers %s do not answer: %s", self._settings.bootstrap_servers, self.error)
            self.reachable = False
            return
        self._client.poll(0)
        self.reachable = True
        self._alive = frozenset(live_topics(metadata, topics_to_look_for(self._settings, self._clock(), self._span)))
        topics = self._alive & self.wanted
        if topics != self.topics or not self.looked:
            missing = ", ".join(sorted(self.wanted - topics))
            log.info(
                "following %s%s", ", ".join(sorted(topics)) or "nothing", f"; not there: {missing}" * bool(missing)
            )
        self.topics = topics
        self._followed |= topics
        self.looked = True

    def _look_at_ids(self) -> None:
        if not self.topics or not self.reachable:
            return
        try:
            ids = self.ask_ids(self.topics)
        except KafkaException as error:
            KAFKA_LOG.debug("the brokers do not give the topics' ids: %s", error.args[0].str())
            return
        if any(name not in ids.of and name in self.ids.of for name in self.topics):
            self._again.set()  # a topic has just disappeared
        self.ids = ids


def _is_missing(answer: Future[Any]) -> bool:
    """Whether the brokers answered that there is no such partition."""
    error = answer.exception()
    return isinstance(error, KafkaException) and error.args[0].code() in (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    )
