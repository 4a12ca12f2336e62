"""The stream side of the service behind one class: start, health, stop; with or without the API in the process.

Each input has a consumer, a pipeline and a producer of its own, in threads of its own: what keeps one from going on
(its brokers, its schema registry, a slow batch) does not hold up the others. They share models and store.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from confluent_kafka import KafkaException

from service import metrics
from service.config import Delivery, PipelineSettings, Settings
from service.output.outputs import Outputs, unknown_names
from service.secrets import masked
from service.store.interface import Store
from service.stream.accounting import Accounting, Accounts
from service.stream.batch import Batch
from service.stream.health import StreamHealth
from service.stream.inputs import Input, each_input
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
        """`on_settled` is called from the publish threads with every batch whose outcomes are acknowledged.

        Raises StreamError if no broker is configured, librdkafka refuses a property, an output asks for a class that
        the model does not have, or the schema registry takes no schema.
        """
        kafka = settings.kafka
        if not kafka.bootstrap_servers:
            raise StreamError("kafka.bootstrap_servers is empty: there is nothing to stream from")
        manifests = [each.bundle.manifest for each in models.residents.answering]
        classes = list(dict.fromkeys(name for each in manifests for name in each.classes))
        superclasses = list(dict.fromkeys(name for each in manifests for name in each.superclasses))
        if slips := unknown_names(kafka.outputs, classes, superclasses):
            raise StreamError("; ".join(slips))
        outputs = Outputs(kafka, registrar(kafka))
        self._changed = threading.Condition()
        self._inputs = [
            _InputStream(each, models, store, outputs, span, exit_at_end, on_settled, self._notify)
            for each in each_input(settings)
        ]
        self.accounting = Accounts([each.accounting for each in self._inputs])

    def start(self) -> None:
        for each in self._inputs:
            each.start()

    def stop(self, drain: bool = True, drain_s: float = DRAIN_S) -> None:
        """Poll no more, and return when every batch is settled, or after `drain_s`.

        Without `drain`, batches in flight are read again after a restart. No alert is lost either way. What does not
        return in time is left behind: see `stuck`.
        """
        seconds = drain_s if drain else 0.0
        for each in self._inputs:
            each.stop(seconds)
        deadline = monotonic() + seconds + STUCK_S + CLOSE_S
        for each in self._inputs:
            each.join(deadline)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all inputs have ended, by `stop` or at the end of a bounded read, or one by failure. False after
        the timeout.

        Raises StreamError, or the error that stopped a thread: the process should then be restarted.
        """
        with self._changed:
            ended = self._changed.wait_for(self._has_ended, timeout_s)
        if self.failure is not None:
            raise self.failure
        return ended

    @property
    def stuck(self) -> list[str]:
        """Threads that `stop` had to leave behind because they did not return; then the process should end."""
        return [thread for each in self._inputs for thread in each.stuck]

    def longest_stage(self) -> tuple[str, float] | None:
        """The stage that has been working on the same batch for longest, and for how long [s]."""
        found = [longest for each in self._inputs if (longest := each.longest_stage()) is not None]
        return max(found, key=lambda longest: longest[1], default=None)

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the stream, if one did."""
        return next((each.failure for each in self._inputs if each.failure is not None), None)

    def health(self) -> StreamHealth:
        inputs = tuple(each.health() for each in self._inputs)
        if [each.name for each in inputs] == [""]:
            return inputs[0]
        reasons = tuple(f"{each.name}: {reason}" for each in inputs for reason in each.reasons)
        return StreamHealth(
            ready=not reasons,
            reasons=reasons,
            partitions=tuple(partition for each in inputs for partition in each.partitions),
            in_flight=sum(each.in_flight for each in inputs),
            lag_messages=sum(each.lag_messages for each in inputs),
            lag_seconds=max(each.lag_seconds for each in inputs),
            idle_s=min(each.idle_s for each in inputs),
            inputs=inputs,
        )

    def _has_ended(self) -> bool:
        return self.failure is not None or all(each.ended for each in self._inputs)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _InputStream:
    """One input from its consumer to its producer; `on_end` is called when it has ended."""

    def __init__(
        self,
        which: Input,
        models: Models,
        store: Store,
        outputs: Outputs,
        span: Span | None,
        exit_at_end: bool,
        on_settled: Callable[[Batch], None] | None,
        on_end: Callable[[], None],
    ) -> None:
        settings = which.settings
        self._name = which.name
        self._on_end = on_end
        self.accounting = Accounting(which.name)
        pipeline = build_pipeline(settings, models, store, outputs, which.surveys)
        try:
            self._source = KafkaSource(
                settings.kafka, span, exit_at_end, on_skipped=self.accounting.skip, input_name=which.name
            )
            self._sink = _sink(settings, self._source)
        except KafkaException as error:
            where = f"inputs.{which.name}.librdkafka" if which.name else "kafka.librdkafka"
            raise StreamError(f"{where}: {masked(error.args[0].str())}") from None
        self._journal = open_journal(settings, which.name)
        self._runner = StreamRunner(
            self._source, pipeline, self._sink, settings.pipeline, self.accounting, on_settled, self._journal
        )
        for stage in SLOTS:
            standstill = partial(_standstill, self._runner, stage, settings.pipeline)
            metrics.STANDSTILL.labels(which.name, stage).set_function(standstill)
        self._thread = threading.Thread(target=self._run, name=self._called("poll"), daemon=True)
        self._ended = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self, drain_s: float) -> None:
        self._runner.stop(drain_s)

    def join(self, deadline: float) -> None:
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - monotonic()))

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def stuck(self) -> list[str]:
        threads = [*self._runner.stuck, *(["poll"] if self._thread.is_alive() else [])]
        return [self._called(thread) for thread in threads]

    def longest_stage(self) -> tuple[str, float] | None:
        longest = self._runner.longest_stage()
        return longest and (self._called(longest[0]), longest[1])

    @property
    def failure(self) -> BaseException | None:
        return self._runner.failure

    def health(self) -> StreamHealth:
        reasons = []
        if self._runner.failure is not None:
            reasons.append(f"the stream has failed: {self._runner.failure}")
        elif self.ended:
            reasons.append("the stream has ended")
        else:
            reasons += [trouble for trouble in (self._source.trouble, self._runner.trouble) if trouble]
        lag = {} if self.ended else self._source.lag()
        return StreamHealth(
            ready=not reasons,
            reasons=tuple(reasons),
            partitions=tuple(f"{topic}/{partition}" for topic, partition in self._source.partitions),
            in_flight=self.accounting.in_flight,
            lag_messages=sum(lag.values()),
            lag_seconds=self._source.lag_seconds(lag),
            idle_s=self._runner.idle_s,
            name=self._name,
        )

    def _called(self, thread: str) -> str:
        return f"{thread} of {self._name}" if self._name else thread

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
                "the stream %shas ended: %d consumed, %d published, %d filtered, %d dead-lettered, %d returned",
                f"{self._name} " * bool(self._name),
                total.consumed,
                total.published,
                total.filtered.total(),
                total.dead_lettered.total(),
                total.returned,
            )
            self._on_end()


def _standstill(runner: StreamRunner, stage: str, settings: PipelineSettings) -> float:
    longest = runner.longest_stage(stage)
    return longest[1] if longest is not None and longest[1] >= settings.standstill_s else 0.0


def _sink(settings: Settings, source: KafkaSource) -> Sink:
    kafka = settings.kafka.output_side()
    if kafka.delivery is Delivery.EXACTLY_ONCE:
        return TransactionalSink(kafka, source, settings.pipeline.retry_s)
    return KafkaSink(kafka, settings.pipeline.retry_s)
