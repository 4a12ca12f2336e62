"""Objects as old as those of a real sky: what a store holds of them after years.

How often an object had been detected when an alert of it came (`ndethist`) is drawn from quantiles of 860 objects in
real ZTF packets of 2023, the last packet of each, collected from the test data of public repositories (of Fink, AMPEL
and BOOM in the main). Half of them are young; a tenth had been detected more than 670 times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.alerts import Alert
from service.inference.classifier import Classifier
from service.photometry import Kind, LightCurve
from service.store import Increment, KeptBlocks, Store

# At the probabilities 0, 1/40, ... 1.
NDETHIST: Final = (
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 6, 10, 14, 18,
    29, 42, 59, 78, 113, 152, 214, 274, 338, 407, 486, 578, 670, 832, 1080, 1743, 3776,
)  # fmt: skip
HISTORY_DAYS: Final = 30.0  # a packet brings these itself
FORCED_DAYS: Final = 300.0  # forced photometry is in the packets of the newest months
LONGEST_DAYS: Final = 2000.0
DETECTIONS_PER_DAY: Final = 0.5  # of one that is always bright enough
CANDIDS_PER_DAY: Final = 10**15  # ZTF's
BATCH: Final = 256


def earlier_detections(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """How often each of `count` objects has been detected before the packet's own history, (count,)."""
    return np.interp(rng.random(count), np.linspace(0, 1, len(NDETHIST)), NDETHIST).astype(np.int64)


def history(rng: np.random.Generator, detections: int, until_mjd: float, candid: int) -> LightCurve:
    """`detections` of a variable source up to `until_mjd`, with as many upper limits between them and, in the newest
    months, forced photometry; brought by packets before `candid`.
    """
    days = min(max(detections / DETECTIONS_PER_DAY, 60.0), LONGEST_DAYS)
    forced = int(detections * min(FORCED_DAYS / days, 1.0))
    kind = np.repeat([Kind.DETECTION, Kind.UPPER_LIMIT, Kind.FORCED], [detections, detections, forced])
    age = np.concatenate([rng.uniform(0, days, 2 * detections), rng.uniform(0, min(days, FORCED_DAYS), forced)])
    mjd = until_mjd - age
    measured = kind != Kind.UPPER_LIMIT
    flux = np.sin(mjd / rng.uniform(0.3, 200.0)) + 0.2 * rng.standard_normal(len(mjd))
    brought_by = np.maximum(candid - 1 - (np.maximum(age - HISTORY_DAYS, 0) * CANDIDS_PER_DAY).astype(np.int64), 1)
    return LightCurve.from_columns(
        mjd.round(7),
        (rng.random(len(mjd)) < 0.6).astype(np.int8),
        mag=np.where(measured, 19.5 - np.abs(flux), np.nan),
        magerr=np.where(measured, rng.uniform(0.02, 0.2, len(mjd)), np.nan),
        limit=rng.normal(20.4, 0.3, len(mjd)),
        sign=np.sign(flux).astype(np.int8),
        kind=kind,
        candid=np.where(kind == Kind.DETECTION, brought_by, 0),
        magnr=np.where(measured, np.float32(rng.uniform(15, 21)), np.nan),
        brought_by=brought_by,
    )


def age(store: Store, alerts: Iterable[Alert], seed: int = 0, classifier: Classifier | None = None) -> dict[str, float]:
    """Give each object among `alerts` a history that ended before its first one, and what `classifier` would have kept
    of it; returns what the store then holds: objects, mean and 90th percentile of their earlier detections, mean number
    of points.
    """
    first: dict[str, Alert] = {}
    for alert in alerts:
        if alert.object_id not in first or alert.mjd < first[alert.object_id].mjd:
            first[alert.object_id] = alert
    rng = np.random.default_rng(seed)
    counts = earlier_detections(rng, len(first))
    points = 0
    batch: list[Increment] = []
    for alert, detections in zip(first.values(), counts.tolist(), strict=True):
        past = history(rng, detections, float(alert.light_curve.mjd[0]), alert.candid)
        points += len(past)
        batch.append(Increment(alert.object_id, alert.ra, alert.dec, past))
        if len(batch) == BATCH:
            _merge(store, batch, classifier)
            batch = []
    _merge(store, batch, classifier)
    return {
        "objects": len(first),
        "earlier_detections_mean": float(counts.mean()),
        "earlier_detections_p90": float(np.percentile(counts, 90)),
        "points_mean": points / len(first),
    }


def _merge(store: Store, batch: list[Increment], classifier: Classifier | None) -> None:
    known = store.merge(batch)
    if classifier is None or classifier.embeds_as is None:
        return
    found = classifier.classify([each.light_curve for each in known])
    kept = [
        KeptBlocks(each.object_id, classifier.embeds_as, prediction.blocks)
        for each, prediction in zip(known, found, strict=True)
        if prediction.blocks is not None
    ]
    store.keep_blocks(kept, {classifier.embeds_as})
