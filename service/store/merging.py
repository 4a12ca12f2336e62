"""Merging a batch into stored objects: the part of a store that is independent of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final

from service.photometry import Kind, LightCurve, merge
from service.photometry.context import newest
from service.store.encoding import classes_of
from service.store.interface import Increment, StoredClassification, StoredObject

_DETECTION: Final = bytes([Kind.DETECTION])

# (classifier, version, its classes): the key of a row of the table `classifiers`
ClassifierKey = tuple[str, str, tuple[str, ...]]


def merge_batch(
    stored: Mapping[str, StoredObject], increments: Sequence[Increment]
) -> tuple[list[StoredObject], list[StoredObject]]:
    """(the object as known at each increment, the objects to write).

    The second holds each new or changed object once, ordered by object_id. An object's position is that of its alert
    of the greatest epoch (then of the greatest coordinates), so that the order of arrival does not matter.
    """
    known: list[StoredObject] = []
    now: dict[str, StoredObject] = dict(stored)
    for increment in increments:
        alert = StoredObject(
            increment.object_id,
            increment.ra,
            increment.dec,
            _last_mjd(increment.light_curve),
            increment.light_curve,
            increment.context,
        )
        before = now.get(increment.object_id)
        if before is not None:
            last = max(before, alert, key=_recency)
            light_curve = merge([before.light_curve, alert.light_curve])
            context = newest(before.context, alert.context)
            alert = StoredObject(alert.object_id, last.ra, last.dec, last.last_mjd, light_curve, context, before.closed)
        now[alert.object_id] = alert
        known.append(alert)
    return known, [now[name] for name in sorted(now) if not is_same(stored.get(name), now[name])]


def classifier_key(classification: StoredClassification) -> ClassifierKey:
    return classification.classifier, classification.version, classes_of(classification.document)


def latest_per_object(classifications: Sequence[StoredClassification]) -> list[StoredClassification]:
    """For each object, the active classification that may become its latest; ordered by object_id."""
    newest: dict[str, StoredClassification] = {}
    for c in classifications:
        if not c.active:
            continue
        other = newest.get(c.object_id)
        if other is None or (c.mjd, c.candid, c.published_at) > (other.mjd, other.candid, other.published_at):
            newest[c.object_id] = c
    return [newest[object_id] for object_id in sorted(newest)]


def _last_mjd(light_curve: LightCurve) -> float:
    """Epoch of the last detection, else of the last point, 0 for an empty light curve."""
    if not len(light_curve):
        return 0.0
    # searches the column's bytes: for fifty points numpy would take ten times as long
    return float(light_curve.mjd[light_curve.kind.tobytes().rfind(_DETECTION)])


def _recency(thing: StoredObject) -> tuple[float, bool, float, float]:
    return thing.last_mjd, isfinite(thing.ra) and isfinite(thing.dec), thing.ra, thing.dec


def is_same(before: StoredObject | None, after: StoredObject) -> bool:
    """Whether `after` need not be written."""
    return (
        before is not None
        and before.light_curve.is_identical(after.light_curve)
        and before.context == after.context
        and _recency(before) == _recency(after)
    )
