"""The stream side of the service behind one class: start, health, stop; with or without the API in the process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaException

from service import metrics
from service.config import Delivery, PipelineSettings, Settings
from service.output.outputs import Outputs, unknown_names
from service.secrets import masked
from service.store.interface import Store
from service.stream.accounting import Accounting
from service.stream.batch import Batch
from service.stream.health import StreamHealth
from service.stream.interfaces import Sink, StreamError
from service.stream.journal import open_journal
from service.stream.kafka.registration import registrar
from service.stream.kafka.sink import KafkaSink
from service.stream.kafka.source import KafkaSource
from service.stream.kafka.topics import Span
from service.stream.kafka.transactional_sink import TransactionalSink
from service.stream.pipeline import Models, build_pipeline
from service.stream.progress import SLOTS
from service.stream.runner import STUCK_S, StreamRunner

log = logging.getLogger(__name__)

# Of the 60 s that our chart grants (see service.cli.watchdog); a drain takes well under a second unless the store or
# the output broker is unavailable.
DRAIN_S: Final = 20.0
# The group may wait 10 s for us while the source leaves it (REVOKE_DRAIN_S).
CLOSE_S: Final = 15.0


class StreamService:
    """Consumes, classifies and publishes in threads of its own from `start` to `stop`.

    The caller closes `store` and `models` after `stop`. With a `span`, only messages of that time are read, in a
    separate consumer group; with `exit_at_end` the stream ends at the end of the topics, and `wait` returns.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models,
        store: Store,
        *,
        span: Span | None = None,
        exit_at_end: bool = False,
        on_settled: Callable[[Batch], None] | None = None,
    ) -> None:
        """`on_settled` is called from the publish thread with every batch whose outcomes are acknowledged.

        Raises StreamError if no broker is configured, librdkafka refuses a property, an output asks for a class that
        the model does not have, or the schema registry takes no schema.
        """
        kafka = settings.kafka
        if not kafka.bootstrap_servers:
            raise StreamError("kafka.bootstrap_servers is empty: there is nothing to stream from")
        self.accounting = Accounting()
        manifest = models.residents.active.bundle.manifest
        if slips := unknown_names(kafka.outputs, manifest.classes, manifest.superclasses):
            raise StreamError("; ".join(slips))
        pipeline = build_pipeline(settings, models, store, Outputs(kafka, registrar(kafka)))
        try:
            self._source = KafkaSource(kafka, span, exit_at_end, on_skipped=self.accounting.skip)
            self._sink = _sink(settings, self._source)
        except KafkaException as error:
            raise StreamError(f"kafka.librdkafka: {masked(error.args[0].str())}") from None
        self._journal = open_journal(settings)
        self._runner = StreamRunner(
            self._source, pipeline, self._sink, settings.pipeline, self.accounting, on_settled, self._journal
        )
        for stage in SLOTS:
            metrics.STANDSTILL.labels(stage).set_function(partial(_standstill, self._runner, stage, settings.pipeline))
        self._thread = threading.Thread(target=self._run, name="poll", daemon=True)
        self._ended = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self, drain: bool = True, drain_s: float = DRAIN_S) -> None:
        """Poll no more, and return when every batch is settled, or after `drain_s`.

        Without `drain`, batches in flight are read again after a restart. No alert is lost either way. What does not
        return in time is left behind: see `stuck`.
        """
        self._runner.stop(drain_s if drain else 0.0)
        if self._thread.is_alive():
            self._thread.join((drain_s if drain else 0.0) + STUCK_S + CLOSE_S)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the stream ends: by `stop`, at the end of a bounded read, or by failure. False after the timeout.

        Raises StreamError, or the error that stopped a thread: the process should then be restarted.
        """
        ended = self._ended.wait(timeout_s)
        if self._runner.failure is not None:
            raise self._runner.failure
        return ended

    @property
    def stuck(self) -> list[str]:
        """Threads that `stop` had to leave behind because they did not return; then the process should end."""
        return [*self._runner.stuck, *(["poll"] if self._thread.is_alive() else [])]

    def longest_stage(self) -> tuple[str, float] | None:
        """The stage that has been working on the same batch for longest, and for how long [s]."""
        return self._runner.longest_stage()

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the stream, if one did."""
        return self._runner.failure

    def health(self) -> StreamHealth:
        reasons = []
        if self._runner.failure is not None:
            reasons.append(f"the stream has failed: {self._runner.failure}")
        elif self._ended.is_set():
            reasons.append("the stream has ended")
        else:
            reasons += [trouble for trouble in (self._source.trouble, self._runner.trouble) if trouble]
        lag = {} if self._ended.is_set() else self._source.lag()
        return StreamHealth(
            ready=not reasons,
            reasons=tuple(reasons),
            partitions=tuple(f"{topic}/{partition}" for topic, partition in self._source.partitions),
            in_flight=self.accounting.in_flight,
            lag_messages=sum(lag.values()),
            lag_seconds=self._source.lag_seconds(lag),
            idle_s=self._runner.idle_s,
        )

    def _run(self) -> None:
        try:
            self._runner.run()
        except BaseException as error:
            if self._runner.failure is None:
                self._runner.failure = error
        finally:
            self._ended.set()
            if self._journal is not None and not self._runner.stuck:
                self._journal.close()
            total = self.accounting.total()
            log.info(
                "the stream has ended: %d consumed, %d published, %d filtered, %d dead-lettered, %d returned",
                total.consumed,
                total.published,
                total.filtered.total(),
                total.dead_lettered.total(),
                total.returned,
            )


def _standstill(runner: StreamRunner, stage: str, settings: PipelineSettings) -> float:
    longest = runner.longest_stage(stage)
    return longest[1] if longest is not None and longest[1] >= settings.standstill_s else 0.0


def _sink(settings: Settings, source: KafkaSource) -> Sink:
    if settings.kafka.delivery is Delivery.EXACTLY_ONCE:
        return TransactionalSink(settings.kafka, source, settings.pipeline.retry_s)
    return KafkaSink(settings.kafka.output_side(), settings.pipeline.retry_s)
