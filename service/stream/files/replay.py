"""Archives through the same pipeline as the stream, without Kafka: for `replay`, the demo and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.config import PipelineSettings
from service.stream.accounting import Account
from service.stream.batch import Batch
from service.stream.files.archives import ArchiveSource, Damage
from service.stream.interfaces import Sink
from service.stream.pipeline import Pipeline
from service.stream.runner import StreamRunner


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the messages, and what could not be read of the archives."""

    account: Account
    damaged: tuple[Damage, ...]


def replay_archive(
    paths: Sequence[Path],
    pipeline: Pipeline,
    sink: Sink,
    settings: PipelineSettings | None = None,
    on_settled: Callable[[Batch], None] | None = None,
) -> Replayed:
    """Play archives through `pipeline` into `sink`, which is closed at the end; `on_settled` hears of every batch.

    Raises ArchiveError for a path that is not there, and what made a stage fail.
    """
    source = ArchiveSource(paths)
    runner = StreamRunner(source, pipeline, sink, settings or PipelineSettings(), on_settled=on_settled)
    runner.run()
    return Replayed(runner.accounting.total(), tuple(source.damaged))
