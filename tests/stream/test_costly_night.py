"""A night with one costly alert in a hundred is about as quick as a clean one, and needs little memory."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.alerts.decode import Decoder
from service.config import PipelineSettings, QualitySettings
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.store import SqliteStore
from service.stream.batch import Batch
from service.stream.files.sinks import FileSink
from service.stream.journal import Journal
from service.stream.pipeline import Pipeline
from service.stream.runner import StreamRunner
from tests.stream.costly import alerts_in, costly
from tests.stream.source import Source

GOOD, COSTLY = 5000, 50
MEMORY_BYTES = 1_000_000_000
# Each kind has two, in turns, of which the quicker counts; by processor time, which other work disturbs less.
NIGHTS = 2


def read_night(stream: list[bytes], models: ModelRegistry, folder: Path) -> tuple[list[int], float]:
    """(candids answered, alerts per second of processor time) of a stream that is there at once."""
    folder.mkdir()
    decoder = Decoder()
    decoder.warm_up()
    candids: list[int] = []

    def settled(batch: Batch) -> None:
        candids.extend(outcome.classification.candid for _, outcome in batch.published())

    with closing(SqliteStore(folder / "store.db")) as store:
        messages: Any = [SimpleNamespace(packet=message) for message in stream]
        runner = StreamRunner(
            Source(messages, 256),
            Pipeline(decoder, store, models, QualitySettings()),
            FileSink(),
            PipelineSettings(),
            on_settled=settled,
            journal=Journal(folder / "journal"),
        )
        began = time.process_time()
        runner.run()
        return candids, len(candids) / (time.process_time() - began)


def most_memory() -> int:
    """The most that this process has held so far [bytes]."""
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def nights() -> Iterator[tuple[str, list[bytes], int]]:
    """(kind, messages, number of alerts in them): every wide schema is a new one."""
    clean = [alert.packet for alert in simulate(GOOD, seed=60)]
    for night in range(NIGHTS):
        numbers = range(night * COSTLY, (night + 1) * COSTLY)
        mixed = list(clean)
        places = random.Random(night)
        for number, alert in zip(numbers, simulate(COSTLY, seed=61), strict=True):
            mixed.insert(places.randrange(len(mixed)), costly(alert.packet, number))
        yield "clean", clean, GOOD
        yield "mixed", mixed, GOOD + sum(map(alerts_in, numbers))


@pytest.mark.slow
def test_one_in_a_hundred_is_costly(models: ModelRegistry, tmp_path: Path) -> None:
    """Given 5,000 good alerts, when 50 costly ones come among them, then every alert is answered once, at 0.9 of the
    rate of a clean night at least, within a gigabyte.
    """
    good = {alert.candid for alert in simulate(GOOD, seed=60)}
    rates: dict[str, list[float]] = {"clean": [], "mixed": []}
    for number, (kind, stream, alerts) in enumerate(nights()):
        candids, rate = read_night(stream, models, tmp_path / str(number))
        assert len(candids) == len(set(candids)) == alerts
        assert good <= set(candids)
        rates[kind].append(rate)
    assert most_memory() < MEMORY_BYTES, most_memory()
    assert max(rates["mixed"]) >= 0.9 * max(rates["clean"]), rates
