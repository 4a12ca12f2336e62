"""Long light curves for graphs of alert-clr/2: all blocks but the newest are embedded first, or known from before.

An embedding is known by the digest of what its block holds, so whoever computed it, and whatever changed since, an
answer is that of a light curve embedded from nothing (to rounding).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.bundle import Bundle
from service.inference.preprocessing.blocks import (
    DIGEST_BYTES,
    KEPT_INPUT,
    block_inputs,
    cut_into_blocks,
    digests_of,
    kept_input,
    points_of,
)

# Embeddings remembered in memory, some 0.6 kB each: those of objects that come several times a night.
REMEMBERED: Final = 16_384

Inputs = dict[str, NDArray[Any]]
Embedding = NDArray[np.float32]
Embed = Callable[[list[Inputs]], NDArray[np.float32]]


@dataclass(slots=True)
class Plan:
    """What is to be run: `newest`, the inputs of each light curve's newest block, whose `kept` is filled in where it
    has others; `missing`, by digest, the inputs of blocks whose embedding is not known.
    """

    newest: list[Inputs] = field(default_factory=list)
    longer: list[Longer] = field(default_factory=list)
    missing: dict[bytes, Inputs] = field(default_factory=dict)
    known: dict[bytes, Embedding] = field(default_factory=dict)

    def extend(self, other: Plan) -> None:
        """With the light curves of `other` behind these."""
        self.longer += [replace(each, row=each.row + len(self.newest)) for each in other.longer]
        self.newest += other.newest
        self.missing |= other.missing
        self.known |= other.known


@dataclass(frozen=True, slots=True)
class Longer:
    """A light curve of several blocks: its place, `facts` (k, 4), digests of all blocks but the newest, and `kept`
    (k - 1, D), their embeddings if just these were kept with it.
    """

    row: int
    facts: NDArray[np.float64]
    digests: list[bytes]
    kept: NDArray[np.float32] | None


class BlockInputs:
    """Inputs of a bundle's graph from light curves of any length. Every method may be called from any thread."""

    def __init__(self, bundle: Bundle, remembered: int = REMEMBERED) -> None:
        self._bundle = bundle
        self._parameters = bundle.manifest.preprocessing.parameters
        self._size = int(self._parameters.get("embedding", 96))
        self._remembered = _Remembered(remembered)

    def plan(
        self,
        points: NDArray[np.void],
        counts: NDArray[np.int64],
        contexts: NDArray[np.float32] | None,
        kept: Sequence[bytes | None] | None = None,
    ) -> Plan:
        """For light curves end to end, with their contexts as the graph takes them, and what was kept of each.

        Raises ValueError if one of them has nothing to classify.
        """
        found = cut_into_blocks(points, counts, self._parameters)
        plan = Plan()
        if len(found.bounds) == len(counts) and int(counts.sum()) == int(np.diff(found.bounds).sum()):
            plan.newest = self._bundle.padded(block_inputs(points, counts, self._parameters), contexts)
            return plan
        stops = np.cumsum(found.numbers)
        newest = stops - 1  # block of each light curve
        is_finished = np.repeat(found.numbers > 1, found.numbers)
        is_finished[newest] = False
        finished = np.flatnonzero(is_finished)
        digest_at = dict(zip(finished.tolist(), digests_of(points, found.bounds[finished]), strict=True))
        missing: dict[bytes, int] = {}
        for row in np.flatnonzero(found.numbers > 1).tolist():
            first, last = int(stops[row] - found.numbers[row]), int(newest[row])
            digests = [digest_at[block] for block in range(first, last)]
            kept_digests, kept_embeddings = _unpack(kept[row] if kept else None, self._size)
            were_kept = kept_digests == digests
            facts = found.facts[first : last + 1]
            plan.longer.append(Longer(row, facts, digests, kept_embeddings if were_kept else None))
            if were_kept:
                continue
            before = dict(zip(kept_digests, kept_embeddings, strict=True))
            for block, digest in zip(range(first, last), digests, strict=True):
                if digest in plan.known or digest in missing:
                    continue
                embedding = before.get(digest)
                if embedding is None:
                    embedding = self._remembered.get(digest)
                if embedding is None:
                    missing[digest] = block
                else:
                    plan.known[digest] = embedding
        wanted = found.bounds[np.concatenate((newest, np.array(list(missing.values()), dtype=np.int64)))]
        inputs = block_inputs(*points_of(points, wanted), self._parameters)
        plan.newest = self._bundle.padded(inputs[: len(newest)], contexts)
        nothing = None if contexts is None else np.full((len(missing), contexts.shape[1]), np.nan, dtype=np.float32)
        plan.missing = dict(zip(missing, self._bundle.padded(inputs[len(newest) :], nothing), strict=True))
        return plan

    def complete(self, plan: Plan, embed: Embed) -> dict[int, bytes]:
        """Fill in what is still missing in `plan.newest`, with `embed`: inputs of blocks -> embeddings (n, D).

        Returns, by light curve, what to keep with it, where that has changed.
        """
        if not plan.longer:
            return {}
        known = dict(plan.known)
        if plan.missing:
            for digest, embedding in zip(plan.missing, embed(list(plan.missing.values())), strict=True):
                known[digest] = embedding
                self._remembered.put(digest, embedding)
        changed = {}
        for each in plan.longer:
            embeddings = each.kept
            if embeddings is None:
                embeddings = np.stack([known[digest] for digest in each.digests])
                if np.isfinite(embeddings).all():
                    changed[each.row] = _pack(each.digests, embeddings)
            plan.newest[each.row][KEPT_INPUT] = kept_input(each.facts, embeddings, self._size)
        return changed


class _Remembered:
    """The embeddings that were used last, at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[bytes, Embedding] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> Embedding | None:
        with self._lock:
            if digest in self._found:
                self._found.move_to_end(digest)
            return self._found.get(digest)

    def put(self, digest: bytes, embedding: Embedding) -> None:
        with self._lock:
            self._found[digest] = embedding.copy()  # else it would hold the whole batch
            self._found.move_to_end(digest)
            while len(self._found) > self._most:
                self._found.popitem(last=False)


def _pack(digests: Sequence[bytes], embeddings: NDArray[np.float32]) -> bytes:
    """Digest and float32 embedding of each block, in order of time."""
    rows = embeddings.astype("<f4")
    return b"".join([digest + row.tobytes() for digest, row in zip(digests, rows, strict=True)])


def _unpack(kept: bytes | None, size: int) -> tuple[list[bytes], NDArray[np.float32]]:
    """Inverse of `_pack`; nothing where the bytes are of another length, or hold what is no embedding."""
    row = np.dtype([("digest", np.void, DIGEST_BYTES), ("embedding", "<f4", size)])
    if kept and len(kept) % row.itemsize == 0:
        embeddings = np.ascontiguousarray(np.frombuffer(kept, row)["embedding"])
        if np.isfinite(embeddings).all():
            return [kept[start : start + DIGEST_BYTES] for start in range(0, len(kept), row.itemsize)], embeddings
    return [], np.empty((0, size), dtype=np.float32)
