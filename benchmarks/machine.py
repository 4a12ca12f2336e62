"""On what machine and with which versions a figure was measured: without them it means nothing."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "alert-classifier", "numpy", "numba", "fastavro", "confluent-kafka", "fastapi", "pydantic", "pyarrow",
    "onnxruntime", "onnxruntime-gpu", "torch",
)  # fmt: skip


def machine() -> dict[str, object]:
    """CPU model, cores usable by this process, memory [GiB], Python and the versions of installed `PACKAGES`."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    told: dict[str, str] = {}
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            told.setdefault(key.strip(), value.strip())  # of the first core
    if "model name" not in told:
        return platform.processor() or platform.machine()
    # a virtual machine may hide which of a maker's processors it has, but not its family and model
    numbers = f" (family {told['cpu family']}, model {told['model']})" if {"cpu family", "model"} <= told.keys() else ""
    return told["model name"] + numbers


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
