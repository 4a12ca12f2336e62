"""The pulse of the service, measured once a second: rates, latencies, class mix; for the page and other followers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from time import monotonic, time
from typing import Any, Final

import orjson
from prometheus_client import Counter, Gauge, Histogram

from service import metrics
from service.api.context import Context, in_thread
from service.api.operations import check_readiness
from service.errors import AlertClassifierError
from service.secrets import masked
from service.store.interface import StoredClassification, StoreUnavailableError

log = logging.getLogger(__name__)

BEAT_S: Final = 1.0
RATE_S: Final = 10.0  # averaging time of alerts per second: single seconds jump with batches
LATENCY_S: Final = 60.0  # averaging time of the percentiles
HISTORY: Final = 120  # rates kept for the sparkline
STORE_BEATS: Final = 3  # query the store every third beat, and only if there are followers

MIX_S: Final = 3600.0
NEWEST: Final = 12
CONFIDENT: Final = 0.7  # of the newest transients
DOUBTFUL: Final = {"too_few_points", "out_of_distribution", "no_detection", "unusable_photometry", "low_quality"}

MOST_FOLLOWERS: Final = 200  # each costs a socket and half a kilobyte a second


@dataclass(frozen=True, slots=True)
class _Sample:
    when: float
    published: float
    latency: tuple[float, ...]  # cumulative counts per bucket


class TooManyFollowersError(AlertClassifierError, RuntimeError):
    """The number of followers is at its limit."""


class Pulse:
    """One pulse for many followers. `run` it as a task of the event loop; `close` ends it and every follower."""

    def __init__(self, context: Context, clock: Callable[[], float] = monotonic) -> None:
        self._context = context
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=int(LATENCY_S / BEAT_S) + 1)
        self._rates: deque[float] = deque(maxlen=HISTORY)
        self._stored: dict[str, Any] = {"objects": None, "class_mix": {}, "newest": []}
        self._beats = 0
        self._noting = threading.Lock()
        self._followers: set[asyncio.Event] = set()
        self._latest: bytes | None = None
        self._closed = False
        self.beat()

    async def run(self) -> None:
        due = self._clock()
        while not self._closed:
            try:
                self.beat()
                self._beats += 1
                if self._followers:  # don't query the store for nobody
                    self._latest = orjson.dumps(await in_thread(self.view, self._beats % STORE_BEATS == 0))
            except Exception:  # one failure must not end the pulse
                log.exception("the pulse could not be taken")
            self._wake()
            due = max(due + BEAT_S, self._clock())
            await asyncio.sleep(due - self._clock())

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def follow(self) -> AsyncIterator[bytes]:
        """The pulse now and at every beat, as JSON, until `close`. Raises TooManyFollowersError."""
        if len(self._followers) >= MOST_FOLLOWERS:
            raise TooManyFollowersError
        beat = asyncio.Event()
        self._followers.add(beat)
        try:
            yield orjson.dumps(await in_thread(self.view))
            while not self._closed:
                await beat.wait()
                beat.clear()
                if self._latest is not None and not self._closed:
                    yield self._latest
        finally:
            self._followers.discard(beat)

    def beat(self) -> None:
        """Take a sample of the counters."""
        sample = _Sample(self._clock(), _total(metrics.PUBLISHED), _buckets(metrics.END_TO_END_SECONDS))
        with self._noting:
            self._samples.append(sample)
            self._rates.append(_rate(self._samples, 1.5 * BEAT_S))

    def view(self, ask_store: bool = True) -> dict[str, Any]:
        """The pulse at the last beat, JSON-able; without `ask_store` the store's part is that of the last query."""
        if ask_store:
            self._ask_store()
        with self._noting:  # held only briefly: the event loop takes samples, and the store may be slow
            samples, rates = list(self._samples), list(self._rates)
        context = self._context
        _, failures = check_readiness(context)
        health = context.stream.health() if context.stream is not None else None
        active = context.models.active
        return {
            "time": time(),
            "ready": not failures,
            "reasons": [masked(f"{failure.field}: {failure.message}") for failure in failures],
            "streaming": health is not None,
            "model": {"name": active.name, "version": active.version, "provider": active.provider},
            "alerts_per_s": round(_rate(samples, RATE_S), 2),
            "rates": [round(rate, 1) for rate in rates],
            "lag_s": health.lag_seconds if health else None,
            "lag_messages": health.lag_messages if health else None,
            "latency_ms": _percentiles(samples),
            "consumed": _total(metrics.CONSUMED),
            "published": _total(metrics.PUBLISHED),
            "filtered": _by_reason(metrics.FILTERED),
            "dead_lettered": _by_reason(metrics.DEAD_LETTERED),
            "in_flight": _total(metrics.IN_FLIGHT),
            "inputs": [
                {
                    "name": each.name,
                    "ready": each.ready,
                    "partitions": len(each.partitions),
                    "lag_s": each.lag_seconds,
                    "lag_messages": each.lag_messages,
                    "in_flight": each.in_flight,
                    "consumed": _total(metrics.CONSUMED, each.name),
                    "published": _total(metrics.PUBLISHED, each.name),
                    "filtered": _total(metrics.FILTERED, each.name),
                    "dead_lettered": _total(metrics.DEAD_LETTERED, each.name),
                }
                for each in (health.inputs if health else ())
            ],
            **self._stored,
        }

    def _wake(self) -> None:
        for beat in self._followers:
            beat.set()

    def _ask_store(self) -> None:
        try:
            mix = self._context.store.class_mix(time() - MIX_S)
            self._stored = {
                "objects": self._context.store.statistics().objects,
                "class_mix": dict(sorted(mix.items(), key=lambda each: -each[1])),
                "newest": self._newest_transients(),
            }
        except StoreUnavailableError as error:  # reported in `reasons`; the last known values are still shown
            log.debug("the pulse has no answer from the store: %s", error)

    def _newest_transients(self) -> list[dict[str, Any]]:
        taxonomy: dict[str, str] = {}
        for each in self._context.models.residents.answering:
            taxonomy |= each.bundle.manifest.taxonomy
        found: list[StoredClassification] = []
        for name, parent in taxonomy.items():
            if parent == "Transient":
                page, _ = self._context.store.query(top_class=name, min_probability=CONFIDENT, limit=2 * NEWEST)
                found += [each for each in page if DOUBTFUL.isdisjoint(each.document["flags"])]
        found.sort(key=lambda each: -each.published_at)
        return [
            {
                "object_id": each.object_id,
                "top_class": each.top_class,
                "top_probability": each.top_probability,
                "published": each.published_at,
                "mjd": each.mjd,
                "n_detections": each.document["n_detections"],
            }
            for each in found[:NEWEST]
        ]


@contextlib.asynccontextmanager
async def running(pulse: Pulse) -> AsyncIterator[None]:
    """Run the pulse while the application runs."""
    task = asyncio.create_task(pulse.run())
    try:
        yield
    finally:
        pulse.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _rate(samples: Sequence[_Sample], seconds: float) -> float:
    """Alerts per second over the last `seconds`."""
    now, then = samples[-1], _oldest(samples, seconds)
    passed = now.when - then.when
    return (now.published - then.published) / passed if passed > 0 else 0.0


def _percentiles(samples: Sequence[_Sample]) -> dict[str, float] | None:
    """Times from broker timestamp to acknowledged classification, over the last minute [ms]; None without any."""
    now, then = samples[-1], _oldest(samples, LATENCY_S)
    counts = [new - old for new, old in zip(now.latency, then.latency, strict=True)]
    if counts[-1] <= 0:
        return None
    return {name: round(1000 * _quantile(counts, q), 1) for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}


def _oldest(samples: Sequence[_Sample], seconds: float) -> _Sample:
    """The oldest sample not older than `seconds`, with a tolerance of one beat."""
    return next(each for each in samples if each.when >= samples[-1].when - seconds - 0.5 * BEAT_S)


def _total(metric: Counter | Gauge, input_name: str | None = None) -> int:
    """The sum over all labels, or over those of one input."""
    return int(sum(sample.value for sample in _samples(metric) if input_name in (None, sample.labels.get("input"))))


def _by_reason(counter: Counter) -> dict[str, int]:
    found: dict[str, int] = {}
    for sample in _samples(counter):
        reason = sample.labels["reason"]
        found[reason] = found.get(reason, 0) + int(sample.value)
    return found


def _samples(metric: Counter | Gauge | Histogram) -> list[Any]:
    return [each for family in metric.collect() for each in family.samples if not each.name.endswith("_created")]


def _buckets(histogram: Histogram) -> tuple[float, ...]:
    """Cumulative counts per bucket, of all inputs together."""
    counts = dict.fromkeys((*metrics.LATENCY_BUCKETS_S, inf), 0.0)
    for sample in _samples(histogram):
        if sample.name.endswith("_bucket"):
            counts[float(sample.labels["le"])] += sample.value
    return tuple(counts.values())


def _quantile(cumulative: list[float], q: float) -> float:
    """As in Prometheus: linear within the bucket; above the last bound, that bound."""
    edges = (0.0, *metrics.LATENCY_BUCKETS_S, inf)
    rank = q * cumulative[-1]
    below = 0.0
    for (low, high), count in zip(pairwise(edges), cumulative, strict=True):
        if count >= rank:
            return low if high == inf else low + (high - low) * (rank - below) / max(count - below, 1e-12)
        below = count
    return edges[-2]
