"""The dashboard of the machine: the service's processes, and what lies below them as the node exporter sees it."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import Panels, board, graph

JOB: Final = '{job="$job"}'
DISKS: Final = '{fstype!~"tmpfs|overlay|squashfs|ramfs"}'
NETWORK: Final = '{device!~"lo|veth.*|docker.*|br-.*|cali.*"}'


def host() -> Dashboard:
    return board(
        "alert-classifier-host",
        "Alert classifier: host",
        "The processes of the service, and the machine below them as the node exporter sees it.",
        "alert_classifier_ready",
        {"Processes of the service": _processes(), "Machine": _machine()},
    )


def _processes() -> Panels:
    return [
        graph(
            "CPU",
            "percentunit",
            "1 is one core",
            (f"rate(process_cpu_seconds_total{JOB}[$__rate_interval])", "{{instance}}"),
        ),
        graph(
            "Memory",
            "bytes",
            "Resident; flat when all is well",
            (f"process_resident_memory_bytes{JOB}", "{{instance}}"),
        ),
        graph(
            "Open files",
            "short",
            "Against the limit",
            (f"process_open_fds{JOB}", "{{instance}}"),
            (f"process_max_fds{JOB}", "limit of {{instance}}"),
        ),
        graph(
            "Uptime",
            "s",
            "Falls to zero at a restart",
            (f"time() - process_start_time_seconds{JOB}", "{{instance}}"),
            span=12,
        ),
        graph(
            "Garbage collections",
            "cps",
            "Of the Python interpreter, by generation",
            (
                f"sum by (instance, generation) (rate(python_gc_collections_total{JOB}[$__rate_interval]))",
                "{{instance}} {{generation}}",
            ),
            span=12,
        ),
    ]


def _machine() -> Panels:
    return [
        graph(
            "CPU by mode",
            "percentunit",
            "All cores; steal is what the hypervisor took",
            (
                'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[$__rate_interval]))'
                " / on () group_left count(count by (instance, cpu) (node_cpu_seconds_total))",
                "{{mode}}",
            ),
            stacked=True,
        ),
        graph(
            "Load",
            "short",
            "Runnable processes, against the cores",
            ("sum by (instance) (node_load1)", "{{instance}}"),
            ("count by (instance) (count by (instance, cpu) (node_cpu_seconds_total))", "cores of {{instance}}"),
        ),
        graph(
            "Memory",
            "bytes",
            "Available is what programs can still get",
            ("node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes", "used, {{instance}}"),
            ("node_memory_MemTotal_bytes", "all, {{instance}}"),
        ),
        graph(
            "Disk space used",
            "percentunit",
            "Of each file system",
            (
                f"1 - node_filesystem_avail_bytes{DISKS} / node_filesystem_size_bytes{DISKS}",
                "{{instance}} {{mountpoint}}",
            ),
        ),
        graph(
            "Disk",
            "Bps",
            "Read and written",
            ("sum by (instance) (rate(node_disk_read_bytes_total[$__rate_interval]))", "read, {{instance}}"),
            ("sum by (instance) (rate(node_disk_written_bytes_total[$__rate_interval]))", "written, {{instance}}"),
        ),
        graph(
            "Network",
            "Bps",
            "Received and sent; an alert is about 75 KB",
            (
                f"sum by (instance) (rate(node_network_receive_bytes_total{NETWORK}[$__rate_interval]))",
                "received, {{instance}}",
            ),
            (
                f"sum by (instance) (rate(node_network_transmit_bytes_total{NETWORK}[$__rate_interval]))",
                "sent, {{instance}}",
            ),
        ),
    ]
