"""The corridor's steps, from bytes to classifications, each callable in a test with no Kafka near.

A batch walks them in order: decode, cut, merge, classify, encode, record. A step that fails for one alert ends the way
of that alert alone; a step that can't be taken now (store or schema registry away) raises one of `TEMPORARY` and may be
taken again later: every step is idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from service.alerts.alert import Alert, AlertError
from service.alerts.quality import NO_USABLE_PHOTOMETRY, failed_cuts
from service.alerts.schemas import SchemaSourceUnavailableError
from service.config import QualitySettings
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.inference.registry import Residents
from service.metrics import stage
from service.output.classification import CLASSIFICATION, document, stored
from service.photometry import SURVEYS_BY_POSITION
from service.store.interface import Increment, Store, StoredClassification, StoredObject, StoreUnavailableError
from service.stream.batch import Batch, DeadLettered, Filtered, Item, Published

log = logging.getLogger(__name__)

TEMPORARY: Final = (StoreUnavailableError, SchemaSourceUnavailableError)

T = TypeVar("T")
R = TypeVar("R")


class Decoder(Protocol):
    """What the pipeline asks of `service.alerts.Decoder`."""

    def decode_many(self, raws: Sequence[bytes]) -> list[Alert | AlertError]: ...


class Models(Protocol):
    """What the pipeline asks of `service.inference.registry.ModelRegistry`."""

    residents: Residents


class Pipeline:
    """Decoder, cuts, store and models, joined. Different batches may be in different steps at once."""

    def __init__(
        self,
        decoder: Decoder,
        store: Store,
        models: Models,
        quality: QualitySettings,
        max_message_bytes: int = 8_000_000,
    ) -> None:
        self._decoder = decoder
        self._store = store
        self._models = models
        self._quality = quality
        self._max_message_bytes = max_message_bytes

    def decode(self, batch: Batch) -> None:
        """Bytes -> alerts."""
        with stage("decode"):
            for item in batch.items:
                if len(item.message.value) > self._max_message_bytes:
                    size = len(item.message.value)
                    item.outcome = DeadLettered("too_large", f"{size} bytes, above {self._max_message_bytes}")
            items = batch.open()
            alerts = isolate(lambda part: self._decoder.decode_many([item.message.value for item in part]), items)
            for item, alert in zip(items, alerts, strict=True):
                if isinstance(alert, Alert):
                    item.alert = alert
                else:
                    item.outcome = _dead_letter(alert, "decode_failed")

    def cut(self, batch: Batch) -> None:
        """Alerts that fail a quality cut are flagged, or left out before they take up any state."""
        drop = self._quality.action == "drop"
        for item in batch.open():
            assert item.alert is not None
            if not len(item.alert.light_curve):  # photometry by position; an alert has at least its own detection
                item.outcome = Filtered(NO_USABLE_PHOTOMETRY)
                continue
            failed = failed_cuts(item.alert.quality, self._quality)
            if failed and drop:
                item.outcome = Filtered(failed[0])
            else:
                item.flags = failed

    def merge(self, batch: Batch) -> None:
        """Alerts -> the light curves of their objects as known at each of them.

        Photometry by position comes behind the alerts of its batch, and goes on as an alert of what it has joined.
        """
        with stage("merge"):
            items = batch.open()
            alerts = [item for item in items if not _came_by_position(item)]
            merged = isolate(lambda part: self._store.merge([_increment(item) for item in part]), alerts)
            for item, known in zip(alerts, merged, strict=True):
                if isinstance(known, Exception):
                    item.outcome = _dead_letter(known, "merge_failed")
                else:
                    item.light_curve = known.light_curve
            if len(alerts) < len(items):
                self._join([item for item in items if _came_by_position(item)])

    def _join(self, items: Sequence[Item]) -> None:
        joined = isolate(lambda part: self._store.join([_increment(item) for item in part]), items)
        for item, thing in zip(items, joined, strict=True):
            if isinstance(thing, Exception):
                item.outcome = _dead_letter(thing, "merge_failed")
            else:
                _go_on_as(item, thing)

    @property
    def batch_window_s(self) -> float:
        """How long it is worth to wait for more batches before `classify`, on the device of the active model."""
        return self._models.residents.active.batch_window_s

    def classify(self, *batches: Batch) -> None:
        """Light curves -> predictions, all of these batches together and by the same models."""
        residents = self._models.residents
        items = [item for batch in batches for item in batch.open()]
        predictions = isolate(_opinion_of(residents.active), items)
        for item, prediction in zip(items, predictions, strict=True):
            if isinstance(prediction, Exception):
                item.outcome = _dead_letter(prediction, "classification_failed")
            else:
                item.prediction = prediction
        for shadow in residents.shadows:
            answered = [item for item in items if item.outcome is None]
            opinions = isolate(_opinion_of(shadow), answered)
            for item, opinion in zip(answered, opinions, strict=True):
                if isinstance(opinion, Exception):  # nobody waits for a shadow's answer
                    log.error("shadow %s failed on %s: %s", shadow.bundle.label, item.message.place, opinion)
                else:
                    item.shadows += (opinion,)

    def encode(self, batch: Batch) -> None:
        """Predictions -> messages to publish."""
        for item in batch.open():
            assert item.alert is not None
            assert item.prediction is not None
            try:
                fields = document(item, item.prediction)
                value = CLASSIFICATION.encode(fields)
            except Exception as error:
                item.outcome = _dead_letter(error, "encode_failed")
                continue
            item.outcome = Published(item.alert.object_id.encode(), value, item.prediction, fields)

    def record(self, batch: Batch) -> None:
        """Classifications -> the store, for those who ask later; shadows' answers beside them.

        It comes before publication, so that a crash between the two is mended by the redelivery of the alert.
        """
        answers = [stored(outcome.document, outcome.prediction) for _, outcome in batch.published()]
        for item, _ in batch.published():
            answers += [stored(document(item, shadow), shadow, active=False) for shadow in item.shadows]
        for answer, done in zip(answers, isolate(self._record, answers), strict=True):
            if isinstance(done, Exception):  # it will be published all the same
                log.error("the store can't keep the classification of %s: %s", answer.object_id, done)

    def run(self, batch: Batch) -> None:
        """All steps, one after the other. Raises what is in `TEMPORARY`."""
        for step in (self.decode, self.cut, self.merge, self.classify, self.encode, self.record):
            step(batch)

    def _record(self, answers: Sequence[StoredClassification]) -> list[None]:
        self._store.record(answers)
        return [None] * len(answers)


def preview(store: Store, item: Item) -> None:
    """What `Pipeline.merge` does to an item, for one who only asks: nothing is stored. Raises ValueError for what the
    stream would refuse.
    """
    thing = store.preview(_increment(item), _came_by_position(item))
    item.light_curve = thing.light_curve
    if _came_by_position(item) and len(thing.light_curve):
        _go_on_as(item, thing)


def isolate(step: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R | Exception]:
    """`step(items)`, element for element; where it raises, halves are tried: only the culprits get an exception.

    `step` must be idempotent. Errors in `TEMPORARY` are nobody's fault and pass through.
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


def _came_by_position(item: Item) -> bool:
    return item.alert is not None and item.alert.survey in SURVEYS_BY_POSITION


def _go_on_as(item: Item, thing: StoredObject) -> None:
    assert item.alert is not None
    item.light_curve = thing.light_curve
    # The answer is about all that is known by now: else that to an older alert would stay the latest.
    newest = float(thing.light_curve.mjd[-1])
    item.alert = replace(item.alert, object_id=thing.object_id, ra=thing.ra, dec=thing.dec, mjd=newest)


def _increment(item: Item) -> Increment:
    alert = item.alert
    assert alert is not None
    return Increment(alert.object_id, alert.ra, alert.dec, alert.light_curve)


def _opinion_of(classifier: Classifier) -> Callable[[Sequence[Item]], Sequence[Prediction]]:
    def classify(items: Sequence[Item]) -> Sequence[Prediction]:
        return classifier.classify([item.light_curve for item in items if item.light_curve is not None])

    return classify


def _dead_letter(error: Exception, code: str) -> DeadLettered:
    if isinstance(error, AlertError):
        return DeadLettered(error.code, str(error))
    return DeadLettered(code, f"{type(error).__name__}: {error}")
