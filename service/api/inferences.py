"""Counts and times of inference requests under `/v2`, per model, for the protocol's statistics."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from time import perf_counter_ns, time
from typing import Any, Final, Literal

Part = Literal["compute_input", "compute_infer", "compute_output"]

PARTS: Final[tuple[Part, ...]] = ("compute_input", "compute_infer", "compute_output")


@dataclass(slots=True)
class _Sum:
    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def view(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


@dataclass(slots=True)
class _Model:
    last_ms: int = 0
    light_curves: int = 0
    success: _Sum = field(default_factory=_Sum)
    fail: _Sum = field(default_factory=_Sum)
    parts: dict[Part, _Sum] = field(default_factory=lambda: {part: _Sum() for part in PARTS})


class Inferences:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._models: defaultdict[tuple[str, str], _Model] = defaultdict(_Model)
        self._lock = threading.Lock()

    def succeeded(self, name: str, version: str, light_curves: int, times: Times) -> None:
        with self._lock:
            model = self._models[name, version]
            model.last_ms = int(1000 * time())
            model.light_curves += light_curves
            model.success.add(times.whole())
            for part in PARTS:
                model.parts[part].add(times.of(part))

    def failed(self, name: str, version: str, times: Times) -> None:
        with self._lock:
            self._models[name, version].fail.add(times.whole())

    def view(self, name: str, version: str) -> dict[str, Any]:
        """As Triton's statistics extension has it; nothing waits in a queue or comes from a cache here."""
        with self._lock:
            model = self._models[name, version]
            stats = {"success": model.success.view(), "fail": model.fail.view(), "queue": _Sum().view()}
            stats |= {part: each.view() for part, each in model.parts.items()}
            return {
                "name": name,
                "version": version,
                "last_inference": model.last_ms,
                "inference_count": model.light_curves,
                "execution_count": model.success.count,
                "inference_stats": stats | {"cache_hit": _Sum().view(), "cache_miss": _Sum().view()},
                "batch_stats": [],
            }


class Times:
    """A stopwatch over the parts of one request: `end(part)` closes the part that runs."""

    def __init__(self) -> None:
        self._begun = self._since = perf_counter_ns()
        self._parts: dict[Part, int] = {}

    def end(self, part: Part) -> None:
        now = perf_counter_ns()
        self._parts[part] = now - self._since
        self._since = now

    def of(self, part: Part) -> int:
        return self._parts.get(part, 0)

    def whole(self) -> int:
        return perf_counter_ns() - self._begun
