"""Embeddings of the finished blocks of long light curves, kept with their objects: a cache that changes no answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeptBlocks:
    """What the model that `embeds_as` this name keeps of an object; the bytes are its own affair."""

    object_id: str
    embeds_as: str
    embeddings: bytes


def last_of_each(kept: Iterable[KeptBlocks]) -> list[KeptBlocks]:
    """The last for each object and model, ordered by both."""
    found = {(each.object_id, each.embeds_as): each for each in kept}
    return [found[key] for key in sorted(found)]


def by_object(rows: Iterable[Sequence[str | bytes]]) -> dict[str, dict[str, bytes]]:
    """From rows (object_id, embeds_as, embeddings): object -> model -> embeddings."""
    found: dict[str, dict[str, bytes]] = {}
    for object_id, embeds_as, embeddings in rows:
        found.setdefault(str(object_id), {})[str(embeds_as)] = bytes(embeddings)  # type: ignore[arg-type]
    return found
