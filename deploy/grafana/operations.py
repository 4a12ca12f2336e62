"""The dashboard of whoever watches the night: is it alive, does it keep up, what went wrong, what does it say."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import BAD, OK, WARN, Panels, board, graph, heatmap, stat, table

JOB: Final = '{job="$job"}'


def operations() -> Dashboard:
    return board(
        "alert-classifier-operations",
        "Alert classifier: operations",
        "The stream through the service: pace, lag, time, trouble, and what the answers look like.",
        "alert_classifier_ready",
        {
            "Now": _now(),
            "Flow": _flow(),
            "Time": _time(),
            "Trouble": _trouble(),
            "Science": _science(),
            "HTTP": _http(),
            "Store and model": _store(),
        },
    )


def _now() -> Panels:
    dead = f"sum(increase(alert_classifier_dead_lettered_total{JOB}[1h])) or vector(0)"
    return [
        stat(
            "Ready",
            "short",
            "Replicas that answer and consume",
            f"sum(alert_classifier_ready{JOB})",
            [(None, BAD), (1, OK)],
        ),
        stat(
            "Classified",
            "cps",
            "Acknowledged classifications per second",
            f"sum(rate(alert_classifier_published_total{JOB}[$__rate_interval]))",
            [(None, OK)],
        ),
        stat(
            "Behind",
            "s",
            "Age of the newest alert that is accounted for, while messages wait",
            f"max(alert_classifier_consumer_lag_seconds{JOB})",
            [(None, OK), (10, WARN), (60, BAD)],
        ),
        stat(
            "p99, end to end",
            "s",
            "From the broker's timestamp to the acknowledged classification",
            _quantile(0.99),
            [(None, OK), (1, WARN), (5, BAD)],
        ),
        stat(
            "Dead letters, 1 h",
            "short",
            "Messages put aside with their bytes and the reason",
            dead,
            [(None, OK), (1, WARN), (100, BAD)],
        ),
        stat(
            "Out of distribution, 1 h",
            "percentunit",
            "Share of answers with that flag; 1 % by construction",
            f"sum(increase(alert_classifier_out_of_distribution_total{JOB}[1h]))"
            f" / sum(increase(alert_classifier_published_total{JOB}[1h]))",
            [(None, OK), (0.05, WARN), (0.1, BAD)],
        ),
        stat(
            "Alerts firing",
            "short",
            "Rules of deploy/prometheus that fire for this job",
            'count(ALERTS{job="$job", alertstate="firing"}) or vector(0)',
            [(None, OK), (1, BAD)],
        ),
        stat(
            "Model",
            "short",
            "Active bundle",
            f"alert_classifier_model_info{JOB}",
            [(None, OK)],
            legend="{{name}} {{version}}",
        ),
    ]


def _flow() -> Panels:
    def pace(counter: str) -> str:
        return f"sum(rate(alert_classifier_{counter}_total{JOB}[$__rate_interval]))"

    return [
        graph(
            "Throughput",
            "cps",
            "consumed = published + filtered + dead-lettered + returned to another replica",
            (pace("consumed"), "consumed"),
            (pace("published"), "published"),
            (pace("filtered"), "filtered"),
            (pace("dead_lettered"), "dead-lettered"),
            (pace("returned"), "returned"),
        ),
        graph(
            "Messages that wait",
            "short",
            "Between what is settled and the end of each topic",
            (f"sum by (topic) (alert_classifier_consumer_lag_messages{JOB})", "{{topic}}"),
        ),
        graph(
            "Behind, and in flight",
            "short",
            "Seconds behind; alerts consumed and not yet accounted for",
            (f"max(alert_classifier_consumer_lag_seconds{JOB})", "seconds behind"),
            (f"sum(alert_classifier_in_flight_alerts{JOB})", "in flight"),
        ),
        graph(
            "Published by input",
            "cps",
            "Each of `inputs`; one line without a name where only `kafka` is read",
            (f"sum by (input) (rate(alert_classifier_published_total{JOB}[$__rate_interval]))", "{{input}}"),
            span=12,
        ),
        graph(
            "Seconds behind, by input",
            "s",
            "One that grows alone: its brokers, its registry, or its packets",
            (f"max by (input) (alert_classifier_consumer_lag_seconds{JOB})", "{{input}}"),
            span=12,
        ),
        graph(
            "Published by replica",
            "cps",
            "Uneven: partitions are not spread evenly over the replicas",
            (f"sum by (instance) (rate(alert_classifier_published_total{JOB}[$__rate_interval]))", "{{instance}}"),
            span=12,
        ),
        graph(
            "Messages that wait, by partition",
            "short",
            "One that grows alone: a hot or stuck partition",
            (f"sum by (topic, partition) (alert_classifier_consumer_lag_messages{JOB})", "{{topic}}/{{partition}}"),
            span=12,
        ),
    ]


def _time() -> Panels:
    stage_seconds = f"sum by (stage) (rate(alert_classifier_stage_seconds_sum{JOB}[$__rate_interval]))"
    alerts = f"sum(rate(alert_classifier_consumed_total{JOB}[$__rate_interval]))"
    stage_p99 = (
        "histogram_quantile(0.99,"
        f" sum by (stage, le) (rate(alert_classifier_stage_seconds_bucket{JOB}[$__rate_interval])))"
    )
    return [
        heatmap(
            "End to end",
            "s",
            "From the broker's timestamp to the acknowledged classification",
            "alert_classifier_end_to_end_seconds",
        ),
        graph(
            "End to end, quantiles",
            "s",
            "Interpolated within buckets",
            (_quantile(0.5), "p50"),
            (_quantile(0.9), "p90"),
            (_quantile(0.99), "p99"),
            span=12,
        ),
        graph(
            "Time per stage and alert",
            "s",
            "Stages of different batches overlap: the sum may exceed one second a second",
            (f"{stage_seconds} / on () group_left {alerts}", "{{stage}}"),
            stacked=True,
        ),
        graph("Time of a batch in a stage, p99", "s", "Which stage is slow", (stage_p99, "{{stage}}")),
        graph(
            "Time in a stage",
            "percentunit",
            "Seconds per second, all replicas: near the number of threads is saturated",
            (stage_seconds, "{{stage}}"),
        ),
        heatmap(
            "Batch size",
            "short",
            "Alerts per batch: one when idle, the configured maximum when draining",
            "alert_classifier_batch_alerts",
        ),
        heatmap(
            "From the observation to the answer",
            "s",
            "Shutter to acknowledged classification: mostly the survey's own time",
            "alert_classifier_observation_to_publication_seconds",
        ),
    ]


def _trouble() -> Panels:
    return [
        graph(
            "Dead letters by reason",
            "short",
            "alert-classifier dead-letters list shows them",
            (f"sum by (reason) (increase(alert_classifier_dead_lettered_total{JOB}[$__rate_interval]))", "{{reason}}"),
        ),
        graph(
            "Filtered by reason",
            "cps",
            "Left out on purpose (quality.action = drop)",
            (f"sum by (reason) (rate(alert_classifier_filtered_total{JOB}[$__rate_interval]))", "{{reason}}"),
        ),
        graph(
            "Waits and fallbacks",
            "short",
            "Batches that waited for store or broker; packets read by the slow decoder",
            (f"sum(increase(alert_classifier_store_retries_total{JOB}[$__rate_interval]))", "store"),
            (f"sum(increase(alert_classifier_publish_retries_total{JOB}[$__rate_interval]))", "broker"),
            (f"sum(increase(alert_classifier_decoder_fallbacks_total{JOB}[$__rate_interval]))", "slow decoder"),
        ),
        graph(
            "Unaccounted messages",
            "short",
            "consumed less published, filtered, dead-lettered, returned and in flight: anything but 0 is an error",
            (f"alert_classifier_accounting_gap{JOB}", "{{instance}} {{input}}"),
        ),
        graph(
            "Offsets passed over",
            "short",
            "expired, deleted, truncated: alerts that nobody will answer; no_message: markers of transactions, ...",
            (
                f"sum by (reason) (increase(alert_classifier_skipped_offsets_total{JOB}[$__rate_interval]))",
                "{{reason}}",
            ),
            (
                f"sum(increase(alert_classifier_impossible_timestamps_total{JOB}[$__rate_interval]))",
                "broker's clock wrong",
            ),
        ),
        graph(
            "Ready",
            "short",
            "1 when the replica answers and consumes",
            (f"alert_classifier_ready{JOB}", "{{instance}}"),
        ),
    ]


def _science() -> Panels:
    by_class = f"sum by (top_class) (increase(alert_classifier_classified_total{JOB}[1h]))"
    everything = f"sum(increase(alert_classifier_classified_total{JOB}[1h]))"
    published = f"sum(rate(alert_classifier_published_total{JOB}[$__rate_interval]))"

    def share(counter: str) -> str:
        return f"sum(rate(alert_classifier_{counter}_total{JOB}[$__rate_interval])) / {published}"

    return [
        graph(
            "Class mix of the last hour",
            "percentunit",
            "Share of published classifications by top class",
            (f"{by_class} / on () group_left {everything}", "{{top_class}}"),
            span=12,
            stacked=True,
        ),
        graph(
            "Class mix drift",
            "percentunit",
            "Total variation distance between the last six hours and the last seven days: the share of answers that"
            " would need another class to match",
            (f"job:alert_classifier_class_mix:distance{JOB}", "distance"),
            span=6,
        ),
        graph(
            "Flags",
            "percentunit",
            "Share of answers that are out of distribution, or of low-quality alerts",
            (share("out_of_distribution"), "out of distribution"),
            (share("low_quality"), "low quality"),
            span=6,
        ),
    ]


def _http() -> Panels:
    count = "alert_classifier_http_request_seconds_count"
    p99 = (
        "histogram_quantile(0.99,"
        f" sum by (path, le) (rate(alert_classifier_http_request_seconds_bucket{JOB}[$__rate_interval])))"
    )
    return [
        graph(
            "Requests by status",
            "reqps",
            "4xx: the caller erred; 5xx: the service did, or is not ready",
            (f"sum by (status) (rate({count}{JOB}[$__rate_interval]))", "{{status}}"),
        ),
        graph(
            "Requests by path",
            "reqps",
            "By path template",
            (f"sum by (path) (rate({count}{JOB}[$__rate_interval]))", "{{path}}"),
        ),
        graph("Time to answer, p99", "s", "By path template", (p99, "{{path}}")),
    ]


def _store() -> Panels:
    return [
        graph(
            "Objects at rest",
            "short",
            "Light curves in the store",
            (f"max(alert_classifier_store_objects{JOB})", "objects"),
            span=6,
        ),
        graph(
            "Size of the store",
            "bytes",
            "alert-classifier store prune makes room",
            (f"max(alert_classifier_store_bytes{JOB})", "bytes"),
            span=6,
        ),
        table(
            "Models",
            "Active bundle and execution provider of each replica",
            f"alert_classifier_model_info{JOB}",
            hidden=["job", "namespace", "pod", "service", "endpoint", "container"],
        ),
    ]


def _quantile(q: float) -> str:
    buckets = f"sum by (le) (rate(alert_classifier_end_to_end_seconds_bucket{JOB}[$__rate_interval]))"
    return f"histogram_quantile({q}, {buckets})"
