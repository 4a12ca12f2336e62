"""The stages from bytes to classifications, each callable in a test without Kafka.

Their order is decode, cut, merge, classify (tensors and inference), encode, record. A stage that fails for one alert
gives that alert an outcome and goes on with the others. A stage that can't run now (store or schema registry
unavailable) raises one of `TEMPORARY` and is tried again later, so every stage is idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from service import jit
from service.alerts.alert import Alert, AlertError
from service.alerts.container import Piece
from service.alerts.decode import Decoder as AlertDecoder
from service.alerts.quality import NO_USABLE_PHOTOMETRY, failed_cuts, reason_to_drop
from service.alerts.schemas import SchemaSourceUnavailableError, schema_source
from service.config import KafkaSettings, QualitySettings, Settings
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.inference.registry import Residents
from service.metrics import stage
from service.output.classification import Subject, classification
from service.output.outputs import Outputs
from service.photometry import SURVEYS_BY_POSITION, Context, LightCurve
from service.store.interface import Increment, Store, StoredClassification, StoredObject, StoreUnavailableError
from service.store.kept import KeptBlocks
from service.stream.batch import Batch, DeadLettered, Filtered, Item, Message, Published

log = logging.getLogger(__name__)

TEMPORARY: Final = (StoreUnavailableError, SchemaSourceUnavailableError)

# A batch of more packets waits for the decoder to be compiled; as plain Python a packet takes some 10 ms.
MANY: Final = 100

T = TypeVar("T")
R = TypeVar("R")


class Decoder(Protocol):
    """The part of `service.alerts.Decoder` that the pipeline uses."""

    def decode_many(self, raws: Iterable[bytes]) -> list[Alert | AlertError]: ...

    def holds_many(self, raw: bytes) -> bool: ...

    def split(self, raw: bytes) -> list[Piece]: ...


class Models(Protocol):
    """The part of `service.inference.registry.ModelRegistry` that the pipeline uses."""

    residents: Residents


class Pipeline:
    """Decoder, cuts, store and models. Different batches may be in different stages at the same time."""

    def __init__(
        self,
        decoder: Decoder,
        store: Store,
        models: Models,
        quality: QualitySettings,
        max_message_bytes: int = 10_485_760,
        outputs: Outputs | None = None,
        surveys: frozenset[str] = frozenset(),
        counterparts: bool = False,
    ) -> None:
        """`outputs`: the topics and forms of classifications; None: the default topic alone. `surveys`: whose alerts
        are expected, another's are refused; empty: anybody's. `counterparts`: answers name them.
        """
        self._outputs = outputs or Outputs(KafkaSettings())
        self._decoder = decoder
        self._store = store
        self._models = models
        self._quality = quality
        self._surveys = surveys
        self._counterparts = counterparts
        self._max_message_bytes = max_message_bytes

    def take(self, messages: Sequence[Message], enough: int) -> tuple[Batch, int]:
        """The first of these messages -> a batch with an item for each alert, and how many messages they are: a message
        may hold several alerts, and the one with which they are `enough` is the last.

        One that is too large, or whose records are too many, is refused as a whole before it is taken apart.
        """
        items: list[Item] = []
        count = 0
        for message in messages:
            if len(items) >= enough:
                break
            count += 1
            if len(message.value) > self._max_message_bytes:
                items.append(self._too_large(message))
            elif self._decoder.holds_many(message.value):
                items += self._records(message)
            else:
                items.append(Item(message))
        return Batch(items), count

    def _records(self, message: Message) -> list[Item]:
        try:
            pieces = self._decoder.split(message.value)
        except AlertError as error:
            return [Item(message, outcome=_dead_letter(error, "decode_failed"))]
        records = [
            replace(message, value=piece.data, record=record, piece=piece) for record, piece in enumerate(pieces, 1)
        ]
        return [self._too_large(r) if len(r.value) > self._max_message_bytes else Item(r) for r in records]

    def _too_large(self, message: Message) -> Item:
        said = f"{len(message.value):,} bytes, above pipeline.max_message_bytes ({self._max_message_bytes:,})"
        return Item(message, outcome=DeadLettered("too_large", said))

    def decode(self, batch: Batch) -> None:
        """Bytes -> alerts."""
        items = batch.open()
        with stage("decode"), jit.compiled() if len(items) > MANY else nullcontext():
            alerts = isolate(lambda part: self._decoder.decode_many(item.message.packet for item in part), items)
            for item, alert in zip(items, alerts, strict=True):
                if isinstance(alert, Alert):
                    item.alert = alert
                    if self._surveys and alert.survey not in self._surveys:
                        said = (
                            f"an alert of {alert.survey}, and this input brings {' and '.join(sorted(self._surveys))}"
                        )
                        item.outcome = DeadLettered("unexpected_survey", said)
                else:
                    item.outcome = _dead_letter(alert, "decode_failed")

    def cut(self, batch: Batch) -> None:
        """Flag alerts that fail a quality cut, or leave them out before anything is stored."""
        with stage("cut"):
            for item in batch.open():
                assert item.alert is not None
                if not len(item.alert.light_curve):  # photometry by position; an alert has at least its own detection
                    item.outcome = Filtered(NO_USABLE_PHOTOMETRY)
                    continue
                item.failed_cuts = failed_cuts(item.alert, self._quality)
                if (reason := reason_to_drop(item.alert, item.failed_cuts, self._quality)) is not None:
                    item.outcome = Filtered(reason)

    def merge(self, batch: Batch) -> None:
        """Alerts -> the light curve of each one's object, as known at that alert.

        Photometry by position is merged after the alerts of its batch, so that it can join their objects.
        """
        with stage("merge"):
            items = batch.open()
            self._merge(self._store.merge, [item for item in items if not came_by_position(item.alert)])
            self._merge(self._store.join, [item for item in items if came_by_position(item.alert)])
            self._load_kept([item for item in items if item.outcome is None])

    def _merge(self, step: Callable[[Sequence[Increment]], list[StoredObject]], items: Sequence[Item]) -> None:
        known = isolate(lambda part: step([increment_of(item.alert) for item in part]), items)
        for item, stored in zip(items, known, strict=True):
            if isinstance(stored, Exception):
                item.outcome = _dead_letter(stored, "merge_failed")
            else:
                assert item.alert is not None
                item.light_curve, item.context = stored.light_curve, stored.context
                item.subject = Subject.of(item.alert, stored)
        if self._counterparts:
            merged = [
                (item, stored) for item, stored in zip(items, known, strict=True) if isinstance(stored, StoredObject)
            ]
            self._find_counterparts(merged)

    def _find_counterparts(self, merged: Sequence[tuple[Item, StoredObject]]) -> None:
        found = isolate(self._store.counterparts, [stored for _, stored in merged])
        for (item, _), counterparts in zip(merged, found, strict=True):
            if isinstance(counterparts, Exception):  # an answer without them is better than none
                log.error("no counterparts of %s could be found: %s", item.message.topic_partition, counterparts)
            else:
                item.counterparts = counterparts

    def _load_kept(self, items: Sequence[Item]) -> None:
        """What the resident models have kept of long light curves."""
        keeping = self._keeping()
        above = min((each.keeps_above for each in keeping), default=0)
        long = [
            (item, item.subject.object_id)
            for item in items
            if keeping and item.subject is not None and item.light_curve is not None and len(item.light_curve) > above
        ]
        if long:
            found = self._store.kept_blocks(list(dict.fromkeys(name for _, name in long)))
            for item, name in long:
                item.kept = found.get(name, {})

    def _keeping(self) -> list[Classifier]:
        """The resident models that keep something of light curves."""
        now = self._models.residents
        everyone = (*now.answering, *now.shadows, *([now.previous] if now.previous else []))
        return [each for each in everyone if each.embeds_as is not None]

    @property
    def batch_window_s(self) -> float:
        """How long to wait for more batches before `classify`; depends on the device of the active model."""
        return self._models.residents.active.batch_window_s

    def classify(self, *batches: Batch) -> None:
        """Light curves -> predictions, for all these batches together and by the same models."""
        residents = self._models.residents
        items = [item for batch in batches for item in batch.open()]
        predictions = isolate(_opinion_of(residents), items)
        for item, prediction in zip(items, predictions, strict=True):
            if isinstance(prediction, Exception):
                item.outcome = _dead_letter(prediction, "classification_failed")
            else:
                item.prediction = prediction
        for shadow in residents.shadows:
            answered = [item for item in items if item.outcome is None]
            opinions = isolate(_opinion_of(Residents(shadow)), answered)
            for item, opinion in zip(answered, opinions, strict=True):
                if isinstance(opinion, Exception):  # nobody waits for a shadow's answer
                    log.error("shadow %s failed on %s: %s", shadow.bundle.label, item.message.topic_partition, opinion)
                else:
                    item.shadows += (opinion,)

    def encode(self, batch: Batch) -> None:
        """Predictions -> messages to publish."""
        with stage("encode"):
            for item in batch.open():
                try:
                    answer = _classification(item, item.prediction)
                    item.outcome = Published(answer, self._outputs.messages(answer.document))
                except Exception as error:
                    item.outcome = _dead_letter(error, "encode_failed")

    def record(self, batch: Batch) -> None:
        """Classifications -> the store, with those of the shadows.

        Done before publication: after a crash between the two, the alert is redelivered and its answer published.
        """
        with stage("record"):
            answers = [outcome.classification for _, outcome in batch.published()]
            for item, _ in batch.published():
                answers += [_classification(item, shadow, active=False) for shadow in item.shadows]
            for answer, done in zip(answers, isolate(self._record, answers), strict=True):
                if isinstance(done, Exception):  # it will be published all the same
                    log.error("the store can't keep the classification of %s: %s", answer.object_id, done)
            self._keep_blocks([item for item, _ in batch.published()])

    def _keep_blocks(self, items: Sequence[Item]) -> None:
        """What models have found of finished blocks -> the store, where it is new."""
        models = {(each.name, each.version): each.embeds_as for each in self._keeping()}
        kept = [
            KeptBlocks(item.subject.object_id, embeds_as, prediction.blocks)
            for item in items
            for prediction in (item.prediction, *item.shadows)
            if item.subject is not None
            and prediction is not None
            and prediction.blocks is not None
            # a model that is gone by now needs nothing any more
            and (embeds_as := models.get((prediction.classifier, prediction.version))) is not None
        ]
        in_use = {name for name in models.values() if name is not None}
        for each, done in zip(kept, isolate(lambda part: self._keep(part, in_use), kept), strict=True):
            if isinstance(done, Exception):  # it will be computed again
                log.error("the store can't keep the blocks of %s: %s", each.object_id, done)

    def _keep(self, kept: Sequence[KeptBlocks], in_use: Collection[str]) -> list[None]:
        self._store.keep_blocks(kept, in_use)
        return [None] * len(kept)

    def run(self, batch: Batch) -> None:
        """All stages in order. Raises the errors in `TEMPORARY`."""
        for step in (self.decode, self.cut, self.merge, self.classify, self.encode, self.record):
            step(batch)

    def _record(self, answers: Sequence[StoredClassification]) -> list[None]:
        self._store.record(answers)
        return [None] * len(answers)


def build_pipeline(
    settings: Settings,
    models: Models,
    store: Store,
    outputs: Outputs | None = None,
    surveys: frozenset[str] = frozenset(),
) -> Pipeline:
    """The pipeline of an input, of replays and of the demo, what it compiles known to `jit.compile_in_background`."""
    decoder = AlertDecoder(schema_source(settings.kafka))
    decoder.try_out()
    return Pipeline(
        decoder,
        store,
        models,
        settings.quality,
        settings.pipeline.max_message_bytes,
        outputs,
        surveys,
        counterparts=bool(settings.pipeline.counterparts),
    )


def preview(store: Store, alert: Alert) -> tuple[Subject, LightCurve, Context | None]:
    """What `Pipeline.merge` would return for an alert, without storing it. Raises ValueError for an alert that the
    stream would refuse.
    """
    stored = store.preview(increment_of(alert), came_by_position(alert))
    return Subject.of(alert, stored), stored.light_curve, stored.context


def isolate(step: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R | Exception]:
    """`step(items)`, with an exception in place of each item that makes it fail, found by trying halves.

    `step` must be idempotent. Errors in `TEMPORARY` are no item's fault and are raised.
    """
    if not items:
        return []
    try:
        return list(step(items))
    except TEMPORARY:
        raise
    except Exception as error:
        if len(items) == 1:
            log.debug("isolated a culprit", exc_info=True)
            return [error]
        middle = len(items) // 2
        return isolate(step, items[:middle]) + isolate(step, items[middle:])


def came_by_position(alert: Alert | None) -> bool:
    return alert is not None and alert.survey in SURVEYS_BY_POSITION


def increment_of(alert: Alert | None) -> Increment:
    """The part of an alert that is stored. Raises ValueError for an identifier that no store can keep."""
    assert alert is not None
    return Increment(alert.object_id, alert.ra, alert.dec, alert.light_curve, alert.context)


def _classification(item: Item, prediction: Prediction | None, active: bool = True) -> StoredClassification:
    assert item.subject is not None
    assert prediction is not None
    message = item.message
    return classification(
        item.subject,
        prediction,
        received=message.received,
        broker_timestamp=message.timestamp,
        failed_cuts=item.failed_cuts,
        counterparts=item.counterparts,
        active=active,
    )


def _opinion_of(models: Residents) -> Callable[[Sequence[Item]], Sequence[Prediction]]:
    def classify(items: Sequence[Item]) -> Sequence[Prediction]:
        merged = [(item.light_curve, item.context, item.kept) for item in items if item.light_curve is not None]
        curves, contexts = [curve for curve, _, _ in merged], [context for _, context, _ in merged]
        return models.classify(curves, contexts, [kept for _, _, kept in merged])

    return classify


def _dead_letter(error: Exception, code: str) -> DeadLettered:
    if isinstance(error, AlertError):
        return DeadLettered(error.code, str(error))
    return DeadLettered(code, f"{type(error).__name__}: {error}")
