"""Source -> pipeline -> sink, in four threads with short queues between them.

    poll      source.poll -> batch
    prepare   the stages decode, cut, merge
    classify  the stages tensors, inference (the model has a pool of its own)
    publish   the stages encode, record, publish: sink.send, and on acknowledgement the accounts are settled and the
              source may commit

Decoding and inference release the interpreter lock, so the threads overlap. Every queue is first in, first out: batches
are acknowledged in the order in which they were polled, so offsets can be committed as they are acknowledged.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, Full, Queue, SimpleQueue
from time import monotonic, perf_counter, time
from typing import Final

from service import metrics
from service.config import PipelineSettings
from service.inference.prediction import OUT_OF_DISTRIBUTION
from service.photometry.time import unix_from_mjd
from service.store.interface import StoreDamagedError
from service.stream.accounting import Accounting
from service.stream.batch import Batch
from service.stream.intake import Intake
from service.stream.interfaces import Sink, Source, StreamError
from service.stream.journal import Journal
from service.stream.pipeline import TEMPORARY, Pipeline
from service.stream.progress import Progress

log = logging.getLogger(__name__)

# How often an idle thread checks whether it should end. Delays no alert.
TICK_S: Final = 0.2
# While acknowledgements are pending, the sink is polled for them, and the queue for new batches, this often.
ACKNOWLEDGEMENT_TICK_S: Final = 0.005
# At most this many alerts of several batches are classified together: four full batches, 80 MB of packets.
ENOUGH_TOGETHER: Final = 1024
# A thread that has not ended this long after the deadline is stuck in a client library; the process must end anyway.
STUCK_S: Final = 10.0


class _GivenUpError(Exception):
    """The runner gives up the batches that it could not finish in time."""


class StreamRunner:
    """Runs batches from `source` through `pipeline` to `sink` until the source is exhausted or `stop` is called."""

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        sink: Sink,
        settings: PipelineSettings,
        accounting: Accounting | None = None,
        on_settled: Callable[[Batch], None] | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.accounting = accounting or Accounting()
        self.failure: BaseException | None = None
        self._last_progress = monotonic()
        self._source = source
        self._pipeline = pipeline
        self._sink = sink
        self._settings = settings
        self._on_settled = on_settled
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._waiting_for: str | None = None
        self._prepared: Queue[Batch | None] = Queue(settings.queue_depth)
        self._classified: Queue[Batch | None] = Queue(settings.queue_depth)
        self._sent: deque[float] = deque()  # when each batch was sent that is not acknowledged yet
        self._deadline = float("inf")
        self._threads: list[threading.Thread] = []
        self._progress = Progress(journal)
        self._intake = Intake(source, pipeline, settings, self.accounting, self._progress, journal, self._stopping)

    def run(self) -> None:
        """Startup, main loop, shutdown; returns when every batch is settled. Raises the error that stopped a thread."""
        self._threads = [
            threading.Thread(target=self._guard, args=(stage,), name=name, daemon=True)
            for name, stage in (("prepare", self._prepare), ("classify", self._classify), ("publish", self._publish))
        ]
        try:
            for thread in self._threads:
                thread.start()
            self._guard(self._intake.run)
        finally:
            self._intake.taken.put(None)
            self._shut_down()
        if self.failure is not None:
            raise self.failure

    def stop(self, drain_s: float) -> None:
        """Poll no more; batches in flight have `drain_s` to be settled, the rest is read again after a restart."""
        self._deadline = monotonic() + drain_s
        self._stopping.set()

    @property
    def idle_s(self) -> float:
        """Time since a batch was settled, or since the beginning."""
        return monotonic() - self._last_progress

    @property
    def trouble(self) -> str | None:
        """Why alerts don't flow, as text, or None."""
        return self._waiting_for or self._standstill() or self._sink.trouble

    def longest_stage(self, stage: str | None = None) -> tuple[str, float] | None:
        """The stage (or this one) that has been working on the same batch for longest, and for how long [s]."""
        return self._progress.longest(stage)

    @property
    def stuck(self) -> list[str]:
        """The stages, or threads, that `run` had to leave behind."""
        return [thread.name for thread in self._threads if thread.is_alive()]

    def _standstill(self) -> str | None:
        longest = self._progress.longest()
        if longest is None or longest[1] < self._settings.standstill_s:
            return None
        return f"the stage {longest[0]} has been working on the same batch for {longest[1]:.0f} s"

    def _prepare(self) -> None:
        for batch in self._arriving(self._intake.taken):
            self._intake.room.set()
            self._patiently("decode", self._pipeline.decode, batch)
            with self._progress.stage("cut", [batch]):
                self._pipeline.cut(batch)
            self._patiently("merge", self._pipeline.merge, batch)
            self._hand_on(self._prepared, batch)
        self._hand_on(self._prepared, None)

    def _classify(self) -> None:
        for batches in self._together(self._arriving(self._prepared)):
            with self._progress.stage("inference", batches):
                self._pipeline.classify(*batches)
            for batch in batches:
                self._hand_on(self._classified, batch)
        self._hand_on(self._classified, None)

    def _together(self, arriving: Iterable[Batch]) -> Iterable[list[Batch]]:
        """Groups of batches to classify together: those that arrive within the batch window."""
        for batch in arriving:
            together = [batch]
            window_s = self._settings.batch_window_s
            end = monotonic() + (self._pipeline.batch_window_s if window_s is None else window_s)
            while sum(map(len, together)) < ENOUGH_TOGETHER and (left := end - monotonic()) > 0:
                try:
                    following = self._prepared.get(timeout=left)
                except Empty:
                    break
                if following is None:
                    self._prepared.put(None)  # put the end mark back for `arriving`
                    break
                together.append(following)
            yield together

    def _publish(self) -> None:
        self._sink.open(self._given_up.is_set)
        coming = True
        while coming or self._sink.pending:
            self._check_given_up()
            # send all waiting batches before awaiting any: a transaction takes as long for three as for one
            while coming and self._sink.pending <= self._settings.queue_depth:
                try:
                    batch = self._classified.get(timeout=0 if self._sink.pending else TICK_S)
                except Empty:
                    break
                if batch is None:
                    coming = False
                else:
                    self._send(batch)
            for arrived in self._sink.acknowledged(ACKNOWLEDGEMENT_TICK_S if self._sink.pending else 0):
                self._settle(arrived)

    def _send(self, batch: Batch) -> None:
        with self._progress.stage("encode", [batch]):
            self._pipeline.encode(batch)
        self._patiently("record", self._pipeline.record, batch)
        self._sent.append(perf_counter())
        self._sink.send(batch)

    def _settle(self, batch: Batch) -> None:
        metrics.STAGE_SECONDS.labels("publish").observe(perf_counter() - self._sent.popleft())
        self.accounting.settle(batch)
        self._source.acknowledge(batch)
        _observe(batch, self.accounting.input)
        self._last_progress = monotonic()
        if self._on_settled is not None:
            self._on_settled(batch)
        self._intake.room.set()

    def _patiently(self, stage: str, step: Callable[[Batch], None], batch: Batch) -> None:
        """Run a stage on a batch; retry while its store or schema registry is unavailable."""
        while (error := self._attempt(stage, step, batch)) is not None:
            if isinstance(error, StoreDamagedError):  # waiting does not help
                raise StreamError(str(error)) from error
            if self._waiting_for is None:
                log.warning("waiting: %s", error)
            self._waiting_for = str(error)
            metrics.STORE_RETRIES.inc()
            # wakes at once when the runner gives up, so an outage can't extend the deadline by a retry
            if self._given_up.wait(self._settings.retry_s):
                raise _GivenUpError from error
        if self._waiting_for is not None:
            log.warning("going on after: %s", self._waiting_for)
            self._waiting_for = None

    def _attempt(self, stage: str, step: Callable[[Batch], None], batch: Batch) -> Exception | None:
        with self._progress.stage(stage, [batch]):
            try:
                step(batch)
            except TEMPORARY as error:
                return error
        return None

    def _arriving(self, queue: Queue[Batch | None] | SimpleQueue[Batch | None]) -> Iterable[Batch]:
        while True:
            self._check_given_up()
            try:
                batch = queue.get(timeout=TICK_S)
            except Empty:
                continue
            if batch is None:
                return
            yield batch

    def _hand_on(self, queue: Queue[Batch | None], batch: Batch | None) -> None:
        while True:
            self._check_given_up()
            try:
                return queue.put(batch, timeout=TICK_S)
            except Full:
                continue

    def _check_given_up(self) -> None:
        if self._given_up.is_set():
            raise _GivenUpError

    def _guard(self, stage: Callable[[], None]) -> None:
        """Run a thread's loop; if it fails, all threads stop. Unsettled batches are read again after a restart."""
        try:
            stage()
        except _GivenUpError:
            pass
        except BaseException as error:
            if self.failure is None:
                self.failure = error
            log.critical("the stream stops: %s", error, exc_info=not isinstance(error, StreamError))
            self._deadline = min(self._deadline, monotonic())
            self._given_up.set()
            self._stopping.set()

    def _shut_down(self) -> None:
        for thread in self._threads:
            while thread.is_alive() and monotonic() < self._deadline + STUCK_S:
                thread.join(0.05)
                if not self.accounting.in_flight:
                    self._given_up.set()  # no batch is left, so the sink need not wait for its broker any more
                if self._stopping.is_set() and monotonic() > self._deadline and not self._given_up.is_set():
                    log.warning(
                        "draining took too long: %d alerts are left to be read again", self.accounting.in_flight
                    )
                    self._given_up.set()
        self._sink.close()
        self._source.close()
        self.accounting.closes()


def _observe(batch: Batch, input_name: str) -> None:
    """Count what was published. Latencies are at least 0: a clock that was set back would make them negative, and the
    sums fall.
    """
    now = time()
    end_to_end = metrics.END_TO_END_SECONDS.labels(input_name)
    since_observation = metrics.OBSERVATION_SECONDS.labels(input_name)
    for item, outcome in batch.published():
        answer = outcome.classification
        metrics.CLASSIFIED.labels(answer.top_class or metrics.NO_CLASS).inc()
        if item.message.timestamp is not None:
            end_to_end.observe(max(0.0, now - item.message.timestamp))
        since_observation.observe(max(0.0, now - unix_from_mjd(answer.mjd)))
        if item.failed_cuts:
            metrics.LOW_QUALITY.inc()
        if OUT_OF_DISTRIBUTION in answer.document["flags"]:
            metrics.OUT_OF_DISTRIBUTION.inc()
