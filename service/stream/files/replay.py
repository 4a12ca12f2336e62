"""Archives through the pipeline of the stream, without Kafka: for `replay` and tests."""

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
    """The outcomes of the messages, and the unreadable parts of the archives."""

    account: Account
    damaged: tuple[Damage, ...]


def replay_archive(
    paths: Sequence[Path],
    pipeline: Pipeline,
    sink: Sink,
    settings: PipelineSettings | None = None,
    on_settled: Callable[[Batch], None] | None = None,
) -> Replayed:
    """Send archives through `pipeline` into `sink`, closing it at the end; `on_settled` is called with every batch.

    Raises ArchiveError for a path that can't be read, and the error that stopped a thread.
    """
    settings = settings or PipelineSettings()
    source = ArchiveSource(paths, settings.max_message_bytes)
    runner = StreamRunner(source, pipeline, sink, settings, on_settled=on_settled)
    runner.run()
    return Replayed(runner.accounting.total(), tuple(source.damaged))
