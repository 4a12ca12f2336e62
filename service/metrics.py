"""All Prometheus metrics of the service, with unit and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final, Literal, get_args

from prometheus_client import Counter, Gauge, Histogram, Info

_PREFIX: Final = "alert_classifier"

# 1 ms to 10 s, about three buckets per factor of three: enough for a p99 within 30 %.
LATENCY_BUCKETS_S: Final = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1,
    0.15, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0,
)  # fmt: skip
# From observation to classification the survey's own processing dominates: minutes, not milliseconds.
OBSERVATION_BUCKETS_S: Final = (10, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# The stages in order; `runner` lists the thread of each.
Stage = Literal["decode", "cut", "merge", "tensors", "inference", "encode", "record", "publish"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

STAGE_SECONDS: Final = Histogram(
    f"{_PREFIX}_stage_seconds", "Time a batch spends in a stage of the pipeline", ["stage"], buckets=LATENCY_BUCKETS_S
)
# The label `input` is the name of one of `inputs`; of the one stream of `kafka` it is empty, as if it were not there.
END_TO_END_SECONDS: Final = Histogram(
    f"{_PREFIX}_end_to_end_seconds",
    "From the broker's timestamp of an alert to the acknowledged classification",
    ["input"],
    buckets=LATENCY_BUCKETS_S,
)
OBSERVATION_SECONDS: Final = Histogram(
    f"{_PREFIX}_observation_to_publication_seconds",
    "From the observation (mjd of the alert) to the acknowledged classification",
    ["input"],
    buckets=OBSERVATION_BUCKETS_S,
)
BATCH_ALERTS: Final = Histogram(f"{_PREFIX}_batch_alerts", "Alerts per batch", buckets=BATCH_BUCKETS)
STANDSTILL: Final = Gauge(
    f"{_PREFIX}_standstill_seconds",
    "How long a stage has been working on the same batch, where that is longer than pipeline.standstill_s; else 0",
    ["input", "stage"],
)
IN_FLIGHT: Final = Gauge(f"{_PREFIX}_in_flight_alerts", "Alerts consumed and not yet accounted for", ["input"])
CONSUMER_LAG: Final = Gauge(
    f"{_PREFIX}_consumer_lag_messages", "Offsets between what is settled and the end", ["input", "topic", "partition"]
)
CONSUMER_LAG_SECONDS: Final = Gauge(
    f"{_PREFIX}_consumer_lag_seconds",
    "Age of the newest alert that is accounted for, while messages wait; else 0",
    ["input"],
)

# consumed = published + filtered + dead-lettered, per partition
CONSUMED: Final = Counter(
    f"{_PREFIX}_consumed", "Messages taken from the source (of several alerts: each)", ["input", "topic", "partition"]
)
PUBLISHED: Final = Counter(
    f"{_PREFIX}_published", "Alerts whose classification was acknowledged", ["input", "topic", "partition"]
)
FILTERED: Final = Counter(
    f"{_PREFIX}_filtered", "Alerts left out on purpose, by reason", ["input", "topic", "partition", "reason"]
)
DEAD_LETTERED: Final = Counter(
    f"{_PREFIX}_dead_lettered",
    "Messages put aside with their bytes, by reason code",
    ["input", "topic", "partition", "reason"],
)
RETURNED: Final = Counter(
    f"{_PREFIX}_returned",
    "Messages given back unanswered because their partition went to another replica, which reads them again",
    ["input", "topic", "partition"],
)
SKIPPED: Final = Counter(
    f"{_PREFIX}_skipped_offsets",
    "Offsets passed over: expired, deleted or truncated before they were read, outside_span, or no_message at all",
    ["input", "topic", "partition", "reason"],
)
IMPOSSIBLE_TIMESTAMPS: Final = Counter(
    f"{_PREFIX}_impossible_timestamps",
    "Messages whose broker timestamp can't be (1970, the future): they are in no latency",
)
ACCOUNTING_GAP: Final = Gauge(
    f"{_PREFIX}_accounting_gap",
    "consumed - published - filtered - dead-lettered - returned - in flight: anything but 0 is an error",
    ["input"],
)
NO_CLASS: Final = "none"  # where nothing could be judged
CLASSIFIED: Final = Counter(
    f"{_PREFIX}_classified", f"Published classifications by top class, {NO_CLASS} where it names none", ["top_class"]
)
OUT_OF_DISTRIBUTION: Final = Counter(f"{_PREFIX}_out_of_distribution", "Published classifications with that flag")
LOW_QUALITY: Final = Counter(f"{_PREFIX}_low_quality", "Published classifications of alerts that fail a quality cut")

DECODER_FALLBACKS: Final = Counter(
    f"{_PREFIX}_decoder_fallbacks", "Records read slowly: their schema has types that no survey uses"
)
UNKNOWN_SIGNS: Final = Counter(
    f"{_PREFIX}_unknown_signs", "Detections in packets whose isdiffpos is spelled in a way that is not known"
)
NEWER_HISTORY: Final = Counter(
    f"{_PREFIX}_newer_history_rows", "Rows of packets' histories left out because they are newer than their alert"
)
STORE_RETRIES: Final = Counter(f"{_PREFIX}_store_retries", "Batches that waited for the store to come back")
PUBLISH_RETRIES: Final = Counter(f"{_PREFIX}_publish_retries", "Batches that waited for the output broker")
STORE_OBJECTS: Final = Gauge(f"{_PREFIX}_store_objects", "Objects at rest")
STORE_BYTES: Final = Gauge(f"{_PREFIX}_store_bytes", "Size of the store")
READY: Final = Gauge(f"{_PREFIX}_ready", "1 when the service answers and, if streaming, consumes")
HTTP_REQUEST_SECONDS: Final = Histogram(
    f"{_PREFIX}_http_request_seconds",
    "Time from request to the end of its answer, by path template",
    ["method", "path", "status"],
    buckets=LATENCY_BUCKETS_S,
)
HTTP_REFUSED: Final = Counter(
    f"{_PREFIX}_http_refused",
    "Connections and bodies that were ended because they passed a bound, by reason",
    ["reason"],
)
LOG_MESSAGES: Final = Counter(
    f"{_PREFIX}_log_messages", "Warnings and errors, those included that are only counted in the log", ["level"]
)
WEBHOOKS: Final = Counter(f"{_PREFIX}_webhooks", "Messages to webhooks of watches, by outcome", ["outcome"])
WEBHOOKS_DROPPED: Final = Counter(
    f"{_PREFIX}_webhooks_dropped", "Objects that a watch noticed and its webhook was never told: too many or too old"
)
MODEL: Final = Info(f"{_PREFIX}_model", "Active model bundle and execution provider")


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Time a stage of one batch, whether or not it succeeds."""
    start = perf_counter()
    try:
        yield
    finally:
        STAGE_SECONDS.labels(name).observe(perf_counter() - start)
